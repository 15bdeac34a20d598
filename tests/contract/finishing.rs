//! From `Finishing`: the drain, our FIN, and what can happen in between.

use crate::common::*;
use embedded_io::Write;
use lastbyte::core::Closer;
use lastbyte::stack::OpenError;
use lastbyte::{Cause, OnPeerFin, Options, State};
use lastbyte_sim::loopback::{
    Behaviour, Direction, Drops, Flags, Handshake, Presence, Reads, World, WorldConfig,
};

const FINISHING: State = State::Finishing(Closer::Us);

#[test]
fn it_drains_sends_a_fin_and_reports() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    us.write(id, 500);
    us.stack.run_for(secs(2));
    us.write(id, 4_000);
    let began = us.now();
    let report = us.writer(id).finish().expect("finished");
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_ledger(report.ledger, 4_500, 4_500);
    assert_eq!((report.writes_accepted, report.writes_refused), (2, 0));
    assert_eq!(report.discarded, 0);
    assert!(!report.link_was_down);
    // Opened at 0: neighbour and SYN took 4 ms.
    assert_eq!(at_ms(0) + report.elapsed, us.now());
    assert!(us.now() >= began + ms(2));
    let fin_at = us.world.peer().saw_fin(PORT).expect("a FIN");
    assert!(fin_at >= began + ms(1) && fin_at < us.now());
    us.check(id);
    us.assert_refused(id, Cause::Finished, 4_500, 4_500);
    us.stack.run_for(secs(100));
    assert_eq!(us.report(id).elapsed, report.elapsed);
    // The slot is free.
    let id = us.open(Options::default());
    us.write(id, 1);
}

#[test]
fn the_fin_follows_the_last_byte() {
    let handshake = Handshake {
        window: 4,
        ..Handshake::default()
    };
    let (mut us, id, raw, mut flow) = scripted_with(handshake, Options::default());
    us.write(id, 10);
    us.writer(id).begin_finish();
    assert_eq!(us.state(id), FINISHING);
    let mut bytes = Vec::<u8>::new();
    let fin = loop {
        let segment = raw.recv();
        assert_eq!(segment.seq, flow.ack);
        assert!(bytes.len() <= 10);
        bytes.extend(&segment.payload);
        flow.take(segment.seq_len());
        if segment.is(Flags::FIN) {
            break segment;
        }
        raw.send(&flow.ack());
        us.stack.poll();
        assert_eq!(us.writer(id).finished(), None);
    };
    assert_eq!(bytes, pattern(0, 10));
    assert_eq!(fin.seq.wrapping_add(fin.seq_len()), flow.ack);
    assert_eq!(us.state(id), FINISHING, "the FIN is not acknowledged");
    raw.send(&flow.ack());
    us.stack.poll();
    let report = us.writer(id).finished().expect("it ended").expect("well");
    assert_ledger(report.ledger, 10, 10);
    assert_eq!(report.cause, Some(Cause::Finished));
}

#[test]
fn writes_are_refused_while_it_drains() {
    let (mut us, id) = connected(Behaviour::silent().rx_buffer(1_000), Options::default());
    us.fill(id);
    us.writer(id).begin_finish();
    assert_eq!(us.state(id), FINISHING);
    us.assert_refused_by_us(id);
    us.world
        .peer()
        .change(PORT, |b| b.reads = Reads::Everything);
    let report = us.writer(id).finish().expect("finished");
    assert_ledger(report.ledger, TX as u64 + 1_000, TX as u64 + 1_000);
    us.check(id);
}

impl<const N: usize> Us<N> {
    /// Asserts that while finishing, the error of a write is that we closed, and the
    /// report has no cause yet.
    #[track_caller]
    fn assert_refused_by_us(&mut self, id: lastbyte::stack::ConnectionId) {
        let before = self.report(id);
        assert_eq!(before.cause, None);
        for way in Way::ALL {
            let error = way.write(self.writer(id), b"more").expect_err("taken");
            let ledger = before.ledger;
            assert_error(
                error,
                Cause::Finished,
                ledger.accepted(),
                ledger.acknowledged(),
            );
        }
        assert_eq!(self.report(id).writes_refused, before.writes_refused + 4);
    }
}

#[test]
fn the_finish_timeout_is_absolute() {
    // The peer reads 10 bytes a second: every acknowledgement is progress.
    let trickling = Behaviour::sink()
        .reading(10, secs(1))
        .rx_buffer(100)
        .acking_at_once();
    let (mut us, id) = connected(trickling, Options::default());
    us.write(id, 3_000);
    let began = us.now();
    let error = us.writer(id).finish().expect_err("it takes longer");
    assert_eq!(us.now(), began + secs(30));
    let ledger = error.ledger();
    assert!(ledger.acknowledged() > 150, "{ledger:?}");
    assert!(ledger.undelivered() > 2_000, "{ledger:?}");
    assert_error(error, Cause::FinishTimeout, 3_000, ledger.acknowledged());
    us.check(id);
    us.assert_refused(id, Cause::FinishTimeout, 3_000, ledger.acknowledged());
    us.stack.run_for(secs(1));
    assert!(us.world.peer().saw_rst(PORT).is_some());
}

