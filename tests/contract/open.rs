//! From `Open`: writing, flushing, and what ends an open connection.

use core::time::Duration;

use crate::common::*;
use embedded_io::{Write, WriteReady};
use lastbyte::{Cause, Clock, Instant, Nagle, Options, State, Timeout, Window};
use lastbyte_sim::loopback::{
    Behaviour, Flags, Handshake, OUR_ADDRESSES, Presence, Reads, Segment, World, WorldConfig,
};

const MIB: usize = 1 << 20;

/// Writes all of `bytes` with `write`, waiting whenever nothing is taken.
#[track_caller]
fn transfer(
    us: &mut Us<1>,
    bytes: &[u8],
    mut write: impl FnMut(&mut Us<1>, &[u8]) -> usize,
) -> usize {
    let mut written = 0;
    let mut waits = 0;
    while written < bytes.len() {
        match write(us, &bytes[written..]) {
            0 => {
                waits += 1;
                assert!(waits < 100_000, "it never ends");
                us.stack.wait(us.now() + secs(1));
            }
            taken => written += taken,
        }
    }
    written
}

#[test]
fn a_mebibyte_byte_by_byte_arrives_exactly() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::sized(&world, 16_384, RX);
    let id = us.open(Options::default());
    let bytes = pattern(0, MIB);
    transfer(&mut us, &bytes, |us, rest| {
        accepted(us.writer(id).try_write(&rest[..1]))
    });
    us.writer(id).flush().expect("acknowledged");
    let report = us.check(id);
    assert_ledger(report.ledger, MIB as u64, MIB as u64);
    assert_eq!(report.writes_accepted, MIB as u64);
    assert_eq!(world.peer().received(PORT).len(), MIB);
}

#[test]
fn a_mebibyte_without_a_copy_arrives_exactly() {
    for tx in [1, 7, 1_460, 16_384] {
        let total = MIB.min(tx * 10_000);
        let world = World::new(WorldConfig::default());
        let sink = Behaviour::sink().acking_at_once();
        world.peer().listen(PORT, sink);
        let mut us = Us::<1>::sized(&world, tx, RX);
        let id = us.open(options(|o| o.nagle(Nagle::Off)));
        let bytes = pattern(0, total);
        transfer(&mut us, &bytes, |us, rest| {
            let fill = |room: &mut [u8]| {
                let len = room.len().min(rest.len());
                room[..len].copy_from_slice(&rest[..len]);
                len
            };
            accepted(us.writer(id).write_with(fill))
        });
        us.writer(id).flush().expect("acknowledged");
        assert_ledger(us.check(id).ledger, total as u64, total as u64);
        assert_eq!(world.peer().received(PORT).len(), total);
    }
}

#[test]
fn what_was_written_without_a_copy_leaves_at_once() {
    let (mut us, id, raw, _) = scripted(Options::default());
    let fill = |room: &mut [u8]| {
        room[..10].copy_from_slice(&pattern(0, 10));
        10
    };
    assert_eq!(us.writer(id).write_with(fill), Ok(10));
    assert_eq!(raw.recv().payload, pattern(0, 10));
}

#[test]
fn a_device_that_is_full_most_of_the_time_loses_nothing() {
    let world = World::new(WorldConfig {
        queue_frames: 2,
        ..WorldConfig::default()
    });
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::sized(&world, 16_384, RX);
    let id = us.open(Options::default());
    us.write(id, 200_000);
    let report = us.writer(id).finish().expect("finished");
    assert_ledger(report.ledger, 200_000, 200_000);
    us.check(id);
}

#[test]
fn a_fill_that_claims_too_much_is_taken_at_the_room_it_had() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    let bytes = pattern(0, TX);
    let taken = us.writer(id).write_with(|room| {
        assert_eq!(room.len(), TX);
        room.copy_from_slice(&bytes);
        usize::MAX
    });
    assert_eq!(taken, Ok(TX));
    us.writer(id).flush().expect("acknowledged");
    assert_ledger(us.check(id).ledger, TX as u64, TX as u64);
    assert_eq!(us.writer(id).write_with(|_| 0), Ok(0));
    assert_eq!(us.report(id).writes_accepted, 1);
}

