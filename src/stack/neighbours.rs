//! Records the hardware addresses of neighbours as frames pass: see
//! [`discovery`](super::discovery).

use super::time::to_smoltcp;
use crate::Instant;
use core::cell::Cell;
use smoltcp::iface::Interface;
use smoltcp::wire::IpAddress;

/// What is recorded of the neighbour through which one peer is reached: the peer itself, or a
/// router.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbour {
    /// The hardware address; zero if none is recorded.
    pub(super) address: [u8; 6],
    /// Whether another machine may have taken over the address.
    pub(super) is_doubted: bool,
    /// The lowest bits of the second in which the stack itself last sent a request for it.
    asked: u8,
}

impl Neighbour {
    const UNKNOWN: Self = Self {
        address: [0; 6],
        is_doubted: false,
        asked: 0,
    };
}

/// What is recorded of the neighbours of all connections.
#[derive(Debug)]
pub(super) struct Neighbours<const N: usize> {
    of: [Cell<Neighbour>; N],
    /// How often smoltcp got room in this step and did not use it: the neighbour is
    /// missing, and smoltcp may not send a request yet.
    unused: Cell<u8>,
    /// Whether smoltcp sent a request for a neighbour in this step.
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

    /// Records that smoltcp gets room for a frame.
    pub(super) fn note_room(&self) {
        if N == 1 {
            return;
        }
        self.unused.set(self.unused.get().saturating_add(1));
    }

    /// Records a frame that is sent.
    pub(super) fn note_frame(&self, frame: &[u8]) {
        if N == 1 {
            return;
        }
        self.unused.set(self.unused.get().saturating_sub(1));
        if is_question(frame) {
            self.has_asked.set(true);
        }
    }

    /// Records the source of a frame with a segment of the peer.
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

    /// Records that another machine may have taken over the address.
    pub(super) fn doubt(&self, slot: usize) {
        if let Some(neighbour) = self.of.get(slot) {
            neighbour.set(Neighbour {
                is_doubted: true,
                ..neighbour.get()
            });
        }
    }

    /// Forgets the neighbour of this connection.
    pub(super) fn forget(&self, slot: usize) {
        if let Some(neighbour) = self.of.get(slot) {
            neighbour.set(Neighbour::UNKNOWN);
        }
    }

    /// Whether a request is due: one a second at most. Records it as sent.
    pub(super) fn begin_query(&self, slot: usize, now: Instant) -> bool {
        let Some(neighbour) = self.of.get(slot) else {
            return false;
        };
        let [.., second, _, _] = now.as_micros().to_be_bytes();
        let mut noted = neighbour.get();
        // A unit is 1.05 s, and no value is zero.
        let second = (second >> 4) | 0x10;
        let is_due = noted.asked != second;
        noted.asked = second;
        neighbour.set(noted);
        is_due
    }

    /// Forgets the recorded hardware address, which may be wrong.
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

    /// The recorded hardware address of the neighbour of a connection.
    pub(super) fn noted(&self, slot: usize) -> Neighbour {
        self.of.get(slot).map_or(Neighbour::UNKNOWN, Cell::get)
    }

    /// Whether smoltcp has sent a request for a neighbour since the last call, and whether
    /// it got room that it did not use.
    pub(super) fn take_wants(&self) -> (bool, bool) {
        (self.has_asked.replace(false), self.unused.replace(0) > 0)
    }
}

/// Whether a frame that is sent is a request for a neighbour.
fn is_question(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => true,
        #[cfg(feature = "proto-ipv6")]
        Some([0x86, 0xdd]) => frame.get(20) == Some(&58) && frame.get(54) == Some(&135),
        _ => false,
    }
}

/// The neighbour that a packet to `remote` is sent to: the host itself, or a router.
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
