//! Initial sequence numbers: a clock and a keyed hash of both ends (RFC 6528).

use std::cell::RefCell;

use crate::common::*;
use lastbyte::stack::Config;
use lastbyte::stack::smoltcp::wire::IpAddress;
use lastbyte::{Instant, Options, State};
use lastbyte_sim::loopback::{
    Behaviour, Flags, Flow, Handshake, OUR_V4, PEER_V4, PEER_V6, World, WorldConfig,
    our_hardware_address,
};

fn boot(world: &World, seed: u64, port: u16) -> Us<1> {
    let hardware = our_hardware_address(world.config().medium);
    let config = Config::new(hardware, seed).local_ports(port..=port);
    Us::configured(world, TX, RX, config)
}

/// Begins a connection, which is refused or aborted. Returns its initial sequence number.
#[track_caller]
fn number(us: &mut Us<1>, tap: &Tap, to: impl Into<IpAddress>, port: u16) -> u32 {
    tap.take();
    let id = us.stack.connect((to.into(), port), Options::default());
    let id = id.expect("a slot, a port and a route");
    us.stack.run_for(ms(100));
    us.stack.release(id).expect("ours");
    let syns = tap.take();
    let syn = syns.first().expect("a SYN");
    assert_eq!(syn.flags, Flags::SYN);
    syn.seq
}

/// The first number of a boot, at the time 0.
#[track_caller]
fn first_number(seed: u64, ours: u16, to: impl Into<IpAddress>, port: u16) -> u32 {
    let world = World::new(WorldConfig::default());
    let tap = Tap::new(&world);
    number(&mut boot(&world, seed, ours), &tap, to, port)
}

#[test]
fn numbers_of_the_same_ends_increase_every_4_us() {
    for config in [WorldConfig::default(), WorldConfig::ip()] {
        for to in [IpAddress::from(PEER_V4), IpAddress::from(PEER_V6)] {
            let world = World::new(config.clone());
            let tap = Tap::new(&world);
            let mut us = boot(&world, 42, 50_000);
            let quarter = |now: Instant| (now.as_micros() / 4) as u32;
            let mut before = None;
            for _ in 0..20 {
                let began = quarter(us.now());
                let number = number(&mut us, &tap, to, PORT);
                let base = number.wrapping_sub(began);
                assert_eq!(*before.get_or_insert(base), base, "{to}");
                us.stack.run_for(core::time::Duration::from_micros(123_457));
            }
        }
    }
}

/// Each of these changes half the bits of the number.
#[test]
fn numbers_of_other_ends_or_boots_differ() {
    let base = first_number(1, 50_000, PEER_V4, PORT);
    assert_eq!(base, first_number(1, 50_000, PEER_V4, PORT));
    let others = [
        first_number(2, 50_000, PEER_V4, PORT),
        first_number(1, 50_001, PEER_V4, PORT),
        first_number(1, 50_000, PEER_V6, PORT),
        first_number(1, 50_000, PEER_V4, PORT + 1),
    ];
    for (at, other) in others.into_iter().enumerate() {
        assert!((base ^ other).count_ones() > 5, "{at}: {base:x} {other:x}");
        assert!(!others[..at].contains(&other), "{at}");
    }
}

/// smoltcp's generator (`rand.rs`), reconstructed from three numbers, from which all others can
/// be computed.
fn generated(seed: u64) -> impl Iterator<Item = u32> {
    let mut state = seed;
    core::iter::from_fn(move || {
        state = state
            .wrapping_mul(0xbb2e_fcec_3c39_611d)
            .wrapping_add(0x7590_ef39);
        Some((state >> (29 - (state >> 61))) as u32)
    })
}

/// The number of the connection that a listener accepts.
#[track_caller]
fn accepted_number(us: &mut Us<1>, tap: &Tap) -> u32 {
    let id = us.stack.listen(7_000, Options::default()).expect("a slot");
    us.world
        .peer()
        .connect(100, (OUR_V4, 7_000), Behaviour::sink());
    tap.take();
    us.stack.wait_open(id).expect("it connects");
    tap.take().first().expect("a SYN and ACK").seq
}

/// Connecting does not draw from the generator whose numbers a listener reveals.
#[test]
fn no_connect_reveals_a_number_of_the_interface() {
    let world = || World::new(WorldConfig::default());
    let (idle, busy) = (world(), world());
    let (of_idle, of_busy) = (Tap::new(&idle), Tap::new(&busy));
    let [mut idle, mut busy] = [&idle, &busy].map(|world| boot(world, 42, 50_000));
    let numbers: Vec<_> = (0..20)
        .map(|port| number(&mut busy, &of_busy, PEER_V4, 1 + port))
        .collect();
    let accepted = accepted_number(&mut busy, &of_busy);
    assert_eq!(accepted, accepted_number(&mut idle, &of_idle));

    let config = Config::new(our_hardware_address(busy.world.config().medium), 42);
    assert!(
        generated(config.interface_seed())
            .take(3)
            .any(|n| n == accepted)
    );
    for seed in [42, config.interface_seed()] {
        let drawn: Vec<_> = generated(seed).take(10_000).collect();
        let is_drawn = numbers.iter().find(|number| drawn.contains(number));
        assert_eq!(is_drawn, None, "of seed {seed}");
    }
    // The seed of the stack is not the seed of the generator.
    assert!(generated(42).take(10_000).all(|n| n != accepted));
}

/// After a power cut, with the seed and the port of the previous boot: the peer still has
/// the old connection, and answers the SYN with an ACK of that one, as RFC 5961, 4.2,
/// requires, and only forgets it after a RST.
#[test]
fn the_seed_of_the_previous_boot_can_connect_to_a_peer_with_the_old_connection() {
    for to in [IpAddress::from(PEER_V4), IpAddress::from(PEER_V6)] {
        let world = World::new(WorldConfig::instant());
        let raw = world.raw();
        let mut us = boot(&world, 42, 50_000);
        us.stack
            .connect((to, PORT), Options::default())
            .expect("a port");
        let old = raw.handshake(Handshake::default(), || {
            us.stack.poll();
        });
        // No RST: the power is cut.
        core::mem::forget(us);

        let remembered = RefCell::new(Some(old));
        raw.respond(move |raw, segment| {
            let is_rst = segment.is(Flags::RST);
            let held = *remembered.borrow();
            match held {
                Some(old) if is_rst && segment.seq == old.ack => *remembered.borrow_mut() = None,
                Some(old) if segment.is(Flags::SYN) => raw.send(&old.ack()),
                None if segment.flags == Flags::SYN => {
                    let new = Flow {
                        seq: old.isn,
                        ack: segment.seq.wrapping_add(1),
                        ..old
                    };
                    raw.send(&new.segment(Flags::SYN | Flags::ACK));
                }
                Some(_) | None => {}
            }
        });
        let mut us = boot(&world, 42, 50_000);
        us.stack.run_for(ms(1));
        let again = us.stack.connect((to, PORT), Options::default());
        let again = again.expect("a port");
        us.stack.wait_open(again).expect("it connects");
        assert_eq!(us.state(again), State::Open);
        assert!(us.now() < at_secs(4), "{:?}", us.now());
    }
}
