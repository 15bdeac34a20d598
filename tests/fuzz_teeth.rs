//! The corpus has teeth: if a rule that the model of the fuzz target (`tests/fuzz`)
//! checks is broken on purpose, some input finds it.
//!
//! `./ci.sh teeth`, or `RUSTFLAGS="--cfg lastbyte_sabotage" cargo test --release --target-dir target/sabotage
//! --test fuzz_teeth`.

#[cfg(lastbyte_sabotage)]
#[path = "fuzz/src/lib.rs"]
mod fuzz;

/// Without the flag no rule can be broken, and the test would prove nothing.
#[cfg(not(lastbyte_sabotage))]
#[test]
fn rules_can_be_broken() {
    panic!("build with RUSTFLAGS=\"--cfg lastbyte_sabotage\", as `./ci.sh teeth` does");
}

#[cfg(lastbyte_sabotage)]
mod teeth {
    use super::fuzz;
    use lastbyte::sabotage::{Sabotage, set};
    use std::fs;
    use std::panic::{catch_unwind, set_hook, take_hook};
    use std::path::Path;

    /// The rules about what the device has delivered. The simulator checks those about
    /// time, and about what still waits in the device.
    const RULES: [Sabotage; 11] = [
        Sabotage::RstRule,
        Sabotage::SndNxtRule,
        Sabotage::Latch,
        Sabotage::CreditRst,
        Sabotage::BareSyn,
        Sabotage::Fragments,
        Sabotage::OldAck,
        Sabotage::FullDevice,
        Sabotage::Damaged,
        Sabotage::GroupSyn,
        Sabotage::RstWithText,
    ];

    // A single test, because a sabotage applies to the whole process.
    #[test]
    fn the_corpus_finds_every_sabotage() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/contract");
        let inputs: Vec<Vec<u8>> = fs::read_dir(corpus)
            .expect("the corpus is in the repository")
            .map(|entry| fs::read(entry.expect("readable").path()).expect("readable"))
            .collect();
        let findings = || {
            inputs
                .iter()
                .filter(|input| catch_unwind(|| fuzz::run(input)).is_err())
                .count()
        };
        // Expected failures need not be printed.
        let print = take_hook();
        set_hook(Box::new(|_| ()));
        let found = RULES.map(|rule| {
            set(rule);
            (rule, findings())
        });
        set(Sabotage::None);
        let without = findings();
        set_hook(print);
        for (rule, count) in found {
            println!("{rule:?}: found by {count} of {} inputs", inputs.len());
        }
        assert_eq!(without, 0, "without any sabotage");
        assert!(found.iter().all(|(_, count)| *count > 0), "{found:?}");
    }
}
