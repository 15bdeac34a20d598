//! The on-chip Ethernet MAC as a smoltcp [`Device`]: the porting lesson.
//!
//! Every MAC has the same three things, whatever their names: a way to read a frame, a
//! way to write one, and an interrupt that signals when to check. This one is of the
//! simplest kind. It has two FIFOs of 2 KiB and no DMA: the processor moves each word
//! through one register, so it needs no descriptors, alignment or cache maintenance.
//!
//! A frame in the receive FIFO, word by word, lowest octet first:
//!
//! ```text
//!   +-------+-------+----------------------+------------------+
//!   | length, 2     | the frame, length-6  | its checksum, 4  |  up to a
//!   +-------+-------+----------------------+------------------+  whole word
//! ```
//!
//! The length counts everything in the drawing. A frame in the transmit FIFO has the same
//! layout, but its length counts only what follows the Ethernet header, and the MAC adds
//! the checksum itself. In both, the two octets of length align the IP header, 14 octets
//! into the frame, to a multiple of four.
//!
//! Each rule below that is easy to get wrong has its symptom.

use crate::registers::{Line, Register, read, write};
use core::sync::atomic::{AtomicBool, Ordering};
use lastbyte::stack::smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use lastbyte::stack::smoltcp::time::Instant;
use lastbyte::stack::smoltcp::wire::EthernetAddress;
use lastbyte_firmware_app::Link;

/// The largest frame without its checksum: 1500 octets of payload and a header.
const LARGEST_FRAME: usize = 1514;
const HEADER_LEN: usize = 14;
const CHECKSUM_LEN: usize = 4;
/// The size of the length in front of a frame.
const LENGTH_LEN: usize = 2;
/// The size of a received frame in the FIFO, with its length and its checksum.
const SMALLEST_TOTAL: usize = LENGTH_LEN + HEADER_LEN + CHECKSUM_LEN;
/// The size of the receive FIFO, which no frame exceeds.
const FIFO_LEN: usize = 2048;
/// A frame with its length, in whole words.
const BUFFER_LEN: usize = (LENGTH_LEN + LARGEST_FRAME).next_multiple_of(4);

/// Bits of `InterruptStatus` and `InterruptMask`.
const RECEIVED: u32 = 1 << 0;
const TRANSMIT_ERROR: u32 = 1 << 1;
const TRANSMIT_EMPTY: u32 = 1 << 2;
const RECEIVE_OVERRUN: u32 = 1 << 3;
const RECEIVE_ERROR: u32 = 1 << 4;

/// Bits of `ReceiveControl`.
const RECEIVE_ON: u32 = 1 << 0;
const REJECT_BAD_CHECKSUM: u32 = 1 << 3;
const RESET_FIFO: u32 = 1 << 4;

/// Bits of `TransmitControl`.
const TRANSMIT_ON: u32 = 1 << 0;
const PAD: u32 = 1 << 1;
const ADD_CHECKSUM: u32 = 1 << 2;
const FULL_DUPLEX: u32 = 1 << 4;

/// A threshold with which no frame is sent before it is requested: a frame that starts
/// early and is not filled in time is truncated.
const ONLY_WHOLE_FRAMES: u32 = 0x3F;

/// The bit of `TransmitRequest` that is set until the frame was sent.
const SEND: u32 = 1 << 0;

/// More polls than it takes to send the largest frame at 10 Mbit/s.
const SEND_LOOKS: u32 = 100_000;

