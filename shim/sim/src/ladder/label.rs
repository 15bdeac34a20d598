//! The labels of the arrows.

use std::collections::HashMap;

use smoltcp::wire::{
    ArpOperation, ArpPacket, EthernetFrame, EthernetProtocol, Icmpv6Message, Icmpv6Packet,
    IpProtocol, Ipv4Packet, Ipv6Packet,
};

use super::super::recording::RecordedFrame;
use crate::loopback::{Direction, Flags, Segment, Sender};

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A TCP segment.
    Segment,
    /// A segment that announces a closed window.
    ZeroWindow,
    /// Anything else.
    Other,
}

/// The label of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// One direction of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Way {
    direction: Direction,
    src_port: u16,
    dst_port: u16,
}

/// What was sent in this direction so far.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    /// Initial sequence number.
    isn: Option<u32>,
    /// The sequence number after the last octet that was sent.
    next: u32,
    window: Option<u16>,
}

/// Makes labels. Numbers count from the SYN of each connection.
#[derive(Debug, Default)]
pub(super) struct Labels {
    ways: HashMap<Way, Sent>,
}

impl Labels {
    /// The label of the next frame.
    pub(super) fn next(&mut self, frame: &RecordedFrame) -> Label {
        let Some(segment) = frame.segment() else {
            return Label {
                kind: Kind::Other,
                text: name(&frame.bytes),
            };
        };
        let way = Way {
            direction: frame.direction,
            src_port: segment.src_port,
            dst_port: segment.dst_port,
        };
        let back = Way {
            direction: frame.direction.opposite(),
            src_port: segment.dst_port,
            dst_port: segment.src_port,
        };
        let answered = self.ways.get(&back).and_then(|sent| sent.isn);
        let mut forged = self.ways.get(&way).copied().unwrap_or_default();
        let sent = match frame.sender {
            Sender::End => self.ways.entry(way).or_default(),
            Sender::Stranger => &mut forged,
        };
        let is_silent = segment.window == 0 && !segment.is(Flags::RST);
        Label {
            kind: if is_silent {
                Kind::ZeroWindow
            } else {
                Kind::Segment
            },
            text: sent.label(&segment, answered),
        }
    }
}

impl Sent {
    fn label(&mut self, segment: &Segment, answered: Option<u32>) -> String {
        let len = segment.seq_len();
        if segment.is(Flags::SYN) && self.isn != Some(segment.seq) {
            *self = Self {
                isn: Some(segment.seq),
                next: segment.seq,
                window: None,
            };
        }
        let isn = self.isn.unwrap_or(0);
        let flags = segment.flags.to_string().replace('|', " ");
        let mut text = flags;
        if len > 0 || segment.seq != self.next || segment.is(Flags::RST) {
            let seq = segment.seq.wrapping_sub(isn) as i32;
            text += &format!(" {seq}:{}", segment.payload.len());
        }
        if segment.is(Flags::ACK) {
            let ack = segment.ack.wrapping_sub(answered.unwrap_or(0));
            text += &format!(" ack {}", ack as i32);
        }
        let is_known = self.window == Some(segment.window) && segment.window > 0;
        if !is_known && !segment.is(Flags::RST) {
            text += &format!(" win {}", segment.window);
            self.window = Some(segment.window);
        }
        let end = segment.seq.wrapping_add(len);
        if (end.wrapping_sub(self.next) as i32) > 0 {
            self.next = end;
        } else if len > 0 {
            text += " again";
        }
        text
    }
}

/// The label of a frame without a segment.
fn name(bytes: &[u8]) -> String {
    let known = EthernetFrame::new_checked(bytes)
        .ok()
        .and_then(|frame| match frame.ethertype() {
            EthernetProtocol::Arp => arp(frame.payload()),
            EthernetProtocol::Ipv4 => ipv4(frame.payload()),
            EthernetProtocol::Ipv6 => ipv6(frame.payload()),
            EthernetProtocol::Unknown(_) => None,
        });
    known.unwrap_or_else(|| format!("{} octets", bytes.len()))
}

fn arp(bytes: &[u8]) -> Option<String> {
    let operation = ArpPacket::new_checked(bytes).ok()?.operation();
    Some(match operation {
        ArpOperation::Request => "ARP request".to_owned(),
        ArpOperation::Reply => "ARP reply".to_owned(),
        ArpOperation::Unknown(number) => format!("ARP {number}"),
    })
}

fn ipv4(bytes: &[u8]) -> Option<String> {
    let protocol = Ipv4Packet::new_checked(bytes).ok()?.next_header();
    Some(protocol.to_string())
}

fn ipv6(bytes: &[u8]) -> Option<String> {
    let packet = Ipv6Packet::new_checked(bytes).ok()?;
    if packet.next_header() != IpProtocol::Icmpv6 {
        return Some(packet.next_header().to_string());
    }
    let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    Some(match icmp.msg_type() {
        Icmpv6Message::NeighborSolicit => "ND solicitation".to_owned(),
        Icmpv6Message::NeighborAdvert => "ND advertisement".to_owned(),
        other => format!("ICMPv6 {other}"),
    })
}
