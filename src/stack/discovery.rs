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
use super::frames::send;
use super::neighbours::next_hop;
use super::tracker::{Net, Tracker};
use crate::Instant;
use crate::guard::flow::Addresses;
use crate::guard::tcb::Facts;
use crate::guard::wire::layout::Medium;
#[cfg(feature = "proto-ipv6")]
use crate::guard::wire::neighbour::{
    ADVERTISEMENT, NdpMessage, SOLICITATION, link_group, ndp, solicited_node,
};
#[cfg(feature = "proto-ipv4")]
use crate::guard::wire::neighbour::{ArpEnd, arp};
use crate::guard::wire::neighbour::{BROADCAST, Frame};
use smoltcp::config::IFACE_NEIGHBOR_CACHE_COUNT;
use smoltcp::iface::PollResult;
use smoltcp::phy::Device;
use smoltcp::wire::HardwareAddress;

/// A question for a neighbour, or the answer: from the host with `mac` and the first address. An
/// answer is about the first address, a request about the second.
fn discovery(mac: [u8; 6], addresses: Addresses, is_answer: bool) -> Frame {
    match addresses {
        #[cfg(feature = "proto-ipv4")]
        Addresses::V4([source, target]) => {
            let [sender, target] =
                [(mac, source), ([0; 6], target)].map(|(mac, address)| ArpEnd { mac, address });
            arp(BROADCAST, is_answer, sender, target)
        }
        #[cfg(feature = "proto-ipv6")]
        Addresses::V6([source, target]) if is_answer => {
            let message = NdpMessage {
                kind: ADVERTISEMENT,
                // It overrides what is known.
                flags: 0x20,
                target: Some(source),
                link: Some((2, mac)),
            };
            ndp(BROADCAST, mac, source, target, message)
        }
        #[cfg(feature = "proto-ipv6")]
        Addresses::V6([source, target]) => {
            let group = solicited_node(target);
            let message = NdpMessage {
                kind: SOLICITATION,
                flags: 0,
                target: Some(target),
                link: Some((1, mac)),
            };
            ndp(link_group(group), mac, source, group, message)
        }
    }
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
            let answer = discovery(noted, addresses, true);
            // A full cache loses the oldest, and of several as old as each other any: each
            // is a little younger than the one before.
            let next = self.introduced_at.as_micros().saturating_add(1);
            self.introduced_at = net.now.max(Instant::from_micros(next));
            self.take_in_frame(net, self.introduced_at, Some(answer.octets()));
        } else if !is_noted
            && may_query
            && self.wire.neighbours.begin_query(index, net.now)
            && let Some(addresses) = between(local, hop)
        {
            send(net, &discovery(ours.0, addresses, false));
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
