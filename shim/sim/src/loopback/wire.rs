//! The wire: a time-ordered queue of frames in flight, and an inbox at each
//! end.
//!
//! Frames due at the same time arrive in the order in which they were sent,
//! so a run depends on nothing but its inputs. Both are bounded: a sender is
//! refused while too many frames are in flight, as by a full transmit ring,
//! and a frame that finds the inbox full is lost, as in a full receive ring.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use lastbyte::Instant;

/// The direction of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From our end to the peer.
    ToPeer,
    /// From the peer to our end.
    ToUs,
}

impl Direction {
    pub(super) const fn index(self) -> usize {
        match self {
            Self::ToPeer => 0,
            Self::ToUs => 1,
        }
    }

    /// The other direction.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::ToPeer => Self::ToUs,
            Self::ToUs => Self::ToPeer,
        }
    }
}

/// What was sent in one direction of the wire so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames sent on the wire, including dropped ones.
    pub frames: u64,
    /// Bytes of those frames, including link-layer headers.
    pub bytes: u64,
    /// Frames that the wire dropped.
    pub dropped: u64,
    /// Frames that arrived when the inbox was full.
    pub overflowed: u64,
}

struct InFlight {
    due: Instant,
    number: u64,
    direction: Direction,
    frame: Vec<u8>,
}

impl InFlight {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.number)
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for InFlight {}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Whether there was room for a frame at its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Taken,
    Overflowed,
}

#[derive(Default)]
struct Lane {
    /// Frames of this direction in the heap.
    in_flight: usize,
    /// Frames that have arrived and are not yet received.
    inbox: VecDeque<Vec<u8>>,
    counters: Counters,
}

pub(super) struct Wire {
    queue: BinaryHeap<Reverse<InFlight>>,
    lanes: [Lane; 2],
    /// The maximum number of frames in one inbox.
    capacity: usize,
    /// The maximum number of frames in flight in each direction.
    in_flight: [usize; 2],
    /// Buffers for reuse; never more than can be in flight in both directions.
    pool: Vec<Vec<u8>>,
    next_number: u64,
}

