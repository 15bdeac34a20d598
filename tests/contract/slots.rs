//! Slots, ports, ids and configurations: everything that is allocated is freed.

use crate::common::*;
use embedded_io::{Error, ErrorKind, Write};
use lastbyte::stack::{ConnectionId, OpenError, UnknownConnection};
use lastbyte::{Cause, Options, State, Timeout, WriteError};
use lastbyte_sim::loopback::{
    Behaviour, Direction, Drops, Flags, OUR_V4, PEER_V4, Reads, World, WorldConfig,
};

fn listening_world(behaviour: Behaviour) -> World {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, behaviour);
    world
}

#[track_caller]
fn assert_no_slot<const N: usize>(us: &mut Us<N>) {
    let full = us.stack.connect((PEER_V4, PORT), Options::default());
    assert_eq!(full, Err(OpenError::NoSlot));
    let full = us.stack.listen(7_000, Options::default());
    assert_eq!(full, Err(OpenError::NoSlot));
}

#[test]
fn a_full_stack_returns_an_error_and_a_released_slot_works() {
    let world = listening_world(Behaviour::sink().backlog(4));
    let mut us = Us::<3>::new(&world);
    let ids = [(); 3].map(|()| us.open(Options::default()));
    assert_no_slot(&mut us);
    for (number, id) in ids.into_iter().enumerate() {
        match number {
            0 => us.writer(id).finish().expect("finished"),
            1 => us.writer(id).abort().expect("ours"),
            _ => us.stack.release(id).expect("ours"),
        };
        us.stack.run_for(secs(1));
        let again = us.open(Options::default());
        us.write(again, 100);
        us.writer(again).flush().expect("acknowledged");
        assert_no_slot(&mut us);
    }
}

