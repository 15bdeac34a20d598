//! The content of the cell of a network, and what each call does while it borrows it.

use super::doomed::Doomed;
use super::network::{Limit, Wait, Waiting};
use super::time::Now;
use crate::Instant;
use crate::core::error::WriteError;
use crate::core::options::Options;
use crate::sabotage::{Sabotage, is_on};
use crate::stack::smoltcp::phy::Device;
use crate::stack::smoltcp::wire::IpEndpoint;
use crate::stack::{
    ConnectionId, DEVICE_FULL_PAUSE_MS, Departure, Error, Half, Net, OpenError, Parts,
    SHORTEST_TIMER_MS, Taken, Tracker, Wish,
};
use crate::trace::{self, Note};
use core::fmt;
use core::task::{Context, Poll, Waker};

/// The network, with device and clock, and the tasks to wake.
pub(super) struct Inner<'a, D: Device, C, const N: usize> {
    pub(super) parts: Parts<'a, D, N>,
    pub(super) clock: C,
    /// Gives the device the waker, if it accepts one.
    pub(super) set_waker: Option<fn(&mut D, &Waker)>,
    /// The waker of the task that serves device and timers.
    runner: Option<Waker>,
    /// When the runner wakes by itself. [`Instant::ZERO`] while it need not be woken: it
    /// runs soon, or there is none.
    sleeps_until: Instant,
    /// Before this time, a timer that a write starts can expire before the runner wakes.
    exact_before: Instant,
}

/// What the runner has to do after it has served everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    now: Instant,
    pub(super) taken: Taken,
    /// When something is due next.
    next: Instant,
}

impl Served {
    /// When the runner has to look again; `None` if only the device or a call can change
    /// anything.
    pub(super) fn sleeps_until(self) -> Option<Instant> {
        // Due already, right after sending: the device takes no more.
        let soon = self.now.plus_millis(DEVICE_FULL_PAUSE_MS);
        (self.next != Instant::NEVER).then(|| self.next.max(soon))
    }
}

impl<'a, D: Device, C: Now, const N: usize> Inner<'a, D, C, N> {
    pub(super) const fn new(parts: Parts<'a, D, N>, clock: C) -> Self {
        Self {
            parts,
            clock,
            set_waker: None,
            runner: None,
            sleeps_until: Instant::ZERO,
            exact_before: Instant::ZERO,
        }
    }

    // ---- calls ----

    /// One attempt of a call: receives what the device has, attempts, sends what is due, and
    /// registers the task if there is no result.
    pub(super) fn attempt<T, E: Into<Error>>(
        &mut self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        wait: Wait,
        attempt: impl FnOnce(&mut Tracker<N>, &mut Net<'_, 'a, D>, Taken) -> Result<Option<T>, E>,
    ) -> Poll<Result<T, Error>> {
        let now = self.clock.now();
        let taken = self.take_in(now);
        let (tracker, mut net) = self.parts.lend(now);
        let result = match attempt(tracker, &mut net, taken) {
            Ok(Some(value)) => Ok(value),
            Err(error) => Err(error.into()),
            Ok(None) => match self.wait(call, cx, wait, now, taken) {
                Ok(()) => return Poll::Pending,
                Err(timed_out) => return Poll::Ready(Err(timed_out.into())),
            },
        };
        self.conclude(call, now);
        Poll::Ready(result)
    }

    /// The same for a write, which receives and sends by itself, and mostly has room.
    // tuning: async-write-apart
    #[inline(never)]
    pub(super) fn write(
        &mut self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        bytes: &[u8],
        departure: Departure,
    ) -> Poll<Result<usize, Error>> {
        let now = self.clock.now();
        if call.registered.is_some() {
            self.look_at_link(now);
        }
        let (tracker, mut net) = self.parts.lend(now);
        let written = match tracker.write_at_once(&mut net, call.id, bytes, departure) {
            Ok(written) => written,
            Err(error) => {
                self.conclude(call, now);
                return Poll::Ready(Err(error.into()));
            }
        };
        if written.accepted == 0 && !bytes.is_empty() {
            let wait = Wait::new(Half::Write, Wish::Room(1), Limit::Call);
            return match self.wait(call, cx, wait, now, written.taken) {
                Ok(()) => Poll::Pending,
                Err(timed_out) => Poll::Ready(Err(timed_out.into())),
            };
        }
        self.leave(call);
        // The runner sends what the write has not sent.
        if written.taken != Taken::Nothing
            || now < self.exact_before
            || self.parts.tracker.may_be_due(self.sleeps_until, departure)
        {
            self.look_ahead(now);
        }
        Poll::Ready(Ok(written.accepted))
    }

