//! The virtio network card as a smoltcp [`Device`], with the crate `virtio-drivers`: the
//! porting lesson for a card with DMA.
//!
//! The card moves frames between the cable and our buffers. It gets the buffers in two
//! queues: *here is room for a frame*, and *here is a frame to send*. It returns each
//! buffer in the same queue when it is done with it. An Ethernet MAC with descriptor
//! rings works the same way.
//!
//! smoltcp reads and writes directly in these buffers: no frame is ever copied. So the
//! code has to track which buffers the card has. Ownership does that: such a buffer is in
//! a [`Lent`], where it cannot be accessed.

use crate::dma::{BUFFER_LEN, Buffer, Pool};
use crate::registers::{Slot, enable_wake_ups};
use crate::wake;
use heapless::Vec;
use lastbyte::stack::smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use lastbyte::stack::smoltcp::time::Instant;
use lastbyte::stack::smoltcp::wire::EthernetAddress;
use lastbyte_firmware_app::Link;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceType, Transport};

/// Places in each queue, a power of two.
const QUEUE: usize = 8;

/// The number of buffers for received frames: as many as there are places. A frame that
/// arrives while the card has none is lost.
const RX_BUFFERS: usize = QUEUE;

/// The number of buffers for frames to send: a transmit buffer of five segments, one for
/// an answer, and one that is being written.
const TX_BUFFERS: usize = 7;

/// The last of these is kept for an answer, and the stack does not get it otherwise. See
/// [`Network::receive`].
const TX_RESERVED: usize = 1;

const _: () = assert!(TX_BUFFERS <= QUEUE);

/// The largest frame without its checksum: 1500 octets of payload and a header.
const LARGEST_FRAME: usize = 1514;

/// The feature with which a card reports its link, and the bit of that report (virtio
/// 1.2, 5.1.3 and 5.1.4).
const FEATURE_STATUS: u64 = 1 << 16;
const STATUS_LINK_UP: u16 = 1 << 0;

type Card = VirtIONetRaw<Pool, MmioTransport<'static>, QUEUE>;

/// The memory of the buffers. It is static because the card writes there whenever a frame
/// arrives.
pub struct Frames {
    rx: [[u8; BUFFER_LEN]; RX_BUFFERS],
    tx: [[u8; BUFFER_LEN]; TX_BUFFERS],
}

impl Frames {
    pub const fn new() -> Self {
        Self {
            rx: [[0; BUFFER_LEN]; RX_BUFFERS],
            tx: [[0; BUFFER_LEN]; TX_BUFFERS],
        }
    }
}

/// Why there is no network.
#[derive(Debug)]
pub enum StartError {
    /// No virtio slot has a network card.
    NoCard,
    /// The card does not behave like a virtio network card.
    Card(virtio_drivers::Error),
}

/// The card, and the buffers that it does not have.
pub struct Network {
    receiver: Receiver,
    transmitter: Transmitter,
    cable: Cable,
}

impl Network {
    /// Searches the card and starts it.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn start(frames: &'static mut Frames) -> Result<Self, StartError> {
        let (slot, mut transport) = find().ok_or(StartError::NoCard)?;
        let has_status = transport.read_device_features() & FEATURE_STATUS != 0;
        let mut card = Card::new(transport).map_err(StartError::Card)?;
        let receiver = Receiver::new(&mut card, &mut frames.rx);
        slot.line().enable_alone();
        enable_wake_ups();
        Ok(Self {
            receiver,
            transmitter: Transmitter::new(card, &mut frames.tx),
            cable: Cable {
                slot: has_status.then_some(slot),
                generation: slot.generation(),
                link: Link::Unknown,
            },
        })
    }

    /// The hardware address of the card.
    pub fn hardware_addr(&self) -> EthernetAddress {
        EthernetAddress(self.transmitter.card.mac_address())
    }

    /// Whether the cable is plugged in, as the card reports.
    pub fn link(&mut self) -> Link {
        self.cable.look()
    }

    /// Acknowledges the card's interrupt, and returns whether it had one. The reason is
    /// checked afterwards: here for room to send, and by the caller for frames.
    fn acknowledge(&mut self) -> bool {
        if !wake::is_pending() {
            return false;
        }
        let transmitter = &mut self.transmitter;
        wake::acknowledge(|| {
            transmitter.card.ack_interrupt();
        });
        if transmitter.is_room_wanted && transmitter.card.poll_transmit().is_some() {
            // The stack found no room just before and is about to sleep.
            transmitter.is_room_wanted = false;
            wake::note_due();
        }
        true
    }
}

