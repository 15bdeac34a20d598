//! Long random sequences, on pipes of several sizes.

use crate::model::{Call, Pair};
use lastbyte::pipe::Pipe;
use proptest::prelude::*;

/// Mostly bytes, some ends.
fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        12 => (0..=9_usize).prop_map(Call::Write),
        6 => (0..=9_usize).prop_map(Call::Message),
        16 => (0..=9_usize).prop_map(Call::Read),
        1 => Just(Call::Finish),
        1 => Just(Call::Abort),
        1 => Just(Call::DropWriter),
        1 => Just(Call::Close),
        1 => Just(Call::DropReader),
        2 => Just(Call::Split),
    ]
}

fn run<const N: usize>(calls: &[Call]) {
    let pipe = Pipe::<N>::new();
    let mut pair = Pair::new(&pipe);
    for &call in calls {
        pair.call(call);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: crate::size("PIPE_CASES", 5_000, 10),
        // Miri has no directory.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_sequences_get_the_promised_answers(
        size in 0..4_u8,
        calls in prop::collection::vec(call(), 1..40),
    ) {
        match size {
            0 => run::<1>(&calls),
            1 => run::<3>(&calls),
            2 => run::<7>(&calls),
            _ => run::<16>(&calls),
        }
    }
}