impl Wire {
    /// A wire with these maximum numbers of frames: in flight in each direction and in
    /// each inbox, and in flight from our end.
    pub(super) fn new(capacity: usize, ours: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            queue: BinaryHeap::new(),
            lanes: [Lane::default(), Lane::default()],
            capacity,
            in_flight: [ours.clamp(1, capacity), capacity],
            pool: Vec::new(),
            next_number: 0,
        }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        &mut self.lanes[direction.index()]
    }

    /// A zeroed buffer of `len` bytes.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let mut buffer = self.pool.pop().unwrap_or_default();
        buffer.clear();
        buffer.resize(len, 0);
        buffer
    }

    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        if self.pool.len() < self.capacity * 2 {
            self.pool.push(buffer);
        }
    }

    pub(super) fn has_room(&self, direction: Direction) -> bool {
        self.in_flight(direction) < self.in_flight[direction.index()]
    }

    /// Counts a frame that is sent, and returns its number.
    pub(super) fn count(&mut self, direction: Direction, len: usize, dropped: bool) -> u64 {
        let counters = &mut self.lane(direction).counters;
        counters.frames += 1;
        counters.bytes += len as u64;
        counters.dropped += u64::from(dropped);
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    pub(super) fn push(&mut self, due: Instant, number: u64, direction: Direction, frame: Vec<u8>) {
        self.lane(direction).in_flight += 1;
        self.queue.push(Reverse(InFlight {
            due,
            number,
            direction,
            frame,
        }));
    }

    /// When the next frame arrives, at either end.
    pub(super) fn next_due(&self) -> Instant {
        self.queue
            .peek()
            .map_or(Instant::NEVER, |Reverse(frame)| frame.due)
    }

    /// When the last frame in flight in this direction arrives.
    pub(super) fn last_due(&self, direction: Direction) -> Option<Instant> {
        let frames = self.queue.iter();
        frames
            .filter(|Reverse(frame)| frame.direction == direction)
            .map(|Reverse(frame)| frame.due)
            .max()
    }

    /// Moves one frame that is due by `now` to its inbox. Returns its direction.
    pub(super) fn arrive(&mut self, now: Instant) -> Option<(Direction, Delivery)> {
        if self.next_due() > now {
            return None;
        }
        let Reverse(InFlight {
            direction, frame, ..
        }) = self.queue.pop()?;
        self.lane(direction).in_flight -= 1;
        Some((direction, self.deliver(direction, frame)))
    }

    /// Puts a frame into the inbox at the far end of a direction.
    pub(super) fn deliver(&mut self, direction: Direction, frame: Vec<u8>) -> Delivery {
        let capacity = self.capacity;
        let lane = self.lane(direction);
        if lane.inbox.len() < capacity {
            lane.inbox.push_back(frame);
            return Delivery::Taken;
        }
        lane.counters.overflowed += 1;
        self.recycle(frame);
        Delivery::Overflowed
    }

    /// The last frame that has arrived and is not yet received.
    pub(super) fn last_arrived(&self, direction: Direction) -> Option<&[u8]> {
        let inbox = &self.lanes[direction.index()].inbox;
        inbox.back().map(Vec::as_slice)
    }

    /// The first frame that has arrived and is not yet received.
    pub(super) fn next_arrived(&mut self, direction: Direction) -> Option<&mut [u8]> {
        let inbox = &mut self.lane(direction).inbox;
        inbox.front_mut().map(Vec::as_mut_slice)
    }

    /// Replaces the frame that arrived first.
    pub(super) fn replace_next(&mut self, direction: Direction, frames: [Vec<u8>; 2]) {
        let inbox = &mut self.lane(direction).inbox;
        inbox.pop_front();
        for frame in frames.into_iter().rev() {
            inbox.push_front(frame);
        }
    }

    /// Drops what is in flight in both directions, and what the peer has not processed.
    pub(super) fn lose_all(&mut self) {
        let in_flight: Vec<_> = self.queue.drain().collect();
        for Reverse(frame) in in_flight {
            let lane = self.lane(frame.direction);
            lane.in_flight -= 1;
            lane.counters.dropped += 1;
        }
        self.lane(Direction::ToPeer).inbox.clear();
    }

    pub(super) fn take(&mut self, direction: Direction) -> Option<Vec<u8>> {
        self.lane(direction).inbox.pop_front()
    }

    pub(super) fn has_arrived(&self, direction: Direction) -> bool {
        !self.lanes[direction.index()].inbox.is_empty()
    }

    pub(super) fn in_flight(&self, direction: Direction) -> usize {
        self.lanes[direction.index()].in_flight
    }

    pub(super) fn counters(&self, direction: Direction) -> Counters {
        self.lanes[direction.index()].counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive_all(wire: &mut Wire, micros: u64) -> usize {
        let now = Instant::from_micros(micros);
        std::iter::from_fn(|| wire.arrive(now)).count()
    }

    #[test]
    fn frames_arrive_in_the_order_of_time_and_then_of_sending() {
        let mut wire = Wire::new(8, 8);
        wire.push(Instant::from_micros(5), 0, Direction::ToUs, vec![0]);
        wire.push(Instant::from_micros(3), 1, Direction::ToUs, vec![1]);
        wire.push(Instant::from_micros(5), 2, Direction::ToUs, vec![2]);
        assert_eq!(arrive_all(&mut wire, 2), 0);
        assert_eq!(arrive_all(&mut wire, 5), 3);
        let order: Vec<_> = std::iter::from_fn(|| wire.take(Direction::ToUs)).collect();
        assert_eq!(order, [vec![1], vec![0], vec![2]]);
    }

    #[test]
    fn a_full_wire_has_room_once_a_frame_has_arrived() {
        let mut wire = Wire::new(2, 2);
        wire.push(Instant::ZERO, 0, Direction::ToPeer, vec![0]);
        wire.push(Instant::from_micros(1), 1, Direction::ToPeer, vec![1]);
        assert!(!wire.has_room(Direction::ToPeer));
        assert!(wire.has_room(Direction::ToUs));
        arrive_all(&mut wire, 0);
        assert!(wire.has_room(Direction::ToPeer));
    }

    #[test]
    fn a_full_inbox_loses_the_next_frame() {
        let mut wire = Wire::new(2, 2);
        for number in 0..3 {
            wire.push(Instant::ZERO, number, Direction::ToPeer, vec![number as u8]);
        }
        assert_eq!(arrive_all(&mut wire, 0), 3);
        assert_eq!(wire.counters(Direction::ToPeer).overflowed, 1);
        let kept: Vec<_> = std::iter::from_fn(|| wire.take(Direction::ToPeer)).collect();
        assert_eq!(kept, [vec![0], vec![1]]);
    }
}
