//! Records the room for frames, and whose turn it is if there is too little.

use core::cell::Cell;
use smoltcp::iface::SocketHandle;

/// No frame was sent.
const NONE: u16 = u16::MAX;
/// The last frame belonged to no connection of the tracker.
const OTHER: u16 = u16::MAX - 1;

/// How the room for frames was used in an egress step.
#[derive(Debug)]
pub(super) struct Room {
    /// Whether a socket found no room.
    is_short: Cell<bool>,
    /// The connection whose frame was sent last.
    used_by: Cell<u16>,
}

impl Room {
    pub(super) const fn new() -> Self {
        Self {
            is_short: Cell::new(false),
            used_by: Cell::new(NONE),
        }
    }

    /// Records that a socket found no room.
    pub(super) fn note_short(&self) {
        self.is_short.set(true);
    }

    /// Whether a socket found no room in the previous step.
    pub(super) fn is_short(&self) -> bool {
        self.is_short.get()
    }

    /// Records that a frame is sent, and the connection that it belongs to, if any.
    pub(super) fn note_used(&self, slot: Option<usize>) {
        let slot = slot.and_then(|slot| u16::try_from(slot).ok());
        self.used_by.set(slot.unwrap_or(OTHER));
    }

    /// Whether a frame was sent in this step.
    pub(super) fn is_used(&self) -> bool {
        self.used_by.get() != NONE
    }

    /// The connection whose frame was sent last; a number of no connection if the frame
    /// belonged to none.
    pub(super) fn used_by(&self) -> usize {
        self.used_by.get().into()
    }

    /// Begins a step. Returns whether a socket found no room in the previous one.
    pub(super) fn begin_step(&self) -> bool {
        self.used_by.set(NONE);
        self.is_short.replace(false)
    }
}

/// Records whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    /// The socket at this place of the set and those after it have had their turn.
    pub(super) served: Option<SocketHandle>,
    /// How many sockets of the application have had their turn. The round after the last of
    /// them has none.
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
