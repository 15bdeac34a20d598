//! Supplies the hardware addresses of neighbours that smoltcp does not have in its cache.
//!
//! smoltcp keeps [`IFACE_NEIGHBOR_CACHE_COUNT`] of them, each for a minute after its
//! neighbour was heard, and resolves one a second. A socket whose neighbour is not in the
//! cache waits for a second. So the stack records the hardware address of each peer from the
//! segments that arrive. When a step could not send because a neighbour was missing:
//!
//! - The stack gives smoltcp the recorded addresses, in a reply (RFC 826; RFC 4861, 4.4) that
//!   is made here and was never on the wire. smoltcp then sends again, to as many neighbours
//!   at a time as its cache holds.
//! - For each neighbour of the other connections, a request is sent on the wire once a second,
//!   whichever neighbour smoltcp resolves itself.
//!
//! If a try was not answered, another machine may have taken over the address. So a
//! request for the neighbour is sent on the wire with the next try.
//!
//! If smoltcp's cache has room for the neighbour of every connection, the stack only
//! sends requests and records no hardware address.

use super::device::Wire;
use super::ends::{between, local_end, remote_end};
use super::neighbours::next_hop;
use super::time::to_smoltcp;
use super::tracker::{Net, Tracker};
use crate::Instant;
use crate::guard::flow::Addresses;
use crate::guard::tcb::Facts;
#[cfg(feature = "proto-ipv6")]
use crate::guard::wire::checksum::{checksum, sum};
use crate::guard::wire::layout::Medium;
use smoltcp::config::IFACE_NEIGHBOR_CACHE_COUNT;
use smoltcp::iface::PollResult;
use smoltcp::phy::{Device, TxToken};
use smoltcp::wire::HardwareAddress;

/// The broadcast address of Ethernet.
const BROADCAST: [u8; 6] = [0xff; 6];

const ARP_LEN: usize = 14 + 28;
const LONGEST: usize = if cfg!(feature = "proto-ipv6") {
    14 + 40 + 32
} else {
    ARP_LEN
};

/// A request for the address of a neighbour, or the reply.
#[derive(Debug)]
struct Discovery {
    frame: [u8; LONGEST],
    len: usize,
}

impl Discovery {
    /// A message from the host with `mac` and the first address. A reply reports the first
    /// address, a request queries the second.
    fn new(mac: [u8; 6], addresses: Addresses, is_answer: bool) -> Self {
        let mut frame = [0; LONGEST];
        let [to, from, rest @ ..] = frame.as_chunks_mut::<6>().0 else {
            return Self { frame, len: 0 };
        };
        *to = BROADCAST;
        *from = mac;
        let _ = rest;
        let len = match addresses {
            #[cfg(feature = "proto-ipv4")]
            Addresses::V4([source, target]) => fill_arp(&mut frame, mac, source, target, is_answer),
            #[cfg(feature = "proto-ipv6")]
            Addresses::V6([source, target]) => fill_ndp(&mut frame, mac, source, target, is_answer),
        };
        Self { frame, len }
    }

    fn octets(&self) -> &[u8] {
        self.frame.get(..self.len).unwrap_or(&[])
    }
}

/// RFC 826, for Ethernet and IPv4.
#[cfg(feature = "proto-ipv4")]
fn fill_arp(
    frame: &mut [u8; LONGEST],
    mac: [u8; 6],
    source: [u8; 4],
    target: [u8; 4],
    is_answer: bool,
) -> usize {
    let [a, b, c, d, e, f] = mac;
    let [g, h, i, j] = source;
    let [k, l, m, n] = target;
    let operation = match is_answer {
        true => 2,
        false => 1,
    };
    let packet = [
        8, 6, 0, 1, 8, 0, 6, 4, 0, operation, a, b, c, d, e, f, g, h, i, j, 0, 0, 0, 0, 0, 0, k, l,
        m, n,
    ];
    if let Some(room) = frame.get_mut(12..ARP_LEN) {
        room.copy_from_slice(&packet);
    }
    ARP_LEN
}

/// Neighbor Solicitation and Neighbor Advertisement (RFC 4861, 4.3 and 4.4), with the option
/// that names `mac`.
#[cfg(feature = "proto-ipv6")]
fn fill_ndp(
    frame: &mut [u8; LONGEST],
    mac: [u8; 6],
    source: [u8; 16],
    target: [u8; 16],
    is_answer: bool,
) -> usize {
    let [.., x, y, z] = target;
    // The target listens at the group address with its last three octets (RFC 4291, 2.7.1).
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z];
    let (kind, flags, option, to, about) = match is_answer {
        true => (136, 0x20, 2, target, source),
        false => (135, 0, 1, group, target),
    };
    if !is_answer {
        let link_group = [0x33, 0x33, 0xff, x, y, z];
        if let Some(room) = frame.first_chunk_mut() {
            *room = link_group;
        }
    }
    let mut message = [0; 32];
    message[0] = kind;
    message[4] = flags;
    message[24] = option;
    message[25] = 1;
    if let [_, tail @ ..] = message.as_chunks_mut::<8>().0
        && let [first, second, [_, _, link @ ..]] = tail
    {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = about;
        *first = [a, b, c, d, e, f, g, h];
        *second = [i, j, k, l, m, n, o, p];
        *link = mac;
    }
    let pseudo = sum(sum(sum(0, &source), &to), &[0, 32, 0, 58]);
    let [high, low] = checksum(sum(pseudo, &message));
    message[2] = high;
    message[3] = low;
    let header = [0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255];
    let parts: [&[u8]; 4] = [&header, &source, &to, &message];
    let octets = parts.into_iter().flatten();
    for (room, octet) in frame.iter_mut().skip(12).zip(octets) {
        *room = *octet;
    }
    LONGEST
}

