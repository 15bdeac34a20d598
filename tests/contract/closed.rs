//! From `Closed`: every cause is latched, has its ledger, and is also reported by flush
//! and finish.

use crate::common::*;
use embedded_io::{Error, ErrorKind, Write};
use lastbyte::stack::ConnectionId;
use lastbyte::stack::smoltcp::wire::IpAddress;
use lastbyte::{Cause, OnPeerFin, Options, Report, State};
use lastbyte_sim::loopback::{
    Behaviour, Direction, Drops, Flags, Flow, OUR_ADDRESSES, PEER_V4, PEER_V6, Presence, RawPeer,
    World, WorldConfig,
};

/// A connection over a script that ended with this cause, with 100 bytes accepted and 40
/// acknowledged if it was ever open; and the flow's numbers.
#[track_caller]
fn ended(cause: Cause) -> (Us<1>, ConnectionId, RawPeer, Flow) {
    match cause {
        Cause::Refused | Cause::Unreachable | Cause::ConnectTimeout => ended_unopened(cause),
        Cause::PeerFinished
        | Cause::PeerReset
        | Cause::Vanished
        | Cause::Unacknowledged
        | Cause::FinishTimeout
        | Cause::AddressLost
        | Cause::Finished
        | Cause::Aborted => ended_opened(cause),
    }
}

#[track_caller]
fn ended_unopened(cause: Cause) -> (Us<1>, ConnectionId, RawPeer, Flow) {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    raw.answer_neighbours(cause != Cause::Unreachable);
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    us.stack.run_for(ms(10));
    let syn = raw.try_recv();
    let (port, seq) = syn.map_or((50_000, 0), |syn| (syn.src_port, syn.seq));
    let flow = Flow {
        local: (PEER_V4, PORT).into(),
        remote: (lastbyte_sim::loopback::OUR_V4, port).into(),
        isn: 0,
        remote_isn: seq,
        seq: 0,
        ack: seq.wrapping_add(1),
        window: 1_000,
    };
    if cause == Cause::Refused {
        raw.send(&flow.segment(Flags::RST | Flags::ACK));
    }
    us.stack.run_for(secs(31));
    assert_eq!(us.state(id), State::Closed(cause));
    (us, id, raw, flow)
}

#[track_caller]
fn ended_opened(cause: Cause) -> (Us<1>, ConnectionId, RawPeer, Flow) {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 100);
    flow.take(40);
    raw.send(&flow.ack());
    us.stack.run_for(ms(10));
    match cause {
        Cause::PeerFinished => {
            raw.send(&flow.fin());
            raw.send(&flow.rst());
        }
        Cause::PeerReset => raw.send(&flow.rst()),
        Cause::FinishTimeout => us.writer(id).begin_finish(),
        Cause::AddressLost => us.lose_addresses(),
        Cause::Finished => {
            us.writer(id).begin_finish();
            flow.take(61);
            raw.send(&flow.ack());
        }
        Cause::Aborted => {
            us.writer(id).abort().expect("ours");
        }
        Cause::Unacknowledged => {
            // The peer sends for a minute, and acknowledges nothing.
            let again = flow.ack();
            for second in 1..60 {
                let (peer, again) = (raw.clone(), again.clone());
                us.world
                    .at(us.now() + secs(second), move |_| peer.send(&again));
            }
        }
        Cause::Vanished | Cause::Refused | Cause::Unreachable | Cause::ConnectTimeout => {}
    }
    us.stack.run_for(secs(101));
    assert_eq!(us.state(id), State::Closed(cause));
    (us, id, raw, flow)
}

/// The accepted and acknowledged bytes at the end.
fn account(cause: Cause) -> (u64, u64) {
    match cause {
        Cause::Refused | Cause::Unreachable | Cause::ConnectTimeout => (0, 0),
        Cause::Finished => (100, 100),
        Cause::PeerFinished
        | Cause::PeerReset
        | Cause::Vanished
        | Cause::Unacknowledged
        | Cause::FinishTimeout
        | Cause::AddressLost
        | Cause::Aborted => (100, 40),
    }
}

#[test]
fn every_cause_is_reported_by_write_flush_finish_and_report() {
    for cause in Cause::ALL {
        let (mut us, id, _, _) = ended(cause);
        let (accepted, acknowledged) = account(cause);
        us.assert_refused(id, cause, accepted, acknowledged);
        let report = us.report(id);
        assert_eq!(report.cause, Some(cause));
        assert_ledger(report.ledger, accepted, acknowledged);
        match us.writer(id).flush() {
            Ok(()) => assert_eq!(accepted, acknowledged, "{cause}"),
            Err(error) => {
                assert!(accepted > acknowledged, "{cause}");
                assert_error(error, cause, accepted, acknowledged);
            }
        }
        let now = us.now();
        match us.writer(id).finish() {
            Ok(finished) => {
                assert_eq!(cause, Cause::Finished);
                assert_eq!(finished.ledger, report.ledger);
            }
            Err(error) => assert_error(error, cause, accepted, acknowledged),
        }
        assert_eq!(us.now(), now, "there is nothing to wait for");
        let aborted = us.writer(id).abort().expect("ours");
        assert_eq!(aborted.cause, Some(cause), "an abort is too late");
    }
}

