//! The start-up of the chip: the system clock, the clocks of the peripherals, the
//! factory's hardware address.

use crate::registers::{Register, read, write};
use lastbyte::stack::smoltcp::wire::EthernetAddress;

/// The system clock: the PLL's 200 MHz, divided by four. The Ethernet MAC needs
/// 20 MHz at the least.
pub const CLOCK_HZ: u32 = 50_000_000;

/// Bits of `RunModeClock`.
const DIVIDE_BY_FOUR: u32 = 3 << 23;
const USE_DIVIDER: u32 = 1 << 22;
const PLL_OFF: u32 = 1 << 13;
const BYPASS_PLL: u32 = 1 << 11;
const CRYSTAL_8_MHZ: u32 = 0xE << 6;
const MAIN_OSCILLATOR: u32 = 0 << 4;
const INTERNAL_OSCILLATOR: u32 = 1 << 4;
const INTERNAL_OFF: u32 = 1 << 1;

/// A bit of `PllStatus` and `PllStatusClear`.
const PLL_LOCKED: u32 = 1 << 6;

/// A bit of `ClockGates0`.
const WATCHDOG: u32 = 1 << 3;

/// A bit of `ClockGates1`.
const TIMER_0: u32 = 1 << 16;

/// Bits of `ClockGates2`.
const ETHERNET_MAC: u32 = 1 << 28;
const ETHERNET_PHY: u32 = 1 << 30;

/// The main oscillator is stable after 10 ms. A poll takes at least four cycles of an
/// internal oscillator of 12 MHz plus or minus a third: this many polls take 35 ms.
const OSCILLATOR_LOOKS: u32 = 140_000;

/// The PLL locks within half a millisecond; this many polls take longer.
const LOCK_LOOKS: u32 = 100_000;

/// An address for a board without one from the factory: locally administered, so that no
/// other vendor uses it. Two such boards on one network need different ones.
const FALLBACK_ADDR: EthernetAddress = EthernetAddress([0x02, 0, 0, 0x69, 0x65, 0x01]);

/// Starts the clocks.
///
/// # Panics
///
/// The PLL does not lock: the crystal is not the one of the evaluation board.
pub fn start() {
    // After a reset the chip runs on its internal oscillator, and the main oscillator is
    // off. If one write started and selected it, it would be the clock before it is
    // stable. So: first start it, and wait; then select it, with the PLL off; then turn
    // the PLL on, still bypassed; then switch to the PLL once it is locked.
    let off = CRYSTAL_8_MHZ | PLL_OFF | BYPASS_PLL;
    write(Register::RunModeClock, off | INTERNAL_OSCILLATOR);
    for _ in 0..OSCILLATOR_LOOKS {
        read(Register::RunModeClock);
    }
    write(Register::RunModeClock, off | MAIN_OSCILLATOR);
    let pll = DIVIDE_BY_FOUR | USE_DIVIDER | CRYSTAL_8_MHZ | MAIN_OSCILLATOR;
    // The status of an earlier lock, if not the whole chip was reset.
    write(Register::PllStatusClear, PLL_LOCKED);
    write(Register::RunModeClock, pll | BYPASS_PLL);
    let is_locked = (0..LOCK_LOOKS).any(|_| read(Register::PllStatus) & PLL_LOCKED != 0);
    assert!(is_locked, "the PLL does not lock");
    write(Register::RunModeClock, pll | INTERNAL_OFF);

    write(Register::ClockGates0, WATCHDOG);
    write(Register::ClockGates1, TIMER_0);
    write(Register::ClockGates2, ETHERNET_MAC | ETHERNET_PHY);
    // A peripheral may be accessed three cycles after its clock is on; reading back takes
    // that long.
    read(Register::ClockGates2);
}

/// The address of this board, from the two words of flash for it: three octets in each.
pub fn hardware_addr() -> EthernetAddress {
    let [a, b, c, high] = read(Register::User0).to_le_bytes();
    let [d, e, f, _] = read(Register::User1).to_le_bytes();
    let addr = EthernetAddress([a, b, c, d, e, f]);
    // The top bit is cleared when the word is programmed.
    let is_programmed = high & 0x80 == 0;
    if is_programmed && addr.is_unicast() {
        addr
    } else {
        FALLBACK_ADDR
    }
}