#[test]
fn a_write_takes_what_fits_and_waits_only_for_the_first_byte() {
    let (mut us, id) = connected(Behaviour::silent().rx_buffer(1_000), Options::default());
    assert_eq!(us.try_write(id, 10_000), Ok(TX));
    us.stack.run_for(secs(1));
    assert_eq!(us.writer(id).write(&pattern(TX as u64, 9_000)), Ok(1_000));
    assert_would_block(us.try_write(id, 1));
    assert_eq!(us.writer(id).write_ready(), Ok(false));
    assert_would_block(us.writer(id).write_with(|_| panic!("no room")));
    let now = us.now();
    assert_eq!(us.writer(id).write(b""), Ok(0), "an empty one never waits");
    assert_eq!(us.now(), now);
    let progress = us.writer(id).progress().unwrap();
    assert_eq!(progress.window, Window::Zero);
    assert_ledger(us.check(id).ledger, TX as u64 + 1_000, 1_000);
    us.world.at(us.now() + secs(10), |world| {
        world.peer().change(PORT, |b| b.reads = Reads::Everything);
    });
    let from = us.now();
    us.write(id, 1);
    assert!((from + secs(10)..from + secs(11)).contains(&us.now()));
    assert_eq!(us.writer(id).write_ready(), Ok(true));
    us.writer(id).flush().expect("acknowledged");
    assert_ledger(us.check(id).ledger, TX as u64 + 1_001, TX as u64 + 1_001);
}

#[test]
fn a_flush_waits_for_the_last_acknowledgement() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    assert_eq!(us.writer(id).flush(), Ok(()), "nothing is pending");
    let from = us.now();
    us.write(id, 100);
    assert_eq!(us.now(), from);
    assert_ledger(us.check(id).ledger, 100, 0);
    us.writer(id).flush().expect("acknowledged");
    // There, the peer's delay, and back.
    assert_eq!(us.now(), from + ms(12));
    assert_ledger(us.check(id).ledger, 100, 100);
}

#[test]
fn a_flush_over_an_hour_long_wait_is_repeatable() {
    let (mut us, id) = connected(Behaviour::silent().rx_buffer(100), Options::default());
    us.write(id, 1_000);
    us.world.at(at_secs(3_600), |world| {
        world.peer().change(PORT, |b| b.reads = Reads::Everything);
    });
    let mut calls = 0;
    while us.writer(id).flush().is_err() {
        calls += 1;
        assert!(calls < 100);
        us.check(id);
        if us.now() < at_secs(3_600) {
            assert_ledger(us.ledger(id), 1_000, 100);
        }
    }
    // One minute each, and at most one more for the next probe.
    assert!((59..=61).contains(&calls), "{calls} calls");
    assert_ledger(us.check(id).ledger, 1_000, 1_000);
}

#[test]
fn the_first_write_after_a_rst_is_refused_though_nobody_polled() {
    for way in Way::ALL {
        let (mut us, id) = connected(Behaviour::sink(), Options::default());
        us.write(id, 500);
        us.writer(id).flush().expect("acknowledged");
        us.world.peer().abort(PORT);
        us.world.run_for(secs(1));
        assert_eq!(us.state(id), State::Open, "nobody has looked");
        let error = way.write(us.writer(id), b"late").expect_err("reset");
        assert_error(error, Cause::PeerReset, 500, 500);
        us.assert_refused(id, Cause::PeerReset, 500, 500);
        assert_eq!(us.check(id).writes_accepted, 1);
    }
}

#[test]
fn a_rst_ends_with_what_was_acknowledged_before_it() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    assert_eq!(raw.recv().payload, pattern(0, 10));
    flow.take(4);
    // Both are taken in by the same call.
    raw.send(&flow.ack());
    raw.send(&flow.rst());
    us.assert_refused(id, Cause::PeerReset, 10, 4);
    assert_eq!(us.report(id).elapsed, ms(0));
}

