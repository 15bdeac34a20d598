//! Every sequence of calls of both halves, in every order.

use crate::model::{Call, Pair};
use lastbyte::pipe::Pipe;

const CALLS: [Call; 12] = [
    Call::Write(1),
    Call::Write(3),
    Call::Message(2),
    Call::Message(3),
    Call::Finish,
    Call::Abort,
    Call::DropWriter,
    Call::Read(1),
    Call::Read(3),
    Call::Close,
    Call::DropReader,
    Call::Split,
];

/// Makes these calls on a pipe of two bytes; a failure names them. False if one of them could
/// not be made: its half is dropped.
fn run(calls: &[Call]) -> bool {
    struct Named<'c>(&'c [Call]);
    impl Drop for Named<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("after {:?}", self.0);
            }
        }
    }
    let _named = Named(calls);
    let pipe = Pipe::<2>::new();
    let mut pair = Pair::new(&pipe);
    calls.iter().all(|&call| pair.call(call))
}

/// Runs every sequence that begins with `calls`, up to `depth`, and returns how many.
fn run_all(calls: &mut Vec<Call>, depth: usize) -> u64 {
    let mut runs = 0;
    for call in CALLS {
        calls.push(call);
        if run(calls) {
            runs += 1;
            if calls.len() < depth {
                runs += run_all(calls, depth);
            }
        }
        calls.pop();
    }
    runs
}

#[test]
fn every_sequence_of_calls_gets_the_promised_answers() {
    let depth = crate::size("PIPE_DEPTH", 5, 2);
    let runs = run_all(&mut Vec::new(), depth as usize);
    println!("{runs} sequences of up to {depth} calls");
    assert!(runs > u64::from(depth));
}

#[test]
fn a_call_of_a_dropped_half_is_not_made() {
    assert!(run(&[Call::DropWriter, Call::Read(1)]));
    assert!(!run(&[Call::DropWriter, Call::Write(1)]));
}
