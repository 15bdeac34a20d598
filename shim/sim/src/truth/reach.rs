//! Which of the peer's octets our end may have, in any order of arrival.

use super::header::{is_before, later};

/// The number of ranges that are stored beyond the first gap.
const HELD: usize = 6;

/// How far beyond the first gap a segment may be: more than any window.
const FURTHEST: u32 = 1 << 17;

/// The maximum of RCV.NXT: everything up to here has arrived without a gap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub(super) end: u32,
    held: [(u32, u32); HELD],
    count: usize,
}

impl Reach {
    /// Nothing has arrived yet; `first` is expected.
    pub(super) const fn new(first: u32) -> Self {
        Self {
            end: first,
            held: [(0, 0); HELD],
            count: 0,
        }
    }

    /// Records that the octets from `start` up to `end` have arrived.
    pub(super) fn add(&mut self, start: u32, end: u32) {
        if is_before(self.end, start) {
            if start.wrapping_sub(self.end) < FURTHEST {
                self.hold(start, end);
            }
            return;
        }
        self.end = later(self.end, end);
        while let Some(next) = self.next() {
            self.end = later(self.end, next);
        }
    }

    fn hold(&mut self, start: u32, end: u32) {
        let held = &mut self.held[..self.count];
        if let Some(near) = held
            .iter_mut()
            .find(|held| !is_before(held.1, start) && !is_before(end, held.0))
        {
            near.0 = if is_before(start, near.0) {
                start
            } else {
                near.0
            };
            near.1 = later(near.1, end);
        } else if let Some(free) = self.held.get_mut(self.count) {
            *free = (start, end);
            self.count += 1;
        } else {
            // More gaps than are stored: the last one may be filled.
            self.held[HELD - 1].1 = later(self.held[HELD - 1].1, end);
        }
    }

    /// Removes a range that begins no later than the gap, and returns its end.
    fn next(&mut self) -> Option<u32> {
        let held = &self.held[..self.count];
        let place = held
            .iter()
            .position(|&(start, _)| !is_before(self.end, start))?;
        let (_, end) = self.held[place];
        self.count -= 1;
        self.held[place] = self.held[self.count];
        Some(end)
    }
}