#[test]
fn a_wrong_or_old_segment_changes_nothing() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    flow.take(4);
    raw.send(&flow.ack());
    us.stack.poll();
    for segment in [
        flow.ack().with_ack(flow.ack.wrapping_sub(3)),
        flow.ack().with_ack(flow.ack.wrapping_sub(9_999)),
        flow.rst().with_seq(flow.seq.wrapping_sub(1)),
        flow.rst().with_seq(flow.seq.wrapping_add(60_000)),
        flow.ack().with_flags(Flags::SYN),
        flow.ack().with_flags(Flags::SYN | Flags::ACK),
        flow.ack().with_flags(Flags::NONE),
        flow.segment(Flags::FIN | Flags::ACK)
            .with_seq(flow.seq.wrapping_add(1)),
        flow.segment(Flags::FIN | Flags::ACK)
            .with_seq(flow.seq.wrapping_sub(1_000)),
    ] {
        raw.send(&segment);
        us.stack.poll();
        assert_eq!(us.state(id), State::Open, "{segment}");
        assert_ledger(us.ledger(id), 10, 4);
    }
    us.write(id, 1);
}

/// A connection whose peer does not read: every write would wait.
#[track_caller]
fn stuffed(options: Options) -> (Us<1>, lastbyte::stack::ConnectionId, u64) {
    let (mut us, id) = connected(Behaviour::silent().rx_buffer(1_000), options);
    us.fill(id);
    let accepted = us.check(id).ledger.accepted();
    assert_eq!(accepted, TX as u64 + 1_000);
    (us, id, accepted)
}

#[test]
fn a_blocked_call_is_woken_by_the_fin_just_when_it_arrives() {
    for is_flush in [false, true] {
        let (mut us, id, accepted) = stuffed(Options::default());
        let at = us.now() + secs(17);
        us.world.at(at, |world| world.peer().close(PORT));
        if is_flush {
            // Bytes accepted before a FIN may still be read: it goes on.
            let error = us.writer(id).flush().expect_err("nothing is read");
            assert_call_timed_out(error, Timeout::NotReading);
        } else {
            let error = us.writer(id).write(b"x").expect_err("closed");
            assert_error(error, Cause::PeerFinished, accepted, 1_000);
            assert_eq!(us.now(), at + ms(1));
        }
        us.assert_refused(id, Cause::PeerFinished, accepted, 1_000);
        us.check(id);
    }
}

#[test]
fn a_blocked_call_is_woken_by_the_rst_just_when_it_arrives() {
    for is_flush in [false, true] {
        let (mut us, id, accepted) = stuffed(Options::default());
        let at = us.now() + secs(17);
        us.world.at(at, |world| world.peer().abort(PORT));
        let woken = match is_flush {
            true => us.writer(id).flush(),
            false => us.writer(id).write_all(b"x"),
        };
        let error = woken.expect_err("reset");
        assert_error(error, Cause::PeerReset, accepted, 1_000);
        assert_eq!(us.now(), at + ms(1));
        us.check(id);
    }
}

#[test]
fn a_blocked_call_is_woken_by_the_user_timeout() {
    for is_flush in [false, true] {
        let (mut us, id, accepted) = stuffed(options(|o| o.call_timeout(secs(10_000))));
        us.world.peer().set_presence(Presence::Absent);
        let tap = Tap::new(&us.world);
        let woken = match is_flush {
            true => us.writer(id).flush(),
            false => us.writer(id).write_all(b"x"),
        };
        let error = woken.expect_err("vanished");
        assert_error(error, Cause::Vanished, accepted, 1_000);
        // The neighbour is forgotten after a minute, so that the last probe cannot leave.
        let probes = tap.take();
        let last = probes.iter().rfind(|s| !s.is(Flags::RST)).expect("probes");
        let overdue = last.time + secs(75);
        assert!(us.now() >= overdue && us.now() <= overdue + secs(2));
    }
}