#[test]
fn beginning_twice_does_not_restart_the_timeout() {
    let (mut us, id) = connected(
        Behaviour::silent().rx_buffer(100),
        options(|o| o.finish_timeout(secs(20))),
    );
    us.write(id, 1_000);
    let began = us.now();
    for _ in 0..19 {
        us.writer(id).begin_finish();
        us.stack.run_for(secs(1));
    }
    let error = us.writer(id).finish().expect_err("nothing is read");
    assert_error(error, Cause::FinishTimeout, 1_000, 100);
    assert_eq!(us.now(), began + secs(20));
}

#[test]
fn a_fin_without_an_acknowledgement_is_a_finish_timeout() {
    for presence in [Presence::Deaf, Presence::Absent] {
        let (mut us, id) = connected(Behaviour::sink(), Options::default());
        us.write(id, 100);
        us.writer(id).flush().expect("acknowledged");
        us.stack.run_for(secs(500));
        us.world.peer().set_presence(presence);
        let began = us.now();
        let error = us.writer(id).finish().expect_err("no peer");
        // Every byte is acknowledged; only the FIN is not.
        assert_error(error, Cause::FinishTimeout, 100, 100);
        assert!((began + secs(30)..=began + secs(31)).contains(&us.now()));
        us.writer(id).flush().expect("every byte is acknowledged");
    }
}

#[test]
fn if_silence_comes_first_the_peer_has_vanished() {
    let limits = options(|o| o.user_timeout(secs(10)).finish_timeout(secs(30)));
    for pending in [0, 1_000] {
        let (mut us, id) = connected(Behaviour::sink(), limits);
        us.world.peer().set_presence(Presence::Absent);
        us.write(id, pending);
        let began = us.now();
        let error = us.writer(id).finish().expect_err("no peer");
        assert_error(error, Cause::Vanished, pending as u64, 0);
        assert_eq!(us.now(), began + secs(10));
    }
}

#[test]
fn a_lost_fin_is_sent_again() {
    for direction in [Direction::ToPeer, Direction::ToUs] {
        let (mut us, id) = connected(Behaviour::sink().staying_open(), Options::default());
        us.stack.run_for(secs(1));
        us.world.set_drops(direction, Drops::Next(1));
        let report = us.writer(id).finish().expect("finished");
        assert_eq!(report.cause, Some(Cause::Finished));
        assert!(us.world.peer().saw_fin(PORT).is_some());
    }
}

#[test]
fn a_rst_instead_of_an_answer_is_a_reset() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    us.writer(id).begin_finish();
    flow.take(4);
    raw.send(&flow.ack());
    raw.send(&flow.rst());
    let error = us.writer(id).finish().expect_err("reset");
    assert_error(error, Cause::PeerReset, 10, 4);
    us.assert_refused(id, Cause::PeerReset, 10, 4);
}

#[test]
fn a_rst_after_everything_is_acknowledged_changes_nothing() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    us.writer(id).begin_finish();
    flow.take(11);
    raw.send(&flow.ack());
    raw.send(&flow.rst());
    let report = us.writer(id).finish().expect("finished");
    assert_eq!(report.cause, Some(Cause::Finished));
    us.assert_refused(id, Cause::Finished, 10, 10);
}

/// With any window: neither the window nor the ACK number of a RST counts.
#[test]
fn a_rst_that_acknowledges_our_fin_is_a_reset_and_acknowledges_nothing() {
    for window in [0, 1_000] {
        let (mut us, id, raw, mut flow) = scripted(Options::default());
        us.write(id, 10);
        us.writer(id).begin_finish();
        flow.take(11);
        let rst = flow.segment(Flags::RST | Flags::ACK);
        raw.send(&rst.with_window(window));
        let error = us.writer(id).finish().expect_err("reset");
        assert_error(error, Cause::PeerReset, 10, 0);
        us.assert_refused(id, Cause::PeerReset, 10, 0);
    }
}

/// RFC 9293, 3.10.7.4, step 1: a segment that is completely before RCV.NXT is not
/// accepted, whatever it acknowledges.
#[test]
fn an_old_segment_does_not_acknowledge_our_fin() {
    for (flags, text) in [
        (Flags::ACK, 1),
        (Flags::ACK, 5),
        (Flags::FIN | Flags::ACK, 0),
    ] {
        let (mut us, id, raw, mut flow) = scripted(Options::default());
        raw.send(&flow.data(*b"taken"));
        us.write(id, 10);
        us.writer(id).begin_finish();
        flow.take(11);
        let old = flow.segment(flags).with_payload(vec![0; text]);
        let seq = flow.seq.wrapping_sub(old.seq_len());
        raw.send(&old.with_seq(seq).with_window(0));
        us.stack.run_for(ms(10));
        assert_eq!(us.state(id), FINISHING, "{flags:?}, {text}");
        assert_eq!(us.ledger(id).acknowledged(), 0, "{flags:?}, {text}");
        raw.send(&flow.ack());
        let report = us.writer(id).finish().expect("finished");
        assert_eq!(report.cause, Some(Cause::Finished));
    }
}

