//! The checks of applications have teeth: if the core breaks a rule that they can observe, they
//! find it.
//!
//! `./ci.sh teeth`, or `RUSTFLAGS="--cfg lastbyte_sabotage" cargo test --release --target-dir target/sabotage
//! -p lastbyte-sim --test guest_teeth`.

#[cfg(lastbyte_sabotage)]
#[path = "common/wild.rs"]
mod wild;

/// Without the flag no rule can be broken, and the test would prove nothing.
#[cfg(not(lastbyte_sabotage))]
#[test]
fn rules_can_be_broken() {
    panic!("build with RUSTFLAGS=\"--cfg lastbyte_sabotage\", as `./ci.sh teeth` does");
}

#[cfg(lastbyte_sabotage)]
mod teeth {
    use super::wild;
    use lastbyte::sabotage::{Sabotage, set};
    use lastbyte_sim::Rule;

    /// The number of seeds that are tried before a sabotage counts as missed.
    const SEEDS: u64 = 200_000;

    /// Each sabotage, and the rules that must be found broken.
    const BROKEN: [(Sabotage, &[Rule]); 5] = [
        (Sabotage::FirstWrite, &[Rule::FirstWrite]),
        (Sabotage::Latch, &[Rule::Latched]),
        (Sabotage::CreditRst, &[Rule::Acknowledged]),
        (Sabotage::OldAck, &[Rule::FirstWrite]),
        (Sabotage::FullDevice, &[Rule::FirstWrite]),
    ];

    // A single test, because a sabotage applies to the whole process.
    #[test]
    fn sabotage_that_affects_an_application_is_found() {
        let mut missed = Vec::new();
        for (sabotage, rules) in BROKEN {
            set(sabotage);
            let found = (0..SEEDS).find_map(|seed| {
                let (_, findings) = wild::findings(seed);
                let found = findings.into_iter().find(|it| rules.contains(&it.rule));
                found.map(|finding| (seed, finding))
            });
            match found {
                Some((seed, finding)) => println!("{sabotage:?}: seed {seed}: {finding}"),
                None => missed.push(sabotage),
            }
        }
        set(Sabotage::None);
        assert_eq!(missed, [], "not found by {SEEDS} seeds");
    }
}
