//! What really happened on the wire, seen from outside both ends.
//!
//! The oracle's own bookkeeping: it knows which of our segments left and which
//! of the peer's arrived, and draws its conclusions from RFC 9293 alone, not
//! from the code it judges. Where it cannot be sure (segments out of order,
//! which a receiver may keep or drop), it claims nothing.

use std::time::Duration;

use lastbyte::Instant;
use smoltcp::phy::Medium;
use smoltcp::wire::TcpPacket;

use crate::loopback::{is_intact, tcp_in_frame};

/// The largest window there is (RFC 7323, 2.3).
const LARGEST_WINDOW: u32 = 1 << 30;

pub(super) fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// The numbers of a segment whose checksum is right.
#[derive(Debug, Clone, Copy)]
struct Header {
    src_port: u16,
    dst_port: u16,
    seq: u32,
    ack: Option<u32>,
    /// Octets of data.
    text: u32,
    window: u16,
    syn: bool,
    fin: bool,
    rst: bool,
}

impl Header {
    fn parse(frame: &[u8], medium: Medium) -> Option<Self> {
        let (_, _, bytes) = tcp_in_frame(frame, medium)?;
        let tcp = TcpPacket::new_checked(bytes).ok()?;
        Some(Self {
            src_port: tcp.src_port(),
            dst_port: tcp.dst_port(),
            seq: tcp.seq_number().0 as u32,
            ack: tcp.ack().then(|| tcp.ack_number().0 as u32),
            text: tcp.payload().len() as u32,
            window: tcp.window_len(),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
        })
    }

    /// Behind its last octet of sequence space.
    fn end(&self) -> u32 {
        let controls = u32::from(self.syn) + u32::from(self.fin);
        self.seq.wrapping_add(self.text).wrapping_add(controls)
    }
}

/// What a connection has seen of its opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// No SYN has left.
    Unsent,
    /// Our SYN has left.
    SynSent,
    /// A RST that acknowledges our SYN has arrived.
    Refused,
    /// The peer's SYN came to our listener, and was answered.
    SynReceived,
    /// Both SYNs are known at our end.
    Synchronised,
}

/// How the peer's direction ended, as our end must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerEnd {
    /// It did not, as far as can be told.
    Open,
    /// A FIN in order has arrived.
    Fin,
    /// A RST exactly at RCV.NXT has arrived, with or without a FIN before.
    Rst,
}

/// The wire of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truth {
    medium: Medium,
    /// Whether frames are damaged, so that checksums have to be looked at.
    verifies: bool,
    /// Our port, from our SYN or SYN|ACK on.
    pub(super) local_port: Option<u16>,
    pub(super) opening: Opening,
    pub(super) peer_end: PeerEnd,
    iss: u32,
    snd_nxt: u32,
    /// The highest acceptable ACK that arrived.
    snd_una: u32,
    /// The edge of the window that the peer announced.
    snd_edge: u32,
    /// What became of our FIN.
    pub(super) fin: FinPlace,
    /// RCV.NXT as it is at least: from arrivals in order, and from what our
    /// end acknowledged.
    rcv_nxt: u32,
    /// RCV.NXT as it is at most: behind everything that arrived.
    rcv_max: u32,
    /// The edge of the window that our end announced.
    rcv_edge: u32,
    /// When our SYN or SYN|ACK first left.
    began_at: Instant,
    /// How long a handshake may take.
    patience: Duration,
    /// Since when nobody has served our end; never, while somebody does. It does
    /// not give up before it is served.
    pub(super) neglected_since: Instant,
    /// A FIN has arrived, in order or not.
    pub(super) saw_fin: Option<Instant>,
    /// A RST has arrived, at RCV.NXT or not.
    pub(super) saw_rst: Option<Instant>,
    /// When an intact segment of the peer's last arrived.
    pub(super) heard_at: Instant,
    /// When a segment of ours last left, or a question for the neighbour that has
    /// to be answered first.
    pub(super) sent_at: Instant,
    /// When a neighbour last answered.
    pub(super) neighbour: Neighbour,
    /// Frames of ours that left since the beginning.
    pub(super) frames: u64,
}

/// Where our FIN stood in the peer's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinPlace {
    /// In it, or right behind it, whenever it left.
    Within,
    /// It has left beyond the window, at the end of data beyond it.
    Beyond,
}

/// Whether the peer's hardware address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neighbour {
    Unknown,
    Answered(Instant),
}

