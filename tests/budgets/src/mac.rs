//! A MAC with a peer on its wire that costs almost nothing: it answers ARP and a SYN, and
//! acknowledges every second segment (RFC 9293, 3.8.6.3).

use crate::client::Aligned;
use lastbyte::stack::smoltcp;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, Ipv4Address};

/// Our hardware address.
pub const OUR_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
/// Our address.
pub const OUR_ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
/// The peer's address.
pub const PEER_ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);

const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const MTU: usize = 1514;
/// Offsets in an Ethernet frame with an IPv4 header of 20 octets.
const ETHERTYPE: usize = 12;
const ARP_OPERATION: usize = 20;
const IP_TOTAL_LEN: usize = 16;
const TCP: usize = 34;
/// The offset of the sequence number in a frame.
pub const SEQ: usize = TCP + 4;
const ACK: usize = TCP + 8;
const FLAGS: usize = TCP + 13;
const CHECKSUM: usize = TCP + 16;
/// The headers of Ethernet, IPv4 and TCP, without options.
pub const HEADERS: usize = TCP + 20;
const OPTIONS: usize = HEADERS;
/// The shortest Ethernet frame: a shorter one is padded.
const SHORT: usize = 60;

const ISS: u32 = 7_000;

/// A frame of the peer's.
type Short = [u8; SHORT];

/// The MAC. Its frames are elsewhere and its tokens are references, like those of a
/// driver with descriptor rings.
#[derive(Debug)]
pub struct Mac {
    frames: &'static mut Frames,
}

/// The memory of a MAC.
#[derive(Debug)]
pub struct Frames {
    wire: Wire,
    /// The frame that was received last.
    received: Aligned<Short>,
}

/// What was sent, and the state of the peer.
#[derive(Debug)]
struct Wire {
    frame: Aligned<[u8; MTU]>,
    answer: Option<Short>,
    /// An acknowledgement without its number and its checksum.
    ack: Short,
    /// The sum of everything in `ack` that the checksum covers.
    ack_sum: u32,
    unacknowledged: u32,
}

impl Frames {
    /// Nothing was sent, nothing received.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            wire: Wire {
                frame: Aligned([0; MTU]),
                answer: None,
                ack: [0; SHORT],
                ack_sum: 0,
                unacknowledged: 0,
            },
            received: Aligned([0; SHORT]),
        }
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl Mac {
    /// A MAC with its memory.
    #[must_use]
    pub const fn new(frames: &'static mut Frames) -> Self {
        Self { frames }
    }
}

impl Wire {
    /// Processes the sent frame at the peer.
    fn answer(&mut self) {
        if self.frame.0[ETHERTYPE..ETHERTYPE + 2] == [8, 6] {
            self.answer_arp();
        } else if self.frame.0[FLAGS] & 2 != 0 {
            self.answer_syn();
        } else {
            let len = u32::from(u16_at(&self.frame.0, IP_TOTAL_LEN)) - 40;
            self.unacknowledged += u32::from(len > 0);
            if self.unacknowledged == 2 {
                self.unacknowledged = 0;
                let seq = u32_at(&self.frame.0, SEQ);
                self.acknowledge(seq.wrapping_add(len));
            }
        }
    }

    fn answer_arp(&mut self) {
        let mut reply = [0; SHORT];
        reply[..42].copy_from_slice(&self.frame.0[..42]);
        reply[..6].copy_from_slice(&self.frame.0[6..12]);
        reply[6..12].copy_from_slice(&PEER_MAC);
        reply[ARP_OPERATION + 1] = 2;
        reply[22..28].copy_from_slice(&PEER_MAC);
        reply[28..32].copy_from_slice(&PEER_ADDRESS.octets());
        reply[32..38].copy_from_slice(&self.frame.0[22..28]);
        reply[38..42].copy_from_slice(&self.frame.0[28..32]);
        self.answer = Some(reply);
    }

    /// A SYN with the largest segment of Ethernet; from then on, pure ACKs.
    fn answer_syn(&mut self) {
        self.unacknowledged = 0;
        self.ack = self.head(24, 0x12, ISS);
        self.ack[OPTIONS..OPTIONS + 4].copy_from_slice(&[2, 4, 0x05, 0xb4]);
        let number = u32_at(&self.frame.0, SEQ).wrapping_add(1);
        self.ack_sum = sum_of(&self.ack[26..]) + 6 + 24;
        self.acknowledge(number);
        self.ack = self.head(20, 0x10, ISS + 1);
        self.ack_sum = sum_of(&self.ack[26..]) + 6 + 20;
    }

    /// The headers of a segment without data to the sender of the frame.
    fn head(&self, tcp_len: u8, flags: u8, seq: u32) -> Short {
        let mut head = [0; SHORT];
        head[..6].copy_from_slice(&self.frame.0[6..12]);
        head[6..12].copy_from_slice(&PEER_MAC);
        head[12..14].copy_from_slice(&[8, 0]);
        head[14] = 0x45;
        head[17] = 20 + tcp_len;
        head[22] = 64;
        head[23] = 6;
        head[26..30].copy_from_slice(&self.frame.0[30..34]);
        head[30..34].copy_from_slice(&self.frame.0[26..30]);
        let sum = !fold(sum_of(&head[14..34]));
        head[24..26].copy_from_slice(&sum.to_be_bytes());
        head[34..36].copy_from_slice(&self.frame.0[36..38]);
        head[36..38].copy_from_slice(&self.frame.0[34..36]);
        head[SEQ..SEQ + 4].copy_from_slice(&seq.to_be_bytes());
        head[46] = tcp_len << 2;
        head[FLAGS] = flags;
        head[48..50].copy_from_slice(&[0xff, 0xff]);
        head
    }

    fn acknowledge(&mut self, number: u32) {
        let sum = self.ack_sum + (number >> 16) + (number & 0xffff);
        let mut frame = self.ack;
        frame[ACK..ACK + 4].copy_from_slice(&number.to_be_bytes());
        frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&(!fold(sum)).to_be_bytes());
        self.answer = Some(frame);
    }
}

fn u16_at(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// The number of four octets at this offset.
///
/// # Panics
///
/// If the frame is too short.
#[must_use]
pub fn u32_at(frame: &[u8], at: usize) -> u32 {
    u32::from(u16_at(frame, at)) << 16 | u32::from(u16_at(frame, at + 2))
}

fn sum_of(octets: &[u8]) -> u32 {
    let pairs = octets.chunks_exact(2);
    pairs.map(|pair| u32::from(u16_at(pair, 0))).sum()
}

fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

impl Device for Mac {
    type RxToken<'t> = Received<'t>;
    type TxToken<'t> = Room<'t>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room<'_>)> {
        let Frames { wire, received } = &mut *self.frames;
        received.0 = wire.answer.take()?;
        let frame = &received.0;
        Some((Received { frame }, Room { wire }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        let wire = &mut self.frames.wire;
        Some(Room { wire })
    }

    // They are constants of a device, and queried for each frame: inlined, `guard` does
    // not count how they are returned.
    #[inline(always)]
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

/// A received frame of the peer.
#[derive(Debug)]
pub struct Received<'m> {
    frame: &'m Short,
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }
}

/// Room for a frame of ours.
#[derive(Debug)]
pub struct Room<'m> {
    wire: &'m mut Wire,
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let result = f(&mut self.wire.frame.0[..len]);
        self.wire.answer();
        result
    }
}
