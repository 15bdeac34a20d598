//! From `Open`: the user timeout, the call timeout, stall advice, keep-alive.

use crate::common::*;
use embedded_io::Write;
use lastbyte::core::Window;
use lastbyte::{Advice, Cause, Instant, Options, State, Timeout};
use lastbyte_sim::loopback::{
    Behaviour, Direction, Drops, Flags, Handshake, OUR_V4, Presence, Reads, World, WorldConfig,
};

/// Cuts the cable.
fn cut(world: &World) {
    world.set_drops(Direction::ToPeer, Drops::All);
    world.set_drops(Direction::ToUs, Drops::All);
}

/// Repairs the cable.
fn mend(world: &World) {
    world.set_drops(Direction::ToPeer, Drops::Nothing);
    world.set_drops(Direction::ToUs, Drops::Nothing);
}

/// Polls and sleeps until the connection has ended. Returns when that was.
#[track_caller]
fn run_until_closed<const N: usize>(
    us: &mut Us<N>,
    id: lastbyte::stack::ConnectionId,
    within: u64,
) -> Instant {
    let end = us.now() + secs(within);
    while us.now() < end {
        us.stack.wait(end);
        us.stack.poll();
        if us.state(id).is_closed() {
            return us.now();
        }
    }
    panic!("it lives at {end:?}");
}

#[test]
fn a_cable_cut_in_mid_stream_is_a_vanished_peer_within_the_limit() {
    for limit in [3, 20, 100, 500] {
        let world = World::new(WorldConfig::default());
        let slow = Behaviour::sink().reading(10_000, ms(100));
        world.peer().listen(PORT, slow);
        let mut us = Us::<1>::new(&world);
        let id = us.open(options(|o| {
            o.user_timeout(secs(limit)).call_timeout(secs(10_000))
        }));
        world.at(at_secs(2), cut);
        let mut written = 0;
        let error = loop {
            match us.writer(id).write(&pattern(written, 1_000)) {
                Ok(taken) => written += taken as u64,
                Err(error) => break error,
            }
        };
        assert!(written > 50_000);
        assert_eq!(error.cause(), Some(Cause::Vanished));
        assert_eq!(error.ledger().accepted(), written);
        assert!(us.now() >= at_ms(1_990) + secs(limit), "{:?}", us.now());
        // If the window is closed, the last probe may be a minute later.
        let latest = at_secs(3) + secs(limit + 62);
        assert!(us.now() <= latest, "{:?}", us.now());
        let ledger = us.check(id).ledger;
        assert!(ledger.undelivered() > 0);
        us.assert_refused(id, Cause::Vanished, written, ledger.acknowledged());
    }
}

#[test]
fn the_timeout_runs_from_the_first_segment_without_an_answer() {
    let (mut us, id, raw, _) = scripted(Options::default());
    us.stack.run_for(secs(5));
    us.write(id, 10);
    let first = raw.recv();
    us.stack.run_for(secs(50));
    us.write(id, 10);
    assert_eq!(run_until_closed(&mut us, id, 1_000), first.time + secs(100));
    us.assert_refused(id, Cause::Vanished, 20, 0);
    // An acknowledgement restarts it; an answer without one does not.
    for acknowledged in [5, 0] {
        let (mut us, id, raw, mut flow) = scripted(Options::default());
        us.write(id, 10);
        let first = raw.recv().time;
        us.stack.run_for(secs(99));
        let heard = us.now();
        flow.take(acknowledged);
        raw.send(&flow.ack());
        us.stack.poll();
        let (since, cause) = match acknowledged {
            0 => (first, Cause::Unacknowledged),
            _ => (heard, Cause::Vanished),
        };
        assert_eq!(run_until_closed(&mut us, id, 1_000), since + secs(100));
        us.assert_refused(id, cause, 10, acknowledged.into());
    }
}

#[test]
fn an_answer_in_the_last_moment_keeps_it_open() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    us.stack.run_for(secs(100) - ms(1));
    assert_eq!(us.state(id), State::Open);
    flow.take(10);
    raw.send(&flow.ack());
    us.stack.run_for(secs(100_000));
    assert_eq!(us.state(id), State::Open);
    assert_ledger(us.ledger(id), 10, 10);
}

#[test]
fn an_answer_at_the_time_of_the_timeout_keeps_it_open() {
    // Frames come before timers: what has arrived was heard in time.
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    us.world.run_until(at_secs(100));
    flow.take(10);
    raw.send(&flow.ack());
    us.writer(id).flush().expect("acknowledged");
    assert_eq!(us.state(id), State::Open);
}

