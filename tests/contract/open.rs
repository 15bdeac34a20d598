//! From `Open`: writing, flushing, and what ends an open connection.

use core::time::Duration;

use crate::common::*;
use embedded_io::{Write, WriteReady};
use lastbyte::core::{Nagle, Window};
use lastbyte::{Cause, Clock, Instant, Options, State, Timeout};
use lastbyte_sim::loopback::{
    Behaviour, Flags, Handshake, OUR_ADDRESSES, Presence, Reads, Segment, World, WorldConfig,
};

const MIB: usize = 1 << 20;

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
fn a_mebibyte_written_without_a_copy_arrives_exactly() {
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
fn bytes_written_without_a_copy_are_sent_at_once() {
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
fn a_fill_that_claims_too_much_is_limited_to_its_room() {
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
fn a_write_accepts_what_fits_and_waits_only_for_the_first_byte() {
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
    // The latency, the peer's delay, and the latency back.
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
fn the_first_write_after_a_rst_is_refused_without_a_poll() {
    for way in Way::ALL {
        let (mut us, id) = connected(Behaviour::sink(), Options::default());
        us.write(id, 500);
        us.writer(id).flush().expect("acknowledged");
        us.world.peer().abort(PORT);
        us.world.run_for(secs(1));
        assert_eq!(us.state(id), State::Open, "no poll yet");
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
    // The same call processes both.
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
            // Bytes accepted before a FIN may still be read, so the drain goes on.
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
        // The neighbour is forgotten after a minute, so that the last probe cannot be sent.
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
fn the_loss_of_one_of_two_addresses_ends_the_connections_that_used_it() {
    for (lost, kept) in [(0, 1), (1, 0)] {
        let (mut us, id) = connected(Behaviour::sink(), Options::default());
        us.write(id, 100);
        us.stack.run_for(secs(1));
        us.set_addresses(&OUR_ADDRESSES[kept..=kept]);
        us.stack.poll();
        // It is connected over IPv4, the first address.
        let expected = match lost {
            0 => State::Closed(Cause::AddressLost),
            _ => State::Open,
        };
        assert_eq!(us.state(id), expected);
    }
}

#[test]
fn an_address_removed_and_added_between_polls_is_not_lost() {
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
fn a_connection_opened_while_the_link_is_down_reports_it() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    us.stack.set_link(false);
    let id = us.connect(Options::default());
    us.stack.set_link(true);
    assert!(us.report(id).link_was_down);
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
        // Nothing that arrives late counts as acknowledged.
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

/// Aborts over a device that is busy with a frame for this long. Returns how long the
/// abort took, and whether the RST was sent.
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
    // The retransmission is due: the clock has passed its time without a poll.
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
