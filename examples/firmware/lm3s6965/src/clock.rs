//! Time, and sleep.
//!
//! Time is a 32-bit counter that counts down at 50 MHz and never stops: 86 s from end to
//! end. Each read extends it to 64 bits: in the second half of its range, the elapsed time
//! is added to a sum and the counter is restarted. This needs no interrupt; it is enough
//! to read it once in 43 s, which is the longest sleep. Each restart loses the few cycles
//! between the two register accesses.
//!
//! Another timer, set to the due time, ends a sleep. Nothing ticks in between.
//!
//! The counter is the watchdog's, which resets nothing unless it is configured to. It is
//! the longest counter of the chip that QEMU can also read; `SysTick` expires three times
//! a second, and would wake the chip as often. A firmware that needs its watchdog uses
//! general-purpose timer 1, 32 bits wide and periodic, instead.

use crate::chip;
use crate::ethernet;
use crate::registers::{Line, Register, read, write};
use core::cell::Cell;
use core::time::Duration;
use cortex_m::{asm, interrupt};
use critical_section::Mutex;
use lastbyte::{Clock, Instant};

/// Ticks per microsecond, of both timers.
const TICKS_PER_MICRO: u32 = chip::CLOCK_HZ / 1_000_000;

/// The start value of the counter.
const START: u32 = u32::MAX;

/// After this many ticks, a read restarts the counter.
const HALF: u32 = 1 << 31;

/// The bit of `CounterControl` that starts it. It also enables the interrupt at the end,
/// which the counter never reaches.
const ON: u32 = 1 << 0;

/// The ticks up to the last restart of the counter.
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

    /// The order matters: with interrupts off, an interrupt after the last check stays
    /// pending, and `wfi` returns at once for a pending one. With interrupts on, it would
    /// be handled between the check and the sleep, and the chip would sleep although a
    /// frame has arrived.
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

/// Timer 0, 32 bits wide, one-shot.
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
        // Read back, so that the line is inactive before its pending state is cleared.
        read(Register::TimerControl);
        Line::Timer.forget();
    }
}