#[test]
fn an_idle_connection_outlives_the_timeout() {
    let (mut us, id) = connected(Behaviour::sink(), options(|o| o.user_timeout(secs(3))));
    for _ in 0..5 {
        us.write(id, 1_000);
        us.writer(id).flush().expect("acknowledged");
        us.stack.run_for(secs(40_000));
        assert_eq!(us.state(id), State::Open);
    }
    us.check(id);
}

#[test]
fn an_idle_wire_is_silent() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    us.write(id, 1_000);
    us.writer(id).flush().expect("acknowledged");
    let tap = Tap::new(&us.world);
    us.stack.run_for(secs(10 * 3_600));
    assert_eq!(tap.take(), []);
    assert_eq!(us.stack.poll(), None, "nothing is ever due");
    let raw_idle = scripted(Options::default());
    let (mut us, _, raw, _) = raw_idle;
    us.stack.run_for(secs(10 * 3_600));
    raw.recv_nothing();
}

#[test]
fn the_pause_between_answered_probes_does_not_count() {
    // Probes back off to 60 s, and the timeout is 3 s.
    let (mut us, id) = connected(
        Behaviour::silent().rx_buffer(1_000),
        options(|o| o.user_timeout(secs(3))),
    );
    us.fill(id);
    us.stack.run_for(secs(3_600));
    assert_eq!(us.state(id), State::Open);
    assert_eq!(us.check(id).ledger.acknowledged(), 1_000);
    // One probe without an answer does not end the connection. The next one is due within
    // 75 s; without a neighbour it cannot be sent.
    let tap = Tap::new(&us.world);
    us.world.peer().set_presence(Presence::Absent);
    let ended = run_until_closed(&mut us, id, 1_000);
    let overdue = tap.take()[0].time + secs(75);
    assert!(ended >= overdue && ended <= overdue + secs(2), "{ended:?}");
    us.assert_refused(id, Cause::Vanished, TX as u64 + 1_000, 1_000);
}

#[test]
fn a_hundred_hours_of_answered_probes_take_few_polls() {
    let (mut us, id) = connected(Behaviour::silent().rx_buffer(1_000), Options::default());
    us.fill(id);
    let end = us.now() + secs(100 * 3_600);
    let mut polls = 0;
    while us.now() < end {
        us.stack.wait(end);
        polls += 1;
    }
    // One probe a minute, with its answer, and the wakes after two seconds and in quarters.
    assert!(polls < 8 * 100 * 60, "{polls} polls");
    assert_eq!(us.state(id), State::Open);
    assert_eq!(us.writer(id).progress().unwrap().window, Window::Zero);
    us.world
        .peer()
        .change(PORT, |b| b.reads = Reads::Everything);
    let report = us.writer(id).finish();
    // The next probe may be later than the finish timeout, but not later than a minute.
    match report {
        Ok(report) => assert_ledger(report.ledger, TX as u64 + 1_000, TX as u64 + 1_000),
        Err(error) => assert_eq!(error.cause(), Some(Cause::FinishTimeout)),
    }
    us.check(id);
}

#[test]
fn the_next_write_detects_a_neighbour_that_vanished_while_idle() {
    for idle in [1, 59, 61, 3_600, 100_000] {
        let (mut us, id) = connected(Behaviour::sink(), Options::default());
        us.write(id, 100);
        us.writer(id).flush().expect("acknowledged");
        us.world.peer().set_presence(Presence::Absent);
        us.stack.run_for(secs(idle));
        let from = us.now();
        us.write(id, 100);
        let ended = run_until_closed(&mut us, id, 1_000);
        assert!(
            (from + secs(100)..=from + secs(101)).contains(&ended),
            "{idle}"
        );
        us.assert_refused(id, Cause::Vanished, 200, 100);
        us.check(id);
    }
}

#[test]
fn a_neighbour_that_vanishes_at_a_closed_window_is_detected() {
    let (mut us, id) = connected(Behaviour::silent().rx_buffer(1_000), Options::default());
    us.fill(id);
    us.stack.run_for(secs(3_600));
    us.world.peer().set_presence(Presence::Absent);
    let from = us.now();
    let ended = run_until_closed(&mut us, id, 1_000);
    assert!(
        ended <= from + secs(60 + 75 + 100),
        "{:?}",
        ended.since(from)
    );
    us.assert_refused(id, Cause::Vanished, TX as u64 + 1_000, 1_000);
}

#[test]
fn a_cable_that_is_mended_in_time_changes_nothing() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    cut(&us.world);
    us.world.at(at_secs(90), mend);
    us.write(id, 3_000);
    us.stack.run_for(secs(99));
    assert_eq!(us.state(id), State::Open);
    us.writer(id).flush().expect("acknowledged");
    us.write(id, 3_000);
    us.writer(id).flush().expect("acknowledged");
    assert_ledger(us.check(id).ledger, 6_000, 6_000);
}

