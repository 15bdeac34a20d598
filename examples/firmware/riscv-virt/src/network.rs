//! The virtio network card as a smoltcp [`Device`], by the crate
//! `virtio-drivers`: the porting lesson for a card with DMA.
//!
//! The card moves frames between the cable and buffers of ours. Which buffers,
//! it is told by two queues: *here is room for a frame*, *here is a frame to
//! send*; and it answers in the same queues when it is done with one. An
//! Ethernet MAC with descriptor rings works the same way.
//!
//! smoltcp reads and writes in those buffers themselves: no frame is ever
//! copied. That takes an account of who has a buffer, the card or we, which is
//! kept by ownership: what the card has is in a [`Lent`], where nobody reaches
//! it.

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

/// Buffers for frames to receive: as many as there are places. What comes while
/// the card has none is lost.
const RX_BUFFERS: usize = QUEUE;

/// Buffers for frames to send: a transmit buffer of five segments, one for an
/// answer, and one that is being written.
const TX_BUFFERS: usize = 7;

/// Of these, the stack may not have the last one by itself: an answer must find
/// one. See [`Network::receive`].
const TX_RESERVED: usize = 1;

const _: () = assert!(TX_BUFFERS <= QUEUE);

/// The largest frame without its checksum: 1500 octets of payload and a header.
const LARGEST_FRAME: usize = 1514;

/// The feature by which a card says whether there is a link, and the bit it
/// says so with (virtio 1.2, 5.1.3 and 5.1.4).
const FEATURE_STATUS: u64 = 1 << 16;
const STATUS_LINK_UP: u16 = 1 << 0;

type Card = VirtIONetRaw<Pool, MmioTransport<'static>, QUEUE>;

/// The memory of the buffers. It is static because the card writes there
/// whenever a frame comes.
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
    /// No virtio slot has a network card in it.
    NoCard,
    /// The card does not do what a virtio network card does.
    Card(virtio_drivers::Error),
}

/// The card, and the buffers it does not have.
pub struct Network {
    receiver: Receiver,
    transmitter: Transmitter,
    cable: Cable,
}

impl Network {
    /// Looks for the card and sets it going.
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

    /// The address the card is made with.
    pub fn hardware_addr(&self) -> EthernetAddress {
        EthernetAddress(self.transmitter.card.mac_address())
    }

    /// Whether the cable is in, as the card says.
    pub fn link(&mut self) -> Link {
        self.cable.look()
    }

    /// Acknowledges the card's interrupt, and says whether it had one. What it
    /// was for is looked at afterwards, here for room to send and by the caller
    /// for frames.
    fn acknowledge(&mut self) -> bool {
        if !wake::is_pending() {
            return false;
        }
        let transmitter = &mut self.transmitter;
        wake::acknowledge(|| {
            transmitter.card.ack_interrupt();
        });
        if transmitter.is_room_wanted && transmitter.card.poll_transmit().is_some() {
            // The stack was refused a moment ago and is about to sleep.
            transmitter.is_room_wanted = false;
            wake::note_due();
        }
        true
    }
}

impl Device for Network {
    type RxToken<'a> = ReceivedFrame<'a>;
    type TxToken<'a> = FrameToSend<'a>;

    /// A received frame, and the right to answer it.
    ///
    /// A full transmitter must not hold a received frame back: a write is
    /// refused only if the peer's FIN was *taken in* before. So this looks at
    /// the receiver alone. An answer for which there is no buffer is lost, as on
    /// a cable, and one buffer is kept for it.
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

    /// The right to send a frame, if there is a buffer for the next one.
    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        let transmitter = &mut self.transmitter;
        if transmitter.free.len() <= TX_RESERVED {
            transmitter.take_back();
        }
        transmitter.is_room_wanted = transmitter.free.len() <= TX_RESERVED;
        (!transmitter.is_room_wanted).then_some(FrameToSend { transmitter })
    }

    /// What the card can do. It could check and compute the checksums of TCP,
    /// but `virtio-drivers` does not ask it to, so they stay with smoltcp, the
    /// default.
    ///
    /// The MTU counts the Ethernet header but not its checksum.
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = LARGEST_FRAME;
        capabilities
    }
}

/// A frame in the buffer the card has put it into.
pub struct ReceivedFrame<'a> {
    frame: &'a [u8],
}

impl phy::RxToken for ReceivedFrame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }
}

/// The right to send one frame.
pub struct FrameToSend<'a> {
    transmitter: &'a mut Transmitter,
}

impl phy::TxToken for FrameToSend<'_> {
    /// smoltcp keeps to the MTU, so `len` fits. Written without an index, so
    /// that no panic lands in the firmware for what never happens.
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let start = self.transmitter.header_len;
        let end = start + len;
        let octets = self.transmitter.written.octets_mut();
        let result = f(octets.get_mut(start..end).unwrap_or_default());
        self.transmitter.send(end);
        result
    }
}

