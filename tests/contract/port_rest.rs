//! Released local ports: they rest if the peer may remember them, and only then.

use crate::common::*;
use lastbyte::stack::{Config, ConnectionId, OpenError};
use lastbyte::{Cause, Instant, Options, State};
use lastbyte_sim::loopback::{
    Flags, Flow, Handshake, PEER_V4, RawPeer, Segment, World, WorldConfig, our_hardware_address,
};
use std::ops::RangeInclusive;

/// TIME-WAIT in the common stacks.
const TIME_WAIT: core::time::Duration = secs(60);

fn with_ports<const N: usize>(ports: RangeInclusive<u16>) -> (Us<N>, RawPeer) {
    seeded(42, ports)
}

/// The seed decides the first port of the sequence.
fn seeded<const N: usize>(seed: u64, ports: RangeInclusive<u16>) -> (Us<N>, RawPeer) {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let config = Config::new(our_hardware_address(world.config().medium), seed);
    let us = Us::configured(&world, TX, RX, config.local_ports(ports));
    (us, raw)
}

/// Begins to connect. Returns the SYN.
#[track_caller]
fn call<const N: usize>(
    us: &mut Us<N>,
    raw: &RawPeer,
) -> Result<(ConnectionId, Segment), OpenError> {
    while raw.try_recv().is_some() {}
    let id = us.stack.connect((PEER_V4, PORT), Options::default())?;
    // Longer than the pause between two requests for the neighbour.
    us.stack.run_for(ms(1_010));
    let syns = core::iter::from_fn(|| raw.try_recv());
    let syn = syns
        .into_iter()
        .find(|s| s.flags == Flags::SYN)
        .expect("a SYN");
    Ok((id, syn))
}

#[track_caller]
fn refuse<const N: usize>(us: &mut Us<N>, raw: &RawPeer, id: ConnectionId, syn: &Segment) {
    let (from, to) = (syn.dst_port, syn.src_port);
    let ack = syn.seq.wrapping_add(1);
    raw.send(&Segment::new(from, to, Flags::RST | Flags::ACK, 0, ack));
    us.stack.poll();
    assert_eq!(us.state(id), State::Closed(Cause::Refused));
    us.stack.release(id).expect("ours");
}

/// Connects and is accepted.
#[track_caller]
fn open<const N: usize>(us: &mut Us<N>, raw: &RawPeer) -> (ConnectionId, Flow) {
    while raw.try_recv().is_some() {}
    let id = us.stack.connect((PEER_V4, PORT), Options::default());
    let id = id.expect("a slot and a port");
    let flow = raw.handshake(Handshake::default(), || {
        us.stack.run_for(ms(200));
    });
    assert_eq!(us.state(id), State::Open);
    (id, flow)
}

/// We close first, so TIME-WAIT is ours.
#[track_caller]
fn finish<const N: usize>(us: &mut Us<N>, raw: &RawPeer, id: ConnectionId, mut flow: Flow) {
    us.writer(id).begin_finish();
    us.stack.run_for(ms(1_010));
    flow.take(1);
    raw.send(&flow.fin());
    us.stack.run_for(ms(20));
    assert_eq!(us.state(id), State::Closed(Cause::Finished));
    us.stack.release(id).expect("ours");
    while raw.try_recv().is_some() {}
}

/// So the port is free at once.
#[track_caller]
fn assert_free<const N: usize>(us: &mut Us<N>, raw: &RawPeer, why: &str) {
    let again = call(us, raw).map(|(_, syn)| syn.src_port);
    assert_eq!(again, Ok(50_000), "{why}");
}

#[test]
fn a_refused_attempt_leaves_its_port_free() {
    let (mut us, raw) = with_ports::<1>(50_000..=50_000);
    for _ in 0..100 {
        let (id, syn) = call(&mut us, &raw).expect("no TIME-WAIT is needed");
        refuse(&mut us, &raw, id, &syn);
    }
    // Many times as many as there are ports.
    let (mut us, raw) = with_ports::<1>(50_000..=50_015);
    for attempt in 0..64 {
        let (id, syn) = call(&mut us, &raw).unwrap_or_else(|_| panic!("attempt {attempt}"));
        refuse(&mut us, &raw, id, &syn);
    }
}

#[test]
fn an_unreachable_or_aborted_attempt_leaves_its_port_free() {
    let (mut us, raw) = with_ports::<1>(50_000..=50_000);
    let (id, syn) = call(&mut us, &raw).expect("the port");
    raw.send_unreachable(&syn, 3);
    us.stack.poll();
    assert_eq!(us.state(id), State::Closed(Cause::Unreachable));
    us.stack.release(id).expect("ours");
    assert_free(&mut us, &raw, "unreachable");
}

