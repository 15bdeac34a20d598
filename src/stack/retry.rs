//! Retransmits what is in flight earlier than smoltcp would.
//!
//! smoltcp gets the time as an argument. An egress step with a time later than any
//! retransmission timeout, on a device without room, fires the timer of a socket: SND.NXT
//! returns to SND.UNA, and Reno records a loss. Nothing is sent, and nothing else uses
//! that time: without room for a frame, smoltcp ends the step before it resolves
//! neighbours. The next step, at the present time, sends the oldest segment and starts the
//! timer from there.

use super::device::Watch;
use super::time::to_smoltcp;
use super::tracker::{Net, Tracker};
use crate::core::facts::Retry;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::tcp;
use smoltcp::time::Duration;

/// The longest retransmission timeout of smoltcp.
const LONGEST_RTO_MS: u32 = 60_000;

/// The interval of a keep-alive that is set in the step in the future, and due at present.
/// So the socket always has something to send in that step. smoltcp adds the interval to
/// its time as a signed number of microseconds.
const BACK: Duration = Duration::from_micros(60_000_000_u64.wrapping_neg());

impl<const N: usize> Tracker<N> {
    /// Makes a connection retransmit, or probe, in the next egress step.
    pub(super) fn try_again<D: Device + ?Sized>(
        &mut self,
        index: usize,
        retry: Retry,
        net: &mut Net<'_, '_, D>,
    ) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let handle = slot.handle;
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(handle);
        // In any other state the socket sends nothing, and the step would go on to others.
        let is_due = matches!(
            socket.state(),
            tcp::State::SynSent
                | tcp::State::SynReceived
                | tcp::State::Established
                | tcp::State::FinWait1
                | tcp::State::FinWait2
                | tcp::State::CloseWait
                | tcp::State::Closing
                | tcp::State::LastAck
        );
        if !is_due {
            return;
        }
        let is_opening = matches!(
            socket.state(),
            tcp::State::SynSent | tcp::State::SynReceived
        );
        let is_in_flight = is_opening || self.wire.guard.in_flight(index) > 0;
        if retry == Retry::Resend && is_in_flight {
            // The step in the future would lose a fast retransmission that is due, and a
            // retransmission by smoltcp itself is also a try.
            self.send_segments(net);
        }
        if retry == Retry::Resend && is_in_flight && !self.wire.guard.has_resent(index) {
            let socket = net.sockets.get_mut::<tcp::Socket<'_>>(handle);
            socket.set_keep_alive(Some(BACK));
            swap_with_first(net.sockets, handle);
            let later = to_smoltcp(net.now.plus_millis(LONGEST_RTO_MS));
            let mut watch = Watch::new(net.device, &self.wire).shut();
            net.interface.poll_egress(later, &mut watch, net.sockets);
            swap_with_first(net.sockets, handle);
        }
        // One probe in the next step, if nothing else is to be sent and no timer runs.
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.set_keep_alive(Some(Duration::ZERO));
        socket.set_keep_alive(None);
        self.disturb();
    }
}

/// Swaps a socket with the first of the set.
pub(super) fn swap_with_first(sockets: &mut SocketSet<'_>, handle: SocketHandle) {
    let mut all = sockets.iter_mut();
    if let Some((at, first)) = all.next()
        && at != handle
        && let Some((_, other)) = all.find(|&(at, _)| at == handle)
    {
        core::mem::swap(first, other);
    }
}
