//! The registers of the machine: the timer and the interrupt controller that most RISC-V
//! chips have, and what the driver of the network card lacks. With `dma.rs`, which lends
//! memory to the card, this is all of this board's `unsafe` except the trap entry
//! (`fault.rs`).
//!
//! The addresses are those of QEMU's machine (`hw/riscv/virt.c`). For a chip they are in
//! its manual; the register layout is the same for every CLINT and PLIC.

use core::num::NonZero;
use core::ptr::{self, NonNull};
use riscv::register::{Permission, Range, mie, pmpaddr0, pmpcfg0};
use virtio_drivers::transport::mmio::{MmioError, MmioTransport};

/// A 32-bit register, by its address.
#[derive(Clone, Copy)]
pub enum Register {
    // The CLINT: time, and when the timer interrupts.
    AlarmLow = 0x0200_4000,
    AlarmHigh = 0x0200_4004,
    TimeLow = 0x0200_BFF8,
    TimeHigh = 0x0200_BFFC,

    // The PLIC, for machine mode on hart 0.
    /// A bit for each of the first 32 lines.
    LinesEnabled = 0x0C00_2000,
    /// Lines with a higher priority than this may interrupt.
    Threshold = 0x0C20_0000,
    /// A read returns the line that interrupts, and claims it; after the line is written
    /// back, it may interrupt again.
    Claim = 0x0C20_0004,
}

/// Reads a register.
pub fn read(register: Register) -> u32 {
    let address: *const u32 = ptr::with_exposed_provenance(register as usize);
    // SAFETY: every address above is that of a 32-bit register of this machine,
    // which may be read at any time.
    unsafe { address.read_volatile() }
}

/// Writes a register.
pub fn write(register: Register, value: u32) {
    let address: *mut u32 = ptr::with_exposed_provenance_mut(register as usize);
    // SAFETY: every address above is that of a 32-bit register of this machine, and none
    // of them makes a device access memory.
    unsafe { address.write_volatile(value) }
}

/// A line to the PLIC.
#[derive(Clone, Copy)]
pub struct Line(u8);

impl Line {
    /// The priorities of all lines, one word each.
    const PRIORITIES: usize = 0x0C00_0000;
    /// Zero would disable it.
    const PRIORITY: u32 = 1;

    /// Lets this line, and no other, interrupt.
    pub fn enable_alone(self) {
        let priority: *mut u32 =
            ptr::with_exposed_provenance_mut(Self::PRIORITIES + 4 * usize::from(self.0));
        // SAFETY: only `Slot::line` makes lines, and those have a priority.
        unsafe { priority.write_volatile(Self::PRIORITY) }
        write(Register::LinesEnabled, 1 << self.0);
        write(Register::Threshold, 0);
    }
}

/// Enables the timer and the PLIC to wake the hart.
///
/// The global interrupt enable (`mstatus.MIE`) is off after reset and stays off: `wfi`
/// returns for an interrupt that is enabled here and pending, without a handler.
pub fn enable_wake_ups() {
    // SAFETY: no critical section relies on one of these being off, because none of them
    // is ever taken.
    unsafe {
        mie::set_mtimer();
        mie::set_mext();
    }
}

/// Forbids all writes to the flash, also by this firmware, until the next reset.
pub fn protect_flash() {
    const START: usize = 0x8000_0000;
    const LEN: usize = 256 * 1024;
    // A power of two from a multiple of it: the address in words, with the length in its
    // low bits (RISC-V privileged architecture, 3.7.1).
    let region = START / 4 + LEN / 8 - 1;
    // SAFETY: the program only reads and executes the flash, which is still allowed.
    unsafe {
        pmpaddr0::write(region);
        pmpcfg0::set_pmp(0, Range::NAPOT, Permission::RX, true);
    }
    // SAFETY: it only makes the hart apply the setting.
    unsafe { core::arch::asm!("sfence.vma") }
}

/// A slot that may have a virtio device.
#[derive(Clone, Copy)]
pub struct Slot(u8);

impl Slot {
    const COUNT: u8 = 8;
    const FIRST: NonZero<usize> = NonZero::new(0x1000_1000).unwrap();
    const DISTANCE: usize = 0x1000;
    const LEN: usize = 0x200;
    const FIRST_LINE: u8 = 1;

    /// Offset of the number that changes with the device's configuration.
    const GENERATION: usize = 0x0FC;
    /// Offset of the 16 bits after a network card's address.
    const NETWORK_STATUS: usize = 0x106;

    /// Every slot of the machine.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    fn base(self) -> NonZero<usize> {
        Self::FIRST.saturating_add(Self::DISTANCE * usize::from(self.0))
    }

    /// The transport to the device in this slot. Dropped, it resets the device.
    pub fn transport(self) -> Result<MmioTransport<'static>, MmioError> {
        let base = NonNull::with_exposed_provenance(self.base());
        // SAFETY: there are registers of this length at the base of each slot, empty or
        // not, and they stay there. The registers that are read below, besides the
        // transport, may be read at any time without a side effect.
        unsafe { MmioTransport::new(base, Self::LEN) }
    }

    /// The interrupt line of this slot.
    pub fn line(self) -> Line {
        Line(Self::FIRST_LINE + self.0)
    }

    /// A number that changes whenever the device's configuration does.
    pub fn generation(self) -> u32 {
        let address: *const u32 =
            ptr::with_exposed_provenance(self.base().get() + Self::GENERATION);
        // SAFETY: a register of every slot.
        unsafe { address.read_volatile() }
    }

    /// The status of the network card in this slot.
    pub fn network_status(self) -> u16 {
        let address: *const u16 =
            ptr::with_exposed_provenance(self.base().get() + Self::NETWORK_STATUS);
        // SAFETY: a field of the configuration, which must be read in one access of its
        // width (virtio 1.2, 4.2.2.2). A slot without it reads as zero.
        unsafe { address.read_volatile() }
    }
}
