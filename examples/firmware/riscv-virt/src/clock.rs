//! Time, and sleep.
//!
//! Time is the CLINT's counter: 64 bits that count up from power-on and never
//! come to an end, so there is nothing to add up. But a hart of 32 bits reads
//! it in two halves.
//!
//! What ends a sleep is the counter's own comparator, set to the time due.
//! Nothing ticks in between.

use crate::registers::{Register, read, write};
use crate::wake;
use lastbyte::{Clock, Instant};

/// The counter counts at 10 MHz.
const TICKS_PER_MICRO: u64 = 10;

/// Microseconds since power-on, for the log too.
pub fn micros() -> u64 {
    ticks() / TICKS_PER_MICRO
}

/// The upper half, the lower half, and the upper half again: if the lower one
/// has wrapped in between, the two do not belong together. Read without the
/// second look, time jumps ahead by seven minutes for a moment, once in seven
/// minutes, and every limit that runs is over.
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

    /// Whatever happens between the stack's last look and this call is pending,
    /// and `wfi` returns at once: see `wake.rs`. That holds for the time as
    /// well: one that has passed is pending from the moment it is set.
    fn wait(&mut self, until: Option<Instant>) {
        set_alarm(until.map_or(u64::MAX, |until| {
            until.as_micros().saturating_mul(TICKS_PER_MICRO)
        }));
        wake::sleep();
    }
}

/// Lets the timer interrupt from this time on, in ticks.
fn set_alarm(at: u64) {
    let [low, high] = [at as u32, (at >> 32) as u32];
    // In between, the comparator must hold nothing that is earlier than both
    // the old time and the new one, or a hart that handles the interrupt gets
    // one for nothing (RISC-V privileged architecture, 3.2.1).
    write(Register::AlarmLow, u32::MAX);
    write(Register::AlarmHigh, high);
    write(Register::AlarmLow, low);
}
