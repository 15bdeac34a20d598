//! Time, and sleep.
//!
//! Time is the CLINT's counter: 64 bits that count up from power-on and never wrap, so no
//! extension is needed. But a 32-bit hart reads it in two halves.
//!
//! The counter's own comparator, set to the due time, ends a sleep. Nothing ticks in
//! between.

use crate::registers::{Register, read, write};
use crate::wake;
use lastbyte::{Clock, Instant};

/// The counter counts at 10 MHz.
const TICKS_PER_MICRO: u64 = 10;

/// Microseconds since power-on, for the log too.
pub fn micros() -> u64 {
    ticks() / TICKS_PER_MICRO
}

/// Reads the upper half, the lower half, and the upper half again: if the lower half has
/// wrapped in between, the two do not belong together. Without the second read, time
/// would jump ahead by seven minutes for a moment, once in seven minutes, and every
/// running timeout would be reached.
fn ticks() -> u64 {
    loop {
        let high = read(Register::TimeHigh);
        let low = read(Register::TimeLow);
        if read(Register::TimeHigh) == high {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

/// The clock of the stack.
pub struct ClintClock;

impl Clock for ClintClock {
    fn now(&mut self) -> Instant {
        Instant::from_micros(micros())
    }

    /// An event between the stack's last poll and this call is pending, and `wfi` returns
    /// at once: see `wake.rs`. The same is true for the time: one that has passed is
    /// pending as soon as it is set.
    fn wait(&mut self, until: Option<Instant>) {
        set_alarm(until.map_or(u64::MAX, |until| {
            until.as_micros().saturating_mul(TICKS_PER_MICRO)
        }));
        wake::sleep();
    }
}

/// Makes the timer interrupt from this time on, in ticks.
fn set_alarm(at: u64) {
    let [low, high] = [at as u32, (at >> 32) as u32];
    // In between, the comparator must not hold a value that is earlier than both the old
    // time and the new one; otherwise a hart that handles the interrupt gets a spurious
    // one (RISC-V privileged architecture, 3.2.1).
    write(Register::AlarmLow, u32::MAX);
    write(Register::AlarmHigh, high);
    write(Register::AlarmLow, low);
}
