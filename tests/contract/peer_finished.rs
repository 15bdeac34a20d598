//! From `PeerFinished`: the peer's FIN, and what can be done after it.

use crate::common::*;
use embedded_io::{BufRead, Read, Write, WriteReady};
use lastbyte::core::Nagle;
use lastbyte::stack::ConnectionId;
use lastbyte::{Cause, OnPeerFin, OnReceive, Options, State, Timeout};
use lastbyte_sim::loopback::{Behaviour, Flags, Presence, Reads, World, WorldConfig};

const REFUSE: State = State::PeerFinished(OnPeerFin::Refuse);
const HALF: State = State::PeerFinished(OnPeerFin::HalfClose);

fn half_close() -> Options {
    options(|o| o.on_peer_fin(OnPeerFin::HalfClose))
}

/// A peer that has read 1000 bytes, reads no more, and has sent its FIN; `TX` bytes are
/// pending.
#[track_caller]
fn full_and_finished(options: Options) -> (Us<1>, ConnectionId, u64) {
    let (mut us, id) = connected(Behaviour::silent().rx_buffer(1_000), options);
    us.fill(id);
    us.world.peer().close(PORT);
    us.stack.run_for(secs(1));
    (us, id, TX as u64 + 1_000)
}

#[test]
fn the_first_write_after_a_fin_is_refused_without_a_poll() {
    for way in Way::ALL {
        let (mut us, id) = connected(Behaviour::sink(), Options::default());
        us.write(id, 500);
        us.writer(id).flush().expect("acknowledged");
        us.world.peer().close(PORT);
        us.world.run_for(secs(1));
        assert_eq!(us.state(id), State::Open, "no poll yet");
        let error = way.write(us.writer(id), b"late").expect_err("closed");
        assert_error(error, Cause::PeerFinished, 500, 500);
        assert_eq!(us.state(id), REFUSE);
        us.assert_refused(id, Cause::PeerFinished, 500, 500);
        us.stack.run_for(secs(1));
        assert_eq!(us.check(id).writes_accepted, 1);
        assert_eq!(us.world.peer().taken_in(PORT), 500);
    }
}

#[test]
fn write_ready_reports_nothing_else() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    us.world.peer().close(PORT);
    us.world.run_for(secs(1));
    assert_eq!(us.writer(id).write_ready(), Ok(true), "with an error");
    us.assert_refused(id, Cause::PeerFinished, 0, 0);
}

#[test]
fn a_fin_still_on_the_wire_cannot_be_known_and_nothing_is_lost_silently() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    // The FIN is in flight: these bytes are accepted, and answered with a RST that
    // acknowledges nothing, like a kernel's for a closed socket.
    us.write(id, 700);
    assert_eq!(raw.recv().payload.len(), 700);
    raw.send(&flow.fin());
    raw.send(&flow.rst());
    us.stack.run_for(secs(1));
    us.assert_refused(id, Cause::PeerFinished, 700, 0);
    let report = us.check(id);
    assert_eq!(report.ledger.undelivered(), 700);
}

#[test]
fn the_ack_number_of_a_rst_acknowledges_nothing() {
    for acknowledged in [0, 300, 700, 701] {
        let (mut us, id, raw, flow) = scripted(Options::default());
        us.write(id, 700);
        assert_eq!(raw.recv().payload.len(), 700);
        let ack = flow.ack.wrapping_add(acknowledged);
        let rst = flow.segment(Flags::RST | Flags::ACK).with_ack(ack);
        raw.send(&rst);
        us.stack.poll();
        us.assert_refused(id, Cause::PeerReset, 700, 0);
    }
}

#[test]
fn bytes_accepted_before_the_fin_drain_and_flush_is_ok() {
    let (mut us, id, accepted) = full_and_finished(Options::default());
    us.assert_refused(id, Cause::PeerFinished, accepted, 1_000);
    let error = us.writer(id).flush().expect_err("nothing is read");
    assert_call_timed_out(error, Timeout::NotReading);
    us.world
        .peer()
        .change(PORT, |b| b.reads = Reads::Everything);
    us.writer(id).flush().expect("acknowledged");
    us.assert_refused(id, Cause::PeerFinished, accepted, accepted);
    let report = us.writer(id).finish().expect("all acknowledged");
    assert_eq!(report.cause, Some(Cause::PeerFinished));
    assert_ledger(report.ledger, accepted, accepted);
    us.check(id);
    us.assert_refused(id, Cause::PeerFinished, accepted, accepted);
}

