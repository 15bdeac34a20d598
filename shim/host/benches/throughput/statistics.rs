//! Medians of interleaved runs.

use crate::{Failure, Outcome};
use std::time::Duration;

/// The results of several runs of a kind.
#[derive(Debug, Clone, Default)]
pub struct Series(Vec<Outcome>);

impl Series {
    pub fn push(&mut self, outcome: Outcome) {
        self.0.push(outcome);
    }

    /// The throughput of each run, in Gbit/s.
    fn rates(&self) -> impl Iterator<Item = f64> {
        self.0
            .iter()
            .map(|outcome| outcome.bytes as f64 * 8.0 / 1e9 / outcome.seconds)
    }

    /// The throughput in Gbit/s.
    pub fn rate(&self) -> f64 {
        median(self.rates())
    }

    /// Processor time for each byte, in nanoseconds.
    pub fn cpu(&self) -> f64 {
        median(
            self.0
                .iter()
                .map(|outcome| outcome.cpu_seconds * 1e9 / outcome.bytes as f64),
        )
    }

    /// The median of the ratios of consecutive runs, in percent: the rest of the machine
    /// affects both in the same way.
    pub fn percent_of(&self, other: &Self) -> f64 {
        median(
            self.rates()
                .zip(other.rates())
                .map(|(ours, theirs)| 100.0 * ours / theirs),
        )
    }
}

/// Runs all `kinds` in turn, `runs` times, after a round that does not count. The
/// argument of each is whether it is in the first round.
pub fn interleave<const K: usize>(
    runs: usize,
    mut kinds: [&mut dyn FnMut(bool) -> Result<Outcome, Failure>; K],
) -> Result<[Series; K], Failure> {
    let mut all = [const { Series(Vec::new()) }; K];
    for run in 0..=runs {
        for (kind, series) in kinds.iter_mut().zip(&mut all) {
            let outcome = kind(run == 0)?;
            if run > 0 {
                series.push(outcome);
            }
        }
    }
    Ok(all)
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The percentile `percent` of `times`, in microseconds.
pub fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted
        .get(at)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}
