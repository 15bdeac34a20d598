//! The timers of one connection: which run, and which is due next.

use crate::Instant;

/// What a timer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// An answer of any kind must have arrived.
    Silence,
    /// The handshake must be complete; later, our FIN must be acknowledged.
    Phase,
    /// Progress must have been made, else advice is due.
    Stall,
    /// Something must have crossed the wire, else the stack below is nudged.
    Probe,
}

impl Timer {
    /// Every timer, limits before advice.
    const ALL: [Self; 4] = [Self::Silence, Self::Phase, Self::Stall, Self::Probe];

    const fn number(self) -> usize {
        match self {
            Self::Silence => 0,
            Self::Phase => 1,
            Self::Stall => 2,
            Self::Probe => 3,
        }
    }
}

/// A deadline for each timer; [`Instant::NEVER`] for one that does not run.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Timers {
    deadlines: [Instant; Timer::ALL.len()],
    /// Not later than any of them: a timer that is stopped or put off leaves it
    /// where it is, until time has come there. Deadlines change with every
    /// segment; this does not.
    bound: Instant,
}

impl Timers {
    /// No limit is zero, so no deadline is the epoch. Memory full of it is cleared
    /// memory, which takes less room to make than memory full of anything else.
    const STOPPED: Instant = Instant::ZERO;

    pub(crate) const OFF: Self = Self {
        deadlines: [Self::STOPPED; Timer::ALL.len()],
        bound: Instant::NEVER,
    };

    /// Sets a timer to `limit_ms` from now on. Not inlined: it is called from
    /// everywhere, and arithmetic on 64 bits takes much room.
    // tuning: deadline-once
    #[inline(never)]
    pub(crate) fn set(&mut self, timer: Timer, now: Instant, limit_ms: u32) {
        let at = now.plus_millis(limit_ms);
        if let Some(deadline) = self.deadlines.get_mut(timer.number()) {
            *deadline = at;
        }
        self.bound = self.bound.min(at);
    }

    /// Sets a timer that does not run; one that runs keeps its deadline.
    pub(crate) fn start(&mut self, timer: Timer, now: Instant, limit_ms: u32) {
        if !self.is_running(timer) {
            self.set(timer, now, limit_ms);
        }
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        if let Some(deadline) = self.deadlines.get_mut(timer.number()) {
            *deadline = Self::STOPPED;
        }
    }

    pub(crate) fn is_running(&self, timer: Timer) -> bool {
        self.deadlines.get(timer.number()) != Some(&Self::STOPPED)
    }

    /// The timer with the earliest deadline; of several at the same instant
    /// the first in the order of [`Timer`], so that a limit precedes advice.
    fn earliest(&self) -> (Timer, Instant) {
        let mut earliest = (Timer::Phase, Instant::NEVER);
        for (timer, &deadline) in Timer::ALL.into_iter().zip(&self.deadlines) {
            if deadline != Self::STOPPED && deadline < earliest.1 {
                earliest = (timer, deadline);
            }
        }
        earliest
    }

    /// The next deadline, [`Instant::NEVER`] if no timer runs.
    pub(crate) fn next(&self) -> Instant {
        self.earliest().1
    }

    /// Not later than [`next`](Self::next), and known without a look at the
    /// deadlines.
    #[cfg(any(feature = "smoltcp", test))]
    pub(crate) const fn bound(&self) -> Instant {
        self.bound
    }

    /// Stops and returns the earliest timer that is due at `now`.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        if self.bound > now {
            return None;
        }
        let (timer, deadline) = self.earliest();
        if deadline == Instant::NEVER || deadline > now {
            self.bound = deadline;
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_come_in_the_order_of_their_deadlines() {
        let mut timers = Timers::OFF;
        timers.set(Timer::Phase, Instant::ZERO, 20);
        timers.set(Timer::Silence, Instant::ZERO, 10);
        timers.set(Timer::Probe, Instant::ZERO, 30);
        assert_eq!(timers.next(), Instant::from_millis(10));
        let now = Instant::from_millis(20);
        assert_eq!(timers.take_due(now), Some(Timer::Silence));
        assert_eq!(timers.take_due(now), Some(Timer::Phase));
        assert_eq!(timers.bound(), Instant::from_millis(10));
        assert_eq!(timers.take_due(now), None);
        assert_eq!(timers.next(), Instant::from_millis(30));
        assert_eq!(timers.bound(), Instant::from_millis(30));
    }

    #[test]
    fn of_two_at_the_same_instant_the_limit_comes_before_advice() {
        let mut timers = Timers::OFF;
        timers.set(Timer::Stall, Instant::ZERO, 10);
        timers.set(Timer::Silence, Instant::ZERO, 10);
        let now = Instant::from_millis(10);
        assert_eq!(timers.take_due(now), Some(Timer::Silence));
        assert_eq!(timers.take_due(now), Some(Timer::Stall));
    }

    #[test]
    fn the_bound_comes_before_a_timer_that_was_put_off() {
        let mut timers = Timers::OFF;
        timers.set(Timer::Probe, Instant::ZERO, 10);
        timers.set(Timer::Probe, Instant::ZERO, 50);
        assert_eq!(timers.bound(), Instant::from_millis(10));
        assert_eq!(timers.take_due(Instant::from_millis(9)), None);
        assert_eq!(timers.take_due(Instant::from_millis(10)), None);
        assert_eq!(timers.bound(), Instant::from_millis(50));
        timers.stop(Timer::Probe);
        assert_eq!(timers.take_due(Instant::from_millis(50)), None);
        assert_eq!(timers.bound(), Instant::NEVER);
    }

    #[test]
    fn starting_a_running_timer_keeps_its_deadline() {
        let mut timers = Timers::OFF;
        timers.start(Timer::Silence, Instant::ZERO, 5);
        timers.start(Timer::Silence, Instant::ZERO, 9);
        assert_eq!(timers.next(), Instant::from_millis(5));
        timers.stop(Timer::Silence);
        assert_eq!(timers.next(), Instant::NEVER);
        assert_eq!(timers.take_due(Instant::NEVER), None);
    }
}
