//! The cost of single calls in instructions: lastbyte compared with the bare smoltcp
//! calls that do the same work, over a wire in the process.
//!
//! `./ci.sh instructions` counts, and compares with `baseline.tsv`. It needs valgrind and
//! `gungraun-runner` of the same version as `gungraun`. The counts do not vary between
//! runs; they are for one compiler and one kind of processor.

#![allow(
    unused_qualifications,
    reason = "the benchmark macros repeat the names in a module of their own"
)]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "other benchmarks need the rest")]
mod common;
mod ends;

use ends::{Bare, Ours, State};
use gungraun::prelude::*;
use std::hint::black_box;

const CONTENT: [u8; 1460] = [0x5a; 1460];

// One write: received frames are processed, `len` bytes are accepted, and what may be
// sent is sent.
#[library_benchmark]
#[bench::sends_16(args = (State::Quiet), consts = (16), setup = Ours::<1>::new)]
#[bench::sends_64(args = (State::Quiet), consts = (64), setup = Ours::<1>::new)]
#[bench::sends_1460(args = (State::Quiet), consts = (1460), setup = Ours::<1>::new)]
#[bench::queues_16(args = (State::InFlight), consts = (16), setup = Ours::<1>::new)]
#[bench::queues_64(args = (State::InFlight), consts = (64), setup = Ours::<1>::new)]
fn write_ours<const LEN: usize>(mut end: Box<Ours<1>>) -> Box<Ours<1>> {
    assert_eq!(end.try_write(black_box(&CONTENT[..LEN])), LEN);
    end
}

#[library_benchmark]
#[bench::sends_16(args = (State::Quiet), consts = (16), setup = Bare::new_one)]
#[bench::sends_64(args = (State::Quiet), consts = (64), setup = Bare::new_one)]
#[bench::sends_1460(args = (State::Quiet), consts = (1460), setup = Bare::new_one)]
#[bench::queues_16(args = (State::InFlight), consts = (16), setup = Bare::new_one)]
#[bench::queues_64(args = (State::InFlight), consts = (64), setup = Bare::new_one)]
fn write_bare<const LEN: usize>(mut end: Box<Bare>) -> Box<Bare> {
    assert_eq!(end.write(black_box(&CONTENT[..LEN])), LEN);
    end.poll();
    end
}

// One iteration of the loop: received frames are processed, timers run, what is due is
// sent, and the time of the next iteration is determined.
#[library_benchmark]
#[bench::idle(args = (State::Quiet), setup = Ours::<1>::new)]
#[bench::with_an_ack(args = (State::Acknowledged), setup = Ours::<1>::new)]
fn poll_ours(mut end: Box<Ours<1>>) -> Box<Ours<1>> {
    black_box(end.poll());
    end
}

#[library_benchmark]
#[bench::idle(args = (State::Quiet), setup = Bare::new_one)]
#[bench::with_an_ack(args = (State::Acknowledged), setup = Bare::new_one)]
fn poll_bare(mut end: Box<Bare>) -> Box<Bare> {
    end.poll();
    black_box(end.poll_at());
    end
}

// A full frame is sent, and the acknowledgement of the previous one is processed, on one
// connection of `N`. The others are idle.
#[library_benchmark]
#[bench::of_1(args = (State::Acknowledged), setup = Ours::<1>::new)]
fn frame_ours(end: Box<Ours<1>>) -> Box<Ours<1>> {
    frame(end)
}

#[library_benchmark]
#[bench::of_64(args = (State::Acknowledged), setup = Ours::<64>::new)]
fn frame_ours_beside(end: Box<Ours<64>>) -> Box<Ours<64>> {
    frame(end)
}

#[library_benchmark]
#[bench::of_256(args = (State::Acknowledged), setup = Ours::<256>::new)]
fn frame_ours_beside_many(end: Box<Ours<256>>) -> Box<Ours<256>> {
    frame(end)
}

#[inline(always)]
fn frame<const N: usize>(mut end: Box<Ours<N>>) -> Box<Ours<N>> {
    black_box(end.poll());
    assert_eq!(end.try_write(black_box(&CONTENT)), CONTENT.len());
    end
}

#[library_benchmark]
#[bench::of_1(args = (1, State::Acknowledged), setup = Bare::new)]
#[bench::of_64(args = (64, State::Acknowledged), setup = Bare::new)]
#[bench::of_256(args = (256, State::Acknowledged), setup = Bare::new)]
fn frame_bare(mut end: Box<Bare>) -> Box<Bare> {
    end.poll();
    black_box(end.poll_at());
    assert_eq!(end.write(black_box(&CONTENT)), CONTENT.len());
    end.poll();
    end
}

library_benchmark_group!(
    name = calls,
    benchmarks = [
        write_ours,
        write_bare,
        poll_ours,
        poll_bare,
        frame_ours,
        frame_ours_beside,
        frame_ours_beside_many,
        frame_bare
    ]
);
main!(library_benchmark_groups = calls);