#[test]
fn a_lost_address_ends_it_before_a_call_blocks_and_credits_nothing() {
    for is_flush in [false, true] {
        let (mut us, id, accepted) = stuffed(Options::default());
        let now = us.now();
        us.lose_addresses();
        let woken = match is_flush {
            true => us.writer(id).flush(),
            false => us.writer(id).write_all(b"x"),
        };
        assert_error(
            woken.expect_err("lost"),
            Cause::AddressLost,
            accepted,
            1_000,
        );
        assert_eq!(us.now(), now);
        us.stack.run_for(secs(1));
        us.set_addresses(&OUR_ADDRESSES);
        us.assert_refused(id, Cause::AddressLost, accepted, 1_000);
        us.check(id);
    }
}

#[test]
fn of_two_addresses_the_loss_of_one_ends_what_used_it() {
    for (lost, kept) in [(0, 1), (1, 0)] {
        let (mut us, id) = connected(Behaviour::sink(), Options::default());
        us.write(id, 100);
        us.stack.run_for(secs(1));
        us.set_addresses(&OUR_ADDRESSES[kept..=kept]);
        us.stack.poll();
        // It is connected over IPv4, the first.
        let expected = match lost {
            0 => State::Closed(Cause::AddressLost),
            _ => State::Open,
        };
        assert_eq!(us.state(id), expected);
    }
}

#[test]
fn an_address_that_comes_back_unseen_is_not_lost() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    us.write(id, 100);
    us.lose_addresses();
    us.set_addresses(&OUR_ADDRESSES);
    us.writer(id).flush().expect("acknowledged");
    us.set_addresses(&OUR_ADDRESSES[..1]);
    us.write(id, 100);
    us.writer(id).flush().expect("acknowledged");
    us.check(id);
}

#[test]
fn a_link_that_was_down_is_recorded_and_ends_nothing() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    assert!(!us.report(id).link_was_down);
    us.stack.set_link(true);
    assert!(!us.report(id).link_was_down);
    us.stack.set_link(false);
    assert!(us.report(id).link_was_down);
    us.stack.set_link(true);
    us.write(id, 100);
    us.writer(id).flush().expect("acknowledged");
    let report = us.writer(id).finish().expect("finished");
    assert!(report.link_was_down);
    let id = us.open(Options::default());
    assert!(!us.report(id).link_was_down, "opened afterwards");
    us.stack.set_link(false);
    let report = us.writer(id).abort().expect("ours");
    assert!(report.link_was_down);
    us.stack.set_link(true);
}

#[test]
fn a_connection_opened_while_the_link_is_down_says_so() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    us.stack.set_link(false);
    let id = us.connect(Options::default());
    us.stack.set_link(true);
    assert!(us.report(id).link_was_down);
}

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

/// Nothing can be added to what is held back in a full buffer, and a peer may
/// wait for a second segment before it acknowledges the first.
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

/// The congestion window has room for less than a segment more, the buffer holds
/// many: no small segment leaves between the full ones (RFC 9293, 3.8.6.2.1).
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

/// What is left of a large buffer waits to be a full segment itself: not one small
/// segment behind each large one.
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
    // The next write waits as before.
    us.write(id, 10);
    raw.recv_nothing();
}

/// A peer with delayed acknowledgements costs each buffer one such delay, and
/// not another for the small segment at its start.
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

#[test]
fn aborting_sends_a_rst_at_snd_nxt() {
    for (window, in_flight) in [(u16::MAX, 100), (30, 30)] {
        let handshake = Handshake {
            window,
            ..Handshake::default()
        };
        let (mut us, id, raw, mut flow) = scripted_with(handshake, Options::default());
        us.write(id, 100);
        assert_eq!(raw.recv().payload.len(), in_flight as usize);
        let report = us.writer(id).abort().expect("ours");
        assert_eq!(report.cause, Some(Cause::Aborted));
        assert_ledger(report.ledger, 100, 0);
        let rst = raw.recv();
        assert!(rst.is(Flags::RST), "{rst}");
        assert_eq!(rst.seq, flow.ack.wrapping_add(in_flight));
        raw.recv_nothing();
        us.assert_refused(id, Cause::Aborted, 100, 0);
        // Nothing that comes late is credited.
        flow.take(in_flight);
        raw.send(&flow.ack());
        us.assert_refused(id, Cause::Aborted, 100, 0);
    }
}