#[test]
fn a_connection_that_the_peer_reset_leaves_its_port_free() {
    let (mut us, raw) = with_ports::<1>(50_000..=50_000);
    let (id, flow) = open(&mut us, &raw);
    raw.send(&flow.rst());
    us.stack.poll();
    assert_eq!(us.state(id), State::Closed(Cause::PeerReset));
    us.stack.release(id).expect("ours");
    assert_free(&mut us, &raw, "reset");
}

#[test]
fn a_connection_that_the_peer_closed_first_leaves_its_port_free() {
    let (mut us, raw) = with_ports::<1>(50_000..=50_000);
    let (id, mut flow) = open(&mut us, &raw);
    raw.send(&flow.fin());
    us.stack.poll();
    us.writer(id).begin_finish();
    us.stack.poll();
    flow.take(1);
    raw.send(&flow.ack());
    us.stack.poll();
    assert_eq!(us.state(id), State::Closed(Cause::PeerFinished));
    us.stack.release(id).expect("ours");
    assert_free(&mut us, &raw, "the peer has TIME-WAIT");
}

#[test]
fn a_port_rests_if_time_wait_is_ours() {
    let (mut us, raw) = with_ports::<1>(50_000..=50_000);
    let (id, flow) = open(&mut us, &raw);
    finish(&mut us, &raw, id, flow);
    us.stack.run_for(TIME_WAIT - secs(1));
    assert_eq!(call(&mut us, &raw).map(|_| ()), Err(OpenError::NoPort));
    us.stack.run_for(secs(2));
    assert_free(&mut us, &raw, "it has rested");
}

/// A port that was held for long rests like any other, however far the sequence of ports
/// has come meanwhile.
#[test]
fn a_port_that_was_held_for_long_rests_as_well() {
    for (seed, attempts) in (0..6).flat_map(|seed| (0..20).map(move |attempts| (seed, attempts))) {
        let (mut us, raw) = seeded::<2>(seed, 50_000..=50_015);
        let (held, flow) = open(&mut us, &raw);
        let port = flow.remote.port;
        us.stack.run_for(secs(1_000));
        while raw.try_recv().is_some() {}
        for _ in 0..attempts {
            let (id, syn) = call(&mut us, &raw).expect("a port");
            assert_ne!(syn.src_port, port, "it is in use");
            refuse(&mut us, &raw, id, &syn);
            us.stack.run_for(secs(1_000));
        }
        finish(&mut us, &raw, held, flow);
        // smoltcp's own TIME-WAIT lasts ten seconds.
        us.stack.run_for(secs(12));
        for _ in 0..16 {
            let Ok((id, syn)) = call(&mut us, &raw) else {
                break;
            };
            assert_ne!(syn.src_port, port, "seed {seed}, after {attempts}");
            refuse(&mut us, &raw, id, &syn);
        }
    }
}

/// Whatever happens, in any order: no port is allocated within a minute after a
/// connection that required TIME-WAIT, or while it is held.
#[test]
fn no_port_is_allocated_while_it_rests_or_is_held() {
    let mut refused = 0;
    for seed in 0..20_u32 {
        let (mut us, raw) = seeded::<4>(seed.into(), 50_000..=50_015);
        let mut rests: Vec<(u16, Instant)> = Vec::new();
        let mut held: Vec<(ConnectionId, Flow)> = Vec::new();
        let mut random = seed;
        for _ in 0..120 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match (random >> 24) % 4 {
                0 if held.len() < 3 => {
                    let id = us.stack.connect((PEER_V4, PORT), Options::default());
                    let Ok(id) = id else {
                        us.stack.run_for(secs(7));
                        refused += 1;
                        continue;
                    };
                    while raw.try_recv().is_some() {}
                    let flow = raw.handshake(Handshake::default(), || {
                        us.stack.run_for(ms(200));
                    });
                    let (port, now) = (flow.remote.port, us.now());
                    assert!(held.iter().all(|(_, other)| other.remote.port != port));
                    let is_early =
                        |(other, at): &(u16, Instant)| *other == port && now < *at + TIME_WAIT;
                    assert!(!rests.iter().any(is_early), "seed {seed}: {port}");
                    held.push((id, flow));
                }
                1 if !held.is_empty() => {
                    let (id, flow) = held.remove(0);
                    rests.push((flow.remote.port, us.now()));
                    finish(&mut us, &raw, id, flow);
                }
                2 => us.stack.run_for(secs(u64::from(random >> 8) % 30)),
                _ => {
                    if let Ok((id, syn)) = call(&mut us, &raw) {
                        refuse(&mut us, &raw, id, &syn);
                    }
                }
            }
        }
    }
    assert!(refused < 600, "there are usually ports: {refused}");
}