/// The card, and where it is.
fn find() -> Option<(Slot, MmioTransport<'static>)> {
    Slot::all().find_map(|slot| {
        // An empty slot has a transport of no device, which is an error.
        let transport = slot.transport().ok()?;
        (transport.device_type() == DeviceType::Network).then_some((slot, transport))
    })
}

/// The buffers the card has, by the numbers it knows them by. Nothing here
/// gives access to one: it has to be taken out, which only makes sense when the
/// card is done with it.
struct Lent([Option<(Buffer, usize)>; QUEUE]);

impl Lent {
    const fn new() -> Self {
        Self([const { None }; QUEUE])
    }

    /// Keeps a buffer whose first `len` octets the card has.
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
    /// The buffer with the frame that was received last, and where in it that
    /// is. The card gets it back when the next frame is asked for: smoltcp reads
    /// in it until then.
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
        // SAFETY: the memory is there for ever. The buffer is reached by nobody
        // until the card names its token: it is put away below.
        match unsafe { card.receive_begin(buffer.octets_mut()) } {
            Ok(token) => self.lent.put(token, buffer, BUFFER_LEN),
            // There are no more buffers than places, so only a broken queue
            // refuses one. Then it is out of use.
            Err(_) => defmt::error!("the network card takes no buffer"),
        }
    }

    /// Gives the last frame's buffer back and takes the next frame, and says
    /// whether there is one.
    fn take_frame(&mut self, card: &mut Card) -> bool {
        if let Some((buffer, _)) = self.received.take() {
            self.lend(card, buffer);
        }
        let Some(token) = card.poll_receive() else {
            return false;
        };
        let Some((mut buffer, _)) = self.lent.take(token) else {
            defmt::error!(
                "the network card gives back buffer {}, which it has not",
                token
            );
            return false;
        };
        // SAFETY: it is the buffer this token was given for.
        let lens = unsafe { card.receive_complete(token, buffer.octets_mut()) };
        // Taking the frame has told the card to interrupt for the next one. It
        // has to know before the next look, or a frame in between is neither
        // seen nor announced.
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
    /// What the next frame is written to.
    written: Buffer,
    /// What takes its place when it is sent.
    free: Vec<Buffer, TX_BUFFERS>,
    /// The header of virtio in front of each frame. It asks for nothing, is the
    /// same for all, and so stands in each buffer from the beginning.
    header_len: usize,
    /// Whether a frame had to wait for a buffer: only then is it worth waking up
    /// when one is back.
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
            // There is room for all there are.
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

    /// Sends the first `len` octets of what was written, or loses them if
    /// nothing could take their place.
    fn send(&mut self, len: usize) {
        if self.free.is_empty() {
            self.take_back();
        }
        let Some(next) = self.free.pop() else {
            return;
        };
        let buffer = core::mem::replace(&mut self.written, next);
        let frame = buffer.octets().get(..len).unwrap_or_default();
        // SAFETY: the memory is there for ever. The buffer is reached by nobody
        // until the card names its token: it is put away below.
        match unsafe { self.card.transmit_begin(frame) } {
            Ok(token) => self.lent.put(token, buffer, len),
            // As in `Receiver::lend`.
            Err(_) => defmt::error!("the network card takes no frame"),
        }
    }

    /// Takes back what the card has sent. Not before a buffer is needed: taking
    /// one back tells the card to interrupt when the next one is sent, for which
    /// there is no need as long as there are others.
    fn take_back(&mut self) {
        while let Some(token) = self.card.poll_transmit() {
            let Some((buffer, len)) = self.lent.take(token) else {
                defmt::error!(
                    "the network card has sent buffer {}, which it has not",
                    token
                );
                return;
            };
            let frame = buffer.octets().get(..len).unwrap_or_default();
            // SAFETY: it is the buffer, and the part of it, that this token was
            // given for.
            let _ = unsafe { self.card.transmit_complete(token, frame) };
            // As in `take_frame`.
            riscv::asm::fence();
            // There is room for all there are.
            let _ = self.free.push(buffer);
        }
    }
}

struct Cable {
    /// Where the card is asked; `None` if it cannot tell.
    slot: Option<Slot>,
    generation: u32,
    link: Link,
}

impl Cable {
    fn look(&mut self) -> Link {
        let Some(slot) = self.slot else {
            return Link::Unknown;
        };
        // The number first: a change behind it is seen at the next look.
        let generation = slot.generation();
        let is_up = slot.network_status() & STATUS_LINK_UP != 0;
        let has_changed = generation != self.generation;
        self.generation = generation;
        self.link = match self.link {
            // It is up again, but was not at some time since the last look.
            Link::Up if has_changed => Link::Down,
            _ if is_up => Link::Up,
            _ => Link::Down,
        };
        self.link
    }
}