impl Device for Network {
    type RxToken<'a> = ReceivedFrame<'a>;
    type TxToken<'a> = FrameToSend<'a>;

    /// A received frame, and the permission to answer it.
    ///
    /// A full transmitter must not hold back a received frame: a write is refused only if
    /// the peer's FIN was *processed* before. So this checks only the receiver. An answer
    /// without a buffer is lost, as on a cable, and one buffer is kept for it.
    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        if !self.receiver.take_frame(&mut self.transmitter.card) {
            let had_interrupt = self.acknowledge();
            if !had_interrupt || !self.receiver.take_frame(&mut self.transmitter.card) {
                return None;
            }
        }
        let frame = self.receiver.frame()?;
        let transmitter = &mut self.transmitter;
        Some((ReceivedFrame { frame }, FrameToSend { transmitter }))
    }

    /// The permission to send a frame, if there is a buffer for the next one.
    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        let transmitter = &mut self.transmitter;
        if transmitter.free.len() <= TX_RESERVED {
            transmitter.take_back();
        }
        transmitter.is_room_wanted = transmitter.free.len() <= TX_RESERVED;
        (!transmitter.is_room_wanted).then_some(FrameToSend { transmitter })
    }

    /// The capabilities of the card. It could verify and compute TCP checksums, but
    /// `virtio-drivers` does not enable that, so smoltcp does, as by default.
    ///
    /// The MTU counts the Ethernet header but not its checksum.
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = LARGEST_FRAME;
        capabilities
    }
}

/// A frame in the buffer where the card has put it.
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
    transmitter: &'a mut Transmitter,
}

impl phy::TxToken for FrameToSend<'_> {
    /// smoltcp keeps to the MTU, so `len` fits. There is no indexing, so that the
    /// firmware contains no panic for what never happens.
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let start = self.transmitter.header_len;
        let end = start + len;
        let octets = self.transmitter.written.octets_mut();
        let result = f(octets.get_mut(start..end).unwrap_or_default());
        self.transmitter.send(end);
        result
    }
}

/// The card, and its slot.
fn find() -> Option<(Slot, MmioTransport<'static>)> {
    Slot::all().find_map(|slot| {
        // The transport of an empty slot has no device, which is an error.
        let transport = slot.transport().ok()?;
        (transport.device_type() == DeviceType::Network).then_some((slot, transport))
    })
}

/// The buffers that the card has, by the tokens of the queue. Nothing here gives access
/// to one: it has to be removed, which may only be done when the card is done with it.
struct Lent([Option<(Buffer, usize)>; QUEUE]);

impl Lent {
    const fn new() -> Self {
        Self([const { None }; QUEUE])
    }

    /// Stores a buffer whose first `len` octets the card has.
    fn put(&mut self, token: u16, buffer: Buffer, len: usize) {
        if let Some(place) = self.0.get_mut(usize::from(token)) {
            *place = Some((buffer, len));
        }
    }

    fn take(&mut self, token: u16) -> Option<(Buffer, usize)> {
        self.0.get_mut(usize::from(token))?.take()
    }
}

struct Receiver {
    lent: Lent,
    /// The buffer with the last received frame, and the place of the frame in it. The
    /// card gets it back when the next frame is requested: smoltcp reads in it until
    /// then.
    received: Option<(Buffer, core::ops::Range<usize>)>,
}

impl Receiver {
    fn new(card: &mut Card, memory: &'static mut [[u8; BUFFER_LEN]; RX_BUFFERS]) -> Self {
        let mut receiver = Self {
            lent: Lent::new(),
            received: None,
        };
        for memory in memory {
            receiver.lend(card, Buffer::new(memory));
        }
        receiver
    }

    fn lend(&mut self, card: &mut Card, mut buffer: Buffer) {
        // SAFETY: the memory lives forever. Nothing accesses the buffer until the card
        // returns its token: it is stored below.
        match unsafe { card.receive_begin(buffer.octets_mut()) } {
            Ok(token) => self.lent.put(token, buffer, BUFFER_LEN),
            // There are no more buffers than places, so only a broken queue refuses one.
            // That buffer is then lost.
            Err(_) => defmt::error!("the network card accepts no buffer"),
        }
    }

