//! Time, and sleep: `SysTick`, the timer every Cortex-M has.
//!
//! It counts 24 bits down, at 50 MHz a lap of a third of a second, and the laps
//! are added up in 64 bits. Before a sleep that is to end within the lap, a
//! short lap is begun whose end wakes the chip; those after it are full again.
//! So nothing ticks a thousand times a second, and a handler or a log line may
//! hold interrupts off for a third of a second before any time is lost.

use crate::{chip, ethernet};
use core::cell::Cell;
use core::time::Duration;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m::{asm, interrupt};
use cortex_m_rt::exception;
use critical_section::Mutex;
use lastbyte::{Clock, Instant};

/// Ticks in a microsecond.
const TICKS_PER_MICRO: u32 = chip::CLOCK_HZ / 1_000_000;

/// The longest lap of the 24-bit counter.
const FULL_LAP: u32 = 1 << 24;

/// The shortest lap, so that it is not over before the next is set.
const SHORTEST_LAP: u32 = 20 * TICKS_PER_MICRO;

/// A lap begins a few cycles after the counter was read.
const SETTING_TICKS: u64 = 8;

/// More looks than the counter takes to be loaded, which is one tick.
const LOAD_LOOKS: u32 = 10_000;

/// The ticks up to the beginning of the lap that runs, and its length. The laps
/// after it are full.
#[derive(Clone, Copy)]
struct Laps {
    before: u64,
    lap: u32,
}

static LAPS: Mutex<Cell<Laps>> = Mutex::new(Cell::new(Laps {
    before: 0,
    lap: FULL_LAP,
}));

impl Laps {
    /// The ticks since power-on. Interrupts are off.
    fn now(self) -> u64 {
        let counter = SYST::get_current();
        if !SCB::is_pendst_pending() {
            return self.before + within(self.lap, counter);
        }
        // A lap is over that was not added up. The counter may have been read
        // before its end: read it again.
        self.over().before + within(FULL_LAP, SYST::get_current())
    }

    /// What follows the end of the lap.
    fn over(self) -> Self {
        Self {
            before: self.before + u64::from(self.lap),
            lap: FULL_LAP,
        }
    }
}

/// How far into the lap the counter is.
fn within(lap: u32, counter: u32) -> u64 {
    match counter {
        // It has come to its end, and is loaded with the next tick: the next
        // lap has begun. Taken for the end of this one, time would jump ahead
        // by a lap, and back.
        0 => 0,
        left => u64::from(lap - 1).saturating_sub(u64::from(left)),
    }
}

/// Microseconds since power-on, for the log too.
pub fn micros() -> u64 {
    let ticks = critical_section::with(|cs| LAPS.borrow(cs).get().now());
    ticks / u64::from(TICKS_PER_MICRO)
}

#[exception]
fn SysTick() {
    critical_section::with(|cs| {
        let laps = LAPS.borrow(cs);
        laps.set(laps.get().over());
    });
}

/// The clock of the stack.
pub struct SysTickClock {
    timer: SYST,
}

impl SysTickClock {
    /// Starts the timer, at time zero.
    pub fn start(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(FULL_LAP - 1);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        Self { timer }
    }

    /// Sees to it that a lap ends within `sleep`, and says whether it is still
    /// to come. Interrupts are off.
    fn may_sleep(&mut self, sleep: Duration) -> bool {
        let micros = u64::try_from(sleep.as_micros()).unwrap_or(u64::MAX);
        let ticks = micros.saturating_mul(u64::from(TICKS_PER_MICRO));
        match u32::try_from(ticks) {
            Ok(ticks) if ticks < SYST::get_current() => self.begin_lap(ticks.max(SHORTEST_LAP)),
            // The lap that runs ends first.
            Ok(_) | Err(_) => true,
        }
    }

    /// Begins a lap of this length, and says whether its end is still to come.
    fn begin_lap(&mut self, lap: u32) -> bool {
        critical_section::with(|cs| {
            let laps = LAPS.borrow(cs);
            let before = laps.get().now() + SETTING_TICKS;
            let begun = Laps { before, lap };
            self.timer.set_reload(lap - 1);
            self.timer.clear_current();
            // A lap that was pending is in `before`.
            SCB::clear_pendst();
            // What is set before the counter is loaded counts for this lap,
            // what is set afterwards for the next.
            let _ = (0..LOAD_LOOKS).any(|_| SYST::get_current() != 0);
            self.timer.set_reload(FULL_LAP - 1);
            if !SCB::is_pendst_pending() {
                laps.set(begun);
                return true;
            }
            // It is over already, and what runs may be another of its length:
            // only an emulator is this late. From here on a full one.
            self.timer.clear_current();
            SCB::clear_pendst();
            laps.set(begun.over());
            false
        })
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
            let is_due = sleep.is_zero() || ethernet::arm_interrupt().is_due();
            if !is_due && self.may_sleep(sleep) {
                asm::dsb();
                asm::wfi();
            }
            ethernet::disarm_interrupt();
        });
    }
}
