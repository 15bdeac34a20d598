//! Runs many seeds, on every core.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lastbyte::Cause;

use super::end::Over;
use super::profile::Profile;
use super::rule::Finding;
use super::run::Outcome;
use super::scenario::Scenario;

/// The number of seeds that a thread takes at once.
const CHUNK: u64 = 32;

/// The maximum number of threads of a sweep. More would only wait for each other.
const MOST_THREADS: usize = 1024;

/// The seeds to run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// The profiles; the seeds belong to them in turn. Not empty.
    pub profiles: Vec<Profile>,
    /// The seeds.
    pub seeds: Range<u64>,
    /// The layer of the library that is tested.
    pub over: Over,
    /// The number of threads: at least one, at most 1,024, and no more than there is work
    /// for.
    pub jobs: usize,
    /// The number of seeds with findings after which to stop.
    pub patience: usize,
}

/// A seed that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The profile.
    pub profile: Profile,
    /// The seed.
    pub seed: u64,
    /// The layer of the library that was tested.
    pub over: Over,
    /// The first finding.
    pub finding: Finding,
}

impl Failing {
    /// The command that replays it.
    #[must_use]
    pub fn replay(&self) -> String {
        format!(
            "lastbyte sim{} --profile {} --seed {}",
            self.over.option(),
            self.profile,
            self.seed
        )
    }
}

/// The outcome of a sweep.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The number of seeds run.
    pub seeds: u64,
    /// The seeds that broke a rule, in order.
    pub failing: Vec<Failing>,
    /// How the last connection of each run ended, counted; `None`: it was never opened.
    pub causes: BTreeMap<&'static str, u64>,
    /// Virtual time, of all runs together.
    pub virtual_time: Duration,
    /// Frames, of all runs together.
    pub frames: u64,
    /// The number of threads.
    pub threads: usize,
    /// Real time.
    pub took: Duration,
    /// The hashes of all runs, combined: the same for the same seeds, whatever
    /// the number of threads.
    pub hash: u64,
}

impl Summary {
    /// Seeds in a second of real time.
    #[must_use]
    pub fn seeds_per_second(&self) -> u64 {
        let micros = self.took.as_micros().max(1);
        u64::try_from(u128::from(self.seeds) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }

    /// Seconds of virtual time in one of real time.
    #[must_use]
    pub fn speed_up(&self) -> u64 {
        let micros = self.took.as_micros().max(1);
        u64::try_from(self.virtual_time.as_micros() / micros).unwrap_or(u64::MAX)
    }

    fn add(&mut self, scenario: &Scenario, outcome: Outcome) {
        self.seeds += 1;
        self.virtual_time += outcome.elapsed;
        self.frames += outcome.frames;
        // Addition, so that the order does not matter.
        self.hash = self.hash.wrapping_add(outcome.hash);
        let cause = outcome.cause.map_or("none", Cause::name);
        *self.causes.entry(cause).or_default() += 1;
        if let Some(finding) = outcome.findings.into_iter().next() {
            self.failing.push(Failing {
                profile: scenario.profile,
                seed: scenario.seed,
                over: scenario.over,
                finding,
            });
        }
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.virtual_time += other.virtual_time;
        self.frames += other.frames;
        self.hash = self.hash.wrapping_add(other.hash);
        self.failing.extend(other.failing);
        for (cause, times) in other.causes {
            *self.causes.entry(cause).or_default() += times;
        }
    }
}

impl Sweep {
    /// The scenario of a seed.
    #[must_use]
    pub fn scenario(&self, seed: u64) -> Scenario {
        let turn = seed % self.profiles.len().max(1) as u64;
        let profile = self.profiles.get(turn as usize);
        Scenario {
            over: self.over,
            ..Scenario::new(profile.copied().unwrap_or(Profile::Lan), seed)
        }
    }

    fn most_threads(&self) -> usize {
        let seeds = self.seeds.end.saturating_sub(self.seeds.start);
        let chunks = usize::try_from(seeds.div_ceil(CHUNK)).unwrap_or(usize::MAX);
        self.jobs.min(MOST_THREADS).min(chunks)
    }

    /// Runs all seeds, or stops after enough seeds with findings. `progress` is called
    /// from time to time, by any thread, with the number of seeds that are done.
    pub fn run(&self, progress: impl Fn(u64) + Sync) -> Summary {
        let started = Instant::now();
        let next = AtomicU64::new(self.seeds.start);
        let (done, failing) = (AtomicU64::new(0), AtomicUsize::new(0));
        let is_over = AtomicBool::new(false);
        let total = Mutex::new(Summary::default());
        let work = || {
            let mut own = Summary::default();
            while !is_over.load(Ordering::Relaxed) {
                // Saturates at the end, which may be the end of u64.
                let after = |first: u64| first.saturating_add(CHUNK).min(self.seeds.end);
                let taken = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
                    (first < self.seeds.end).then(|| after(first))
                });
                let Ok(first) = taken else { break };
                let last = after(first);
                let before = own.failing.len();
                for seed in first..last {
                    let scenario = self.scenario(seed);
                    own.add(&scenario, super::run(&scenario));
                }
                let found = own.failing.len() - before;
                if failing.fetch_add(found, Ordering::Relaxed) + found >= self.patience {
                    is_over.store(true, Ordering::Relaxed);
                }
                let count = last - first;
                progress(done.fetch_add(count, Ordering::Relaxed) + count);
            }
            if let Ok(mut total) = total.lock() {
                total.merge(own);
            }
        };
        let mut threads = 1;
        thread::scope(|scope| {
            while threads < self.most_threads() {
                // If the system has no more threads, the existing ones do the work.
                if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
                threads += 1;
            }
            work();
        });
        let mut summary = total.into_inner().unwrap_or_default();
        summary.threads = threads;
        summary.failing.sort_by_key(|failing| failing.seed);
        summary.took = started.elapsed();
        summary
    }
}