#[test]
fn the_call_timeout_distinguishes_a_peer_that_does_not_read_from_silence() {
    let (mut us, id) = connected(
        Behaviour::silent().rx_buffer(1_000),
        options(|o| o.call_timeout(secs(7))),
    );
    us.fill(id);
    let from = us.now();
    let error = us.writer(id).write(b"x").expect_err("no reader");
    assert_call_timed_out(error, Timeout::NotReading);
    assert_eq!(us.now(), from + secs(7));
    assert_eq!(us.state(id), State::Open);

    us.world.peer().set_presence(Presence::Absent);
    let from = us.now();
    let error = us.writer(id).flush().expect_err("no peer");
    assert_call_timed_out(error, Timeout::Call);
    assert_eq!(us.now(), from + secs(7));

    us.world.peer().set_presence(Presence::Present);
    us.world
        .peer()
        .change(PORT, |b| b.reads = Reads::Everything);
    // Repeated, it succeeds.
    let mut calls = 0;
    while us.writer(id).flush().is_err() {
        calls += 1;
        assert!(calls < 10, "it never succeeds");
    }
    us.write(id, 1_000);
    us.writer(id).flush().expect("acknowledged");
    let report = us.check(id);
    assert_ledger(report.ledger, TX as u64 + 2_000, TX as u64 + 2_000);
    assert_eq!(
        report.writes_refused, 0,
        "a timed-out call is not a refusal"
    );
}

#[test]
fn three_retransmissions_or_ten_seconds_are_a_stall_but_not_an_end() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    let mut sent = 0;
    while us.stack.poll_advice(id).unwrap().is_none() {
        us.stack.run_for(ms(10));
        assert!(us.now() < at_secs(11), "no advice");
        while raw.try_recv().is_some() {
            sent += 1;
        }
    }
    assert_eq!(sent, 4, "the first and three retransmissions");
    assert!(us.now() < at_secs(10));
    assert_eq!(us.stack.poll_advice(id), Ok(None), "reported once");
    assert!(us.writer(id).progress().unwrap().is_stalled);
    assert_eq!(us.state(id), State::Open);
    flow.take(10);
    raw.send(&flow.ack());
    us.stack.poll();
    assert!(!us.writer(id).progress().unwrap().is_stalled);
    // The next stall is reported again.
    us.write(id, 10);
    us.stack.run_for(secs(10));
    assert_eq!(us.stack.poll_advice(id), Ok(Some(Advice::Stalled)));
}

#[test]
fn a_peer_that_answers_and_does_not_read_is_a_stall_after_the_time() {
    for limit in [2, 10] {
        let (mut us, id) = connected(
            Behaviour::silent().rx_buffer(1_000),
            options(|o| o.stall_advice_after(secs(limit))),
        );
        let from = us.now();
        us.write(id, TX);
        us.stack.run_for(secs(limit) - ms(10));
        assert_eq!(us.stack.poll_advice(id), Ok(None));
        us.stack.run_for(ms(100));
        assert_eq!(
            us.stack.poll_advice(id),
            Ok(Some(Advice::Stalled)),
            "{from:?}"
        );
    }
}

#[test]
fn keep_alive_detects_an_idle_peer_that_vanished() {
    for presence in [Presence::Deaf, Presence::Absent] {
        let (mut us, id) = connected(
            Behaviour::sink(),
            options(|o| o.keep_alive(secs(10)).user_timeout(secs(30))),
        );
        us.write(id, 100);
        us.writer(id).flush().expect("acknowledged");
        let tap = Tap::new(&us.world);
        us.stack.run_for(secs(1_000));
        let probes = tap.take().len();
        assert!((95..=101).contains(&probes), "{probes} probes");
        assert_eq!(us.stack.poll_advice(id), Ok(None), "a probe is not a stall");
        assert_eq!(us.state(id), State::Open);
        let vanished = us.now();
        us.world.peer().set_presence(presence);
        let ended = run_until_closed(&mut us, id, 1_000);
        let unanswered = tap.take()[0].time;
        assert!(unanswered <= vanished + secs(10));
        assert_eq!(ended, unanswered + secs(30));
        us.assert_refused(id, Cause::Vanished, 100, 100);
    }
}

#[test]
fn keep_alive_does_not_affect_the_handshake() {
    for to_us in [false, true] {
        let world = World::new(WorldConfig::instant());
        let raw = world.raw();
        let mut us = Us::<1>::new(&world);
        let keep_alive = options(|o| o.keep_alive(secs(30)));
        let began = us.now();
        if to_us {
            us.stack.listen(7_000, keep_alive).expect("a slot");
            raw.open(100, (OUR_V4, 7_000), Handshake::default(), || {
                us.stack.poll();
            });
        } else {
            us.connect(keep_alive);
            // It asserts that the handshake ends with a pure ACK.
            raw.handshake(Handshake::default(), || {
                us.stack.poll();
            });
        }
        us.stack.run_for(secs(29));
        raw.recv_nothing();
        us.stack.run_for(secs(2));
        let probe = raw.recv();
        assert!(probe.time >= began + secs(30));
        assert!(probe.payload.len() <= 1);
    }
}

