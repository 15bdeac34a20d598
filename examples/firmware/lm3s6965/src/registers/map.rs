//! The addresses of the registers, from the data sheet of the LM3S6965.

/// A 32-bit register, by its address.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Register {
    // System control.
    PllStatus = 0x400F_E050,
    /// Writing a one clears the status.
    PllStatusClear = 0x400F_E058,
    RunModeClock = 0x400F_E060,
    ClockGates0 = 0x400F_E100,
    ClockGates1 = 0x400F_E104,
    ClockGates2 = 0x400F_E108,
    User0 = 0x400F_E1E0,
    User1 = 0x400F_E1E4,

    // The processor's memory protection unit, and its fault status.
    FaultStatus = 0xE000_ED28,
    ProtectionControl = 0xE000_ED94,
    ProtectionNumber = 0xE000_ED98,
    ProtectionBase = 0xE000_ED9C,
    ProtectionAttributes = 0xE000_EDA0,

    // The watchdog, as a counter.
    CounterLoad = 0x4000_0000,
    CounterValue = 0x4000_0004,
    CounterControl = 0x4000_0008,

    // General-purpose timer 0.
    TimerConfiguration = 0x4003_0000,
    TimerMode = 0x4003_0004,
    TimerControl = 0x4003_000C,
    TimerInterruptMask = 0x4003_0018,
    TimerInterruptClear = 0x4003_0024,
    TimerLoad = 0x4003_0028,

    // Ethernet MAC.
    /// Reads the interrupt status; writing a one clears it.
    InterruptStatus = 0x4004_8000,
    InterruptMask = 0x4004_8004,
    ReceiveControl = 0x4004_8008,
    TransmitControl = 0x4004_800C,
    /// Each read removes a word, each write adds one.
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
