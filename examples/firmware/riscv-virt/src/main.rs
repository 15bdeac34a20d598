//! The firmware application on QEMU's RISC-V machine.
//!
//! The parts of a port, each in a file of its own: the network device (`network.rs`, over
//! memory from `dma.rs`), the clock (`clock.rs`), wake-ups (`wake.rs`), fault handlers
//! (`fault.rs`), and the registers (`registers.rs`). This file combines them.
#![no_std]
#![no_main]

mod clock;
mod dma;
mod fault;
mod network;
mod registers;
mod wake;

use clock::ClintClock;
use lastbyte::stack::Buffers;
use lastbyte_firmware_app::Board;
use network::{Frames, Network, StartError};
use riscv_rt::entry;
use static_cell::ConstStaticCell;

/// The transmit buffer in octets: five full segments.
const TX: usize = 5 * 1460;

/// The receive buffer in octets. Received bytes are discarded, so it only has to hold a
/// segment.
const RX: usize = 1460;

static BUFFERS: ConstStaticCell<Buffers<1, TX, RX>> = ConstStaticCell::new(Buffers::new());
static FRAMES: ConstStaticCell<Frames> = ConstStaticCell::new(Frames::new());

// Since power-on.
defmt::timestamp!("{=u64:us}", clock::micros());

#[entry]
fn main() -> ! {
    registers::protect_flash();
    lastbyte_firmware_semihost::run(BUFFERS.take(), |seed| {
        let device = match Network::start(FRAMES.take()) {
            Ok(device) => device,
            Err(StartError::NoCard) => panic!("no virtio slot has a network card"),
            Err(StartError::Card(error)) => panic!("the network card does not start: {error}"),
        };
        Board {
            hardware_addr: device.hardware_addr(),
            device,
            clock: ClintClock,
            seed,
            link: Network::link,
        }
    })
}
