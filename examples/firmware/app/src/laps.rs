//! Time from a timer that counts down in laps, such as the `SysTick` of every
//! Cortex-M.

/// Ticks since the start of a timer that counts down to 0, begins anew with the
/// next tick, and asks for an interrupt when it gets to 0.
#[derive(Debug, Clone, Copy)]
pub struct Laps {
    len: u32,
    before: u64,
}

impl Laps {
    /// A timer of `len` ticks a lap: it is reloaded with `len - 1`.
    #[must_use]
    pub const fn new(len: u32) -> Self {
        Self { len, before: 0 }
    }

    /// The interrupt: a lap is over.
    pub fn add(&mut self) {
        self.before = self.ticks_before_next();
    }

    /// Ticks since the start, which never go back. `counter` reads the timer and
    /// `is_over` tells whether its interrupt is pending.
    ///
    /// Both are asked with interrupts off, and may have been off for less than a
    /// lap.
    pub fn ticks(&self, counter: impl Fn() -> u32, is_over: impl FnOnce() -> bool) -> u64 {
        let now = counter();
        let (before, now) = if is_over() {
            // A lap is over that was not added up. The counter may have been
            // read before its end: read it again.
            (self.ticks_before_next(), counter())
        } else {
            (self.before, now)
        };
        before.wrapping_add(self.ticks_within(now))
    }

    fn ticks_before_next(&self) -> u64 {
        self.before.wrapping_add(u64::from(self.len))
    }

    /// How far into the lap the counter is.
    fn ticks_within(&self, counter: u32) -> u64 {
        match counter {
            // The lap is over, and has been added. Taken for the end of this one,
            // time would jump ahead by a lap, and back.
            0 => 0,
            left => u64::from(self.len.saturating_sub(1).saturating_sub(left)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "small numbers")]
mod tests {
    use super::*;
    use core::cell::Cell;

    const LEN: u32 = 8;

    /// The timer, by the ticks since its start.
    struct Timer {
        now: Cell<u32>,
        /// How many laps were added up.
        added: u32,
    }

    impl Timer {
        fn counter(&self) -> u32 {
            LEN - 1 - self.now.get() % LEN
        }

        /// How many times it has come to 0.
        fn ends(&self) -> u32 {
            (self.now.get() + 1) / LEN
        }

        fn is_pending(&self) -> bool {
            self.ends() > self.added
        }

        /// What `read` gives, and the timer goes on.
        fn take<T>(&self, read: fn(&Self) -> T, ticks: u32) -> T {
            let value = read(self);
            self.now.set(self.now.get() + ticks);
            value
        }
    }

    /// What is told from `start` of the true ticks on, until when, where each look at the
    /// timer takes as long as said, and the interrupt of the last lap was served or still
    /// waits. Nothing, where interrupts are off for a lap.
    fn told(start: u32, looks: [u32; 3], is_served: bool) -> Option<(u64, u32)> {
        let mut timer = Timer {
            now: Cell::new(start),
            added: 0,
        };
        timer.added = timer.ends() - u32::from(!is_served && timer.ends() > 0);
        let mut laps = Laps::new(LEN);
        for _ in 0..timer.added {
            laps.add();
        }
        let [first, pending, second] = looks;
        let reads = Cell::new(0);
        let counter = || {
            reads.set(reads.get() + 1);
            timer.take(
                Timer::counter,
                if reads.get() == 1 { first } else { second },
            )
        };
        let ticks = laps.ticks(counter, || timer.take(Timer::is_pending, pending));
        (timer.ends() - timer.added < 2).then_some((ticks, timer.now.get()))
    }

    /// What is told was the time at some moment of the call: so it never goes back. The
    /// last tick of a lap counts as the first of the next.
    #[test]
    fn ticks_are_true_at_every_moment() {
        let mut told_at_all = 0;
        for start in 0..3 * LEN {
            for looks in (0..64).map(|n| [n % 4, n / 4 % 4, n / 16]) {
                for is_served in [true, false] {
                    let Some((ticks, end)) = told(start, looks, is_served) else {
                        continue;
                    };
                    told_at_all += 1;
                    assert!(
                        (u64::from(start)..=u64::from(end) + 1).contains(&ticks),
                        "{ticks} told between {start} and {end}, served: {is_served}, {looks:?}"
                    );
                }
            }
        }
        assert!(told_at_all > 2_000, "{told_at_all}");
    }
}
