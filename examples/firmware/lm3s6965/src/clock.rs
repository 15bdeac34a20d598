//! Time, and sleep.
//!
//! Time is a counter of 32 bits that counts down at 50 MHz and never stops: 86 s from end
//! to end. Whoever reads it extends it to 64 bits: in the second half of its range, what
//! has passed is added up and the counter begins again. Nothing interrupts for that; it is
//! enough to read it once in 43 s, which is the longest sleep. What is lost each time is
//! the few cycles between the two registers.
//!
//! What ends a sleep is another timer, set to the time due. Nothing ticks in between.
//!
//! The counter is that of the watchdog, which resets nothing unless it is told to. Of the
//! chip's counters it is the longest that QEMU can read too; `SysTick` ends three times a
//! second, and would wake the chip as often. A firmware that wants its watchdog takes
//! general-purpose timer 1, 32 bits wide and periodic, in its place.

use crate::chip;
use crate::ethernet;
use crate::registers::{Line, Register, read, write};
use core::cell::Cell;
use core::time::Duration;
use cortex_m::{asm, interrupt};
use critical_section::Mutex;
use lastbyte::{Clock, Instant};

/// Ticks in a microsecond, of both timers.
const TICKS_PER_MICRO: u32 = chip::CLOCK_HZ / 1_000_000;

/// Where the counter begins.
const START: u32 = u32::MAX;

/// After so many ticks it begins again when it is read.
const HALF: u32 = 1 << 31;

/// The bit of `CounterControl` that starts it. What else it does is to interrupt at the
/// end, where it never gets.
const ON: u32 = 1 << 0;

/// Ticks up to the last time the counter began.
static BEFORE: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

/// Microseconds since power-on, for the log too.
pub fn micros() -> u64 {
    let ticks = critical_section::with(|cs| {
        let before = BEFORE.borrow(cs);
        let passed = START - read(Register::CounterValue);
        let ticks = before.get() + u64::from(passed);
        if passed >= HALF {
            write(Register::CounterLoad, START);
            before.set(ticks);
        }
        ticks
    });
    ticks / u64::from(TICKS_PER_MICRO)
}

/// The clock of the stack.
pub struct CounterClock {
    alarm: Alarm,
}

impl CounterClock {
    /// Starts the counter, at time zero.
    pub fn start() -> Self {
        write(Register::CounterLoad, START);
        write(Register::CounterControl, ON);
        Self {
            alarm: Alarm::start(),
        }
    }
}

impl Clock for CounterClock {
    fn now(&mut self) -> Instant {
        Instant::from_micros(micros())
    }

    /// The order matters: with interrupts off, an interrupt that comes after
    /// the last look stays pending, and `wfi` returns at once for a pending
    /// one. With them on, it would be handled between the look and the sleep,
    /// and the chip would sleep on a frame.
    fn wait(&mut self, until: Option<Instant>) {
        interrupt::free(|_| {
            let sleep = until.map_or(Duration::MAX, |until| until.since(self.now()));
            if !sleep.is_zero() && !ethernet::arm_interrupt().is_due() {
                self.alarm.set(sleep);
                asm::dsb();
                asm::wfi();
                self.alarm.clear();
            }
            ethernet::disarm_interrupt();
        });
    }
}

/// Timer 0, 32 bits wide, once.
struct Alarm;

impl Alarm {
    const BITS_32: u32 = 0;
    const ONE_SHOT: u32 = 1;
    const TIMED_OUT: u32 = 1;
    const OFF: u32 = 0;
    const ON: u32 = 1;

    fn start() -> Self {
        write(Register::TimerControl, Self::OFF);
        write(Register::TimerConfiguration, Self::BITS_32);
        write(Register::TimerMode, Self::ONE_SHOT);
        write(Register::TimerInterruptMask, Self::TIMED_OUT);
        Line::Timer.enable();
        Self
    }

    /// A longer sleep ends early: the counter has to be read.
    fn set(&mut self, sleep: Duration) {
        let micros = u64::try_from(sleep.as_micros()).unwrap_or(u64::MAX);
        let ticks = micros.saturating_mul(u64::from(TICKS_PER_MICRO));
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX).min(HALF);
        write(Register::TimerLoad, ticks);
        write(Register::TimerControl, Self::ON);
    }

    fn clear(&mut self) {
        write(Register::TimerControl, Self::OFF);
        write(Register::TimerInterruptClear, Self::TIMED_OUT);
        // Read back, so that the line is down before it is forgotten.
        read(Register::TimerControl);
        Line::Timer.forget();
    }
}