#[test]
fn after_a_stall_at_most_one_probe_and_no_timeout_is_left() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    us.stack.run_for(secs(60));
    flow.take(10);
    while raw.try_recv().is_some() {}
    raw.send(&flow.ack());
    us.stack.poll();
    assert_ledger(us.ledger(id), 10, 10);
    us.stack.run_for(secs(100_000));
    let probe = raw.try_recv();
    assert!(probe.is_none_or(|probe| probe.payload.len() <= 1));
    raw.recv_nothing();
    assert_eq!(us.state(id), State::Open);
}

#[test]
fn one_lost_probe_does_not_end_it() {
    let (mut us, id) = connected(
        Behaviour::sink(),
        options(|o| o.keep_alive(secs(10)).user_timeout(secs(25))),
    );
    for round in 0..50 {
        let direction = [Direction::ToPeer, Direction::ToUs][round % 2];
        us.world.set_drops(direction, Drops::Next(1));
        us.stack.run_for(secs(40));
        assert_eq!(us.state(id), State::Open, "round {round}");
    }
}

#[test]
fn an_unanswered_write_vanishes_with_keep_alive_too() {
    let (mut us, id) = connected(
        Behaviour::sink(),
        options(|o| o.keep_alive(secs(10)).user_timeout(secs(25))),
    );
    us.stack.run_for(secs(5));
    us.world.peer().set_presence(Presence::Absent);
    let from = us.now();
    us.write(id, 100);
    assert_eq!(run_until_closed(&mut us, id, 100), from + secs(25));
    us.assert_refused(id, Cause::Vanished, 100, 0);
}

#[test]
fn data_lost_and_a_window_closed_at_the_same_number_recovers() {
    for keep_alive in [false, true] {
        let handshake = Handshake::default();
        let (mut us, id, raw, mut flow) = scripted_with(
            handshake,
            options(|o| {
                if keep_alive {
                    o.keep_alive(secs(30))
                } else {
                    o
                }
            }),
        );
        us.write(id, 1_000);
        assert_eq!(raw.recv().payload.len(), 1_000);
        // It never arrived. The window closes, the numbers do not change.
        flow.window = 0;
        raw.send(&flow.ack());
        us.stack.poll();
        // The script of the peer: it answers probes, and reads from 300 s on.
        let mut answers = 0;
        let mut taken = 0;
        while us.now() < at_secs(600) && taken < 1_000 {
            us.stack.wait(at_secs(600));
            us.stack.poll();
            while let Some(segment) = raw.try_recv() {
                if us.now() >= at_secs(300) {
                    flow.window = u16::MAX;
                    if segment.seq == flow.ack {
                        flow.take(segment.seq_len());
                        taken += segment.payload.len();
                    }
                }
                answers += 1;
                raw.send(&flow.ack());
            }
        }
        assert!(answers >= 3, "our end stopped probing");
        assert_eq!(taken, 1_000);
        us.writer(id).flush().expect("acknowledged");
        assert_ledger(us.ledger(id), 1_000, 1_000);
        assert_eq!(us.state(id), State::Open);
    }
}

#[test]
fn a_peer_that_vanishes_after_closing_its_window_is_detected() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 1_000);
    flow.window = 0;
    raw.send(&flow.ack());
    us.stack.poll();
    let from = us.now();
    let ended = run_until_closed(&mut us, id, 1_000);
    assert!(
        ended <= from + secs(2 + 60 + 100),
        "{:?}",
        ended.since(from)
    );
    assert!(ended >= from + secs(100));
    us.assert_refused(id, Cause::Vanished, 1_000, 0);
}

#[test]
fn a_peer_that_still_responds_gets_a_rst() {
    // Our segments arrive, its answers do not: the RST arrives.
    let (mut us, id) = connected(Behaviour::sink(), options(|o| o.user_timeout(secs(9))));
    us.world.set_drops(Direction::ToUs, Drops::All);
    let tap = Tap::new(&us.world);
    us.write(id, 100);
    run_until_closed(&mut us, id, 100);
    us.stack.run_for(secs(1));
    us.assert_refused(id, Cause::Vanished, 100, 0);
    assert_eq!(us.world.peer().taken_in(PORT), 100, "a lower bound");
    assert!(us.world.peer().saw_rst(PORT).is_some());
    assert!(tap.take().last().is_some_and(|last| last.is(Flags::RST)));
}
