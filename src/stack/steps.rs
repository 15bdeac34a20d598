//! One poll of a tracker, step by step.

use super::slot::Step;
use super::tracker::{Net, Tracker};
use core::fmt;
use smoltcp::iface::{PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::phy::Device;

/// One poll, made by [`Tracker::steps`], for an application that has work between the
/// steps: to bound the number of received frames, or to serve other sockets after each of
/// them.
///
/// Each step is complete: it updates the connections that it touched before it returns.
/// Timers run before the first segment is sent, or at the latest when this value is
/// dropped. What is not received or sent in this poll is left to the next.
///
/// ```
/// use lastbyte::stack::smoltcp::phy::Device;
/// use lastbyte::stack::{Net, Tracker};
///
/// /// Receives at most four frames, and sends.
/// fn my_poll<D: Device>(tracker: &mut Tracker<2>, net: &mut Net<'_, '_, D>) {
///     let mut steps = tracker.steps(net);
///     for _ in 0..4 {
///         if !steps.take_in() {
///             break;
///         }
///         let _other_sockets = steps.sockets();
///     }
///     while steps.send() {}
/// }
/// ```
#[must_use = "nothing is received or sent before a step is made"]
pub struct Steps<'s, 'n, 'a, D: Device + ?Sized, const N: usize> {
    tracker: &'s mut Tracker<N>,
    net: &'s mut Net<'n, 'a, D>,
}

impl<const N: usize> Tracker<N> {
    /// Begins a poll whose steps the application makes itself, instead of
    /// [`poll`](Self::poll).
    pub fn steps<'s, 'n, 'a, D: Device + ?Sized>(
        &'s mut self,
        net: &'s mut Net<'n, 'a, D>,
    ) -> Steps<'s, 'n, 'a, D, N> {
        self.prepare(net);
        Steps { tracker: self, net }
    }
}

impl<'a, D: Device + ?Sized, const N: usize> Steps<'_, '_, 'a, D, N> {
    /// Processes one frame that the device has received. Returns whether there was one.
    pub fn take_in(&mut self) -> bool {
        let taken = self.tracker.take_in_frame(self.net, self.net.now, None)
            != PollIngressSingleResult::None;
        let (sockets, now) = (&mut *self.net.sockets, self.net.now);
        self.tracker.after_step(Step::Ingress, sockets, now);
        self.tracker.heed_frame(self.net);
        taken
    }

    /// Sends at most one segment of each connection, and one packet of each other socket.
    /// Returns whether anything was sent, so that more may follow.
    pub fn send(&mut self) -> bool {
        self.tracker.run_timers(self.net);
        let sent = self.tracker.send_segments(self.net) != PollResult::None;
        let (sockets, now) = (&mut *self.net.sockets, self.net.now);
        self.tracker.after_step(Step::Egress, sockets, now);
        sent
    }

    /// The socket set, to serve the application's own sockets.
    pub fn sockets(&mut self) -> &mut SocketSet<'a> {
        self.net.sockets
    }
}

impl<D: Device + ?Sized, const N: usize> Drop for Steps<'_, '_, '_, D, N> {
    fn drop(&mut self) {
        self.tracker.run_timers(self.net);
    }
}

impl<D: Device + ?Sized, const N: usize> fmt::Debug for Steps<'_, '_, '_, D, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps")
            .field("now", &self.net.now)
            .finish_non_exhaustive()
    }
}
