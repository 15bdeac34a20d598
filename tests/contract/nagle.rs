//! From `Open`: what Nagle's algorithm holds back, and which calls send it.

use crate::common::*;
use embedded_io::Write;
use lastbyte::core::Nagle;
use lastbyte::{Options, Timeout};
use lastbyte_sim::loopback::{Behaviour, Handshake, World, WorldConfig};

#[test]
fn nagle_holds_a_small_segment_back_while_one_is_in_flight() {
    for nagle in [Nagle::On, Nagle::Off] {
        let (mut us, id, raw, mut flow) = scripted(options(|o| o.nagle(nagle)));
        us.write(id, 10);
        assert_eq!(raw.recv().payload, pattern(0, 10));
        us.write(id, 10);
        match nagle {
            Nagle::Off => assert_eq!(raw.recv().payload, pattern(10, 10)),
            Nagle::On => raw.recv_nothing(),
        }
        flow.take(10);
        raw.send(&flow.ack());
        us.stack.poll();
        match nagle {
            Nagle::Off => raw.recv_nothing(),
            Nagle::On => assert_eq!(raw.recv().payload, pattern(10, 10)),
        }
    }
}

/// Nothing can be added to what is held back in a full buffer, and a peer may wait for a
/// second segment before it acknowledges the first.
#[test]
fn nagle_holds_nothing_back_once_a_write_finds_no_room() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::sized(&world, 2_048, RX);
    let id = us.connect(Options::default());
    let mut flow = raw.handshake(Handshake::default(), || {
        us.stack.poll();
    });
    us.write(id, 1_460);
    assert_eq!(raw.recv().payload.len(), 1_460);
    us.write(id, 588);
    raw.recv_nothing();
    assert_would_block(us.try_write(id, 1));
    us.stack.poll();
    assert_eq!(raw.recv().payload, pattern(1_460, 588));

    // With room, and something in flight, small segments wait again.
    flow.take(1_460);
    raw.send(&flow.ack());
    us.write(id, 10);
    raw.recv_nothing();
    flow.take(588);
    raw.send(&flow.ack());
    us.stack.poll();
    assert_eq!(raw.recv().payload, pattern(2_048, 10));
}

/// The congestion window has room for less than another segment, and the buffer holds
/// many: no small segment is sent between the full ones (RFC 9293, 3.8.6.2.1).
#[test]
fn a_full_buffer_leaves_in_full_segments_while_the_congestion_window_is_small() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::sized(&world, 8 * 1_460, RX);
    let id = us.connect(Options::default());
    let mut flow = raw.handshake(Handshake::default(), || {
        us.stack.poll();
    });
    us.write(id, 8 * 1_460);
    assert_eq!(raw.recv().payload.len(), 1_460);
    assert_would_block(us.try_write(id, 1));
    us.stack.poll();
    raw.recv_nothing();
    flow.take(1_460);
    raw.send(&flow.ack());
    us.stack.poll();
    for _ in 0..2 {
        assert_eq!(raw.recv().payload.len(), 1_460);
    }
    raw.recv_nothing();
}

/// The rest of a large buffer waits until it fills a segment: no small segment follows
/// each large one.
#[test]
fn nagle_holds_back_the_rest_of_a_full_buffer_of_sixteen_segments() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::sized(&world, 16 * 1_460, RX);
    let id = us.connect(Options::default());
    let mut flow = raw.handshake(Handshake::default(), || {
        us.stack.poll();
    });
    widen(&mut us, id, &raw, &mut flow, 16 * 1_460);
    us.write(id, 100);
    assert_eq!(raw.recv().payload.len(), 100);
    us.write(id, 16 * 1_460 - 100);
    assert_would_block(us.try_write(id, 1));
    us.stack.poll();
    for _ in 0..15 {
        assert_eq!(raw.recv().payload.len(), 1_460);
    }
    raw.recv_nothing();
    flow.take(100 + 15 * 1_460);
    raw.send(&flow.ack());
    us.stack.poll();
    assert_eq!(raw.recv().payload.len(), 1_360);
}

#[test]
fn a_flush_sends_at_once_what_nagle_held_back() {
    let short = options(|o| o.call_timeout(ms(50)));
    let (mut us, id, raw, _) = scripted(short);
    us.write(id, 10);
    assert_eq!(raw.recv().payload, pattern(0, 10));
    us.write(id, 10);
    raw.recv_nothing();
    let late = us.writer(id).flush().expect_err("nothing is acknowledged");
    assert_call_timed_out(late, Timeout::Call);
    assert_eq!(raw.recv().payload, pattern(10, 10));
    // The next write waits again.
    us.write(id, 10);
    raw.recv_nothing();
}

/// With a peer that delays acknowledgements, each buffer costs one such delay, and not
/// another one for the small segment at its start.
#[test]
fn small_writes_into_a_tiny_buffer_wait_once_for_each_buffer() {
    let buffers = 100;
    let mut behaviour = Behaviour::sink();
    behaviour.ack_delay = Some(ms(40));
    let world = World::new(WorldConfig::instant());
    world.peer().listen(PORT, behaviour);
    let mut us = Us::<1>::sized(&world, 1_000, RX);
    let id = us.open(Options::default());
    let started = us.now();
    let bytes = pattern(0, 1_000 * buffers);
    transfer(&mut us, &bytes, |us, rest| {
        let piece = &rest[..rest.len().min(50)];
        accepted(us.writer(id).try_write(piece))
    });
    us.writer(id).flush().expect("acknowledged");
    let delays = us.now().since(started).as_millis() / 40;
    assert!(delays <= buffers as u128 + 1, "{delays}");
    assert_eq!(world.peer().received(PORT).len(), bytes.len());
}
