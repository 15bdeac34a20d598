//! Runs many seeds of a trial, and records the first that fails.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use lastbyte::{Instant, Ledger, State};

use crate::loopback::{Fate, Loss, World};
use crate::recording::{Moment, Note, RecordedFrame, Recording, Tape, keep_frames};
use crate::rule::{Finding, Rule};
use crate::scenario::Scenario;
use crate::words;

/// The number of seeds that a thread takes at once.
const CHUNK: u64 = 16;

/// The number of log lines that a failure shows.
const LINES: usize = 30;

thread_local! {
    /// The recordings of the trial that is run again in this thread, if there is one.
    static RECORDINGS: RefCell<Option<Vec<Kept>>> = const { RefCell::new(None) };
}

/// A recording in progress.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    scenario: Scenario,
    frames: Rc<RefCell<Vec<RecordedFrame>>>,
    tape: Tape,
    world: World,
}

/// Whether every run of this thread is recorded.
pub(super) fn keeps_recordings() -> bool {
    RECORDINGS.with_borrow(Option::is_some)
}

impl Kept {
    /// Records what happens in `world` from now on.
    pub(super) fn begin(scenario: &Scenario, world: &World) -> Self {
        let kept = Self {
            scenario: Scenario {
                plan: Vec::new(),
                happenings: Vec::new(),
                beside: Vec::new(),
                ..scenario.clone()
            },
            frames: keep_frames(world),
            tape: Tape::recording(),
            world: world.clone(),
        };
        RECORDINGS.with_borrow_mut(|all| {
            if let Some(all) = all {
                all.push(kept.clone());
            }
        });
        kept
    }

    pub(super) fn tape(&self) -> &Tape {
        &self.tape
    }

    /// What was recorded so far.
    pub(super) fn recording(&self) -> Recording {
        let mut frames = self.frames.borrow().clone();
        for cut in self.world.cuts() {
            for frame in &mut frames {
                let arrives_at = frame.fate.arrives_at();
                let is_cut = arrives_at.is_some_and(|at| frame.sent_at <= cut && cut < at);
                if is_cut {
                    frame.fate = Fate::Lost(Loss::Partition);
                }
            }
        }
        Recording {
            scenario: self.scenario.clone(),
            frames,
            moments: self.tape.moments(),
        }
    }
}

/// A seed for which a trial fails, with its recording.
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The message of the panic.
    pub message: String,
    /// The run of the application that was in progress, or the previous one; `None` if there
    /// was none.
    pub recording: Option<Recording>,
}

#[cfg(feature = "svg")]
impl Failure {
    /// The time-sequence diagram of [`recording`](Self::recording), an SVG file; empty if
    /// there is none. With the feature `svg`.
    #[must_use]
    pub fn ladder(&self) -> String {
        let recording = self.recording.as_ref();
        recording.map_or_else(String::new, Recording::ladder)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} fails: {}", self.seed, self.message)?;
        let Some(recording) = &self.recording else {
            return Ok(());
        };
        let log = recording.to_string();
        let (scenario, log) = log.split_at(recording.scenario.to_string().len());
        let lines: Vec<&str> = log.trim_start().lines().collect();
        write!(f, "\n\n{scenario}\n")?;
        let from = lines.len().saturating_sub(LINES);
        if from > 0 {
            write!(f, "\n... {from} lines before")?;
        }
        lines[from..]
            .iter()
            .try_for_each(|line| write!(f, "\n{line}"))
    }
}

/// The same as `Display`, so that `unwrap` shows it.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

/// Runs `trial` with every seed, on all cores, until one fails: that is, panics.
///
/// A trial makes a [`Scenario`] from its seed, runs an application in it with a
/// [`Harness`](super::Harness), and asserts what must hold. The lowest seed that fails is run
/// again, and every frame and every call is recorded.
///
/// A trial must depend on nothing but its seed. If it does not fail the second time, the
/// failure reports that.
///
/// # Errors
///
/// [`Failure`]: the seed, the reason, and the ladder.
///
/// ```
/// use embedded_io::Write;
/// use lastbyte::Options;
/// use lastbyte_sim::{self as sim, Harness, PeerModel, Profile, Scenario};
///
/// let trial = |seed| {
///     let scenario = Scenario {
///         peer: PeerModel::ReadsAll,
///         ..Scenario::new(Profile::Wifi, seed)
///     };
///     let visit = Harness::new(&scenario).run(|stack, server| {
///         let id = stack.connect(server, Options::default()).unwrap();
///         stack.writer(id).unwrap().write_all(b"measured: 21.5").unwrap();
///         stack.writer(id).unwrap().finish().is_ok()
///     });
///     assert!(visit.result);
///     assert_eq!(visit.findings, []);
///     // The bug: it relies on a fast network.
///     assert!(visit.elapsed.as_millis() < 80, "it took {:?}", visit.elapsed);
/// };
/// let failure = sim::explore(0..1_000, trial).unwrap_err();
/// assert!(failure.message.starts_with("it took"));
/// assert!(failure.ladder().contains("measured: 21.5"));
/// ```
pub fn explore(seeds: Range<u64>, trial: impl Fn(u64) + Sync) -> Result<(), Box<Failure>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(seeds.start);
    let first: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let failed_before = |seed: u64| {
        let first = first.lock();
        first.is_ok_and(|first| first.as_ref().is_some_and(|(lowest, _)| *lowest < seed))
    };
    let work = || {
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= seeds.end || failed_before(from) {
                return;
            }
            let until = from.saturating_add(CHUNK).min(seeds.end);
            for seed in from..until {
                if let Err(message) = attempt(&trial, seed) {
                    if let Ok(mut first) = first.lock() {
                        let is_lower = first.as_ref().is_none_or(|(lowest, _)| seed < *lowest);
                        if is_lower {
                            *first = Some((seed, message));
                        }
                    }
                    break;
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..cores {
            scope.spawn(work);
        }
        work();
    });
    match first.into_inner() {
        Ok(Some((seed, message))) => Err(Box::new(record_failure(&trial, seed, message))),
        Ok(None) | Err(_) => Ok(()),
    }
}

fn attempt(trial: &impl Fn(u64), seed: u64) -> Result<(), String> {
    let tried = catch_unwind(AssertUnwindSafe(|| trial(seed)));
    tried.map_err(|panic: Box<dyn Any + Send>| words(&*panic))
}

/// Runs a failed seed again.
fn record_failure(trial: &impl Fn(u64), seed: u64, message: String) -> Failure {
    let outer = RECORDINGS.replace(Some(Vec::new()));
    let again = attempt(trial, seed);
    let kept = RECORDINGS.replace(outer).unwrap_or_default();
    let message = match again {
        Err(again) if again == message => message,
        Err(again) => format!("{message}\n(the second time: {again})"),
        Ok(()) => format!(
            "{message}\n(not the second time: the trial depends on something besides its seed)"
        ),
    };
    let recording = kept.last().map(|kept| {
        let mut recording = kept.recording();
        recording.moments.push(end_of(kept, &message));
        recording
    });
    Failure {
        seed,
        message,
        recording,
    }
}

/// The place where a trial failed.
fn end_of(kept: &Kept, message: &str) -> Moment {
    let moments = kept.tape.moments();
    let last = moments.iter().rfind(|moment| moment.connection == 0);
    let at: Instant = kept.world.now();
    Moment {
        at,
        connection: 0,
        state: last.map_or(State::Idle, |last| last.state),
        ledger: last.map_or(Ledger::ZERO, |last| last.ledger),
        note: Note::Found(Finding {
            rule: Rule::Trial,
            at,
            detail: message.to_owned(),
        }),
    }
}
