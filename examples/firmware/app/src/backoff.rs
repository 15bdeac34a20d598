//! The pause before the application connects again.

use core::time::Duration;

/// The shortest pause. Without it, a peer that accepts and closes at once would get
/// connections as fast as the processor can open them.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

/// Doubles from the first pause to the longest. Each pause is shortened by up to a
/// quarter, by a number that differs from device to device, so that a thousand devices do
/// not connect in the same instant after a power cut.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration, seed: u64) -> Self {
        let most = most.max(SHORTEST);
        let first = first.clamp(SHORTEST, most);
        Self {
            first,
            most,
            next: first,
            random: seed,
        }
    }

    /// Called when the peer has responded: the next pause is the first one again.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.most);
        let quarter = pause.checked_div(4).unwrap_or_default();
        // 0 to 255 of 256 parts of the quarter.
        let parts = u32::from(self.random_octet());
        let less = quarter
            .checked_div(256)
            .unwrap_or_default()
            .saturating_mul(parts);
        pause.saturating_sub(less)
    }

    /// `SplitMix64`: good enough for jitter, but not a secret, because it can be run backwards.
    const fn random_octet(&mut self) -> u8 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = self.random ^ (self.random >> 30);
        let mixed = mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = mixed ^ (mixed >> 27);
        let mixed = mixed.wrapping_mul(0x94D0_49BB_1331_11EB);
        let [.., octet] = mixed.to_le_bytes();
        octet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(250);
    const MOST: Duration = Duration::from_secs(30);

    #[test]
    fn pauses_double_up_to_the_longest_minus_at_most_a_quarter() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(FIRST, MOST, seed);
            let mut whole = FIRST;
            for _ in 0..20 {
                let pause = backoff.next();
                assert!(pause <= whole && pause > whole * 3 / 4, "{pause:?}");
                whole = (whole * 2).min(MOST);
            }
            backoff.reset();
            assert!(backoff.next() <= FIRST);
        }
    }

    #[test]
    fn devices_differ() {
        let pause = |seed| {
            let mut backoff = Backoff::new(MOST, MOST, seed);
            (0..4).map(|_| backoff.next()).max()
        };
        let equal = (2..200).filter(|&seed| pause(seed) == pause(0)).count();
        assert!(equal < 20, "{equal} of 198 pause as long as another");
    }

    #[test]
    fn a_first_pause_above_the_longest_is_shortened_to_it() {
        assert!(Backoff::new(MOST, FIRST, 1).next() <= FIRST);
    }

    #[test]
    fn there_is_always_a_pause() {
        for (first, most) in [(0, 0), (0, 30_000), (250, 0)] {
            let [first, most] = [first, most].map(Duration::from_millis);
            let mut backoff = Backoff::new(first, most, 1);
            for _ in 0..3 {
                assert!(backoff.next() > SHORTEST * 3 / 4);
            }
        }
    }
}