#[test]
fn a_rst_after_both_fins_acknowledges_nothing() {
    for (policy, cause) in [
        (OnPeerFin::Refuse, Cause::PeerFinished),
        (OnPeerFin::HalfClose, Cause::PeerReset),
    ] {
        for acknowledged in [0, 4, 10] {
            // LAST-ACK: a RST looks like the final ACK to smoltcp.
            let (mut us, id, raw, mut flow) = scripted(options(|o| o.on_peer_fin(policy)));
            us.write(id, 10);
            raw.send(&flow.fin());
            us.writer(id).begin_finish();
            flow.take(acknowledged);
            raw.send(&flow.ack());
            raw.send(&flow.rst());
            us.assert_refused(id, cause, 10, acknowledged.into());
            let outcome = us.writer(id).finished().expect("it ended");
            let is_complete = acknowledged == 10 && cause == Cause::PeerFinished;
            assert_eq!(outcome.is_ok(), is_complete, "{outcome:?}");
        }
    }
}

#[test]
fn a_fin_of_the_peer_while_finishing_changes_nothing() {
    for acknowledges in [false, true] {
        let (mut us, id, raw, mut flow) = scripted(Options::default());
        us.write(id, 10);
        us.writer(id).begin_finish();
        if acknowledges {
            flow.take(11);
        }
        raw.send(&flow.fin());
        us.stack.poll();
        if !acknowledges {
            // CLOSING: both FINs are in flight.
            assert_eq!(us.state(id), FINISHING);
            assert_eq!(us.report(id).cause, None);
            flow.take(11);
            raw.send(&flow.ack());
        }
        let report = us.writer(id).finish().expect("finished");
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_ledger(report.ledger, 10, 10);
    }
}

#[test]
fn both_ends_closing_at_once_is_finished() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let id = us.open(Options::default());
    us.write(id, 1_000);
    us.writer(id).flush().expect("acknowledged");
    world.at(us.now(), |world| world.peer().close(PORT));
    let report = us.writer(id).finish().expect("finished");
    assert_eq!(report.cause, Some(Cause::Finished));
    us.check(id);
}

#[test]
fn aborting_while_finishing_resets() {
    let (mut us, id) = connected(Behaviour::silent().rx_buffer(1_000), Options::default());
    us.fill(id);
    us.writer(id).begin_finish();
    us.stack.run_for(secs(5));
    let report = us.writer(id).abort().expect("ours");
    assert_eq!(report.cause, Some(Cause::Aborted));
    assert_ledger(report.ledger, TX as u64 + 1_000, 1_000);
    us.stack.run_for(secs(1));
    assert!(us.world.peer().saw_rst(PORT).is_some());
    us.assert_refused(id, Cause::Aborted, TX as u64 + 1_000, 1_000);
}

#[test]
fn a_lost_address_ends_finishing() {
    let (mut us, id) = connected(Behaviour::silent().rx_buffer(1_000), Options::default());
    us.fill(id);
    us.writer(id).begin_finish();
    us.lose_addresses();
    let error = us.writer(id).finish().expect_err("lost");
    assert_error(error, Cause::AddressLost, TX as u64 + 1_000, 1_000);
}

#[test]
fn a_peer_that_never_closes_does_not_pin_the_slot() {
    let (mut us, id) = connected(Behaviour::sink().staying_open(), Options::default());
    us.write(id, 10);
    let report = us.writer(id).finish().expect("finished");
    assert_ledger(report.ledger, 10, 10);
    // FIN-WAIT-2 without bound, if no connection needs the slot.
    us.stack.run_for(secs(10_000));
    us.world.peer().listen(PORT, Behaviour::sink().backlog(2));
    us.stack.run_for(secs(1));
    let id = us.open(Options::default());
    us.write(id, 10);
    us.writer(id).finish().expect("finished");
}

#[test]
fn an_unfinished_writer_keeps_its_slot_and_a_finished_one_does_not() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    us.writer(id).begin_finish();
    us.stack.run_for(secs(5));
    assert_eq!(us.state(id), State::Closed(Cause::Finished));
    // The connection has ended, and its report was not collected.
    let full = us
        .stack
        .connect((lastbyte_sim::loopback::PEER_V4, PORT), Options::default());
    assert_eq!(full, Err(OpenError::NoSlot));
    us.stack.release(id).expect("ours");
    us.stack.run_for(secs(20));
    us.open(Options::default());
}

#[test]
fn finishing_with_a_flood_from_the_peer_ends() {
    let (mut us, id) = connected(Behaviour::sink().flooding(), Options::default());
    us.write(id, 1_000);
    us.stack.run_for(secs(1));
    let report = us.writer(id).finish().expect("finished");
    assert_ledger(report.ledger, 1_000, 1_000);
    assert!(report.discarded > 10_000);
}
