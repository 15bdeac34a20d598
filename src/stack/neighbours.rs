//! What is noted of the hardware addresses of neighbours as frames pass: see
//! [`discovery`](super::discovery).

use super::time::to_smoltcp;
use crate::Instant;
use core::cell::Cell;
use smoltcp::iface::Interface;
use smoltcp::wire::IpAddress;

/// What is noted of one peer's neighbour: itself, or the router.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbour {
    /// The hardware address; zero if none is noted.
    pub(super) address: [u8; 6],
    /// Whether it may be another machine by now.
    pub(super) is_doubted: bool,
    /// In which second it was asked for past smoltcp, by the lowest bits.
    asked: u8,
}

impl Neighbour {
    const UNKNOWN: Self = Self {
        address: [0; 6],
        is_doubted: false,
        asked: 0,
    };
}

/// What is noted of the neighbours of all connections.
#[derive(Debug)]
pub(super) struct Neighbours<const N: usize> {
    of: [Cell<Neighbour>; N],
    /// How often smoltcp was given room in this step and did not use it: the neighbour is
    /// missing, and may not be asked for yet.
    unused: Cell<u8>,
    /// Whether it asked for a neighbour in this step.
    has_asked: Cell<bool>,
}

impl<const N: usize> Neighbours<N> {
    pub(super) fn new() -> Self {
        Self {
            of: core::array::from_fn(|_| Cell::new(Neighbour::UNKNOWN)),
            unused: Cell::new(0),
            has_asked: Cell::new(false),
        }
    }

    /// smoltcp gets room for a frame.
    pub(super) fn note_room(&self) {
        if N == 1 {
            return;
        }
        self.unused.set(self.unused.get().saturating_add(1));
    }

    /// A frame leaves.
    pub(super) fn note_frame(&self, frame: &[u8]) {
        if N == 1 {
            return;
        }
        self.unused.set(self.unused.get().saturating_sub(1));
        if is_question(frame) {
            self.has_asked.set(true);
        }
    }

    /// A segment of the peer came in this frame.
    #[inline]
    pub(super) fn note_heard(&self, slot: usize, frame: &[u8]) {
        if let Some(&[_, _, _, _, _, _, a, b, c, d, e, f]) = frame.first_chunk::<12>()
            && let Some(neighbour) = self.of.get(slot)
        {
            neighbour.set(Neighbour {
                address: [a, b, c, d, e, f],
                ..neighbour.get()
            });
        }
    }

    /// It may be another machine by now.
    pub(super) fn doubt(&self, slot: usize) {
        if let Some(neighbour) = self.of.get(slot) {
            neighbour.set(Neighbour {
                is_doubted: true,
                ..neighbour.get()
            });
        }
    }

    /// Nothing is known of the neighbour of this connection.
    pub(super) fn forget(&self, slot: usize) {
        if let Some(neighbour) = self.of.get(slot) {
            neighbour.set(Neighbour::UNKNOWN);
        }
    }

    /// Whether it is to be asked for now, which is noted: once a second at most.
    pub(super) fn begin_query(&self, slot: usize, now: Instant) -> bool {
        let Some(neighbour) = self.of.get(slot) else {
            return false;
        };
        let [.., second, _, _] = now.as_micros().to_be_bytes();
        let mut noted = neighbour.get();
        // Of 1.05 s, and none of them is zero.
        let second = (second >> 4) | 0x10;
        let is_due = noted.asked != second;
        noted.asked = second;
        neighbour.set(noted);
        is_due
    }

    /// What was noted of it is not to be relied on.
    pub(super) fn forget_address(&self, slot: usize) {
        if let Some(neighbour) = self.of.get(slot) {
            neighbour.set(Neighbour {
                address: [0; 6],
                is_doubted: false,
                ..neighbour.get()
            });
        }
    }

    pub(super) fn address(&self, slot: usize) -> [u8; 6] {
        self.noted(slot).address
    }

    /// What is noted of the neighbour of a connection.
    pub(super) fn noted(&self, slot: usize) -> Neighbour {
        self.of.get(slot).map_or(Neighbour::UNKNOWN, Cell::get)
    }

    /// Whether smoltcp asked for a neighbour since this was last taken, and whether it was
    /// given room that it did not use.
    pub(super) fn take_wants(&self) -> (bool, bool) {
        (self.has_asked.replace(false), self.unused.replace(0) > 0)
    }
}

/// Whether a frame that leaves is a request for a neighbour.
fn is_question(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => true,
        #[cfg(feature = "proto-ipv6")]
        Some([0x86, 0xdd]) => frame.get(20) == Some(&58) && frame.get(54) == Some(&135),
        _ => false,
    }
}

/// To whom on our link a packet to `remote` goes: to itself, or to a router.
pub(super) fn next_hop(
    interface: &mut Interface,
    remote: IpAddress,
    now: Instant,
) -> Option<IpAddress> {
    let mut addresses = interface.ip_addrs().iter();
    if addresses.any(|cidr| cidr.contains_addr(&remote)) {
        return Some(remote);
    }
    let at = to_smoltcp(now);
    let mut router = None;
    let mut longest = 0;
    interface.routes_mut().update(|routes| {
        for route in routes.iter() {
            let prefix_len = route.cidr.prefix_len();
            if prefix_len >= longest
                && route.cidr.contains_addr(&remote)
                && route.expires_at.is_none_or(|expires_at| expires_at > at)
            {
                longest = prefix_len;
                router = Some(route.via_router);
            }
        }
    });
    router
}