    /// A call that does not wait, and sends by itself what has to be sent at once.
    pub(super) fn at_once<T>(
        &mut self,
        call: impl FnOnce(&mut Tracker<N>, &mut Net<'_, 'a, D>) -> T,
    ) -> T {
        let now = self.clock.now();
        let (tracker, mut net) = self.parts.lend(now);
        let result = call(tracker, &mut net);
        self.look_ahead(now);
        result
    }

    /// Starts connecting.
    pub(super) fn connect(
        &mut self,
        remote: IpEndpoint,
        options: Options,
    ) -> Result<ConnectionId, OpenError> {
        self.at_once(|tracker, net| tracker.connect_at_once(net, remote, options))
    }

    /// Resets every connection that lives.
    pub(super) fn abort_all(&mut self) {
        self.at_once(|tracker, net| tracker.abort_all(net));
    }

    /// Processes what the device has received.
    fn take_in(&mut self, now: Instant) -> Taken {
        self.look_at_link(now);
        let (tracker, mut net) = self.parts.lend(now);
        tracker.take_in_all(&mut net)
    }

    /// After an attempt with a result.
    pub(super) fn conclude(&mut self, call: &mut Waiting, now: Instant) {
        self.leave(call);
        self.send_due(now);
    }

    /// The call stops waiting.
    #[inline]
    fn leave(&mut self, call: &mut Waiting) {
        if call.registered.is_some() {
            self.withdraw(call);
            call.registered = None;
        }
    }

    /// After an attempt without a result: registers the task.
    ///
    /// # Errors
    ///
    /// The call timeout is reached.
    pub(super) fn wait(
        &mut self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        wait: Wait,
        now: Instant,
        taken: Taken,
    ) -> Result<(), WriteError> {
        if call.started == Instant::NEVER {
            call.started = now;
        }
        let (tracker, net) = self.parts.lend(now);
        let limit = match wait.limit {
            Limit::Call => tracker.call_deadline(call.id, call.started)?,
            Limit::None => Instant::NEVER,
        };
        // The task makes no write before that.
        tracker.push_one(net.sockets, call.id);
        let is_over = now >= limit;
        match tracker.slot_mut(call.id) {
            Ok(slot) if !is_over && taken != Taken::More => {
                // A device without room may hold back what the task waits for, and does not
                // always report when it has room again.
                let (wish, until) = match (taken, wait.wish) {
                    (Taken::Full, Wish::Room(_)) => {
                        (Wish::Device, now.plus_millis(DEVICE_FULL_PAUSE_MS))
                    }
                    (Taken::Full, wish) => (wish, now.plus_millis(DEVICE_FULL_PAUSE_MS)),
                    (Taken::Nothing | Taken::All | Taken::More, wish) => (wish, limit),
                };
                let until = until.min(limit);
                slot.waiters.register(wait.half, cx.waker(), wish, until);
                tracker.look_by(until);
                call.registered = Some(wait.half);
            }
            _ => self.leave(call),
        }
        if taken == Taken::More {
            // There may be more in the device. The other tasks run first.
            cx.waker().wake_by_ref();
        }
        self.send_due(now);
        match is_over {
            true => Err(self.parts.tracker.call_timed_out(call.id, call.started)),
            false => Ok(()),
        }
    }