#[test]
fn the_error_kinds_are_the_documented_ones() {
    let kinds = [
        (Cause::PeerFinished, ErrorKind::BrokenPipe),
        (Cause::PeerReset, ErrorKind::ConnectionReset),
        (Cause::Refused, ErrorKind::ConnectionRefused),
        (Cause::Unreachable, ErrorKind::AddrNotAvailable),
        (Cause::ConnectTimeout, ErrorKind::TimedOut),
        (Cause::Vanished, ErrorKind::TimedOut),
        (Cause::Unacknowledged, ErrorKind::TimedOut),
        (Cause::FinishTimeout, ErrorKind::TimedOut),
        (Cause::AddressLost, ErrorKind::AddrNotAvailable),
        (Cause::Finished, ErrorKind::NotConnected),
        (Cause::Aborted, ErrorKind::ConnectionAborted),
    ];
    for (cause, kind) in kinds {
        let (mut us, id, _, _) = ended(cause);
        let error = us.writer(id).write(b"x").expect_err("ended");
        assert_eq!(error.kind(), kind, "{cause}");
    }
}

#[test]
fn the_cause_is_latched_whatever_comes_later() {
    for cause in Cause::ALL {
        let (mut us, id, raw, mut flow) = ended(cause);
        let (accepted, acknowledged) = account(cause);
        us.set_addresses(&OUR_ADDRESSES);
        let before = us.report(id);
        for round in 0..10 {
            let segments = [
                flow.ack(),
                flow.ack().with_ack(flow.ack.wrapping_add(60)),
                flow.data(*b"late data"),
                flow.segment(Flags::FIN | Flags::ACK),
                flow.rst(),
                flow.segment(Flags::RST | Flags::ACK),
                flow.segment(Flags::SYN),
                flow.segment(Flags::SYN | Flags::ACK),
            ];
            for segment in segments {
                raw.send(&segment);
                us.assert_refused(id, cause, accepted, acknowledged);
            }
            while raw.try_recv().is_some() {}
            match round {
                1 => us.stack.set_link(false),
                2 => us.stack.set_link(true),
                3 => us.writer(id).begin_finish(),
                4 => us.lose_addresses(),
                5 => us.set_addresses(&OUR_ADDRESSES),
                6 => raw.answer_neighbours(false),
                _ => {}
            }
            us.stack.run_for(secs(200));
            assert_eq!(us.state(id), State::Closed(cause));
        }
        let after = us.report(id);
        let unchanged = Report {
            writes_refused: after.writes_refused,
            ..before
        };
        assert_eq!(after, unchanged, "{cause}");
        assert!(after.writes_refused >= 480);
        // After its release the answers are the same until the slot is opened again.
        assert_eq!(us.stack.release(id), Ok(after));
        us.assert_refused(id, cause, accepted, acknowledged);
    }
}

#[test]
fn a_reopened_connection_starts_from_zero() {
    for cause in Cause::ALL {
        let (mut us, old, raw, _) = ended(cause);
        us.stack.set_link(false);
        us.stack.set_link(true);
        us.stack.release(old).expect("ours");
        us.set_addresses(&OUR_ADDRESSES);
        raw.answer_neighbours(true);
        us.stack.run_for(secs(20));
        while raw.try_recv().is_some() {}
        let opened_at = us.now();
        let id = us.connect(Options::default());
        let mut flow = raw.handshake(Default::default(), || us.stack.run_for(ms(10)));
        assert_eq!(us.state(id), State::Open, "{cause}");
        let report = us.report(id);
        assert_eq!(report.cause, None);
        assert_ledger(report.ledger, 0, 0);
        assert_eq!((report.writes_accepted, report.writes_refused), (0, 0));
        assert!(!report.link_was_down);
        assert_eq!(report.elapsed, us.now().since(opened_at));
        assert!(us.stack.report(old).is_err(), "the id is stale");
        us.write(id, 10);
        flow.take(10);
        raw.send(&flow.ack());
        us.writer(id).flush().expect("acknowledged");
        assert_ledger(us.ledger(id), 10, 10);
        // No timer of the previous connection is left.
        us.stack.run_for(secs(1_000));
        assert_eq!(us.state(id), State::Open);
    }
}