/// The management clock of the PHY, 2.5 MHz at the most: 50 MHz / (2 * 10).
const PHY_CLOCK_DIVIDER: u32 = 9;
const PHY_START: u32 = 1 << 0;
const PHY_LOOKS: u32 = 10_000;
/// Registers of every PHY (IEEE 802.3, 22.2.4).
const PHY_STATUS: u32 = 1;
const PHY_ID: u32 = 2;
const PHY_ABILITIES: u32 = 4;
const PHY_PARTNER: u32 = 5;
/// The link bit of `PHY_STATUS`. After a loss of the link, it reads 0 once even if the
/// link is back, so no loss is missed between two checks.
const PHY_HAS_LINK: u32 = 1 << 2;
/// The bit of `PHY_STATUS` that is set when both ends know the abilities of the other.
const PHY_HAS_NEGOTIATED: u32 = 1 << 5;
/// Bits of `PHY_ABILITIES` and `PHY_PARTNER`, the best first (IEEE 802.3, 28.2.4 and
/// annex 28B.3). A partner that does not negotiate is detected by its signal, which means
/// half duplex.
const FULL_DUPLEX_100: u32 = 1 << 8;
const HALF_DUPLEX_100: u32 = 1 << 7;
const FULL_DUPLEX_10: u32 = 1 << 6;

/// Whether a frame had to wait for room: only then is an interrupt needed when there is
/// room again.
static IS_ROOM_WANTED: AtomicBool = AtomicBool::new(false);

/// A buffer for each direction. There are two because smoltcp holds a received
/// frame while it writes the answer.
///
/// They are static because a device is moved from where it is made to where it is used,
/// and each move of three kilobytes may leave a copy on the stack: with the buffers in
/// the device itself, this firmware would use 18 KiB of stack, not 7.
pub struct Frames {
    rx: [u8; BUFFER_LEN],
    tx: [u8; BUFFER_LEN],
}

impl Frames {
    pub const fn new() -> Self {
        Self {
            rx: [0; BUFFER_LEN],
            tx: [0; BUFFER_LEN],
        }
    }
}

/// The MAC.
///
/// smoltcp needs a frame in one piece, so each is copied once between the FIFO and its
/// buffer, and not again: smoltcp reads and writes in place. A MAC with DMA lends its
/// descriptors' buffers instead.
pub struct Ethernet {
    frames: &'static mut Frames,
}

impl Ethernet {
    /// Starts the MAC with this address.
    pub fn start(addr: EthernetAddress, frames: &'static mut Frames) -> Self {
        let EthernetAddress([a, b, c, d, e, f]) = addr;
        write(Register::InterruptMask, 0);
        write(Register::PhyClockDivider, PHY_CLOCK_DIVIDER);
        write(Register::Address0, u32::from_le_bytes([a, b, c, d]));
        write(Register::Address1, u32::from_le_bytes([e, f, 0, 0]));
        write(Register::TransmitThreshold, ONLY_WHOLE_FRAMES);
        // Half duplex until the PHY reports otherwise.
        write(Register::TransmitControl, TRANSMIT_ON | PAD | ADD_CHECKSUM);
        reset_receive_fifo();
        Line::Ethernet.enable();
        Self { frames }
    }

    /// Whether the cable is plugged in, as the PHY reports. If so, the MAC transmits as
    /// the PHY has negotiated.
    pub fn link(&mut self) -> Link {
        match (read_phy(PHY_ID), read_phy(PHY_STATUS)) {
            // No answer: emulators have no PHY.
            (Some(0 | 0xFFFF) | None, _) | (_, None) => Link::Unknown,
            (Some(_), Some(status)) if status & PHY_HAS_LINK != 0 => {
                if status & PHY_HAS_NEGOTIATED != 0 {
                    follow_duplex();
                }
                Link::Up
            }
            (Some(_), Some(_)) => Link::Down,
        }
    }

    /// Moves the next frame from the FIFO to the buffer, and returns its length. A frame
    /// that cannot be used is read too: if it stayed in the FIFO, it would block all
    /// others, and nothing would ever be received again.
    fn take_frame(&mut self) -> Option<usize> {
        if read(Register::FrameCount) == 0 {
            return None;
        }
        let first = read(Register::Data).to_le_bytes();
        let [low, high, ..] = first;
        let total = usize::from(u16::from_le_bytes([low, high]));
        if !(SMALLEST_TOTAL..=FIFO_LEN).contains(&total) {
            // That is not a length: the words are out of step, and only a restart of the
            // FIFO helps. Symptom without it: after an overrun, only noise.
            reset_receive_fifo();
            return None;
        }
        let (words, _) = self.frames.rx.as_chunks_mut::<4>();
        let mut words = words.iter_mut();
        if let Some(place) = words.next() {
            *place = first;
        }
        for _ in 1..total.div_ceil(4) {
            let word = read(Register::Data).to_le_bytes();
            // What exceeds the buffer is the checksum, or the rest of a frame that is too long.
            if let Some(place) = words.next() {
                *place = word;
            }
        }
        let len = total - LENGTH_LEN - CHECKSUM_LEN;
        (len <= LARGEST_FRAME).then_some(len)
    }
}

