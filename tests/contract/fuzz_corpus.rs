//! The model of the fuzz target (`tests/fuzz`), without a fuzzer: with its corpus, and
//! with pseudo-random bytes.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

const SEED: u64 = 1;
const INPUTS: usize = 4_000;
const LONGEST: usize = 400;

#[test]
fn every_input_of_the_corpus_keeps_the_contract() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/contract");
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).expect("the corpus is in the repository") {
        let path = entry.expect("readable").path();
        // The test output shows this if it fails.
        println!("{}", path.display());
        fuzz::run(&fs::read(path).expect("readable"));
        inputs += 1;
    }
    assert!(inputs > 20, "only {inputs} inputs");
}

/// The next number of a pseudo-random sequence (`SplitMix64`).
fn mix(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn random_inputs_keep_the_contract() {
    let mut seed = SEED;
    for number in 0..INPUTS {
        let input: Vec<u8> = (0..number % LONGEST)
            .map(|_| {
                seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                mix(seed).to_be_bytes()[0]
            })
            .collect();
        println!("input {number} of seed {SEED}");
        fuzz::run(&input);
    }
}
