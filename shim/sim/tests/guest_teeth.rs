//! The judge of applications has teeth: what it can see is found where the core breaks it.
//!
//! `./ci.sh teeth`, or `RUSTFLAGS="--cfg lastbyte_sabotage" cargo test --release --target-dir target/sabotage
//! -p lastbyte-sim --test guest_teeth`.

#[cfg(lastbyte_sabotage)]
#[path = "common/wild.rs"]
mod wild;

/// Without the flag no rule can be broken, and nothing would be shown.
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

    /// How many seeds are tried before a sabotage counts as missed.
    const SEEDS: u64 = 200_000;

    /// What is broken, and the rules that must be found broken.
    const BROKEN: [(Sabotage, &[Rule]); 5] = [
        (Sabotage::FirstWrite, &[Rule::FirstWrite]),
        (Sabotage::Latch, &[Rule::Latched]),
        (Sabotage::CreditRst, &[Rule::Acknowledged]),
        (Sabotage::OldAck, &[Rule::FirstWrite]),
        (Sabotage::FullDevice, &[Rule::FirstWrite]),
    ];

    // One test: what is broken is broken for the whole process.
    #[test]
    fn what_an_application_would_suffer_is_found() {
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
