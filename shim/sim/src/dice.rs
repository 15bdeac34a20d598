//! Random decisions: reproducible on every platform, without floating point.

use std::fmt;
use std::time::Duration;

/// A probability, in parts per million.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Chance(u32);

impl Chance {
    /// It never happens.
    pub const NEVER: Self = Self(0);
    /// It always happens.
    pub const ALWAYS: Self = Self(1_000_000);

    /// This many times in a million, at most a million.
    #[must_use]
    pub const fn per_million(times: u32) -> Self {
        Self(if times < 1_000_000 { times } else { 1_000_000 })
    }

    /// This many times in a hundred, at most a hundred.
    ///
    /// ```
    /// use lastbyte_sim::Chance;
    ///
    /// assert_eq!(Chance::percent(10), Chance::per_million(100_000));
    /// assert_eq!(Chance::percent(10).to_string(), "10 %");
    /// ```
    #[must_use]
    pub const fn percent(times: u32) -> Self {
        Self::per_million(times.saturating_mul(10_000))
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10_000, self.0 % 10_000) {
            (whole, 0) => write!(f, "{whole} %"),
            (whole, rest) => {
                let digits = format!("{rest:04}");
                write!(f, "{whole}.{} %", digits.trim_end_matches('0'))
            }
        }
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Steele, Lea and Flood's `SplitMix64` ("Fast splittable pseudorandom number generators",
/// 2014). It is short, and never changes: a seed must always give the same scenario.
#[derive(Debug, Clone)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// One stream of random numbers: the same seed and stream give the same numbers, and
/// different streams are independent.
#[derive(Debug, Clone)]
pub(super) struct Dice(SplitMix64);

impl Dice {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        // Seeds are small and close together: mix before adding the stream.
        let mixed = SplitMix64(seed).next();
        Self(SplitMix64(mixed ^ stream.rotate_left(32)))
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `end`; 0 if `end` is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.number()) * u128::from(end);
        (wide >> 64) as u64
    }

    /// A number from `first` to `last`, both included.
    pub(super) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first).saturating_add(1))
    }

    pub(super) fn happens(&mut self, chance: Chance) -> bool {
        chance != Chance::NEVER && self.below(1_000_000) < u64::from(chance.0)
    }

    /// One of `choices`, which is not empty.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A time up to `longest`, in whole microseconds.
    pub(super) fn time(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(micros.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of Vigna's splitmix64.c, as published for this seed.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut generator = SplitMix64(1_234_567);
        let numbers = [(); 5].map(|()| generator.next());
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn numbers_are_the_same_everywhere() {
        let mut dice = Dice::new(1, 2);
        let numbers = [dice.number(), dice.number(), dice.below(1_000)];
        assert_eq!(
            numbers,
            [5_386_185_026_051_927_082, 11_064_861_415_889_046_271, 109]
        );
    }

    #[test]
    fn events_occur_with_their_probability() {
        for chance in [0, 1, 10, 50, 99, 100] {
            let mut dice = Dice::new(7, u64::from(chance));
            let met = (0..100_000).filter(|_| dice.happens(Chance::percent(chance)));
            let per_mille = met.count() as u32 / 100;
            assert!(
                per_mille.abs_diff(chance * 10) <= 5,
                "{chance} %: {per_mille}"
            );
        }
    }

    #[test]
    fn numbers_stay_within_their_range_and_reach_both_ends() {
        let mut dice = Dice::new(3, 4);
        let mut seen = [0; 5];
        for _ in 0..1_000 {
            seen[(dice.between(10, 14) - 10) as usize] += 1;
        }
        assert!(seen.iter().all(|&times| times > 100), "{seen:?}");
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.between(9, 9), 9);
    }

    #[test]
    fn chances_are_printed_in_percent() {
        let shown = |per_million| Chance::per_million(per_million).to_string();
        assert_eq!(shown(0), "0 %");
        assert_eq!(shown(5), "0.0005 %");
        assert_eq!(shown(25_000), "2.5 %");
        assert_eq!(shown(2_000_000), "100 %");
    }
}
