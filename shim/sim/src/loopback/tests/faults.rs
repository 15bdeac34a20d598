//! The switches of the wire, the order of events, and hopeless runs.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use lastbyte::{Clock, Instant};
use smoltcp::socket::tcp;

use super::{Bare, pattern};
use crate::loopback::{
    Behaviour, Counters, Direction, Drops, PEER_V4, Segment, World, WorldConfig,
};

fn connected(world: &World) -> Bare {
    world.peer().listen(80, Behaviour::sink());
    let mut bare = Bare::new(world);
    bare.connect((PEER_V4, 80));
    bare.run_until_state(tcp::State::Established);
    bare
}

#[test]
fn a_cut_cable_drops_everything_until_it_is_mended() {
    let world = World::new(WorldConfig::default());
    let mut bare = connected(&world);
    world.set_drops(Direction::ToPeer, Drops::All);
    bare.write(b"lost");
    bare.run_for(Duration::from_secs(20));
    assert_eq!(world.peer().taken_in(80), 0);
    assert!(world.counters(Direction::ToPeer).dropped >= 3);
    world.set_drops(Direction::ToPeer, Drops::Nothing);
    bare.run_until(|bare| bare.socket().send_queue() == 0);
    assert_eq!(world.peer().received(80), b"lost");
}

#[test]
fn exactly_the_next_frames_are_dropped() {
    let world = World::new(WorldConfig::default());
    let mut bare = connected(&world);
    let before = world.counters(Direction::ToPeer);
    world.set_drops(Direction::ToPeer, Drops::Next(1));
    bare.write(b"twice");
    bare.run_until(|bare| bare.socket().send_queue() == 0);
    let after = world.counters(Direction::ToPeer);
    let counted = (after.frames - before.frames, after.dropped - before.dropped);
    // The ACK of the handshake was sent before; data was sent twice.
    assert_eq!(counted, (2, 1));
}

#[test]
fn a_predicate_selects_the_dropped_frames() {
    let world = World::new(WorldConfig::default());
    let medium = world.config().medium;
    // Every segment with data is lost at first.
    let mut seen = Vec::new();
    let drops = Drops::matching(move |frame| {
        let segment = Segment::parse(frame, medium, Instant::ZERO);
        let Some(segment) = segment.filter(|segment| !segment.payload.is_empty()) else {
            return false;
        };
        let first = !seen.contains(&segment.seq);
        seen.push(segment.seq);
        first
    });
    world.set_drops(Direction::ToPeer, drops);
    let mut bare = connected(&world);
    let bytes = pattern(20_000);
    assert_eq!(bare.write(&bytes), bytes.len());
    bare.run_until(|bare| bare.socket().send_queue() == 0);
    assert!(world.peer().received(80) == bytes);
    assert!(world.counters(Direction::ToPeer).dropped >= 14);
    let Counters { dropped, .. } = world.counters(Direction::ToUs);
    assert_eq!(dropped, 0);
}

#[test]
fn an_observer_may_schedule_what_happens_next() {
    let world = World::new(WorldConfig::default());
    // The peer resets as soon as the first data is on the wire.
    world.observe(|world, event| {
        if event.segment().is_some_and(|s| !s.payload.is_empty()) {
            world.at(world.now(), |world| world.peer().abort(80));
        }
    });
    let mut bare = connected(&world);
    bare.write(b"doomed");
    bare.run_until_state(tcp::State::Closed);
    assert_eq!(bare.socket().send_queue(), 6);
    assert_eq!(world.peer().taken_in(80), 0);
}

#[test]
fn actions_run_on_time_and_in_order() {
    let world = World::new(WorldConfig::default());
    let order = Rc::new(RefCell::new(Vec::new()));
    for (time, name) in [(20, "b"), (10, "a"), (20, "c")] {
        let order = Rc::clone(&order);
        let time = world.after(Duration::from_millis(time));
        world.at(time, move |world| {
            assert_eq!(world.now(), time);
            order.borrow_mut().push(name);
            // An action may schedule another for the same time.
            let order = Rc::clone(&order);
            world.at(time, move |_| order.borrow_mut().push("then"));
        });
    }
    world.run_until(world.after(Duration::from_millis(15)));
    assert_eq!(*order.borrow(), ["a", "then"]);
    world.run_for(Duration::from_millis(5));
    assert_eq!(*order.borrow(), ["a", "then", "b", "c", "then", "then"]);
    assert_eq!(world.now(), world.after(Duration::from_millis(20)));
}

#[test]
fn a_wait_ends_at_its_limit_and_without_one_is_a_stall() {
    let world = World::new(WorldConfig::default());
    let mut clock = world.clock();
    clock.wait(Some(world.after(Duration::from_millis(3))));
    assert_eq!(clock.now(), world.after(Duration::from_millis(3)));
    assert!(!world.is_stalled());
    clock.wait(None);
    assert_eq!(clock.now(), world.after(Duration::from_millis(3_600_003)));
    assert!(world.is_stalled());
    // From here on, something can happen again.
    world.at(world.after(Duration::from_millis(3_700_000)), |_| ());
    clock.wait(Some(world.after(Duration::from_millis(3_800_000))));
    assert!(!world.is_stalled());
}

#[test]
#[should_panic(expected = "passed the horizon")]
fn a_run_without_end_panics_at_the_horizon() {
    let mut clock = World::new(WorldConfig::default()).clock();
    for _ in 0..1_000 {
        clock.wait(None);
    }
}

#[test]
#[should_panic(expected = "at the same time")]
fn a_run_that_spins_panics() {
    let mut clock = World::new(WorldConfig::default()).clock();
    loop {
        clock.wait(Some(Instant::ZERO));
    }
}

#[test]
fn the_log_shows_what_was_dropped() {
    let world = World::new(WorldConfig::default());
    let log = world.record(3);
    world.set_drops(Direction::ToPeer, Drops::Next(1));
    let _bare = connected(&world);
    let entries = log.entries();
    assert_eq!(entries.len(), 3);
    assert!(entries[0].fate.is_lost() && !entries[1].fate.is_lost());
    assert_eq!(entries[0].sent_at, world.after(Duration::ZERO));
    assert_eq!(
        entries[1].sent_at,
        world.after(Duration::from_millis(1_000))
    );
    assert!(log.to_string().contains("--x ARP"), "{log}");
    assert!(log.frames() > 3);
}

#[test]
fn worlds_are_freed() {
    let marker = Rc::new(());
    let world = World::new(WorldConfig::default());
    let kept = Rc::clone(&marker);
    world.observe(move |_, _| drop(Rc::clone(&kept)));
    let bare = connected(&world);
    drop((bare, world));
    assert_eq!(Rc::strong_count(&marker), 1);
}