    /// Gives the last frame's buffer back and takes the next frame. Returns whether there
    /// is one.
    fn take_frame(&mut self, card: &mut Card) -> bool {
        if let Some((buffer, _)) = self.received.take() {
            self.lend(card, buffer);
        }
        let Some(token) = card.poll_receive() else {
            return false;
        };
        let Some((mut buffer, _)) = self.lent.take(token) else {
            defmt::error!(
                "the network card returns buffer {}, which it does not have",
                token
            );
            return false;
        };
        // SAFETY: it is the buffer of this token.
        let lens = unsafe { card.receive_complete(token, buffer.octets_mut()) };
        // Taking the frame has enabled the interrupt for the next one. The card has to
        // see that before the next check; otherwise a frame in between is neither
        // detected nor signalled.
        riscv::asm::fence();
        let (header_len, len) = lens.unwrap_or_default();
        self.received = Some((buffer, header_len..header_len + len));
        true
    }

    fn frame(&self) -> Option<&[u8]> {
        let (buffer, at) = self.received.as_ref()?;
        buffer.octets().get(at.clone())
    }
}

struct Transmitter {
    card: Card,
    lent: Lent,
    /// The buffer that the next frame is written to.
    written: Buffer,
    /// The buffer that replaces it when it is sent.
    free: Vec<Buffer, TX_BUFFERS>,
    /// The virtio header in front of each frame. It requests nothing and is the same for
    /// all frames, so each buffer has it from the start.
    header_len: usize,
    /// Whether a frame had to wait for a buffer: only then is a wake-up needed when one
    /// is returned.
    is_room_wanted: bool,
}

impl Transmitter {
    fn new(card: Card, memory: &'static mut [[u8; BUFFER_LEN]; TX_BUFFERS]) -> Self {
        let [first, others @ ..] = memory;
        // The header fits: the buffers are made for it.
        let header_len = card.fill_buffer_header(first).unwrap_or_default();
        let mut free = Vec::new();
        for memory in others {
            let _ = card.fill_buffer_header(memory);
            // There is room for all buffers.
            let _ = free.push(Buffer::new(memory));
        }
        Self {
            card,
            lent: Lent::new(),
            written: Buffer::new(first),
            free,
            header_len,
            is_room_wanted: false,
        }
    }

    /// Sends the first `len` octets of what was written, or drops them if there is no
    /// buffer to replace this one.
    fn send(&mut self, len: usize) {
        if self.free.is_empty() {
            self.take_back();
        }
        let Some(next) = self.free.pop() else {
            return;
        };
        let buffer = core::mem::replace(&mut self.written, next);
        let frame = buffer.octets().get(..len).unwrap_or_default();
        // SAFETY: the memory lives forever. Nothing accesses the buffer until the card
        // returns its token: it is stored below.
        match unsafe { self.card.transmit_begin(frame) } {
            Ok(token) => self.lent.put(token, buffer, len),
            // As in `Receiver::lend`.
            Err(_) => defmt::error!("the network card accepts no frame"),
        }
    }

    /// Takes back the buffers that the card has sent, but not before one is needed:
    /// taking one back enables the interrupt for the next sent one, which is not needed
    /// while there are others.
    fn take_back(&mut self) {
        while let Some(token) = self.card.poll_transmit() {
            let Some((buffer, len)) = self.lent.take(token) else {
                defmt::error!(
                    "the network card has sent buffer {}, which it does not have",
                    token
                );
                return;
            };
            let frame = buffer.octets().get(..len).unwrap_or_default();
            // SAFETY: it is the buffer, and the part of it, of this token.
            let _ = unsafe { self.card.transmit_complete(token, frame) };
            // As in `take_frame`.
            riscv::asm::fence();
            // There is room for all buffers.
            let _ = self.free.push(buffer);
        }
    }
}

struct Cable {
    /// The slot in which the card reports its link; `None` if it cannot report it.
    slot: Option<Slot>,
    generation: u32,
    link: Link,
}

impl Cable {
    fn look(&mut self) -> Link {
        let Some(slot) = self.slot else {
            return Link::Unknown;
        };
        // The number is read first: a change after that is detected at the next check.
        let generation = slot.generation();
        let is_up = slot.network_status() & STATUS_LINK_UP != 0;
        let has_changed = generation != self.generation;
        self.generation = generation;
        self.link = match self.link {
            // The link is up again, but was down at some time since the last check.
            Link::Up if has_changed => Link::Down,
            _ if is_up => Link::Up,
            _ => Link::Down,
        };
        self.link
    }
}
