//! Bad networks in virtual time.
mod dice;
mod draw;
mod ladder;
mod link;
mod oracle;
mod pcap;
mod peers;
mod profile;
mod recording;
mod rogue;
mod run;
mod scenario;
mod truth;
pub use dice::Chance;
pub use link::{Burst, Link, LinkPath, Links};
pub use oracle::{Finding, Rule};
pub use profile::{Profile, UnknownProfile};
pub use recording::{Moment, Note, RecordedFrame, Recording};
pub use run::Outcome;
pub use scenario::{Family, Forgery, Happening, Opening, PeerModel, Rogue, Scenario, Step};

use recording::{Tape, keep_frames};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static ARENA: RefCell<run::Arena> = RefCell::default();
}

/// Runs a scenario. What panics is a finding.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    let world = run::world_of(scenario);
    run_on(scenario, &world, &Tape::default())
}

fn run_on(scenario: &Scenario, world: &crate::loopback::World, tape: &Tape) -> Outcome {
    let mut arena = ARENA.take();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run::run_in(scenario, world, &mut arena, tape)
    }));
    ARENA.replace(arena);
    outcome.unwrap_or_else(|panic| run::broken(world, run::words(&*panic)))
}

/// As [`run`], and keeps what happened.
#[must_use]
pub fn record(scenario: &Scenario) -> (Outcome, Recording) {
    let world = run::world_of(scenario);
    let frames = keep_frames(&world);
    let tape = Tape::recording();
    let outcome = run_on(scenario, &world, &tape);
    let recording = Recording {
        scenario: scenario.clone(),
        frames: frames.take(),
        moments: tape.take(),
    };
    (outcome, recording)
}
