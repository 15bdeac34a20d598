//! The corpus has teeth: whatever rule is broken on purpose, of those the model
//! of the fuzz target (`tests/fuzz`) is to hold, some input finds it.
//!
//! `./ci.sh teeth`, or `RUSTFLAGS="--cfg lastbyte_sabotage" cargo test --release --target-dir target/sabotage
//! --test fuzz_teeth`.

#[cfg(lastbyte_sabotage)]
#[path = "fuzz/src/lib.rs"]
mod fuzz;

/// Without the flag no rule can be broken, and nothing would be shown.
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

    /// The rules about what the device has given out. Those about time, and about
    /// what still waits in the device, are the simulator's.
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

    // One test: what is broken is broken for the whole process.
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
        // What is expected to fail need not be printed each time.
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
