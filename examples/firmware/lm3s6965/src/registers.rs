//! The registers of the chip, and its interrupt lines: the only access to memory
//! that is not Rust's, and all of this board's `unsafe` but its handlers of faults
//! (`fault.rs`). From the data sheet of the LM3S6965.

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;

/// A 32-bit register, by its address.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Register {
    // System control.
    PllStatus = 0x400F_E050,
    RunModeClock = 0x400F_E060,
    ClockGates1 = 0x400F_E104,
    ClockGates2 = 0x400F_E108,
    User0 = 0x400F_E1E0,
    User1 = 0x400F_E1E4,

    // The processor's memory protection unit, and its account of faults.
    FaultStatus = 0xE000_ED28,
    ProtectionControl = 0xE000_ED94,
    ProtectionNumber = 0xE000_ED98,
    ProtectionBase = 0xE000_ED9C,
    ProtectionAttributes = 0xE000_EDA0,

    // General-purpose timer 0.
    TimerConfiguration = 0x4003_0000,
    TimerMode = 0x4003_0004,
    TimerControl = 0x4003_000C,
    TimerInterruptMask = 0x4003_0018,
    TimerInterruptClear = 0x4003_0024,
    TimerLoad = 0x4003_0028,

    // Ethernet MAC.
    /// Reads what has happened; writing a one forgets it.
    InterruptStatus = 0x4004_8000,
    InterruptMask = 0x4004_8004,
    ReceiveControl = 0x4004_8008,
    TransmitControl = 0x4004_800C,
    /// Each read takes a word out, each write puts one in.
    Data = 0x4004_8010,
    Address0 = 0x4004_8014,
    Address1 = 0x4004_8018,
    TransmitThreshold = 0x4004_801C,
    PhyControl = 0x4004_8020,
    PhyClockDivider = 0x4004_8024,
    PhyReceived = 0x4004_8030,
    FrameCount = 0x4004_8034,
    TransmitRequest = 0x4004_8038,
}

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
    // SAFETY: every address above is that of a 32-bit register of this chip, and
    // nothing on it has DMA, so no value lets a peripheral touch memory.
    unsafe { address.write_volatile(value) }
}

/// A line to the interrupt controller.
#[derive(Clone, Copy)]
pub enum Line {
    Timer = 19,
    Ethernet = 42,
}

// SAFETY: the numbers are those of the data sheet, and do not change.
unsafe impl InterruptNumber for Line {
    fn number(self) -> u16 {
        self as u16
    }
}

impl Line {
    /// Lets the line wake the chip. Nothing handles it: what it says is looked
    /// at where the sleep ends, and forgotten before interrupts are on again.
    pub fn enable(self) {
        // SAFETY: no critical section is built on this line being off.
        unsafe { NVIC::unmask(self) }
    }

    /// Whether the number of an interrupt is that of a line here.
    pub fn is_known(number: i16) -> bool {
        [Self::Timer, Self::Ethernet]
            .iter()
            .any(|line| i16::try_from(line.number()) == Ok(number))
    }

    /// Forgets what the line has said.
    pub fn forget(self) {
        NVIC::unpend(self);
    }
}
