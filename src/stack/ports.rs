//! Chooses the local port of the next connection.

use super::secret::{Secret, Way};
use crate::Instant;
use core::ops::RangeInclusive;

/// The clock of resting ports ticks every 2^18 us, about a quarter of a second.
const TICK_SHIFT: u32 = 18;

/// How long the port of a connection that we closed first is not allocated again, in
/// ticks: the TIME-WAIT of the common stacks, 60 s, which is twice a segment lifetime of
/// 30 s (RFC 9293, 3.4.2), plus the current tick.
const TIME_WAIT_TICKS: u8 = 230;

/// The maximum number of blocks that the range is divided into. One rest time is kept for
/// each block, so more blocks are more precise and cost an octet each.
const BLOCKS: usize = 8;

/// Local ports for outgoing connections. No other host can compute them (RFC 6056, 3.2),
/// and they are not reused before their TIME-WAIT is over.
///
/// Ports are allocated block by block. For each pass through the range, the key of this
/// boot determines the order of the ports in a block. So the next port is any one of the
/// block that was not allocated in this pass, and earlier ports reveal no more than that.
/// A block of the default range has 2,048 ports.
///
/// None of the algorithms in RFC 6056, 3.3, suits a small machine. Where ports are drawn
/// at random (1 and 2), or start at a hash of the ends (3 and 4), a table would have to
/// record which of them rest; towards one peer, 3 and 4 also count up. Random increments
/// (5) need no table, but each skips half its largest step on average: with the RFC's
/// step of 500, 65 connections would pass through the whole default range, and 66 in a
/// minute would be too many. A new order for each pass skips no port.
#[derive(Debug)]
pub(super) struct Ports {
    first: u16,
    /// How many ports there are, at least 1.
    count: u32,
    /// Counts passes through blocks, each in a different order. Modulo 8 it is the block.
    pass: u32,
    /// How many ports this pass has allocated or skipped.
    next: u32,
    /// The tick when `rests` was counted down.
    counted_at: u32,
    /// For how many more ticks the ports of each block rest.
    rests: [u8; BLOCKS],
}

impl Ports {
    pub(super) fn new(range: RangeInclusive<u16>, secret: Secret) -> Self {
        let first = *range.start();
        Self {
            first,
            count: u32::from(range.end().saturating_sub(first)).saturating_add(1),
            pass: secret.first_pass(),
            next: 0,
            counted_at: 0,
            rests: [0; BLOCKS],
        }
    }

    /// The next port that is neither in use nor resting; `None` if there is none at
    /// present.
    pub(super) fn allocate(
        &mut self,
        secret: Secret,
        now: Instant,
        is_in_use: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        self.count_down(now);
        // The rest of this pass, every other block, and this one once more: fewer
        // iterations than twice the range.
        for _ in 0..self.count.wrapping_mul(2).wrapping_add(16) {
            let block = self.block();
            let (start, len) = self.span(block);
            if self.next >= len || self.next == 0 && self.rest_of(block) > 0 {
                self.leave();
                continue;
            }
            let place = secret.place(self.pass, self.next, len, Way::There);
            self.next = self.next.wrapping_add(1);
            let port = self.port(start.saturating_add(place));
            if !is_in_use(port) {
                return Some(port);
            }
        }
        None
    }

    /// If a port is in the range, does not give it out for the time of TIME-WAIT, which
    /// began at `since`, not later than `now`.
    pub(super) fn rest(&mut self, secret: Secret, port: u16, since: Instant, now: Instant) {
        self.count_down(now);
        let Some(number) = port.checked_sub(self.first).map(u32::from) else {
            return;
        };
        let block = number.checked_div(self.block_size()).unwrap_or(0);
        let (start, len) = self.span(block);
        let number = number.wrapping_sub(start);
        let Some(of_block) = self.rests.get_mut(index(block)) else {
            return;
        };
        if number >= len {
            return;
        }
        let passed = ticks_between(ticks(since), self.counted_at);
        let rest = TIME_WAIT_TICKS.saturating_sub(passed);
        *of_block = rest.max(*of_block);
        // A port that was in use for a whole pass may still come up in this one.
        if block == self.block() && secret.place(self.pass, number, len, Way::Back) >= self.next {
            self.leave();
        }
    }

    /// Advances the clock to `now`.
    fn count_down(&mut self, now: Instant) {
        let now = ticks(now);
        let passed = ticks_between(self.counted_at, now);
        self.counted_at = now;
        for rest in &mut self.rests {
            *rest = rest.saturating_sub(passed);
        }
    }

    fn rest_of(&self, block: u32) -> u8 {
        self.rests.get(index(block)).copied().unwrap_or(0)
    }

    /// Goes on to the next block.
    const fn leave(&mut self) {
        self.pass = self.pass.wrapping_add(1);
        self.next = 0;
    }

    const fn block(&self) -> u32 {
        self.pass & 7
    }