impl Truth {
    pub(super) fn new(medium: Medium, verifies: bool, patience: Duration) -> Self {
        Self {
            medium,
            verifies,
            local_port: None,
            opening: Opening::Unsent,
            peer_end: PeerEnd::Open,
            iss: 0,
            snd_nxt: 0,
            snd_una: 0,
            snd_edge: 0,
            fin: FinPlace::Within,
            rcv_nxt: 0,
            rcv_max: 0,
            rcv_edge: 0,
            began_at: Instant::ZERO,
            patience,
            neglected_since: Instant::NEVER,
            saw_fin: None,
            saw_rst: None,
            heard_at: Instant::ZERO,
            sent_at: Instant::ZERO,
            neighbour: match medium {
                Medium::Ethernet => Neighbour::Unknown,
                Medium::Ip => Neighbour::Answered(Instant::ZERO),
            },
            frames: 0,
        }
    }

    /// Another connection begins.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self {
            heard_at: now,
            sent_at: now,
            neighbour: self.neighbour,
            frames: self.frames,
            ..Self::new(self.medium, self.verifies, self.patience)
        };
    }

    /// RCV.NXT at most.
    pub(super) fn rcv_max(&self) -> u32 {
        self.rcv_max
    }

    pub(super) fn snd_nxt(&self) -> u32 {
        self.snd_nxt
    }

    /// The number of an octet of ours that is in flight, if one is.
    pub(super) fn in_flight(&self) -> Option<u32> {
        match self.opening {
            Opening::Unsent | Opening::Refused => None,
            Opening::SynSent | Opening::SynReceived => Some(self.iss),
            Opening::Synchronised => Some(self.snd_una).filter(|_| self.snd_una != self.snd_nxt),
        }
    }

    /// Octets of ours that acknowledgements have arrived for; our FIN may be
    /// one of them.
    pub(super) fn acknowledged(&self) -> u64 {
        let first = self.iss.wrapping_add(1);
        u64::from(self.snd_una.wrapping_sub(first))
    }

    /// A frame of ours leaves.
    pub(super) fn note_sent(&mut self, now: Instant, frame: &[u8]) {
        self.frames += 1;
        let Some(segment) = Header::parse(frame, self.medium) else {
            if asks_for_neighbour(frame) {
                self.sent_at = now;
            }
            return;
        };
        let is_ours = self.local_port == Some(segment.src_port);
        if segment.syn && !segment.rst && !(is_ours && self.iss == segment.seq) {
            self.local_port = Some(segment.src_port);
            self.iss = segment.seq;
            self.snd_nxt = segment.end();
            self.snd_una = segment.end();
            self.snd_edge = segment.end();
            self.began_at = now;
            self.opening = Opening::SynSent;
        }
        if self.local_port != Some(segment.src_port) {
            return;
        }
        self.sent_at = now;
        if segment.fin && is_before(self.snd_edge.wrapping_add(1), segment.end()) {
            self.fin = FinPlace::Beyond;
        }
        if !segment.rst && is_before(self.snd_nxt, segment.end()) {
            self.snd_nxt = segment.end();
        }
        if let (Some(ack), false) = (segment.ack, segment.rst) {
            if segment.syn {
                // Our answer to the peer's SYN.
                self.rcv_nxt = ack;
                self.rcv_max = ack;
                self.rcv_edge = ack.wrapping_add(u32::from(segment.window));
                if self.opening == Opening::SynSent {
                    self.opening = Opening::SynReceived;
                }
            } else if is_before(self.rcv_nxt, ack) {
                self.rcv_nxt = ack;
            }
            let edge = ack.wrapping_add(u32::from(segment.window));
            if is_before(self.rcv_edge, edge) {
                self.rcv_edge = edge;
            }
        }
    }

    /// A frame arrives at our end.
    pub(super) fn note_arrival(&mut self, now: Instant, frame: &[u8]) {
        let Some(segment) = Header::parse(frame, self.medium) else {
            if tells_neighbour(frame) {
                self.neighbour = Neighbour::Answered(now);
            }
            return;
        };
        if self.local_port != Some(segment.dst_port) {
            return;
        }
        if self.verifies && !is_intact(frame, self.medium) {
            return;
        }
        match self.opening {
            Opening::Unsent | Opening::Refused => {}
            Opening::SynSent => self.take_answer(now, &segment),
            // Our end has given up, and listens again.
            Opening::SynReceived
                if now.min(self.neglected_since) >= self.began_at + self.patience => {}
            Opening::SynReceived if segment.rst => self.take_back(&segment),
            Opening::SynReceived | Opening::Synchronised => self.take(now, &segment),
        }
    }

    /// RFC 9293, 3.10.7.3.
    fn take_answer(&mut self, now: Instant, segment: &Header) {
        if segment.ack != Some(self.snd_nxt) {
            return;
        }
        if segment.rst {
            self.opening = Opening::Refused;
        } else if segment.syn {
            self.heard_at = now;
            self.rcv_nxt = segment.seq.wrapping_add(1);
            self.rcv_edge = self.rcv_nxt;
            self.rcv_max = self.rcv_nxt;
            self.snd_edge = self.snd_nxt.wrapping_add(u32::from(segment.window));
            self.opening = Opening::Synchronised;
        }
    }

    /// A RST before the handshake is complete: our end listens again.
    fn take_back(&mut self, segment: &Header) {
        if segment.seq == self.rcv_nxt {
            self.local_port = None;
            self.opening = Opening::Unsent;
        }
    }

    /// RFC 9293, 3.10.7.4, as far as is certain.
    fn take(&mut self, now: Instant, segment: &Header) {
        if segment.rst {
            self.saw_rst.get_or_insert(now);
            if segment.seq == self.rcv_nxt {
                self.heard_at = now;
                self.peer_end = PeerEnd::Rst;
                self.credit(segment);
            }
            return;
        }
        let distance = segment.seq.wrapping_sub(self.rcv_nxt) as i32;
        let acknowledges_the_future = segment.ack.is_none_or(|ack| is_before(self.snd_nxt, ack));
        if segment.syn || acknowledges_the_future || distance.unsigned_abs() > LARGEST_WINDOW {
            return;
        }
        let is_current = segment.ack.is_some_and(|ack| !is_before(ack, self.snd_una));
        self.credit(segment);
        if is_before(self.rcv_edge.wrapping_add(1), segment.seq) {
            return;
        }
        self.heard_at = now;
        if is_before(self.rcv_max, segment.end()) {
            self.rcv_max = segment.end();
        }
        if self.opening == Opening::SynReceived && segment.ack == Some(self.snd_nxt) {
            self.opening = Opening::Synchronised;
        }
        if segment.fin {
            self.saw_fin.get_or_insert(now);
        }
        let is_in_order = !is_before(self.rcv_nxt, segment.seq);
        let text_end = segment.seq.wrapping_add(segment.text);
        let fits = !is_before(self.rcv_edge, text_end);
        // What acknowledges less than was acknowledged before is old: a receiver
        // may drop it whole.
        if !is_in_order || !fits || !is_current || self.peer_end != PeerEnd::Open {
            return;
        }
        if is_before(self.rcv_nxt, segment.end()) {
            self.rcv_nxt = segment.end();
            if segment.fin {
                self.peer_end = PeerEnd::Fin;
            }
        }
    }

    fn credit(&mut self, segment: &Header) {
        if let Some(ack) = segment.ack
            && is_before(self.snd_una, ack)
            && !is_before(self.snd_nxt, ack)
        {
            self.snd_una = ack;
        }
        if let Some(ack) = segment.ack {
            let edge = ack.wrapping_add(u32::from(segment.window));
            if is_before(self.snd_edge, edge) {
                self.snd_edge = edge;
            }
        }
    }
}

/// An ARP request (RFC 826), or a neighbour solicitation (RFC 4861, 4.3).
fn asks_for_neighbour(frame: &[u8]) -> bool {
    let is_arp = frame.get(12..14) == Some(&[0x08, 0x06]);
    let is_icmpv6 = frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(20) == Some(&58);
    is_arp && frame.get(20..22) == Some(&[0, 1]) || is_icmpv6 && frame.get(54) == Some(&135)
}

/// ARP, neighbour solicitation or advertisement (RFC 4861, 4.3 and 4.4): each
/// tells the peer's hardware address.
fn tells_neighbour(frame: &[u8]) -> bool {
    let is_arp = frame.get(12..14) == Some(&[0x08, 0x06]);
    let is_icmpv6 = frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(20) == Some(&58);
    is_arp || is_icmpv6 && matches!(frame.get(54), Some(135 | 136))
}