impl<const N: usize> Tracker<N> {
    /// Called after a step: if a socket could not send because its neighbour was missing,
    /// supplies the neighbour.
    pub(super) fn help_out<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        sent: PollResult,
    ) -> PollResult {
        if N == 1 {
            // smoltcp resolves the only neighbour itself.
            return sent;
        }
        let (has_asked, is_held_up) = self.wire.neighbours.take_wants();
        match has_asked || is_held_up {
            true => self.send_with_neighbours(net, sent, is_held_up),
            false => sent,
        }
    }

    /// Gives smoltcp the recorded neighbours and sends again. Sends requests for the
    /// others.
    pub(super) fn send_with_neighbours<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        sent: PollResult,
        is_held_up: bool,
    ) -> PollResult {
        let mut result = sent;
        let mut given = 0_usize;
        for index in 0..N {
            if self.meet(index, net, is_held_up) {
                given = given.wrapping_add(1);
            }
            let is_full = given == IFACE_NEIGHBOR_CACHE_COUNT;
            if is_full || given > 0 && index.wrapping_add(1) == N {
                given = 0;
                if self.send_round(net) != PollResult::None {
                    result = PollResult::SocketStateChanged;
                }
            }
        }
        self.wire.neighbours.take_wants();
        result
    }

    /// If the neighbour of a connection is recorded, gives it to smoltcp and returns
    /// true. Otherwise sends a request for it, if `may_query` is set and none was sent
    /// this second.
    fn meet<D: Device + ?Sized>(
        &mut self,
        index: usize,
        net: &mut Net<'_, '_, D>,
        may_query: bool,
    ) -> bool {
        // smoltcp panics if the address is of another medium.
        if self.wire.guard.medium() != Medium::Ethernet {
            return false;
        }
        let (HardwareAddress::Ethernet(ours), Some(flow)) =
            (net.interface.hardware_addr(), self.wire.guard.living(index))
        else {
            return false;
        };
        let (local, remote) = (local_end(&flow).addr, remote_end(&flow).addr);
        let Some(hop) = next_hop(net.interface, remote, net.now) else {
            return false;
        };
        let noted = self.wire.neighbours.address(index);
        let is_noted = Wire::<N>::IS_CROWD && noted != [0; 6];
        if is_noted && let Some(addresses) = between(hop, local) {
            let answer = Discovery::new(noted, addresses, true);
            // A full cache drops its oldest entry, and any one of several of the same age.
            // So each entry is made a little younger than the one before.
            let next = self.introduced_at.as_micros().saturating_add(1);
            self.introduced_at = net.now.max(Instant::from_micros(next));
            self.take_in_frame(net, self.introduced_at, Some(answer.octets()));
        } else if !is_noted
            && may_query
            && self.wire.neighbours.begin_query(index, net.now)
            && let Some(addresses) = between(local, hop)
            && let Some(room) = net.device.transmit(to_smoltcp(net.now))
        {
            let question = Discovery::new(ours.0, addresses, false);
            let octets = question.octets();
            room.consume(octets.len(), |frame| {
                for (place, octet) in frame.iter_mut().zip(octets) {
                    *place = *octet;
                }
            });
        }
        is_noted
    }

    /// Records that a segment which demands an answer was sent after another that was not
    /// answered. New data is not a try.
    pub(super) fn note_try(&mut self, index: usize, facts: Facts, now: Instant) {
        let is_try = facts.resent > 0 || self.wire.guard.in_flight(index) == 0;
        if is_try && self.wire.guard.medium() == Medium::Ethernet {
            self.wire.neighbours.doubt(index);
            // The request is sent in the next poll: this one has already sent what is due.
            self.look_by(now.plus_millis(1));
        }
    }

    /// Sends a request for the neighbour of a connection whose peer does not answer, and
    /// forgets every recorded neighbour with the same hardware address.
    pub(super) fn settle_doubt<D: Device + ?Sized>(
        &mut self,
        index: usize,
        net: &mut Net<'_, '_, D>,
    ) {
        let neighbours = &self.wire.neighbours;
        let noted = neighbours.noted(index);
        if !noted.is_doubted {
            return;
        }
        for slot in 0..N {
            if slot == index || neighbours.address(slot) == noted.address {
                neighbours.forget_address(slot);
            }
        }
        self.meet(index, net, true);
    }
}
