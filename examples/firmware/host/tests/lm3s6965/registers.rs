//! The registers, with a model in place of the chip.

use std::cell::RefCell;

#[path = "../../../lm3s6965/src/registers/map.rs"]
#[allow(dead_code)]
mod map;

pub use map::Register;

thread_local! {
    static CHIP: RefCell<Chip> = RefCell::new(Chip::reset());
}

pub fn with_chip<T>(look: impl FnOnce(&mut Chip) -> T) -> T {
    CHIP.with_borrow_mut(look)
}

pub fn read(register: Register) -> u32 {
    with_chip(|chip| chip.read(register))
}

pub fn write(register: Register, value: u32) {
    with_chip(|chip| chip.write(register, value));
}

/// A line to the interrupt controller, which is not modelled.
#[derive(Clone, Copy)]
pub enum Line {
    Timer,
    Ethernet,
}

impl Line {
    pub fn enable(self) {}
    pub fn forget(self) {}
}

/// Whether both ends of the cable know the abilities of the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Negotiated {
    NotYet,
    Done,
}

/// The clock that the chip runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Internal,
    Main,
}

pub struct Chip {
    source: Source,
    /// Cycles since the main oscillator was started; `None`: it is off.
    main_for: Option<u64>,
    is_pll_on: bool,
    is_bypassed: bool,
    is_locked: bool,
    divider: u64,
    counter: u64,
    counter_start: u64,
    /// The interrupt status and mask of the MAC, and how it transmits.
    status: u32,
    mask: u32,
    transmit_control: u32,
    /// The PHY: its link and negotiation, its abilities, the partner's, and which registers
    /// were read.
    phy: [u32; 6],
    phy_read: u32,
}

const TRANSMIT_ERROR: u32 = 1 << 1;
const MAIN_OFF: u32 = 1 << 0;
const INTERNAL_OFF: u32 = 1 << 1;
const BYPASS: u32 = 1 << 11;
const PLL_OFF: u32 = 1 << 13;
const USE_DIVIDER: u32 = 1 << 22;
const CRYSTAL_8_MHZ: u32 = 0xE;
const DUPLEX: u32 = 1 << 4;
const LOCKED: u32 = 1 << 6;

/// The shortest access to a register.
const CYCLES_OF_ACCESS: u64 = 2;

/// 10 ms of a fast internal oscillator, 12 MHz plus 30 %.
const STEADY_AFTER: u64 = 156_000;

impl Chip {
    fn reset() -> Self {
        Self {
            source: Source::Internal,
            main_for: None,
            is_pll_on: false,
            is_bypassed: true,
            is_locked: false,
            divider: 1,
            counter: 0xFFFF_FFFF,
            counter_start: 0xFFFF_FFFF,
            status: 0,
            mask: 0x7F,
            transmit_control: 0,
            phy: [0x3100, 0x7849, 0x000E, 0x7237, 0x01E1, 0],
            phy_read: 0,
        }
    }

    fn read(&mut self, register: Register) -> u32 {
        self.main_for = self.main_for.map(|cycles| cycles + CYCLES_OF_ACCESS);
        match register {
            Register::PllStatus => {
                self.is_locked |= self.is_pll_on;
                if self.is_locked { LOCKED } else { 0 }
            }
            Register::CounterValue => u32::try_from(self.counter).unwrap(),
            Register::InterruptStatus => self.status,
            Register::InterruptMask => self.mask,
            Register::TransmitControl => self.transmit_control,
            Register::PhyReceived => self.phy_read,
            _ => 0,
        }
    }

    fn write(&mut self, register: Register, value: u32) {
        match register {
            Register::RunModeClock => self.set_clock(value),
            Register::PllStatusClear if value & LOCKED != 0 => self.is_locked = false,
            Register::CounterLoad => {
                self.counter_start = u64::from(value);
                self.counter = self.counter_start;
            }
            Register::InterruptStatus => self.status &= !value,
            Register::InterruptMask => self.mask = value,
            Register::TransmitControl => self.transmit_control = value,
            Register::PhyControl => {
                let number = usize::try_from(value >> 3 & 0x1F).unwrap();
                self.phy_read = self.phy.get(number).copied().unwrap_or(0xFFFF);
            }
            _ => {}
        }
    }

    /// Data sheet, 5.3: initialization and configuration.
    fn set_clock(&mut self, value: u32) {
        let source = match value >> 4 & 3 {
            0 => Source::Main,
            1 => Source::Internal,
            other => panic!("oscillator source {other}"),
        };
        if source == Source::Main {
            let steady = self.main_for.is_some_and(|cycles| cycles >= STEADY_AFTER);
            assert!(steady, "the main oscillator is chosen before it swings");
            assert_eq!(value >> 6 & 0xF, CRYSTAL_8_MHZ, "the crystal of the board");
        }
        let is_main_off = value & MAIN_OFF != 0;
        let is_internal_off = value & INTERNAL_OFF != 0;
        assert!(source != Source::Main || !is_main_off);
        assert!(source != Source::Internal || !is_internal_off);
        self.main_for = match self.main_for {
            _ if is_main_off => None,
            None => Some(0),
            on => on,
        };
        self.is_pll_on = value & PLL_OFF == 0;
        self.is_locked &= self.is_pll_on;
        self.is_bypassed = value & BYPASS != 0;
        assert!(self.is_bypassed || self.is_locked, "the PLL is not steady");
        self.divider = if value & USE_DIVIDER != 0 {
            u64::from(value >> 23 & 0xF) + 1
        } else {
            1
        };
        self.source = source;
    }

    pub fn runs_on_pll(&self) -> bool {
        self.source == Source::Main && !self.is_bypassed
    }

    pub fn clock_hz(&self) -> u64 {
        200_000_000 / self.divider
    }

    /// Advances the counter.
    pub fn pass(&mut self, ticks: u64) {
        assert!(ticks <= self.counter, "it was not read for a whole lap");
        self.counter -= ticks;
    }

    pub fn fail_to_transmit(&mut self) {
        self.status |= TRANSMIT_ERROR;
    }

    pub fn can_transmit(&self) -> bool {
        self.status & TRANSMIT_ERROR == 0
    }

    /// The line stays active while any enabled interrupt is not acknowledged.
    pub fn interrupts(&self) -> bool {
        self.status & self.mask != 0
    }

    pub fn connect(&mut self, abilities: u32, partner: u32, negotiated: Negotiated) {
        let is_done = negotiated == Negotiated::Done;
        let negotiation = if is_done { 1 << 5 } else { 0 };
        self.phy[1] = 0x7849 | 1 << 2 | negotiation;
        self.phy[4] = abilities;
        self.phy[5] = partner;
    }

    pub fn is_full_duplex(&self) -> bool {
        self.transmit_control & DUPLEX != 0
    }
}