impl Device for Ethernet {
    type RxToken<'a> = ReceivedFrame<'a>;
    type TxToken<'a> = FrameToSend<'a>;

    /// A received frame, and the permission to answer it.
    ///
    /// A full transmitter must not hold back a received frame: a write is refused only if
    /// the peer's FIN was *processed* before. So this checks only the receiver, and an
    /// answer waits for room, which takes at most 0.12 ms at 100 Mbit/s.
    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        recover_receiver();
        recover_transmitter();
        // Each iteration reads a frame, and the FIFO holds at most 31.
        let len = (0..32).find_map(|_| {
            if read(Register::FrameCount) == 0 {
                return Some(None);
            }
            self.take_frame().map(Some)
        })??;
        let frame = self.frames.rx.get(LENGTH_LEN..LENGTH_LEN + len)?;
        Some((
            ReceivedFrame { frame },
            FrameToSend {
                buffer: &mut self.frames.tx,
            },
        ))
    }

    /// The permission to send a frame, if there is room for one.
    ///
    /// Symptom if this is given without room: the second of two consecutive frames is
    /// lost or damaged, and the retransmission timer determines the throughput.
    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        if read(Register::TransmitRequest) & SEND != 0 {
            IS_ROOM_WANTED.store(true, Ordering::Relaxed);
            return None;
        }
        Some(FrameToSend {
            buffer: &mut self.frames.tx,
        })
    }

    /// The capabilities of the MAC. It adds and verifies the checksum of Ethernet, but
    /// not those of IP and TCP: smoltcp does those, as by default.
    ///
    /// The MTU counts the Ethernet header but not its checksum. Symptom with 1500:
    /// everything works, but with segments of 1446 octets.
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = LARGEST_FRAME;
        capabilities
    }
}

/// A frame in the receive buffer. It has already left the FIFO, so dropping the token
/// unread loses it, as on a cable, and blocks nothing.
pub struct ReceivedFrame<'a> {
    frame: &'a [u8],
}

impl phy::RxToken for ReceivedFrame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }
}

/// The permission to send one frame.
pub struct FrameToSend<'a> {
    buffer: &'a mut [u8; BUFFER_LEN],
}

impl phy::TxToken for FrameToSend<'_> {
    /// smoltcp keeps to the MTU, so `len` fits. There is no indexing, so that the
    /// firmware contains no panic for what never happens.
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let end = LENGTH_LEN + len;
        let result = f(self.buffer.get_mut(LENGTH_LEN..end).unwrap_or_default());
        if let Some(length) = self.buffer.first_chunk_mut() {
            let payload = u16::try_from(len.saturating_sub(HEADER_LEN)).unwrap_or(u16::MAX);
            *length = payload.to_le_bytes();
        }
        wait_for_room();
        let frame = self.buffer.get(..end.next_multiple_of(4));
        let (words, _) = frame.unwrap_or_default().as_chunks();
        for &word in words {
            write(Register::Data, u32::from_le_bytes(word));
        }
        write(Register::TransmitRequest, SEND);
        result
    }
}

/// Waits until the last frame was sent, for a bounded time.
fn wait_for_room() {
    let is_free = (0..SEND_LOOKS).any(|_| read(Register::TransmitRequest) & SEND == 0);
    if is_free {
        recover_transmitter();
    } else {
        write(Register::InterruptStatus, TRANSMIT_ERROR);
    }
}