#[test]
fn an_ended_connection_holds_its_slot_until_it_is_released() {
    let world = listening_world(Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let id = us.open(Options::default());
    world.peer().abort(PORT);
    us.stack.run_for(secs(1));
    assert_no_slot(&mut us);
    assert_eq!(us.stack.release(id).unwrap().cause, Some(Cause::PeerReset));
    us.open(Options::default());
}

#[test]
fn a_released_connection_is_reset() {
    let world = listening_world(Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let id = us.open(Options::default());
    us.write(id, 10);
    let report = us.stack.release(id).expect("ours");
    assert_eq!(report.cause, Some(Cause::Aborted));
    us.stack.run_for(secs(1));
    assert!(world.peer().saw_rst(PORT).is_some());
}

#[test]
fn stale_ids_are_unknown_everywhere() {
    let world = listening_world(Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let old = us.open(Options::default());
    us.writer(old).finish().expect("finished");
    // Until the slot is opened again the old id can still be queried.
    assert_eq!(us.report(old).cause, Some(Cause::Finished));
    us.stack.run_for(secs(20));
    let new = us.open(Options::default());
    assert_ne!(old, new);
    assert_eq!(us.stack.state(old), Err(UnknownConnection));
    assert_eq!(us.stack.report(old), Err(UnknownConnection));
    assert_eq!(us.stack.endpoints(old), Err(UnknownConnection));
    assert_eq!(us.stack.poll_advice(old), Err(UnknownConnection));
    assert_eq!(us.stack.release(old), Err(UnknownConnection));
    assert!(us.stack.writer(old).is_err() && us.stack.reader(old).is_err());
    let error = us.stack.wait_open(old).expect_err("stale");
    assert!(matches!(error, WriteError::NotOpen { .. }));
    assert_eq!(
        (error.kind(), error.cause()),
        (ErrorKind::NotConnected, None)
    );
    assert_eq!(UnknownConnection.kind(), ErrorKind::NotConnected);
    // None of this affects the connection that now has the slot.
    us.write(new, 10);
    us.writer(new).flush().expect("acknowledged");
}

#[test]
fn a_scoped_writer_that_is_dropped_aborts_and_frees() {
    let world = listening_world(Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    for finishes in [false, true] {
        let id = us.open(Options::default());
        let mut scoped = us.writer(id).scoped();
        scoped.write_all(b"some bytes").expect("open");
        if finishes {
            let report = scoped.finish().expect("finished");
            assert_eq!(report.cause, Some(Cause::Finished));
        } else {
            drop(scoped);
            assert_eq!(us.state(id), State::Closed(Cause::Aborted));
            us.stack.run_for(secs(1));
            assert!(world.peer().saw_rst(PORT).is_some());
        }
        us.stack.run_for(secs(20));
    }
    let id = us.open(Options::default());
    let report = us.writer(id).scoped().abort().expect("ours");
    assert_eq!(report.cause, Some(Cause::Aborted));
    us.stack.run_for(secs(1));
    us.open(Options::default());
}

#[test]
fn dropping_a_plain_writer_does_nothing() {
    let world = listening_world(Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let id = us.open(Options::default());
    {
        let _writer = us.writer(id);
    }
    us.write(id, 10);
    us.writer(id).flush().expect("acknowledged");
}

#[test]
fn ports_run_out_and_rest_for_time_wait() {
    let world = listening_world(Behaviour::sink().backlog(4));
    let few = config(&world).local_ports(50_000..=50_001);
    let mut us = Us::<3>::configured(&world, TX, RX, few);
    let first = us.open(Options::default());
    let second = us.open(Options::default());
    let ports = [first, second].map(|id| us.stack.endpoints(id).unwrap().unwrap().0.port);
    assert!(ports.iter().all(|port| (50_000..=50_001).contains(port)));
    assert_ne!(ports[0], ports[1]);
    let refused = us.stack.connect((PEER_V4, PORT), Options::default());
    assert_eq!(refused, Err(OpenError::NoPort));
    // It takes no slot, and listening needs no port of the range.
    let listener = us.stack.listen(7_000, Options::default()).expect("a slot");
    us.stack.release(listener).expect("ours");
    us.writer(first).finish().expect("finished");
    let refused = us.stack.connect((PEER_V4, PORT), Options::default());
    assert_eq!(refused, Err(OpenError::NoPort), "the peer may remember it");
    // A second call does not prolong the rest, and an idle slot does not keep the port.
    for _ in 0..59 {
        us.stack.run_for(secs(1));
        let refused = us.stack.connect((PEER_V4, PORT), Options::default());
        assert_eq!(refused, Err(OpenError::NoPort));
    }
    us.stack.run_for(secs(2));
    let third = us.open(Options::default());
    assert_eq!(us.stack.endpoints(third).unwrap().unwrap().0.port, ports[0]);
}

#[test]
fn a_port_whose_peer_has_not_closed_is_not_given_to_another_slot() {
    let world = listening_world(Behaviour::sink().staying_open().backlog(4));
    let few = config(&world).local_ports(50_000..=50_001);
    let mut us = Us::<3>::configured(&world, TX, RX, few);
    let first = us.open(Options::default());
    us.writer(first).finish().expect("finished");
    // FIN-WAIT-2: for the peer the same two ends are the old connection.
    us.stack.run_for(secs(29));
    let second = us.open(Options::default());
    let refused = us.stack.connect((PEER_V4, PORT), Options::default());
    assert_eq!(refused, Err(OpenError::NoPort));
    // The wait ends with the finish timeout, and the port is not lost.
    us.stack.release(second).expect("ours");
    us.stack.run_for(secs(100));
    for _ in 0..2 {
        let opened = us.stack.connect((PEER_V4, PORT), Options::default());
        assert!(opened.is_ok(), "{opened:?}");
    }
}

#[test]
fn a_port_in_fin_wait_2_is_in_use_even_after_its_rest() {
    let world = listening_world(Behaviour::sink().staying_open().backlog(4));
    let one = config(&world).local_ports(50_000..=50_000);
    let mut us = Us::<2>::configured(&world, TX, RX, one);
    let patient = options(|o| o.finish_timeout(secs(200)));
    let first = us.open(patient);
    us.writer(first).finish().expect("finished");
    us.stack.run_for(secs(190));
    let refused = us.stack.connect((PEER_V4, PORT), patient);
    assert_eq!(refused, Err(OpenError::NoPort));
    us.stack.run_for(secs(20));
    let opened = us.stack.connect((PEER_V4, PORT), patient);
    assert!(opened.is_ok(), "{opened:?}");
}

#[test]
fn the_port_of_an_ended_connection_is_in_use_until_it_is_released() {
    let world = World::new(WorldConfig::default());
    // There is no listener.
    let one = config(&world).local_ports(50_000..=50_000);
    let mut us = Us::<2>::configured(&world, TX, RX, one);
    let peer = (PEER_V4, PORT);
    let first = us.stack.connect(peer, Options::default()).expect("a port");
    us.stack.run_for(secs(1));
    assert_eq!(us.state(first), State::Closed(Cause::Refused));
    us.stack.run_for(secs(100));
    let refused = us.stack.connect(peer, Options::default());
    assert_eq!(refused, Err(OpenError::NoPort));
    us.stack.release(first).expect("ours");
    us.stack.run_for(secs(61));
    assert!(us.stack.connect(peer, Options::default()).is_ok());
}

/// Which of these still have their slots.
fn kept<const N: usize, const M: usize>(us: &Us<N>, ids: [ConnectionId; M]) -> [bool; M] {
    ids.map(|id| us.stack.state(id).is_ok())
}

#[test]
fn the_slot_that_is_cheapest_to_reopen_is_taken_first() {
    let world = World::new(WorldConfig::default());
    let staying = Behaviour::sink().staying_open();
    world.peer().listen(PORT, staying.backlog(4));
    world.peer().listen(PORT + 1, Behaviour::sink());
    let mut us = Us::<3>::new(&world);
    let fin_wait_2 = us.open(Options::default());
    let to = (PEER_V4, PORT + 1);
    let time_wait = us.stack.connect(to, Options::default()).expect("a slot");
    us.stack.wait_open(time_wait).expect("open");
    for id in [fin_wait_2, time_wait] {
        us.writer(id).finish().expect("finished");
    }
    us.stack.run_for(ms(100));
    let ids = [fin_wait_2, time_wait];
    us.open(Options::default());
    assert_eq!(kept(&us, ids), [true, true], "the third was never used");
    us.open(Options::default());
    assert_eq!(kept(&us, ids), [true, false], "TIME-WAIT before FIN-WAIT-2");
    us.open(Options::default());
    assert_eq!(kept(&us, ids), [false, false]);
}

#[test]
fn a_slot_whose_rst_is_still_to_leave_is_not_taken_first() {
    let world = World::new(WorldConfig {
        queue_frames: 1,
        latency: ms(300),
        ..WorldConfig::default()
    });
    world.peer().listen(PORT, Behaviour::sink().backlog(2));
    let mut us = Us::<2>::new(&world);
    let id = us.open(Options::default());
    us.stack.run_for(secs(2));
    let tap = Tap::new(&world);
    us.write(id, 100);
    us.stack.release(id).expect("ours");
    us.connect(Options::default());
    assert_eq!(kept(&us, [id]), [true]);
    us.stack.run_for(secs(2));
    let has_left = tap.take().iter().any(|segment| segment.is(Flags::RST));
    assert!(has_left);
}

/// Opens and ends one slot 10,000 times.
#[track_caller]
fn reopen_ten_thousand_times(
    options: Options,
    pause: core::time::Duration,
    mut end: impl FnMut(&mut Us<1>, ConnectionId) -> Option<Cause>,
) {
    let world = listening_world(Behaviour::sink().backlog(2));
    let mut us = Us::<1>::sized(&world, 256, 256);
    for round in 0..10_000_u64 {
        let id = us.open(options);
        us.write(id, 10);
        let cause = end(&mut us, id);
        let report = us.stack.release(id).expect("ours");
        assert_eq!(report.cause, cause, "round {round}");
        assert_eq!(report.ledger.accepted(), 10);
        us.stack.run_for(pause);
    }
    assert_eq!(world.peer().accepted(PORT), 10_000);
    us.stack.run_for(secs(100));
    assert_eq!(us.stack.poll(), None, "a timer is left");
}

#[test]
fn finishing_ten_thousand_times_leaks_nothing() {
    reopen_ten_thousand_times(Options::default(), secs(1), |us, id| {
        us.writer(id).finish().expect("finished").cause
    });
}

#[test]
fn aborting_ten_thousand_times_leaks_nothing() {
    reopen_ten_thousand_times(Options::default(), ms(10), |us, id| {
        us.writer(id).abort().expect("ours").cause
    });
}

#[test]
fn ten_thousand_peers_that_finish_first_leak_nothing() {
    // The peer rests in TIME-WAIT for 10 s.
    reopen_ten_thousand_times(Options::default(), secs(11), |us, id| {
        us.writer(id).flush().expect("acknowledged");
        us.world.peer().close(PORT);
        us.stack.run_for(ms(10));
        us.writer(id).finish().expect("acknowledged").cause
    });
}

#[test]
fn ten_thousand_resets_leak_nothing() {
    reopen_ten_thousand_times(Options::default(), ms(10), |us, id| {
        us.writer(id).flush().expect("acknowledged");
        us.world.peer().abort(PORT);
        us.stack.run_for(ms(10));
        Some(Cause::PeerReset)
    });
}

#[test]
fn ten_thousand_vanished_peers_leak_nothing() {
    let hasty = options(|o| o.user_timeout(ms(1_500)));
    reopen_ten_thousand_times(hasty, ms(10), |us, id| {
        us.writer(id).flush().expect("acknowledged");
        us.world.set_drops(Direction::ToUs, Drops::All);
        let bytes = us.writer(id).try_write(b"");
        assert_eq!(bytes, Ok(0));
        let cause = us.writer(id).finish().expect_err("no answer").cause();
        us.world.set_drops(Direction::ToUs, Drops::Nothing);
        cause
    });
}

#[test]
fn while_one_writer_blocks_the_others_are_served() {
    let world = World::new(WorldConfig::default());
    world
        .peer()
        .listen(PORT, Behaviour::silent().rx_buffer(100));
    for port in 81..=83 {
        world.peer().listen(port, Behaviour::sink());
    }
    let mut us = Us::<5>::new(&world);
    let stuck = us.open(options(|o| o.call_timeout(secs(30))));
    let others = [81, 82, 83].map(|port| {
        let id = us
            .stack
            .connect((PEER_V4, port), Options::default())
            .unwrap();
        us.stack.wait_open(id).expect("open");
        id
    });
    let listener = us.stack.listen(7_000, Options::default()).expect("a slot");
    us.fill(stuck);
    for id in others {
        us.write(id, TX);
    }
    world.at(us.now() + secs(10), |world| {
        world
            .peer()
            .connect(100, (OUR_V4, 7_000), Behaviour::sink());
        world.peer().close(81);
        world.peer().abort(82);
    });
    let error = us.writer(stuck).write(b"x").expect_err("no reader");
    assert_call_timed_out(error, Timeout::NotReading);
    // The present state, without a poll:
    for (port, id) in (81..).zip(others) {
        assert_ledger(us.ledger(id), TX as u64, TX as u64);
        assert_eq!(world.peer().received(port), pattern(0, TX));
    }
    assert_eq!(us.report(others[0]).cause, Some(Cause::PeerFinished));
    assert_eq!(us.report(others[1]).cause, Some(Cause::PeerReset));
    assert_eq!(us.state(others[2]), State::Open);
    assert_eq!(us.state(listener), State::Open);
    assert_eq!(us.state(stuck), State::Open);
    world.peer().change(PORT, |b| b.reads = Reads::Everything);
}

#[test]
fn a_hundred_connections_keep_their_own_accounts() {
    let world = listening_world(Behaviour::sink().backlog(100));
    let mut us = Us::<100>::new(&world);
    let ids: Vec<_> = (0..100).map(|_| us.open(Options::default())).collect();
    assert_no_slot(&mut us);
    for (number, &id) in ids.iter().enumerate() {
        us.write(id, 10 * number);
    }
    us.stack.run_for(secs(1));
    for (number, &id) in ids.iter().enumerate() {
        assert_ledger(us.ledger(id), 10 * number as u64, 10 * number as u64);
        let report = us.writer(id).finish().expect("finished");
        assert_eq!(report.ledger.accepted(), 10 * number as u64);
    }
}

#[test]
fn the_smallest_mtu_and_the_smallest_buffers_carry_every_byte() {
    let world = World::new(WorldConfig {
        mtu: 14 + 68,
        ..WorldConfig::default()
    });
    world
        .peer()
        .listen(PORT, Behaviour::sink().acking_at_once());
    let mut us = Us::<1>::sized(&world, 1, 1);
    let id = us.open(Options::default());
    us.write(id, 300);
    let report = us.writer(id).finish().expect("finished");
    assert_ledger(report.ledger, 300, 300);
    us.check(id);
}

#[test]
fn a_lost_address_is_reported_before_a_call_on_another_connection_sends() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<2>::new(&world);
    let one = us.open(Options::default());
    let other = us.stack.listen(5_000, Options::default());
    us.write(one, 100);
    us.lose_addresses();
    us.stack.release(other.expect("a slot")).expect("ours");
    us.assert_refused(one, Cause::AddressLost, 100, 0);
}

/// The peer's FIN is acknowledged at once if its slot is opened again right after the finish:
/// otherwise the peer would retransmit it, and be reset.
#[test]
fn the_peers_fin_is_acknowledged_before_its_slot_is_opened_again() {
    for listens in [false, true] {
        let (mut us, id, raw, mut flow) = scripted(Options::default());
        us.write(id, 10);
        us.writer(id).begin_finish();
        us.stack.poll();
        flow.take(11);
        raw.send(&flow.ack());
        raw.send(&flow.data(*b"bye"));
        raw.send(&flow.fin());
        us.stack.poll();
        while raw.try_recv().is_some() {}
        assert_eq!(us.stack.release(id).unwrap().cause, Some(Cause::Finished));
        let opened = match listens {
            true => us.stack.listen(7_000, Options::default()),
            false => us.stack.connect((PEER_V4, PORT), Options::default()),
        };
        opened.expect("the slot is free");
        let first = raw.try_recv().expect("an ACK");
        assert_eq!((first.ack, first.flags), (flow.seq, Flags::ACK));
    }
}
