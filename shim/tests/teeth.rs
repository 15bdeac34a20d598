//! The simulator has teeth: whatever rule of the core is broken on purpose,
//! some seed finds it, and nothing is found while all rules hold.
//!
//! `cargo test --release -p lastbyte-shim --features sabotage --test teeth`

use std::ops::Range;
use std::thread;

use lastbyte::sabotage::{Sabotage, set};
use lastbyte_shim::sim::{Coverage, Failing, Profile, Sweep};

/// How many seeds are tried before a sabotage counts as missed.
const SEEDS: u64 = 100_000;

/// The first of `seeds` with a finding: a thread finishes what it has taken,
/// and what is taken is taken in order.
fn first_failing(seeds: Range<u64>) -> Option<Failing> {
    let sweep = Sweep {
        profiles: Profile::ALL.to_vec(),
        seeds,
        jobs: thread::available_parallelism().map_or(1, usize::from),
        patience: 1,
    };
    sweep.run(|_| ()).failing.into_iter().next()
}

// One test: what is broken is broken for the whole process.
#[test]
fn every_sabotage_is_found() {
    let mut missed = Vec::new();
    let mut end = 0;
    println!(
        "{:<14} {:>6} {:<10} found by",
        "sabotage", "seed", "profile"
    );
    for sabotage in Sabotage::ALL {
        set(sabotage);
        let name = format!("{sabotage:?}");
        let Some(Failing {
            profile,
            seed,
            finding,
        }) = first_failing(0..SEEDS)
        else {
            println!("{name:<14} missed");
            missed.push(sabotage);
            continue;
        };
        println!("{name:<14} {seed:>6} {:<10} {finding}", profile.to_string());
        end = end.max(seed + 1);
    }
    assert_eq!(missed, [], "not found by {SEEDS} seeds");

    set(Sabotage::None);
    Coverage::reset();
    assert_eq!(first_failing(0..end), None, "without any sabotage");
    let coverage = Coverage::now();
    assert_eq!(coverage.unexpected(), [], "said to be out of reach");
}
