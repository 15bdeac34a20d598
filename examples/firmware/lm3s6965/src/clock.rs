//! Time, and sleep: `SysTick`, the timer every Cortex-M has.
//!
//! It counts 24 bits down, at 50 MHz a lap of a third of a second. The laps
//! are added up in 64 bits. While the chip sleeps, a lap is as short as the
//! sleep may last, so that its end is what wakes the chip: no tick runs
//! through the night.

use crate::{chip, ethernet};
use core::cell::Cell;
use cortex_m::asm;
use cortex_m::interrupt;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::exception;
use critical_section::Mutex;
use lastbyte::{Clock, Instant};

/// Ticks in a microsecond.
const TICKS_PER_MICRO: u32 = chip::CLOCK_HZ / 1_000_000;

/// The longest lap of the 24-bit counter.
const FULL_LAP: u32 = 1 << 24;

/// The shortest one, so that its end is not over before the chip sleeps.
const SHORTEST_LAP: u32 = 10 * TICKS_PER_MICRO;

/// Setting the counter takes a few cycles that it does not count.
const SETTING_TICKS: u64 = 8;

/// The ticks up to the beginning of the lap that runs, and its length.
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
        if SCB::is_pendst_pending() {
            // A lap is over that was not added up. The counter may have been
            // read before its end: read it again.
            let counter = SYST::get_current();
            return self.before + u64::from(self.lap) + self.within(counter);
        }
        self.before + self.within(counter)
    }

    /// How far into the lap the counter is.
    fn within(self, counter: u32) -> u64 {
        match counter {
            // It has come to its end, and is loaded with the next tick: the
            // next lap has begun. Taken for the end of this one, time would
            // jump ahead by a lap, and back.
            0 => 0,
            left => u64::from(self.lap - 1).saturating_sub(u64::from(left)),
        }
    }
}

/// Microseconds since power-on, for the log too.
pub fn micros() -> u64 {
    let ticks = critical_section::with(|cs| LAPS.borrow(cs).get().now());
    ticks / u64::from(TICKS_PER_MICRO)
}

/// A lap is over. At most one may pass with interrupts off, or time is lost:
/// a third of a second is long enough for every critical section.
#[exception]
fn SysTick() {
    critical_section::with(|cs| {
        let laps = LAPS.borrow(cs);
        let Laps { before, lap } = laps.get();
        laps.set(Laps {
            before: before + u64::from(lap),
            lap,
        });
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

    /// Begins a lap of this many ticks. Interrupts are off.
    fn begin_lap(&mut self, lap: u32) {
        critical_section::with(|cs| {
            let laps = LAPS.borrow(cs);
            let before = laps.get().now() + SETTING_TICKS;
            self.timer.set_reload(lap - 1);
            self.timer.clear_current();
            // The lap that was pending is in `before`.
            SCB::clear_pendst();
            laps.set(Laps { before, lap });
        });
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
            let sleep = until.map(|until| until.since(self.now()));
            if sleep.is_some_and(|sleep| sleep.is_zero()) || ethernet::arm_interrupt().is_due() {
                ethernet::disarm_interrupt();
                return;
            }
            let ticks = sleep.map_or(u128::MAX, |sleep| {
                sleep.as_micros() * u128::from(TICKS_PER_MICRO)
            });
            let lap =
                u32::try_from(ticks).map_or(FULL_LAP, |ticks| ticks.clamp(SHORTEST_LAP, FULL_LAP));
            self.begin_lap(lap);
            asm::dsb();
            asm::wfi();
            self.begin_lap(FULL_LAP);
            ethernet::disarm_interrupt();
        });
    }
}
