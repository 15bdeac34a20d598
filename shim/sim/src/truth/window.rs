//! The window that the peer announces to our end.

use super::header::{is_before, later};

/// How far our end may send, by SND.WL1 and SND.WL2 (RFC 9293, 3.10.7.4, step 5). The
/// window of an older segment counts as well: smoltcp stores neither number, and uses the
/// window of a segment that fills a gap.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendWindow {
    /// The sequence number up to which our end may send.
    pub(super) edge: u32,
    /// The nearest edge that our end may assume.
    nearest: u32,
    /// The furthest of these.
    furthest: u32,
    wl1: u32,
    wl2: u32,
}

impl SendWindow {
    /// No window is known yet, so nothing may be sent.
    pub(super) const fn new(edge: u32) -> Self {
        Self {
            edge,
            nearest: edge,
            furthest: edge,
            wl1: 0,
            wl2: 0,
        }
    }

    /// The window of a SYN.
    pub(super) fn open(&mut self, seq: u32, ack: u32, window: u16) {
        *self = Self {
            wl1: seq,
            wl2: ack,
            ..Self::new(ack.wrapping_add(u32::from(window)))
        };
    }

    /// Records the window of a segment that has arrived; `is_certain` if our end must
    /// accept it.
    pub(super) fn take(&mut self, seq: u32, ack: u32, window: u16, is_certain: bool) {
        let is_older = is_before(seq, self.wl1) || seq == self.wl1 && is_before(ack, self.wl2);
        let edge = ack.wrapping_add(u32::from(window));
        self.furthest = later(self.furthest, edge);
        if is_older || !is_certain {
            self.edge = later(self.edge, edge);
            if is_before(edge, self.nearest) {
                self.nearest = edge;
            }
            return;
        }
        (self.wl1, self.wl2, self.edge) = (seq, ack, edge);
        self.nearest = edge;
    }

    /// Whether our end must know that it may send data from `start` on.
    pub(super) fn is_surely_open(&self, start: u32) -> bool {
        is_before(start, self.nearest)
    }

    /// Whether data up to `end` may be sent; a probe is one octet further. A peer should
    /// not shrink its window (RFC 9293, 3.8.6), so every edge counts.
    pub(super) fn allows(&self, end: u32, is_probe: bool) -> bool {
        !is_before(self.furthest.wrapping_add(u32::from(is_probe)), end)
    }
}
