//! The firmware application on an LM3S6965.
//!
//! The parts of a port, each in a file of its own: the network device (`ethernet.rs`), the
//! clock (`clock.rs`), the start-up of the chip (`chip.rs`), fault handlers (`fault.rs`), and
//! the registers (`registers.rs`). This file combines them.
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

/// The transmit buffer in octets: five full segments. The chip has 64 KiB. The buffers
/// and the frames take 12 KiB, the stack at most 7.
const TX: usize = 5 * 1460;

/// The receive buffer in octets. Received bytes are discarded, so it only has to hold a
/// segment.
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

// Without this handler, a stray interrupt causes a silent endless loop.

/// # Safety
///
/// Called only by the processor.
#[exception]
unsafe fn DefaultHandler(irqn: i16) {
    // One of these may arrive late, if it was cleared before its line was inactive. It
    // carries no new information, and its source is off.
    assert!(Line::is_known(irqn), "no handler for interrupt {irqn}");
}