#[test]
fn an_ended_connection_costs_nothing() {
    for cause in Cause::ALL {
        let (mut us, _, raw, _) = ended(cause);
        us.set_addresses(&OUR_ADDRESSES);
        us.stack.run_for(secs(100));
        while raw.try_recv().is_some() {}
        us.stack.run_for(secs(100_000));
        assert_eq!(us.stack.poll(), None, "{cause}");
        if cause != Cause::Unreachable {
            raw.recv_nothing();
        }
    }
}

#[test]
fn a_second_end_in_the_same_poll_changes_nothing() {
    // Everything arrives at once: an acknowledgement, the FIN, a RST; and the user
    // timeout was reached long before we poll.
    let (mut us, id, raw, mut flow) = scripted(options(|o| o.on_peer_fin(OnPeerFin::HalfClose)));
    us.write(id, 100);
    us.world.run_for(secs(1_000));
    flow.take(40);
    raw.send(&flow.ack());
    raw.send(&flow.fin());
    raw.send(&flow.rst());
    us.assert_refused(id, Cause::PeerReset, 100, 40);
}

#[test]
fn the_next_call_reports_a_timeout_reached_without_a_poll() {
    let (mut us, id, _raw, _) = scripted(Options::default());
    us.write(id, 100);
    // No poll for an hour, and nothing has arrived.
    us.world.run_for(secs(3_600));
    // The try comes first.
    assert_eq!(us.try_write(id, 1), Ok(1));
    us.world.run_for(secs(2));
    us.assert_refused(id, Cause::Vanished, 101, 0);
}

#[test]
fn dropping_the_stack_resets_what_lives() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink().backlog(3));
    let mut us = Us::<3>::new(&world);
    let ids = [(); 3].map(|()| us.open(Options::default()));
    us.write(ids[0], 100);
    us.writer(ids[1]).finish().expect("finished");
    us.stack.run_for(secs(1));
    let tap = Tap::new(&world);
    drop(us);
    world.run_for(secs(1));
    let rsts = tap.take();
    assert_eq!(rsts.len(), 2, "{rsts:?}");
    assert!(rsts.iter().all(|segment| segment.is(Flags::RST)));
    let connections = world.peer().connections(PORT);
    let saw_rst = connections.iter().map(|c| c.saw_rst.is_some());
    assert_eq!(saw_rst.collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn the_elapsed_time_stops_at_the_end() {
    let (mut us, id) = connected(
        Behaviour::sink().aborting_at(at_secs(55)),
        Options::default(),
    );
    us.stack.run_for(secs(50));
    assert_eq!(at_ms(0) + us.report(id).elapsed, us.now());
    us.stack.run_for(secs(5_000));
    assert_eq!(us.report(id).elapsed, secs(55) + ms(1));
}

#[test]
fn a_later_cable_cut_does_not_hide_the_end() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    us.world.peer().abort(PORT);
    us.world.run_for(ms(10));
    us.world.set_drops(Direction::ToUs, Drops::All);
    us.world.set_drops(Direction::ToPeer, Drops::All);
    us.world.peer().set_presence(Presence::Absent);
    us.stack.run_for(secs(1_000));
    us.assert_refused(id, Cause::PeerReset, 0, 0);
}

#[test]
fn a_rst_to_an_unreachable_neighbour_is_given_up() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    us.world.peer().set_presence(Presence::Absent);
    us.stack.run_for(secs(100));
    us.write(id, 10);
    us.stack.run_for(secs(200));
    us.assert_refused(id, Cause::Vanished, 10, 0);
    let before = us.world.counters(Direction::ToPeer);
    us.stack.run_for(secs(1_000));
    assert_eq!(us.world.counters(Direction::ToPeer), before);
    assert_eq!(us.stack.poll(), None);
    us.world.peer().set_presence(Presence::Present);
    us.world.peer().listen(PORT, Behaviour::sink().backlog(2));
    us.stack.run_for(secs(1));
    us.stack.release(id).expect("ours");
    us.open(Options::default());
}

#[test]
fn each_end_is_reported_over_every_family_and_medium() {
    type End = fn(&World);
    let ends: [(Cause, End); 3] = [
        (Cause::PeerFinished, |world| world.peer().close(PORT)),
        (Cause::PeerReset, |world| world.peer().abort(PORT)),
        (Cause::Vanished, |world| {
            world.peer().set_presence(Presence::Absent);
        }),
    ];
    for config in [WorldConfig::default(), WorldConfig::ip()] {
        for to in [IpAddress::from(PEER_V4), IpAddress::from(PEER_V6)] {
            for (cause, end) in ends {
                let world = World::new(config.clone());
                world
                    .peer()
                    .listen(PORT, Behaviour::silent().rx_buffer(1_000));
                let mut us = Us::<1>::new(&world);
                let id = us.open_to(to, Options::default());
                us.fill(id);
                end(&world);
                us.stack.run_for(secs(300));
                us.assert_refused(id, cause, TX as u64 + 1_000, 1_000);
                us.check(id);
            }
        }
    }
}
