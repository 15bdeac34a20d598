//! Numbers that an attacker cannot predict: initial sequence numbers and ports.

use crate::common::*;
use crate::rows;
use crate::script::Setting;
use lastbyte::stack::Config;
use lastbyte::{Cause, Options, State};
use lastbyte_sim::loopback::{Flags, RawPeer, Segment, World, WorldConfig, our_hardware_address};
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

rows!(
    row_68_isn_follows_a_clock,
    row_68_isn_of_another_connection_does_not_predict_it,
    row_68_isn_cannot_be_computed_from_the_seed,
    row_68_ports_are_not_consecutive,
);

/// Our end, made from this seed, with these local ports.
fn end(seed: u64, ports: RangeInclusive<u16>) -> (Us<1>, RawPeer) {
    let world = World::new(WorldConfig::instant());
    let config = Config::new(our_hardware_address(world.config().medium), seed);
    let us = Us::configured(&world, TX, RX, config.local_ports(ports));
    (us, world.raw())
}

/// Connects to this port and is refused. Returns the SYN.
#[track_caller]
fn refused(us: &mut Us<1>, raw: &RawPeer, on: Setting, port: u16) -> Segment {
    let to = (on.family.peer(), port);
    let id = us
        .stack
        .connect(to, Options::default())
        .expect("a slot, a port and a route");
    us.stack.run_for(ms(10));
    let syn = raw.recv();
    assert_eq!(syn.flags, Flags::SYN, "{syn}");
    let rst = Segment {
        src: syn.dst,
        dst: syn.src,
        ..Segment::new(
            port,
            syn.src_port,
            Flags::RST | Flags::ACK,
            0,
            syn.seq.wrapping_add(1),
        )
    };
    raw.send(&rst);
    us.stack.poll();
    assert_eq!(us.state(id), State::Closed(Cause::Refused));
    us.stack.release(id).expect("ours");
    syn
}

/// RFC 9293, 3.4.1, MUST-8 and SHLD-1; RFC 6528, 3: between the same two ends the initial
/// sequence number increases by one every four microseconds, so that a peer in TIME-WAIT
/// accepts it.
fn row_68_isn_follows_a_clock(on: Setting) {
    for seed in 0..4 {
        // One port, which may rest for a minute.
        let (mut us, raw) = end(seed, 50_000..=50_000);
        let first = refused(&mut us, &raw, on, PORT);
        let mut before = first;
        for pause in [secs(61), secs(70), secs(4_000), secs(20_000)] {
            us.stack.run_for(pause);
            let syn = refused(&mut us, &raw, on, PORT);
            assert_eq!(syn.src_port, before.src_port);
            let passed = syn.time.since(before.time);
            // They wrap after 4.77 hours.
            let ticks = (passed.as_micros() / 4) as u32;
            let grown = syn.seq.wrapping_sub(before.seq);
            // The number is drawn before its SYN is sent.
            let slack = u32::try_from(Duration::from_millis(20).as_micros() / 4).unwrap();
            let off = grown.wrapping_sub(ticks).cast_signed().unsigned_abs();
            assert!(off <= slack, "{grown} after {passed:?}");
            before = syn;
        }
    }
}

/// RFC 9293, MUST-9: the numbers of other connections do not predict the first number of
/// the next one.
fn row_68_isn_of_another_connection_does_not_predict_it(on: Setting) {
    let (mut us, raw) = end(1, 49_152..=65_535);
    let mut offsets = HashSet::new();
    for port in 80..112 {
        let syn = refused(&mut us, &raw, on, port);
        let ticks = (syn.time.as_micros() / 4) as u32;
        offsets.insert(syn.seq.wrapping_sub(ticks) >> 16);
    }
    // Of 32 random numbers of 16 bits, two are the same about once in 130 times.
    assert!(offsets.len() >= 31, "{} offsets of 32", offsets.len());
    let forwards: HashSet<_> = generated(1, 64).collect();
    let (mut us, raw) = end(1, 49_152..=65_535);
    for port in 80..112 {
        let syn = refused(&mut us, &raw, on, port);
        assert!(!forwards.contains(&syn.seq), "the seed gives {}", syn.seq);
    }
}

/// A guessed seed (such as a boot counter) and the public generator do not give the
/// numbers.
fn row_68_isn_cannot_be_computed_from_the_seed(on: Setting) {
    for seed in 0..64 {
        let (mut us, raw) = end(seed, 49_152..=65_535);
        let syn = refused(&mut us, &raw, on, PORT);
        let mut known = generated(seed, 8);
        assert!(known.all(|isn| isn != syn.seq), "seed {seed}: {}", syn.seq);
    }
}

/// The first outputs of smoltcp's generator (its `rand.rs`).
fn generated(seed: u64, count: usize) -> impl Iterator<Item = u32> {
    let step = |state: &u64| {
        let next = state.wrapping_mul(0xbb2e_fcec_3c39_611d);
        Some(next.wrapping_add(0x7590_ef39))
    };
    let states = std::iter::successors(Some(seed), step).skip(1).take(count);
    states.map(|state| (state >> (29 - (state >> 61))) as u32)
}

/// RFC 6056, 3.3: one port does not predict the next.
fn row_68_ports_are_not_consecutive(on: Setting) {
    let ports = |seed| -> Vec<u16> {
        let (mut us, raw) = end(seed, 49_152..=65_535);
        let syns = (0..32).map(|_| refused(&mut us, &raw, on, PORT).src_port);
        syns.collect()
    };
    let mut steps = HashSet::new();
    for seed in 0..4 {
        let ports = ports(seed);
        let mut distinct = ports.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() >= 31, "seed {seed}: {ports:?}");
        let pairs = ports.windows(2);
        steps.extend(pairs.map(|two| two[1].wrapping_sub(two[0])));
    }
    assert!(steps.len() >= 8, "only {} steps of 124", steps.len());
}