    const fn block_size(&self) -> u32 {
        self.count.wrapping_add(7) >> 3
    }

    /// The number of the first port of a block, and the number of ports in it: none in
    /// the last blocks of a small range.
    fn span(&self, block: u32) -> (u32, u32) {
        let size = self.block_size();
        let start = block.wrapping_mul(size);
        (start, size.min(self.count.saturating_sub(start)))
    }

    fn port(&self, number: u32) -> u16 {
        // `number` is below `count`, which fits above `first`.
        self.first
            .saturating_add(u16::try_from(number).unwrap_or(u16::MAX))
    }
}

/// Modulo 2^32, which is 35 years.
fn ticks(at: Instant) -> u32 {
    let ticks = at.as_micros().wrapping_shr(TICK_SHIFT) & u64::from(u32::MAX);
    u32::try_from(ticks).unwrap_or(0)
}

fn ticks_between(earlier: u32, later: u32) -> u8 {
    u8::try_from(later.wrapping_sub(earlier)).unwrap_or(u8::MAX)
}

fn index(block: u32) -> usize {
    usize::try_from(block).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const SECRET: Secret = Secret::new(0x0706_0504_0302_0100);
    const DYNAMIC: RangeInclusive<u16> = 49_152..=65_535;

    /// The clock of resting ports is as coarse as that.
    const EARLY: u64 = 60_000;
    const LATE: u64 = 60_300;

    fn ports(range: RangeInclusive<u16>, seed: u64) -> impl FnMut() -> u16 {
        let secret = Secret::new(seed);
        let mut ports = Ports::new(range, secret);
        move || ports.allocate(secret, Instant::ZERO, |_| false).unwrap()
    }

    #[test]
    fn consecutive_seeds_give_unrelated_ports() {
        let [mut a, mut b] = [1, 2].map(|seed| ports(DYNAMIC, seed));
        let steps: [i32; 200] = core::array::from_fn(|_| i32::from(a()) - i32::from(b()));
        let most = steps.map(|step| steps.iter().filter(|&&other| other == step).count());
        assert!(most.into_iter().max() < Some(10), "{steps:?}");
    }

    /// To guess that the ports count up, or that the last difference repeats, is right as
    /// often as chance.
    #[test]
    fn the_next_port_is_not_the_last_plus_a_constant() {
        let mut next = ports(DYNAMIC, 3);
        let seen: [u16; 4_096] = core::array::from_fn(|_| next());
        let mut steps = [0_u16; 4_095];
        for (step, pair) in steps.iter_mut().zip(seen.windows(2)) {
            *step = pair[1].wrapping_sub(pair[0]);
        }
        let same = steps.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(same < 20, "{same} steps like the one before");
        for step in 1..=16 {
            let right = steps.iter().filter(|&&other| other == step).count();
            assert!(right < 20, "{right} steps of {step}");
        }
        // One bit of a port does not predict the same bit of the next one.
        for bit in 0..11 {
            let kept = seen
                .windows(2)
                .filter(|pair| (pair[0] ^ pair[1]) >> bit & 1 == 0);
            let kept = kept.count();
            assert!((1_850..2_250).contains(&kept), "bit {bit}: {kept}");
        }
    }

    #[test]
    fn the_next_pass_through_a_block_has_another_order() {
        let mut next = ports(50_000..=50_799, 3);
        let first: [u16; 800] = core::array::from_fn(|_| next());
        let second: [u16; 800] = core::array::from_fn(|_| next());
        let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
        assert!(same < 40, "{same} in the same place");
        let (mut a, mut b) = (first, second);
        a.sort_unstable();
        b.sort_unstable();
        assert_eq!(a, b);
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let mut ports = Ports::new(50_000..=50_002, SECRET);
        let now = Instant::ZERO;
        let first = ports.allocate(SECRET, now, |_| false).unwrap();
        for _ in 0..6 {
            let next = ports.allocate(SECRET, now, |port| port == first);
            assert_ne!(next.unwrap(), first);
        }
        assert_eq!(ports.allocate(SECRET, now, |_| true), None);
    }

    #[test]
    fn every_free_port_is_found_wherever_the_order_stands() {
        for count in (1..40).chain([255, 256, 257]) {
            let range = 50_000..=50_000 + (count - 1);
            let mut ports = Ports::new(range.clone(), SECRET);
            for free in range.clone().chain(range) {
                let found = ports.allocate(SECRET, Instant::ZERO, |port| port != free);
                assert_eq!(found, Some(free), "of {count}");
            }
        }
    }

    #[test]
    fn a_port_rests_for_time_wait_and_not_longer() {
        for begin in [0, 1, 262, 1_000_000_007] {
            let at = |millis| Instant::from_millis(begin + millis);
            let mut ports = Ports::new(50_000..=50_000, SECRET);
            let allocate = |ports: &mut Ports, now| ports.allocate(SECRET, now, |_| false);
            assert_eq!(allocate(&mut ports, at(0)), Some(50_000));
            ports.rest(SECRET, 50_000, at(0), at(0));
            assert_eq!(allocate(&mut ports, at(30_000)), None);
            assert_eq!(allocate(&mut ports, at(EARLY)), None);
            assert_eq!(allocate(&mut ports, at(LATE)), Some(50_000));
            // A port that does not rest is free at once.
            assert_eq!(allocate(&mut ports, at(LATE)), Some(50_000));
            // TIME-WAIT may have begun before.
            ports.rest(SECRET, 50_000, at(LATE), at(LATE + 50_000));
            assert_eq!(allocate(&mut ports, at(LATE + EARLY)), None);
            assert_eq!(allocate(&mut ports, at(LATE + LATE)), Some(50_000));
            ports.rest(SECRET, 50_000, at(0), at(200_000));
            assert_eq!(allocate(&mut ports, at(200_000)), Some(50_000));
        }
    }

    #[test]
    fn every_port_of_the_widest_range_rests() {
        let mut ports = Ports::new(1..=u16::MAX, SECRET);
        let port = ports.allocate(SECRET, Instant::ZERO, |_| false);
        let is_another = |other| Some(other) != port;
        ports.rest(SECRET, port.unwrap(), Instant::ZERO, Instant::ZERO);
        let early = Instant::from_millis(EARLY);
        assert_eq!(ports.allocate(SECRET, early, is_another), None);
        let late = Instant::from_millis(LATE);
        assert_eq!(ports.allocate(SECRET, late, is_another), port);
    }

    /// The port was allocated one pass ago, so this pass reaches it again, wherever the
    /// pass is when the port is released.
    #[test]
    fn a_port_that_was_in_use_for_a_round_rests_as_well() {
        let now = Instant::from_millis(1_000);
        let (early, late) = [EARLY, LATE]
            .map(|millis| now + Duration::from_millis(millis))
            .into();
        for count in [1, 2, 8, 9, 16, 40, 100] {
            for ahead in 0..count {
                let mut ports = Ports::new(50_000..=50_000 + (count - 1), SECRET);
                let held = ports.allocate(SECRET, now, |_| false).unwrap();
                for _ in 0..count - 1 + ahead {
                    ports.allocate(SECRET, now, |port| port == held);
                }
                ports.rest(SECRET, held, now, now);
                for _ in 0..2 * count {
                    let next = ports.allocate(SECRET, early, |_| false);
                    assert_ne!(next, Some(held), "{ahead} of {count}");
                }
                let mut next = (0..2 * count).map(|_| ports.allocate(SECRET, late, |_| false));
                assert!(next.any(|port| port == Some(held)), "{ahead} of {count}");
            }
        }
    }

    #[test]
    fn a_resting_port_of_a_small_range_blocks_no_other() {
        let mut ports = Ports::new(50_000..=50_007, SECRET);
        let now = Instant::ZERO;
        let resting = ports.allocate(SECRET, now, |_| false).unwrap();
        ports.rest(SECRET, resting, now, now);
        let mut seen = [0; 8];
        for _ in 0..70 {
            let port = ports.allocate(SECRET, now, |_| false).unwrap();
            seen[usize::from(port - 50_000)] += 1;
        }
        let expected = core::array::from_fn(|at| match at == usize::from(resting - 50_000) {
            true => 0,
            false => 10,
        });
        assert_eq!(seen, expected);
    }

    #[test]
    fn ten_thousand_ports_in_a_row_are_all_different() {
        let mut next = ports(DYNAMIC, 3);
        let mut seen = [false; 65_536];
        for _ in 0..10_000 {
            assert!(!core::mem::replace(&mut seen[usize::from(next())], true));
        }
    }

    /// 200 connections a second, each of which requires TIME-WAIT.
    #[test]
    fn the_default_range_suffices_for_200_connections_a_second() {
        let mut ports = Ports::new(DYNAMIC, SECRET);
        let mut given_at = [None; 65_536];
        for number in 0..40_000_u64 {
            let now = Instant::from_millis(5 * number);
            let port = ports.allocate(SECRET, now, |_| false);
            let port = port.unwrap_or_else(|| panic!("none at {now:?}"));
            if let Some(before) = given_at[usize::from(port)].replace(now) {
                assert!(now.since(before).as_secs() >= 60);
            }
            ports.rest(SECRET, port, now, now);
        }
    }

    #[test]
    fn the_whole_port_space_is_a_legal_range() {
        assert!(ports(1..=u16::MAX, 9)() > 0);
        assert_eq!(ports(u16::MAX..=u16::MAX, 9)(), u16::MAX);
        let mut ports = Ports::new(50_000..=50_010, SECRET);
        for other in [1, 49_999, 50_011, u16::MAX] {
            ports.rest(SECRET, other, Instant::ZERO, Instant::ZERO);
        }
        assert_eq!(ports.rests, [0; BLOCKS]);
    }
}