#[test]
fn the_peer_sees_the_rst_of_an_abort_at_once() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    us.write(id, 100);
    let now = us.now();
    let report = us.writer(id).abort().expect("ours");
    assert_eq!(us.now(), now, "an abort does not wait");
    assert_ledger(report.ledger, 100, 0);
    us.stack.run_for(secs(1));
    assert_eq!(us.world.peer().saw_rst(PORT), Some(now + ms(1)));
}

/// Our end behind a device that is busy with a frame for this long, when it
/// aborts: how long that took, and whether the RST has left.
fn aborted_while_busy_for(latency: Duration) -> (Duration, bool) {
    let world = World::new(WorldConfig {
        queue_frames: 1,
        latency,
        ..WorldConfig::default()
    });
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let id = us.open(Options::default());
    us.stack.run_for(latency * 8);
    let tap = Tap::new(&world);
    us.write(id, 100);
    let now = us.now();
    us.writer(id).abort().expect("ours");
    let took = us.now().since(now);
    let has_left = tap.take().iter().any(|segment| segment.is(Flags::RST));
    us.stack.run_for(latency * 3);
    assert!(world.peer().saw_rst(PORT).is_some());
    (took, has_left)
}

#[test]
fn the_rst_of_an_abort_waits_a_bounded_time_for_a_busy_device() {
    let (took, has_left) = aborted_while_busy_for(ms(300));
    assert!(has_left);
    assert!(took >= ms(299) && took < ms(400), "{took:?}");
    let (took, has_left) = aborted_while_busy_for(ms(1_500));
    assert!(!has_left);
    assert_eq!(took, secs(1));
}

#[test]
fn a_wait_returns_as_soon_as_it_has_served_what_was_due() {
    let (mut us, id, raw, _) = scripted(Options::default());
    us.write(id, 10);
    assert_eq!(raw.recv().payload.len(), 10);
    // The retransmission is due when the clock has passed its time unseen.
    let next = us.stack.poll().expect("a timer runs");
    us.stack.clock_mut().wait(Some(next));
    let now = us.now();
    us.stack.wait(Instant::NEVER);
    assert_eq!(us.now(), now);
    assert_eq!(raw.recv().payload.len(), 10);
}

#[test]
fn a_partial_write_all_is_resumed_exactly_on_another_connection() {
    let world = World::new(WorldConfig::default());
    let peer = world.peer();
    peer.listen(PORT, Behaviour::sink().aborting_after(70_000).once());
    let mut us = Us::<1>::new(&world);
    let bytes = pattern(0, 200_000);
    let id = us.open(Options::default());
    let error = us.writer(id).write_all(&bytes).expect_err("reset");
    let ledger = error.ledger();
    assert_eq!(error.cause(), Some(Cause::PeerReset));
    assert!(ledger.accepted() < 200_000);
    let first = peer.received(PORT);
    let delivered = usize::try_from(ledger.acknowledged()).unwrap();
    assert!(delivered <= first.len());
    us.stack.release(id).expect("ours");

    peer.listen(PORT, Behaviour::sink());
    let id = us.open(Options::default());
    us.writer(id).write_all(&bytes[delivered..]).expect("open");
    let report = us.writer(id).finish().expect("finished");
    assert_ledger(
        report.ledger,
        200_000 - ledger.acknowledged(),
        200_000 - ledger.acknowledged(),
    );
    let second = peer.received(PORT);
    assert!([&first[..delivered], &second[..]].concat() == bytes);
}

#[test]
fn frames_of_other_connections_are_left_alone() {
    let (mut us, id, raw, flow) = scripted(Options::default());
    us.write(id, 10);
    for segment in [
        Segment::new(PORT, flow.remote.port + 1, Flags::RST, flow.seq, 0),
        Segment::new(PORT + 1, flow.remote.port, Flags::RST, flow.seq, 0),
    ] {
        raw.send(&segment);
        us.stack.poll();
        assert_eq!(us.state(id), State::Open, "{segment}");
    }
    assert_ledger(us.ledger(id), 10, 0);
}
