//! The firmware application on an LM3S6965.
//!
//! What a port consists of, each in a file of its own: the network device
//! (`ethernet.rs`), the clock (`clock.rs`), what sets the chip going
//! (`chip.rs`), what becomes of faults (`fault.rs`), and the registers (`registers.rs`). This
//! file puts them together.
#![no_std]
#![no_main]

mod chip;
mod clock;
mod ethernet;
mod fault;
mod registers;

use clock::CounterClock;
use cortex_m_rt::{entry, exception};
use ethernet::{Ethernet, Frames};
use lastbyte::stack::Buffers;
use lastbyte_firmware_app::Board;
use registers::Line;

/// What is accepted and not acknowledged yet, in octets: five full segments.
/// The chip has 64 KiB. These and the frames take 12, the stack 7 at its
/// deepest.
const TX: usize = 5 * 1460;

/// What the peer sends is discarded, so this only has to hold a segment.
const RX: usize = 1460;

#[entry]
fn main() -> ! {
    static mut BUFFERS: Buffers<1, TX, RX> = Buffers::new();
    static mut FRAMES: Frames = Frames::new();

    fault::guard_stack();
    chip::start();
    let clock = CounterClock::start();
    defmt::timestamp!("{=u64:us}", clock::micros());
    lastbyte_firmware_semihost::run(BUFFERS, |seed| {
        let hardware_addr = chip::hardware_addr();
        Board {
            device: Ethernet::start(hardware_addr, FRAMES),
            clock,
            hardware_addr,
            seed,
            link: Ethernet::link,
        }
    })
}

// Without this one, a stray interrupt is an endless loop that says nothing.

/// # Safety
///
/// Called by the processor alone.
#[exception]
unsafe fn DefaultHandler(irqn: i16) {
    // One of these may come late, when it was forgotten before its line was
    // down. It says nothing new, and its source is off.
    assert!(Line::is_known(irqn), "nothing handles interrupt {irqn}");
}
