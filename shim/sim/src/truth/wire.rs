//! Assigns frames to connections, and reads neighbour discovery.

use std::time::Duration;

use lastbyte::Instant;
use smoltcp::phy::Medium;

use super::header::Header;
use super::{Fault, HANDSHAKE, Truth, sent};
use crate::loopback::is_intact;
use crate::peers::PEER_PORT;

/// Whether the peer's hardware address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbour {
    Unknown,
    Answered(Instant),
}

/// The wires of all connections of a run.
#[derive(Debug)]
pub(crate) struct Wire {
    medium: Medium,
    /// Whether frames may be damaged, so that checksums have to be verified.
    verifies: bool,
    /// When a neighbour last answered.
    pub(crate) neighbour: Neighbour,
    lanes: Vec<Truth>,
    /// Our ports, if they identify connections; otherwise the peer's ports do.
    ours: Option<Vec<u16>>,
}

impl Wire {
    /// The wires of connections whose handshakes have this much time.
    pub(crate) fn new(
        medium: Medium,
        verifies: bool,
        patience: impl Iterator<Item = Duration>,
    ) -> Self {
        Self {
            medium,
            verifies,
            neighbour: match medium {
                Medium::Ethernet => Neighbour::Unknown,
                Medium::Ip => Neighbour::Answered(Instant::ZERO),
            },
            lanes: patience.map(Truth::new).collect(),
            ours: None,
        }
    }

    /// The wires of connections that are not known yet: each [begins](Self::begin) with a port
    /// of ours.
    pub(crate) fn of_our_ports(medium: Medium) -> Self {
        Self {
            ours: Some(Vec::new()),
            ..Self::new(medium, true, std::iter::empty())
        }
    }

    /// Begins another connection in this place, at a port of ours, with this much time
    /// for its handshake.
    pub(crate) fn begin(
        &mut self,
        number: usize,
        now: Instant,
        port: u16,
        listens: bool,
        patience: Duration,
    ) {
        let ports = self.ours.get_or_insert_default();
        while self.lanes.len() <= number {
            self.lanes.push(Truth::new(patience));
            ports.push(0);
        }
        ports[number] = port;
        let truth = &mut self.lanes[number];
        truth.patience = patience.min(HANDSHAKE);
        truth.begin(now, listens.then_some(port));
    }

    /// The wire of one connection.
    pub(crate) fn lane(&self, number: usize) -> &Truth {
        &self.lanes[number]
    }

    pub(crate) fn lane_mut(&mut self, number: usize) -> &mut Truth {
        &mut self.lanes[number]
    }

    pub(crate) fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Truth> {
        self.lanes.iter_mut()
    }

    /// The connection between these ports.
    fn between(&mut self, ours: u16, peers: u16) -> Option<&mut Truth> {
        let number = match &self.ours {
            Some(ports) => ports.iter().position(|&port| port == ours)?,
            None => usize::from(peers.checked_sub(PEER_PORT)?),
        };
        self.lanes.get_mut(number)
    }

    /// Records a frame of ours that is sent.
    pub(crate) fn note_sent(&mut self, now: Instant, frame: &[u8]) {
        let Some(segment) = Header::parse(frame, self.medium) else {
            if requests_neighbour(frame) {
                for lane in &mut self.lanes {
                    lane.note_question(now);
                    lane.owed.note_neighbour_asked(now);
                    lane.neighbour_asked_at = now;
                }
            }
            return;
        };
        if let Some(lane) = self.between(segment.src_port, segment.dst_port) {
            lane.note_sent(now, &segment);
        } else if !sent::is_ours(segment.src) && self.ours.is_none() {
            self.lanes[0].fault.get_or_insert(Fault::ForeignSource);
        }
    }

    /// Records a frame that arrives at our end.
    pub(crate) fn note_arrival(&mut self, now: Instant, frame: &[u8]) {
        let Some(segment) = Header::parse(frame, self.medium) else {
            if reveals_neighbour(frame) {
                self.neighbour = Neighbour::Answered(now);
            }
            return;
        };
        if self.verifies && !is_intact(frame, self.medium) {
            return;
        }
        if let Some(lane) = self.between(segment.dst_port, segment.src_port) {
            lane.note_arrival(now, &segment);
        }
    }
}

/// An ARP request (RFC 826), or a neighbour solicitation (RFC 4861, 4.3).
fn requests_neighbour(frame: &[u8]) -> bool {
    let is_arp = frame.get(12..14) == Some(&[0x08, 0x06]);
    let is_icmpv6 = frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(20) == Some(&58);
    is_arp && frame.get(20..22) == Some(&[0, 1]) || is_icmpv6 && frame.get(54) == Some(&135)
}

/// ARP, neighbour solicitation or advertisement (RFC 4861, 4.3 and 4.4): each
/// contains the peer's hardware address.
fn reveals_neighbour(frame: &[u8]) -> bool {
    let is_arp = frame.get(12..14) == Some(&[0x08, 0x06]);
    let is_icmpv6 = frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(20) == Some(&58);
    is_arp || is_icmpv6 && matches!(frame.get(54), Some(135 | 136))
}
