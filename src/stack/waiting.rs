//! Tasks that wait for a connection, and what each waits for.
//!
//! A call of `lastbyte::asynch` that can have no result yet leaves its [`Waker`] in the slot of
//! its connection, with the [`Wish`] that must come true before another attempt makes sense,
//! and the time at which it is woken in any case. A task is woken only then: smoltcp's own
//! wakers are woken at every ACK, and not at ends that only the [`Connection`] detects.
//!
//! Everything that can make a wish come true passes one of three places, and each of them
//! calls `Slot::notify` (`waking.rs`) or [`Waiters::wake_all`]:
//!
//! 1. `Tracker::sync_received`, after an ingress step: ACKs, data, FIN, RST.
//! 2. `Tracker::perform`, after a call, a timeout, an ICMP error or a lost address.
//! 3. `Tracker::vacate`, before a slot is opened again: the ids of waiting tasks become stale.
//!
//! Call timeouts are timers like any other: `Slot::timeout_bound` includes them, and
//! `Tracker::fire_timers` calls [`Waiters::fire`].
//!
//! [`Connection`]: crate::core::Connection

use crate::Instant;
use crate::sabotage::{Sabotage, is_on};
use core::task::Waker;

/// Which half of a connection waits. Each is used by one task at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Write,
    Read,
}

/// What must come true before a call is worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The handshake of the connection has ended, with any outcome.
    Open,
    /// This many octets fit into the transmit buffer, or writes are refused.
    Room(usize),
    /// The device has room for a frame. Nothing reports that, so only time and the end of
    /// the connection wake the task.
    Device,
    /// Every accepted byte is acknowledged, or never will be.
    Flushed,
    /// It is known why the connection has ended. After a FIN of the peer, what was accepted may
    /// still drain.
    Ended,
    /// The connection has ended, and nothing drains.
    Closed,
    /// There is something to read, or never will be.
    Readable,
}

#[derive(Debug)]
pub(super) struct Waiter {
    waker: Waker,
    pub(super) wish: Wish,
    /// The time at which it is woken in any case.
    until: Instant,
}

/// The tasks that wait for one connection: one for each half.
#[derive(Debug)]
pub(crate) struct Waiters {
    write: Option<Waiter>,
    read: Option<Waiter>,
}

impl Waiters {
    pub(super) const NONE: Self = Self {
        write: None,
        read: None,
    };

    pub(super) const fn of(&mut self, half: Half) -> &mut Option<Waiter> {
        match half {
            Half::Write => &mut self.write,
            Half::Read => &mut self.read,
        }
    }

    /// Records that a task waits. If another task waited with the same half, that one is
    /// woken, and may register again.
    pub(crate) fn register(&mut self, half: Half, waker: &Waker, wish: Wish, until: Instant) {
        match self.of(half) {
            Some(waiter) if waiter.waker.will_wake(waker) => {
                waiter.wish = wish;
                waiter.until = until;
            }
            place => {
                let waker = waker.clone();
                if let Some(earlier) = place.replace(Waiter { waker, wish, until }) {
                    earlier.waker.wake();
                }
            }
        }
    }

    /// A call has ended, or was dropped before it had a result.
    pub(crate) fn withdraw(&mut self, half: Half) {
        if !is_on(Sabotage::KeptWaiter) {
            *self.of(half) = None;
        }
    }

    /// At most the earliest `until`.
    pub(super) fn bound(&self) -> Instant {
        let until = |waiter: &Option<Waiter>| match waiter {
            Some(waiter) => waiter.until,
            None => Instant::NEVER,
        };
        match is_on(Sabotage::UnarmedTimeout) {
            true => Instant::NEVER,
            false => until(&self.write).min(until(&self.read)),
        }
    }

    /// Whether no task waits.
    #[inline]
    pub(super) const fn are_none(&self) -> bool {
        self.write.is_none() && self.read.is_none()
    }

    /// Wakes the task that waits with this half, and removes it.
    pub(super) fn wake(&mut self, half: Half) {
        if let Some(waiter) = self.of(half).take() {
            waiter.waker.wake();
        }
    }

    /// Wakes the tasks whose time has come.
    pub(super) fn fire(&mut self, now: Instant) {
        if is_on(Sabotage::DeafTimeout) {
            return;
        }
        for half in [Half::Write, Half::Read] {
            if let Some(waiter) = self.of(half).take_if(|waiter| waiter.until <= now) {
                waiter.waker.wake();
            }
        }
    }

    pub(super) fn wake_all(&mut self) {
        if is_on(Sabotage::DeafVacate) {
            return;
        }
        self.wake(Half::Write);
        self.wake(Half::Read);
    }
}
