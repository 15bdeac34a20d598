//! The registers of the chip, and its interrupt lines: the only access to memory that is
//! not Rust's, and all of this board's `unsafe` except its fault handlers (`fault.rs`).
//! From the data sheet of the LM3S6965.

mod map;

pub use map::Register;

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;

/// Reads a register.
pub fn read(register: Register) -> u32 {
    let address = register as usize as *const u32;
    // SAFETY: every address above is that of a 32-bit register of this chip,
    // which may be read at any time once its peripheral has a clock.
    unsafe { address.read_volatile() }
}

/// Writes a register.
pub fn write(register: Register, value: u32) {
    let address = register as usize as *mut u32;
    // SAFETY: every address above is that of a 32-bit register of this chip, and nothing
    // on it has DMA, so no value makes a peripheral access memory.
    unsafe { address.write_volatile(value) }
}

/// A line to the interrupt controller.
#[derive(Clone, Copy)]
pub enum Line {
    Timer = 19,
    Ethernet = 42,
}

// SAFETY: the numbers are from the data sheet, and do not change.
unsafe impl InterruptNumber for Line {
    fn number(self) -> u16 {
        self as u16
    }
}

impl Line {
    /// Lets the line wake the chip. No handler runs for it: its source is checked where
    /// the sleep ends, and its pending state is cleared before interrupts are on again.
    pub fn enable(self) {
        // SAFETY: no critical section relies on this line being off.
        unsafe { NVIC::unmask(self) }
    }

    /// Whether the number of an interrupt belongs to one of these lines.
    pub fn is_known(number: i16) -> bool {
        [Self::Timer, Self::Ethernet]
            .iter()
            .any(|line| i16::try_from(line.number()) == Ok(number))
    }

    /// Clears the pending state of the line.
    pub fn forget(self) {
        NVIC::unpend(self);
    }
}
