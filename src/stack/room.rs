//! What is known of the room for frames, and whose turn it is where there is too little.

use core::cell::Cell;
use smoltcp::iface::SocketHandle;

/// No frame has left.
const NONE: u16 = u16::MAX;
/// One of no connection of the tracker.
const OTHER: u16 = u16::MAX - 1;

/// What became of the room for frames in an egress step.
#[derive(Debug)]
pub(super) struct Room {
    /// Whether a socket found none.
    is_short: Cell<bool>,
    /// Whose frame left last.
    used_by: Cell<u16>,
}

impl Room {
    pub(super) const fn new() -> Self {
        Self {
            is_short: Cell::new(false),
            used_by: Cell::new(NONE),
        }
    }

    /// A socket found none.
    pub(super) fn note_short(&self) {
        self.is_short.set(true);
    }

    /// Whether a socket found none in the step before.
    pub(super) fn is_short(&self) -> bool {
        self.is_short.get()
    }

    /// A frame leaves: of this connection, if of any.
    pub(super) fn note_used(&self, slot: Option<usize>) {
        let slot = slot.and_then(|slot| u16::try_from(slot).ok());
        self.used_by.set(slot.unwrap_or(OTHER));
    }

    /// Whether a frame has left in this step.
    pub(super) fn is_used(&self) -> bool {
        self.used_by.get() != NONE
    }

    /// Whose frame left last: a number of no connection if it was of none of them.
    pub(super) fn used_by(&self) -> usize {
        self.used_by.get().into()
    }

    /// A step begins. Whether a socket found no room in the one before.
    pub(super) fn begin_step(&self) -> bool {
        self.used_by.set(NONE);
        self.is_short.replace(false)
    }
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    /// The sockets in this place of the set and after it have had their turn.
    pub(super) served: Option<SocketHandle>,
    /// How many sockets of the application have had their turn. One round after the last is
    /// without.
    pub(super) guests: usize,
    /// Whether a round begins.
    pub(super) is_round_new: bool,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Self {
            served: None,
            guests: 0,
            is_round_new: true,
        }
    }
}
