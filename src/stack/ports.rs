//! Which local port the next connection gets.

use crate::Instant;
use core::ops::RangeInclusive;

/// How long the other end may remember a closed connection (TIME-WAIT, 60 s in
/// the common stacks). A port is not given out again before.
const TIME_WAIT_SECS: u32 = 60;

/// Into how many blocks the range is divided; per block it is remembered when
/// its ports may be used again. More blocks: finer, and more memory.
const BLOCKS: u32 = 4;

/// Local ports for outgoing connections, in a sequence that starts where the
/// seed says (RFC 6056, 3.3), so that a reboot does not begin with the ports of
/// the boot before.
#[derive(Debug)]
#[repr(align(8))]
pub(super) struct Ports {
    first: u16,
    /// How many ports there are, at least 1.
    count: u32,
    /// The number of the next port to try, below `count`.
    cursor: u32,
    /// Per block: when the last port of it that was given back is free again, in
    /// whole seconds of the clock, which take half the room.
    free_at_secs: [u32; 4],
}

impl Ports {
    pub(super) fn new(range: RangeInclusive<u16>, seed: u64) -> Self {
        let first = *range.start();
        let count = u32::from(range.end().saturating_sub(first)).saturating_add(1);
        Self {
            first,
            count,
            cursor: scramble(seed).checked_rem(count).unwrap_or(0),
            free_at_secs: [0; 4],
        }
    }

    /// The next port that neither is in use nor may be remembered by a peer;
    /// `None` if there is no such port at present.
    pub(super) fn allocate(
        &mut self,
        now: Instant,
        is_in_use: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let size = self.block_size();
        for _ in 0..self.count {
            let number = self.cursor;
            let is_entry = number.checked_rem(size) == Some(0);
            if is_entry && self.rests(number, now) {
                self.cursor = self.wrapped(number.saturating_add(size));
                continue;
            }
            self.cursor = self.wrapped(number.saturating_add(1));
            let port = self.port(number);
            if !is_in_use(port) {
                return Some(port);
            }
        }
        None
    }

    /// Whether a port of the block around `number` may still be remembered by
    /// a peer. Asked when the sequence enters a block: those ahead inside of it
    /// were last used a whole round ago, as the one at its entry.
    fn rests(&self, number: u32, now: Instant) -> bool {
        self.free_at_secs
            .get(self.block(number))
            .is_some_and(|&secs| Instant::from_millis(u64::from(secs).saturating_mul(1_000)) > now)
    }

    const fn wrapped(&self, number: u32) -> u32 {
        if number < self.count { number } else { 0 }
    }

    /// Takes back a port whose connection ended just now.
    pub(super) fn give_back(&mut self, port: u16, now: Instant) {
        let Some(number) = port.checked_sub(self.first).map(u32::from) else {
            return;
        };
        if number >= self.count {
            return;
        }
        let block = self.block(number);
        if let Some(free_at_secs) = self.free_at_secs.get_mut(block) {
            // A clock counts fewer than 2^32 seconds: 136 years.
            let now_secs = now.as_micros().div_ceil(1_000_000);
            let now_secs = u32::try_from(now_secs).unwrap_or(u32::MAX);
            *free_at_secs = now_secs.saturating_add(TIME_WAIT_SECS);
        }
    }

    fn port(&self, number: u32) -> u16 {
        // `number` is below `count`, which fits behind `first`.
        self.first
            .saturating_add(u16::try_from(number).unwrap_or(u16::MAX))
    }

    const fn block_size(&self) -> u32 {
        self.count.div_ceil(BLOCKS)
    }

    fn block(&self, number: u32) -> usize {
        let block = number.checked_div(self.block_size()).unwrap_or(0);
        usize::try_from(block).unwrap_or(0)
    }
}

/// Spreads the seed over all bits (the finaliser of `SplitMix64`), so that seeds
/// that count up do not start at neighbouring ports.
const fn scramble(seed: u64) -> u32 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // The upper half, which is the better mixed one; the mask makes the
    // narrowing lossless.
    #[allow(
        clippy::as_conversions,
        reason = "const fn; a shift by 32 leaves 32 bits"
    )]
    {
        (z >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_where_the_sequence_starts() {
        let mut starts = [0; 4];
        for (seed, start) in (0..).zip(&mut starts) {
            let mut ports = Ports::new(49_152..=65_535, seed);
            *start = ports.allocate(Instant::ZERO, |_| false).unwrap();
        }
        for (i, a) in starts.iter().enumerate() {
            for b in &starts[i + 1..] {
                assert!(a.abs_diff(*b) > 8, "{starts:?}");
            }
        }
    }

    /// The first outputs of `SplitMix64` for these seeds, as published.
    #[test]
    fn the_seed_is_spread_as_splitmix64_does() {
        assert_eq!(scramble(0), 0xe220_a839);
        assert_eq!(scramble(1), 0x910a_2dec);
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let mut ports = Ports::new(50_000..=50_002, 7);
        let now = Instant::ZERO;
        let first = ports.allocate(now, |_| false).unwrap();
        for _ in 0..6 {
            assert_ne!(ports.allocate(now, |port| port == first), Some(first));
        }
        assert_eq!(ports.allocate(now, |_| true), None);
    }

    #[test]
    fn a_port_given_back_rests_for_time_wait() {
        let mut ports = Ports::new(50_000..=50_000, 1);
        assert_eq!(ports.allocate(Instant::ZERO, |_| false), Some(50_000));
        ports.give_back(50_000, Instant::ZERO);
        assert_eq!(
            ports.allocate(Instant::from_millis(59_999), |_| false),
            None
        );
        assert_eq!(
            ports.allocate(Instant::from_millis(60_000), |_| false),
            Some(50_000)
        );
    }

    #[test]
    fn every_port_of_the_widest_range_rests() {
        for seed in 0..32 {
            let mut ports = Ports::new(1..=u16::MAX, seed);
            let port = ports.allocate(Instant::ZERO, |_| false);
            let is_another = |other| Some(other) != port;
            ports.give_back(port.unwrap(), Instant::ZERO);
            let early = Instant::from_millis(59_999);
            assert_eq!(ports.allocate(early, is_another), None, "seed {seed}");
            let late = Instant::from_millis(60_000);
            assert_eq!(ports.allocate(late, is_another), port, "seed {seed}");
        }
    }

    #[test]
    fn ten_thousand_ports_in_a_row_are_all_different() {
        let mut ports = Ports::new(49_152..=65_535, 3);
        let mut seen = [false; 65_536];
        for _ in 0..10_000 {
            let port = ports.allocate(Instant::ZERO, |_| false).unwrap();
            assert!(!core::mem::replace(&mut seen[usize::from(port)], true));
            ports.give_back(port, Instant::ZERO);
        }
    }

    #[test]
    fn the_whole_port_space_is_a_legal_range() {
        let mut ports = Ports::new(1..=u16::MAX, 9);
        assert!(ports.allocate(Instant::ZERO, |_| false).is_some());
        let mut ports = Ports::new(u16::MAX..=u16::MAX, 9);
        assert_eq!(ports.allocate(Instant::ZERO, |_| false), Some(u16::MAX));
    }
}
