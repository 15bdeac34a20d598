//! The bytes between the two halves, oldest first.
//!
//! A call copies at most two pieces, with interrupts off. A queue that copies one element at
//! a time (`heapless::Deque`) would keep them off for several instructions for each byte.

/// A ring buffer of `N` bytes.
#[derive(Debug)]
pub(super) struct Ring<const N: usize> {
    bytes: [u8; N],
    /// The index of the oldest byte, below `N`.
    start: usize,
    /// The number of bytes, at most `N`.
    len: usize,
}

/// Copies as many bytes as both have, and returns how many.
fn copy(to: &mut [u8], from: &[u8]) -> usize {
    let count = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}

impl<const N: usize> Ring<N> {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; N],
            start: 0,
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn free(&self) -> usize {
        N.saturating_sub(self.len)
    }

    pub(super) const fn clear(&mut self) {
        self.start = 0;
        self.len = 0;
    }

    /// Appends as many of `bytes` as there is room for, and returns how many.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let end = self.start.wrapping_add(self.len);
        let (first, second) = match end.checked_sub(N) {
            // The bytes wrap around the end: the free part is in one piece.
            Some(end) => (self.bytes.get_mut(end..self.start), None),
            None => match self.bytes.split_at_mut_checked(end) {
                Some((before, after)) => (Some(after), before.get_mut(..self.start)),
                None => (None, None),
            },
        };
        let mut count = copy(first.unwrap_or_default(), bytes);
        if let (Some(second), Some(rest @ [_, ..])) = (second, bytes.get(count..)) {
            count = count.wrapping_add(copy(second, rest));
        }
        self.len = self.len.wrapping_add(count);
        count
    }

    /// Removes as many of the oldest bytes as fit into `into`, and returns how many.
    pub(super) fn pop(&mut self, into: &mut [u8]) -> usize {
        let end = self.start.wrapping_add(self.len);
        let (first, second) = match end.checked_sub(N) {
            Some(end) => (self.bytes.get(self.start..), self.bytes.get(..end)),
            None => (self.bytes.get(self.start..end), None),
        };
        let mut count = copy(into, first.unwrap_or_default());
        if let (Some(second), Some(rest)) = (second, into.get_mut(count..)) {
            count = count.wrapping_add(copy(rest, second));
        }
        let start = self.start.wrapping_add(count);
        self.len = self.len.wrapping_sub(count);
        self.start = match self.len {
            // The next bytes are in one piece.
            0 => 0,
            _ => start.checked_sub(N).unwrap_or(start),
        };
        count
    }
}

#[cfg(test)]
#[allow(
    clippy::as_conversions,
    clippy::std_instead_of_alloc,
    reason = "the tests run on a host"
)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec;
    use alloc::vec::Vec;

    /// Every sequence of six pushes and pops of every length, beside a queue of the standard
    /// library.
    #[test]
    fn bytes_keep_their_order() {
        const N: usize = 3;
        const CALLS: u32 = 6;
        let kinds = 2 * (N + 2);
        for sequence in 0..kinds.pow(CALLS) {
            let mut ring = Ring::<N>::new();
            let mut expected: VecDeque<u8> = VecDeque::new();
            let mut bytes = 1..;
            let mut left = sequence;
            for _ in 0..CALLS {
                let (is_push, count) = (left % 2 == 0, left / 2 % (N + 2));
                left /= kinds;
                if is_push {
                    let pushed: Vec<u8> = bytes.by_ref().take(count).collect();
                    let taken = ring.push(&pushed);
                    assert_eq!(taken, count.min(N - expected.len()));
                    expected.extend(&pushed[..taken]);
                } else {
                    let mut popped = vec![0; count];
                    let taken = ring.pop(&mut popped);
                    assert_eq!(taken, count.min(expected.len()));
                    let wanted: Vec<u8> = expected.drain(..taken).collect();
                    assert_eq!(popped[..taken], wanted);
                }
                let free = N - expected.len();
                assert_eq!((ring.len(), ring.free()), (expected.len(), free));
                assert_eq!(ring.is_empty(), expected.is_empty());
            }
        }
    }

    #[test]
    fn a_cleared_ring_has_all_its_room() {
        let mut ring = Ring::<4>::new();
        ring.push(&[1, 2, 3]);
        ring.pop(&mut [0; 2]);
        ring.clear();
        assert_eq!((ring.len(), ring.free()), (0, 4));
        assert_eq!(ring.push(&[4, 5, 6, 7, 8]), 4);
        let mut bytes = [0; 5];
        assert_eq!(ring.pop(&mut bytes), 4);
        assert_eq!(bytes, [4, 5, 6, 7, 0]);
    }
}