    /// Removes the waker of a call.
    pub(super) fn withdraw(&mut self, call: &Waiting) {
        if let Some(half) = call.registered
            && let Ok(slot) = self.parts.tracker.slot_mut(call.id)
        {
            slot.waiters.withdraw(half);
        }
    }

    /// Releases the connections whose owners were dropped while the network was lent.
    pub(super) fn release_doomed(&mut self, doomed: &Doomed<N>) {
        for slot in doomed.take() {
            let id = self.parts.tracker.id_of(slot);
            self.release(id);
        }
    }

    pub(super) fn release(&mut self, id: ConnectionId) {
        self.at_once(|tracker, net| {
            // A stale id has nothing left to release.
            let _ = tracker.release(net, id);
        });
    }

    pub(super) fn trace(&self, id: ConnectionId, note: Note<'_>) {
        if let Ok(connection) = self.parts.tracker.connection(id) {
            trace::report(connection, note);
        }
    }

    pub(super) fn look_at_link(&mut self, now: Instant) {
        if let Some(up) = self.parts.link_change() {
            self.parts.set_link(up, now);
        }
    }

    // ---- the runner ----

    /// Sends what is due. What was received is processed already.
    fn send_due(&mut self, now: Instant) {
        let (tracker, mut net) = self.parts.lend(now);
        let next = tracker.send_due(&mut net);
        self.wake_by(next);
    }

    /// Makes the runner check what a call has left to be sent.
    fn look_ahead(&mut self, now: Instant) {
        let (tracker, mut net) = self.parts.lend(now);
        let next = tracker.poll_at(&mut net);
        self.wake_by(next);
    }

    /// Wakes the runner, if this is before it would wake by itself.
    fn wake_by(&mut self, next: Instant) {
        if next < self.sleeps_until && !is_on(Sabotage::Oversleep) {
            self.kick();
        }
    }

    /// Wakes the runner: once, until it has served.
    pub(super) fn kick(&mut self) {
        if self.sleeps_until > Instant::ZERO {
            self.sleep_until(Instant::ZERO);
            if let Some(runner) = &self.runner {
                runner.wake_by_ref();
            }
        }
    }

    /// Serves the device and the timers, for the runner whose waker this is.
    pub(super) fn serve(&mut self, waker: &Waker) -> Served {
        match &mut self.runner {
            Some(runner) => runner.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        // Before it is polled, so that a frame that arrives from here on wakes the runner.
        if let Some(set_waker) = self.set_waker {
            set_waker(&mut self.parts.device, waker);
        }
        let now = self.clock.now();
        self.look_at_link(now);
        let (tracker, mut net) = self.parts.lend(now);
        let taken = tracker.ingest(&mut net);
        let next = tracker.send_due(&mut net);
        self.sleep_until(next);
        Served { now, taken, next }
    }

    /// The runner was dropped.
    pub(super) fn forget_runner(&mut self) {
        self.runner = None;
        self.sleep_until(Instant::ZERO);
    }

    fn sleep_until(&mut self, until: Instant) {
        self.sleeps_until = until;
        self.exact_before = until.minus_millis(SHORTEST_TIMER_MS);
    }

    // ---- for tests ----

    /// How many tasks wait for a wish that has already come true.
    #[cfg(feature = "trace")]
    pub(super) fn forgotten(&mut self) -> usize {
        let (tracker, net) = self.parts.lend(Instant::ZERO);
        let slots = tracker.slots.iter_mut();
        slots
            .map(|slot| slot.forgotten(net.sockets.get(slot.handle)))
            .sum()
    }

    /// Whether something is due before the runner wakes, although it sleeps.
    #[cfg(feature = "trace")]
    pub(super) fn oversleeps(&mut self) -> bool {
        let now = self.clock.now();
        let (tracker, mut net) = self.parts.lend(now);
        // At the end of its sleep the alarm wakes it.
        now < self.sleeps_until && tracker.poll_at(&mut net) < self.sleeps_until
    }
}

impl<D: Device, C, const N: usize> fmt::Debug for Inner<'_, D, C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("sleeps_until", &self.sleeps_until)
            .finish_non_exhaustive()
    }
}