/// Acknowledging an error empties the FIFO: the frame is lost, and TCP retransmits it.
/// Symptom without it: nothing is ever sent again, and a chip that has nothing to send
/// does not sleep any more, because the interrupt stays.
fn recover_transmitter() {
    if read(Register::InterruptStatus) & TRANSMIT_ERROR != 0 {
        write(Register::InterruptStatus, TRANSMIT_ERROR);
    }
}

/// Sets the MAC to what the PHY has negotiated. Symptom if the two differ: everything
/// works until there is traffic in both directions; then frames are lost to collisions
/// that only one end detects.
fn follow_duplex() {
    let (Some(abilities), Some(partner)) = (read_phy(PHY_ABILITIES), read_phy(PHY_PARTNER)) else {
        return;
    };
    let both = abilities & partner;
    let best = [FULL_DUPLEX_100, HALF_DUPLEX_100, FULL_DUPLEX_10];
    let duplex = match best.into_iter().find(|ability| both & ability != 0) {
        Some(FULL_DUPLEX_100 | FULL_DUPLEX_10) => FULL_DUPLEX,
        _ => 0,
    };
    let control = TRANSMIT_ON | PAD | ADD_CHECKSUM | duplex;
    // Not in the middle of a frame: it is checked again soon.
    let is_free = read(Register::TransmitRequest) & SEND == 0;
    if is_free && read(Register::TransmitControl) != control {
        write(Register::TransmitControl, control);
    }
}

/// After an overrun the FIFO holds a part of a frame and has to be restarted.
fn recover_receiver() {
    let status = read(Register::InterruptStatus);
    if status & RECEIVE_ERROR != 0 {
        write(Register::InterruptStatus, RECEIVE_ERROR);
    }
    if status & RECEIVE_OVERRUN != 0 {
        write(Register::InterruptStatus, RECEIVE_OVERRUN);
        reset_receive_fifo();
    }
}

/// Off, empty, on.
fn reset_receive_fifo() {
    write(Register::ReceiveControl, REJECT_BAD_CHECKSUM);
    write(Register::ReceiveControl, REJECT_BAD_CHECKSUM | RESET_FIFO);
    write(Register::ReceiveControl, REJECT_BAD_CHECKSUM | RECEIVE_ON);
}

fn read_phy(register: u32) -> Option<u32> {
    write(Register::PhyControl, register << 3 | PHY_START);
    let is_done = (0..PHY_LOOKS).any(|_| read(Register::PhyControl) & PHY_START == 0);
    is_done.then(|| read(Register::PhyReceived))
}

/// Whether there is something to do before sleeping.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    Later,
}

impl Due {
    pub fn is_due(self) -> bool {
        self == Self::Now
    }
}

/// Lets the MAC wake the chip, and returns whether it already has something. Call it with
/// interrupts off, and sleep with them off: see `clock.rs`.
///
/// The interrupt is acknowledged first and the status checked afterwards; otherwise a
/// frame that arrives in between is neither detected nor signalled. Symptom: a connection
/// sometimes pauses until its next timer.
pub fn arm_interrupt() -> Due {
    let room = if IS_ROOM_WANTED.load(Ordering::Relaxed) {
        TRANSMIT_EMPTY
    } else {
        0
    };
    write(Register::InterruptStatus, RECEIVED | TRANSMIT_EMPTY);
    recover_transmitter();
    write(
        Register::InterruptMask,
        RECEIVED | RECEIVE_OVERRUN | TRANSMIT_ERROR | room,
    );
    let has_room = room != 0 && read(Register::TransmitRequest) & SEND == 0;
    if read(Register::FrameCount) != 0 || has_room {
        Due::Now
    } else {
        Due::Later
    }
}

/// The program is awake and polls the MAC, which does not have to interrupt. So no
/// handler runs for it: its work is done where the sleep ends.
pub fn disarm_interrupt() {
    write(Register::InterruptMask, 0);
    // Read back, so that the line is inactive before its pending state is cleared.
    read(Register::InterruptMask);
    Line::Ethernet.forget();
    IS_ROOM_WANTED.store(false, Ordering::Relaxed);
}