#[test]
fn finishing_after_the_fin_drains_and_reports_the_fin() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    assert_eq!(raw.recv().payload.len(), 10);
    raw.send(&flow.fin());
    us.stack.poll();
    assert_eq!(raw.recv().flags, Flags::ACK);
    us.writer(id).begin_finish();
    assert_eq!(us.state(id), State::Finishing(lastbyte::core::Closer::Peer));
    assert_eq!(us.writer(id).finished(), None);
    us.assert_refused(id, Cause::PeerFinished, 10, 0);
    let fin = raw.recv();
    assert!(fin.is(Flags::FIN), "{fin}");
    flow.take(11);
    raw.send(&flow.ack());
    let report = us.writer(id).finish().expect("all acknowledged");
    assert_eq!(report.cause, Some(Cause::PeerFinished));
    assert_ledger(report.ledger, 10, 10);
}

#[test]
fn bytes_lost_after_the_fin_are_an_error_of_finish_and_flush() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 700);
    assert_eq!(raw.recv().payload.len(), 700);
    raw.send(&flow.fin());
    raw.send(&flow.rst());
    let error = us.writer(id).flush().expect_err("lost");
    assert_error(error, Cause::PeerFinished, 700, 0);
    let error = us.writer(id).finish().expect_err("lost");
    assert_error(error, Cause::PeerFinished, 700, 0);
    us.assert_refused(id, Cause::PeerFinished, 700, 0);
}

#[test]
fn no_later_end_replaces_the_fin() {
    type End = fn(&mut Us<1>, ConnectionId);
    let ends: [End; 5] = [
        |us, _| us.world.peer().abort(PORT),
        |us, _| us.world.peer().set_presence(Presence::Absent),
        |us, _| us.lose_addresses(),
        |us, id| {
            us.writer(id).abort().expect("ours");
        },
        |us, id| {
            us.world.peer().set_presence(Presence::Deaf);
            let error = us.writer(id).finish().expect_err("the finish timeout");
            assert_eq!(error.cause(), Some(Cause::PeerFinished));
        },
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let (mut us, id, accepted) = full_and_finished(Options::default());
        assert_eq!(us.state(id), REFUSE);
        end(&mut us, id);
        us.stack.run_for(secs(300));
        let closed = State::Closed(Cause::PeerFinished);
        assert_eq!(us.state(id), closed, "end {number}");
        us.assert_refused(id, Cause::PeerFinished, accepted, 1_000);
        let error = us.writer(id).flush().expect_err("lost");
        assert_error(error, Cause::PeerFinished, accepted, 1_000);
        us.check(id);
    }
}

#[test]
fn with_nothing_pending_it_waits_for_us_without_a_limit() {
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    us.write(id, 10);
    us.writer(id).flush().expect("acknowledged");
    us.world.peer().close(PORT);
    us.stack.run_for(secs(100_000));
    assert_eq!(us.state(id), REFUSE);
    let report = us.writer(id).finish().expect("all acknowledged");
    assert_eq!(report.cause, Some(Cause::PeerFinished));
}

#[test]
fn writes_continue_after_a_half_close() {
    let (mut us, id) = connected(Behaviour::sink(), half_close());
    us.write(id, 500);
    us.world.peer().close(PORT);
    us.stack.run_for(secs(1));
    assert_eq!(us.state(id), HALF);
    assert_eq!(us.report(id).cause, None);
    for way in Way::ALL {
        let from = us.ledger(id).accepted();
        let taken = way.write(us.writer(id), &pattern(from, 100));
        assert_eq!(taken, Ok(100), "{way:?}");
    }
    us.write(id, 50_000);
    us.writer(id).flush().expect("acknowledged");
    let report = us.writer(id).finish().expect("finished");
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_ledger(report.ledger, 50_900, 50_900);
    assert_eq!(us.world.peer().taken_in(PORT), 50_900);
    us.check(id);
}

#[test]
fn a_rst_after_a_half_close_is_a_reset() {
    let (mut us, id) = connected(Behaviour::sink(), half_close());
    us.world.peer().exit(PORT);
    us.stack.run_for(secs(1));
    assert_eq!(us.state(id), HALF);
    us.write(id, 500);
    us.stack.run_for(secs(1));
    // Its RST acknowledges them, which proves nothing: it discarded them.
    us.assert_refused(id, Cause::PeerReset, 500, 0);
    us.check(id);
}

#[test]
fn every_other_end_after_a_half_close_has_its_own_cause() {
    type End = fn(&mut Us<1>, ConnectionId);
    let ends: [(Cause, End); 4] = [
        (Cause::Vanished, |us, _| {
            us.world.peer().set_presence(Presence::Absent);
        }),
        (Cause::AddressLost, |us, _| us.lose_addresses()),
        (Cause::Aborted, |us, id| {
            us.writer(id).abort().expect("ours");
        }),
        (Cause::FinishTimeout, |us, id| {
            us.world.peer().set_presence(Presence::Deaf);
            us.writer(id).finish().expect_err("no answer");
        }),
    ];
    for (cause, end) in ends {
        let (mut us, id, accepted) = full_and_finished(half_close());
        assert_eq!(us.state(id), HALF);
        end(&mut us, id);
        us.stack.run_for(secs(300));
        us.assert_refused(id, cause, accepted, 1_000);
    }
}

