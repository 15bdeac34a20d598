//! The order of events, and the end of hopeless runs.

use std::time::Duration;

use lastbyte::Instant;

use super::wire::Delivery;
use super::{Direction, RawPeer, World};

/// How far time jumps when nothing can happen any more.
const IDLE_JUMP: Duration = Duration::from_secs(60 * 60);

/// How often in a row our end may wait without progress of time or frames.
const SPIN_LIMIT: u32 = 100_000;

impl World {
    /// Lets time pass while our end does something else: received frames wait in our
    /// device.
    ///
    /// # Panics
    ///
    /// If the run is hopeless; see [`World`].
    pub fn run_for(&self, duration: Duration) {
        self.run_until(self.now() + duration);
    }

    /// Like [`World::run_for`], until a point in time. If it has passed, only what is due
    /// at the present time happens.
    ///
    /// # Panics
    ///
    /// If the run is hopeless; see [`World`].
    pub fn run_until(&self, time: Instant) {
        self.settle();
        while self.now() < time {
            self.jump_to(self.next_event().min(time));
            self.settle();
        }
    }

    /// [`LoopClock::wait`](lastbyte::Clock::wait).
    pub(super) fn wait(&self, until: Option<Instant>) {
        self.inner.stalled.set(false);
        self.count_spin();
        self.inner.waits.set(self.inner.waits.get() + 1);
        let limit = until.unwrap_or(Instant::NEVER);
        let is_due = limit <= self.now();
        self.settle();
        while !self.concerns_us() {
            let next = if limit > self.now() {
                self.next_event().min(limit)
            } else if is_due && self.is_refused(Direction::ToPeer) {
                // Our end can do nothing before there is room, which the arrival of a
                // frame makes. Time must go on even if the driver wants to be called at
                // once.
                self.next_event()
            } else {
                return;
            };
            if next == Instant::NEVER {
                self.inner.stalled.set(true);
                self.jump_to(self.now() + IDLE_JUMP);
                return;
            }
            self.jump_to(next);
            self.settle();
        }
    }

    /// Whether our device has what our end waits for.
    fn concerns_us(&self) -> bool {
        if self.inner.link_changed.take() {
            return true;
        }
        let refused = &self.inner.refused[Direction::ToPeer.index()];
        if refused.get() {
            // Our end cannot use a frame that it cannot answer.
            let has_room = self.has_room(Direction::ToPeer);
            refused.set(!has_room);
            return has_room;
        }
        self.has_arrived(Direction::ToUs)
    }

    fn next_event(&self) -> Instant {
        let frame = self.inner.wire.borrow().next_due();
        let action = self.inner.actions.borrow().next_due();
        let peer = if self.is_raw() {
            Instant::NEVER
        } else {
            self.inner.peer_due.get()
        };
        frame.min(action).min(peer)
    }

    fn jump_to(&self, time: Instant) {
        if time > self.now() {
            self.inner.now.set(time);
            self.inner.spins.set(0);
        }
        let horizon = self.after(self.inner.config.horizon);
        assert!(
            self.now() <= horizon,
            "the run is hung: virtual time passed the horizon ({:?}); {self:?}",
            self.inner.config.horizon,
        );
    }

    fn count_spin(&self) {
        let spins = self.inner.spins.get() + 1;
        self.inner.spins.set(spins);
        assert!(
            spins <= SPIN_LIMIT,
            "the run is hung: our end waited {SPIN_LIMIT} times at the same time; {self:?}",
        );
    }

    /// Performs everything that is due.
    pub(super) fn settle(&self) {
        let mut rounds = 0;
        while self.run_action() || self.arrive() || self.run_peer() {
            rounds += 1;
            assert!(
                rounds <= SPIN_LIMIT,
                "the run is hung: the other end is never done; {self:?}",
            );
        }
    }

    fn run_action(&self) -> bool {
        let action = self.inner.actions.borrow_mut().pop_due(self.now());
        // The schedule is not borrowed here: actions may schedule more.
        match action {
            Some(action) => {
                action(self);
                true
            }
            None => false,
        }
    }

    /// Delivers the frames that are due. Returns whether there was one.
    pub(super) fn arrive(&self) -> bool {
        let mut any = false;
        loop {
            let mut wire = self.inner.wire.borrow_mut();
            let Some((direction, delivery)) = wire.arrive(self.now()) else {
                return any;
            };
            if let (Delivery::Taken, Some(frame)) = (delivery, wire.last_arrived(direction)) {
                for witness in self.inner.witnesses.borrow_mut().iter_mut() {
                    witness(self.now(), direction, frame);
                }
            }
            drop(wire);
            if direction == Direction::ToUs && self.inner.refused[direction.index()].take() {
                self.wake_peer();
            }
            any = true;
        }
    }

    fn run_peer(&self) -> bool {
        let arrived = self.has_arrived(Direction::ToPeer);
        if self.is_raw() {
            if arrived {
                RawPeer::new(self.clone()).take_in();
            }
            return arrived;
        }
        let blocked = self.is_refused(Direction::ToUs);
        let due = self.inner.peer_due.get() <= self.now() || (arrived && !blocked);
        if due {
            let next = self.inner.peer.borrow_mut().run(self);
            self.inner.peer_due.set(next);
        }
        due
    }

    fn is_raw(&self) -> bool {
        self.inner.raw.borrow().is_some()
    }
}
