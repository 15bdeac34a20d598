//! Time, and sleep.
//!
//! Time is `SysTick`, the timer every Cortex-M has. It counts 24 bits down, at
//! 50 MHz a lap of a third of a second, and is never stopped or set: its laps
//! are added up in 64 bits. A handler or a log line may hold interrupts off for
//! a whole lap before time is lost; with a tick of a millisecond it would be
//! one millisecond.
//!
//! What ends a sleep is another timer, set to the time due. Nothing ticks in
//! between.

use crate::chip;
use crate::ethernet;
use crate::registers::{Line, Register, read, write};
use core::cell::Cell;
use core::time::Duration;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m::{asm, interrupt};
use cortex_m_rt::exception;
use critical_section::Mutex;
use lastbyte::{Clock, Instant};
use lastbyte_firmware_app::Laps;

/// Ticks in a microsecond, of both timers.
const TICKS_PER_MICRO: u32 = chip::CLOCK_HZ / 1_000_000;

/// A lap of the 24-bit counter.
const LAP: u32 = 1 << 24;

static LAPS: Mutex<Cell<Laps>> = Mutex::new(Cell::new(Laps::new(LAP)));

/// Microseconds since power-on, for the log too.
pub fn micros() -> u64 {
    let ticks = critical_section::with(|cs| {
        let laps = LAPS.borrow(cs).get();
        laps.ticks(SYST::get_current, SCB::is_pendst_pending)
    });
    ticks / u64::from(TICKS_PER_MICRO)
}

/// A lap is over.
#[exception]
fn SysTick() {
    critical_section::with(|cs| {
        let mut laps = LAPS.borrow(cs).get();
        laps.add();
        LAPS.borrow(cs).set(laps);
    });
}

/// The clock of the stack.
pub struct SysTickClock {
    alarm: Alarm,
}

impl SysTickClock {
    /// Starts the timer, at time zero.
    pub fn start(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(LAP - 1);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        Self {
            alarm: Alarm::start(),
        }
    }
}

impl Clock for SysTickClock {
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

/// Timer 0, 32 bits wide, once: 86 s at the most, where a sleep ends early.
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

    fn set(&mut self, sleep: Duration) {
        let micros = u64::try_from(sleep.as_micros()).unwrap_or(u64::MAX);
        let ticks = micros.saturating_mul(u64::from(TICKS_PER_MICRO));
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
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