#[test]
fn a_fin_after_discarded_data_is_detected() {
    for size in [1, 100, 1_000_000] {
        let behaviour = Behaviour::sink()
            .sending(pattern(0, size))
            .closing_after_sending();
        let (mut us, id) = connected(behaviour, Options::default());
        us.stack.run_for(secs(60));
        us.assert_refused(id, Cause::PeerFinished, 0, 0);
        assert_eq!(us.report(id).discarded, size as u64);
        assert!(!us.writer(id).progress().unwrap().is_receive_full);
    }
}

#[test]
fn received_bytes_are_discarded_at_once_wherever_the_ring_begins() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    let mut received = 0;
    // The receive buffer is not a multiple of 1460: most segments wrap around.
    for _ in 0..20 {
        raw.send(&flow.data(pattern(0, 1_460)));
        us.stack.poll();
        received += 1_460;
        assert_eq!(us.report(id).discarded, received);
    }
    raw.send(&flow.fin());
    us.assert_refused(id, Cause::PeerFinished, 0, 0);
}

#[test]
fn a_fin_after_a_full_receive_buffer_is_hidden_and_status_reports_it() {
    let keep = options(|o| o.on_receive(OnReceive::Keep).nagle(Nagle::Off));
    let (mut us, id, raw, mut flow) = scripted(keep);
    assert!(!us.writer(id).progress().unwrap().is_receive_full);
    raw.send(&flow.data(pattern(0, RX)));
    us.stack.poll();
    assert!(us.writer(id).progress().unwrap().is_receive_full);
    // The window is closed: one byte and the FIN after it cannot be received.
    let beyond = flow.data(*b"!");
    let fin = flow.fin();
    raw.send(&beyond);
    raw.send(&fin);
    us.stack.poll();
    assert_eq!(us.state(id), State::Open);
    us.write(id, 10);
    let mut read = vec![0; RX];
    us.stack.reader(id).unwrap().read_exact(&mut read).unwrap();
    assert!(read == pattern(0, RX));
    assert!(!us.writer(id).progress().unwrap().is_receive_full);
    // The next poll announces the window.
    us.stack.poll();
    raw.send(&beyond);
    raw.send(&fin);
    us.assert_refused(id, Cause::PeerFinished, 10, 0);
    let mut reader = us.stack.reader(id).unwrap();
    assert_eq!(reader.fill_buf(), Ok(&b"!"[..]));
    reader.consume(1);
    assert_eq!(reader.read(&mut [0; 4]), Ok(0));
}

#[test]
fn a_fin_with_an_acknowledgement_settles_the_ledger_first() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    flow.take(6);
    raw.send(&flow.fin());
    us.assert_refused(id, Cause::PeerFinished, 10, 6);
}

#[test]
fn a_fin_after_a_gap_counts_once_the_gap_is_filled() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    let data = flow.data(*b"gaps");
    raw.send(&flow.fin());
    us.stack.poll();
    assert_eq!(us.state(id), State::Open);
    us.write(id, 10);
    let mut late = data;
    late.flags = late.flags | Flags::FIN;
    raw.send(&late);
    us.assert_refused(id, Cause::PeerFinished, 10, 0);
    assert_eq!(us.report(id).discarded, 4);
}

#[test]
fn the_first_write_detects_a_fin_at_the_end_of_a_full_queue() {
    for way in Way::ALL {
        let (mut us, id, raw, mut flow) = scripted(Options::default());
        for _ in 0..255 {
            raw.send(&flow.ack());
        }
        raw.send(&flow.fin());
        let refused = way.write(us.writer(id), b"late");
        assert_error(refused.expect_err("a FIN"), Cause::PeerFinished, 0, 0);
    }
}

#[test]
fn a_fin_and_a_rst_at_once_are_a_fin() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 10);
    flow.take(3);
    raw.send(&flow.fin());
    raw.send(&flow.rst());
    us.assert_refused(id, Cause::PeerFinished, 10, 3);
    assert_eq!(us.state(id), State::Closed(Cause::PeerFinished));
}

#[test]
fn a_heartbeat_is_refused_at_the_first_beat_after_the_fin() {
    let world = World::new(WorldConfig::default());
    let closing = Behaviour::sink().closing_at(at_ms(4_500));
    world.peer().listen(PORT, closing);
    let mut us = Us::<1>::new(&world);
    let id = us.open(Options::default());
    let mut beats = 0;
    let error = loop {
        match us.writer(id).write_all(&pattern(beats * 5, 5)) {
            Ok(()) => beats += 1,
            Err(error) => break error,
        }
        assert!(beats < 100);
        us.stack.run_for(secs(1));
    };
    assert_eq!(beats, 5);
    assert_error(error, Cause::PeerFinished, 25, 25);
    let report = us.check(id);
    assert_eq!((report.writes_accepted, report.writes_refused), (5, 1));
}
