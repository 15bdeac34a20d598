//! The simulator has teeth: whatever rule of the core is broken on purpose, a
//! run soon finds it.
//!
//! `cargo test --release -p lastbyte-shim --features sabotage --test teeth`

use lastbyte::sabotage::{Sabotage, set};
use lastbyte_shim::sim::{Profile, Scenario, run};

/// The last seed that is tried before a sabotage counts as missed.
const LAST_SEED: u64 = 100_000;

fn profile_of(seed: u64) -> Profile {
    let profiles = Profile::ALL.len() as u64;
    Profile::ALL[(seed % profiles) as usize]
}

/// What a run finds first; the name of a rule, and the rest of it.
fn first_finding(seed: u64) -> Option<(String, String)> {
    let outcome = run(&Scenario::new(profile_of(seed), seed));
    let finding = outcome.findings.first()?;
    Some((format!("{:?}", finding.rule), finding.to_string()))
}

#[test]
fn every_sabotage_is_found() {
    let mut missed = Vec::new();
    let mut highest = 0;
    println!(
        "{:<14} {:>6} {:<10} found by",
        "sabotage", "seed", "profile"
    );
    for sabotage in Sabotage::ALL {
        set(sabotage);
        let name = format!("{sabotage:?}");
        let found = (0..=LAST_SEED).find_map(|seed| Some((seed, first_finding(seed)?)));
        match found {
            Some((seed, (rule, finding))) => {
                let profile = profile_of(seed);
                println!("{name:<14} {seed:>6} {profile:<10} {rule}\n    {finding}");
                highest = highest.max(seed);
            }
            None => {
                println!("{name:<14} missed");
                missed.push(name);
            }
        }
    }
    set(Sabotage::None);
    for seed in 0..=highest {
        let finding = first_finding(seed);
        assert_eq!(finding, None, "seed {seed} without any sabotage");
    }
    assert!(missed.is_empty(), "missed: {missed:?}");
}
