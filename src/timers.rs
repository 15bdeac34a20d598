//! The timers of one connection: which run, and which is due next.

use crate::Instant;

/// What a timer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The handshake must be complete.
    Connect,
    /// An answer of any kind must have arrived.
    Silence,
    /// Our FIN must be acknowledged.
    Finish,
    /// Progress must have been made, else advice is due.
    Stall,
    /// Something must have crossed the wire, else the stack below is nudged.
    Probe,
}

/// A deadline for each timer; [`Instant::NEVER`] for one that does not run.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Timers {
    connect: Instant,
    silence: Instant,
    finish: Instant,
    stall: Instant,
    probe: Instant,
    /// Not later than any of them: a timer that is stopped or put off leaves it
    /// where it is, until time has come there. Deadlines change with every
    /// segment; this does not.
    bound: Instant,
}

impl Timers {
    pub(crate) const OFF: Self = Self {
        connect: Instant::NEVER,
        silence: Instant::NEVER,
        finish: Instant::NEVER,
        stall: Instant::NEVER,
        probe: Instant::NEVER,
        bound: Instant::NEVER,
    };

    const fn slot(&mut self, timer: Timer) -> &mut Instant {
        match timer {
            Timer::Connect => &mut self.connect,
            Timer::Silence => &mut self.silence,
            Timer::Finish => &mut self.finish,
            Timer::Stall => &mut self.stall,
            Timer::Probe => &mut self.probe,
        }
    }

    pub(crate) fn set(&mut self, timer: Timer, deadline: Instant) {
        *self.slot(timer) = deadline;
        self.bound = self.bound.min(deadline);
    }

    /// Sets a timer that does not run; one that runs keeps its deadline.
    pub(crate) fn start(&mut self, timer: Timer, deadline: Instant) {
        if !self.is_running(timer) {
            self.set(timer, deadline);
        }
    }

    pub(crate) const fn stop(&mut self, timer: Timer) {
        *self.slot(timer) = Instant::NEVER;
    }

    pub(crate) const fn is_running(&self, timer: Timer) -> bool {
        let deadline = match timer {
            Timer::Connect => self.connect,
            Timer::Silence => self.silence,
            Timer::Finish => self.finish,
            Timer::Stall => self.stall,
            Timer::Probe => self.probe,
        };
        deadline.as_micros() != Instant::NEVER.as_micros()
    }

    /// The timer with the earliest deadline; of several at the same instant
    /// the first in the order of [`Timer`], so that a limit precedes advice.
    fn earliest(&self) -> (Timer, Instant) {
        let mut earliest = (Timer::Connect, self.connect);
        for (timer, deadline) in [
            (Timer::Silence, self.silence),
            (Timer::Finish, self.finish),
            (Timer::Stall, self.stall),
            (Timer::Probe, self.probe),
        ] {
            if deadline < earliest.1 {
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
        timers.set(Timer::Finish, Instant::from_millis(20));
        timers.set(Timer::Silence, Instant::from_millis(10));
        timers.set(Timer::Probe, Instant::from_millis(30));
        assert_eq!(timers.next(), Instant::from_millis(10));
        let now = Instant::from_millis(20);
        assert_eq!(timers.take_due(now), Some(Timer::Silence));
        assert_eq!(timers.take_due(now), Some(Timer::Finish));
        assert_eq!(timers.bound(), Instant::from_millis(10));
        assert_eq!(timers.take_due(now), None);
        assert_eq!(timers.next(), Instant::from_millis(30));
        assert_eq!(timers.bound(), Instant::from_millis(30));
    }

    #[test]
    fn the_bound_comes_before_a_timer_that_was_put_off() {
        let mut timers = Timers::OFF;
        timers.set(Timer::Probe, Instant::from_millis(10));
        timers.set(Timer::Probe, Instant::from_millis(50));
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
        timers.start(Timer::Silence, Instant::from_millis(5));
        timers.start(Timer::Silence, Instant::from_millis(9));
        assert_eq!(timers.next(), Instant::from_millis(5));
        timers.stop(Timer::Silence);
        assert_eq!(timers.next(), Instant::NEVER);
        assert_eq!(timers.take_due(Instant::NEVER), None);
    }
}
