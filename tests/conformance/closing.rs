//! Our end finishes or aborts.

use crate::common::*;
use crate::rows;
use crate::script::{Script, Setting};
use lastbyte::core::{Closer, Nagle};
use lastbyte::{Cause, ClosedBy, OnReceive, Options, State, WriteError};
use lastbyte_sim::loopback::{Flags, Handshake, Segment};

rows!(
    row_04_send_after_close,
    row_34_finish_flushes,
    row_34_finish_into_a_closed_window,
    row_35_finish_with_unread_data,
    row_36_abort,
    row_37_simultaneous_close,
    row_38_last_ack_lost,
    row_40_time_wait_reuse,
);

/// RFC 9293, 3.10.2: a write after our own finish is an error.
fn row_04_send_after_close(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    script.expect_data(10);
    script.us.writer(script.id).begin_finish();
    assert_eq!(script.state(), State::Finishing(Closer::Us));
    let refuse = |script: &mut Script, acknowledged| {
        for way in Way::ALL {
            let refused = way.write(script.us.writer(script.id), b"more");
            let error = refused.expect_err("a write was taken");
            let ledger = error.ledger();
            let by = ClosedBy::Finish;
            assert_eq!(error, WriteError::Closed { by, ledger });
            assert_ledger(ledger, 10, acknowledged);
        }
    };
    refuse(&mut script, 0);
    let fin = script.take_all();
    assert_eq!(fin.len(), 1, "only the FIN: {fin:?}");
    assert!(fin[0].is(Flags::FIN) && fin[0].payload.is_empty());
    script.acknowledge(10);
    refuse(&mut script, 10);
    script.acknowledge(1);
    script.assert_refused(Cause::Finished, 10, 10);
    script.expect_silence(secs(10));
}

/// RFC 9293, 3.6 and 3.9.1.4: finishing delivers what was accepted, or reports what it
/// could not deliver.
fn row_34_finish_flushes(on: Setting) {
    let mut script = Script::open_at(on, 1_000, Options::default());
    for len in [1, 500, 1_000, 1_500] {
        script.write(len);
    }
    script.us.writer(script.id).begin_finish();
    let mut left: u32 = 3_001;
    let mut fins = 0;
    while left > 0 {
        let sent = script.take_all();
        let len: u32 = sent.iter().map(|s| s.payload.len() as u32).sum();
        assert!(len > 0, "{left} are left");
        left -= len;
        fins += sent.iter().filter(|s| s.is(Flags::FIN)).count();
        assert_eq!(script.state(), State::Finishing(Closer::Us));
        script.acknowledge(len);
    }
    fins += script.take_all().len();
    assert_eq!(fins, 1, "one FIN, after everything");
    script.acknowledge(1);
    assert_eq!(script.state(), State::Closed(Cause::Finished));
    assert_ledger(script.us.ledger(script.id), 3_001, 3_001);

    // Slow acknowledgements do not extend the timeout.
    let mut script = Script::open_at(on, 10, Options::default());
    script.write(3_000);
    let started = script.us.now();
    script.us.writer(script.id).begin_finish();
    let mut acknowledged = 0;
    for _ in 0..29 {
        script.run(secs(1));
        acknowledged += 10;
        script.acknowledge(10);
        assert_eq!(script.state(), State::Finishing(Closer::Us));
    }
    let left = (started + secs(30)).since(script.us.now());
    script.run(left);
    assert_eq!(script.state(), State::Closed(Cause::FinishTimeout));
    assert_ledger(script.us.ledger(script.id), 3_000, acknowledged);
    let last = script.take_all().pop().expect("a RST");
    assert!(last.is(Flags::RST), "{last}");
    script.expect_silence(secs(1_000));
}

/// The same if the window probe carries the last octet and the FIN, and the peer accepts
/// both but leaves its window closed: no more probes are needed. (Bare smoltcp continues
/// to probe, without a pause.)
fn row_34_finish_into_a_closed_window(on: Setting) {
    for text in [vec![], vec![7; 3]] {
        let mut script = Script::open_at(on, 10, Options::default());
        script.write(11);
        script.expect_data(10);
        // The window closes on the last octet.
        script.flow.window = 0;
        script.acknowledge(10);
        script.us.writer(script.id).begin_finish();
        script.run(secs(2));
        let probe = script.take_all().pop().expect("a probe");
        assert!(probe.is(Flags::FIN) && probe.payload.len() == 1, "{probe}");
        script.flow.take(2);
        let ack = script.flow.ack().with_payload(text.clone());
        script.send(&ack);
        assert_eq!(script.state(), State::Closed(Cause::Finished));
        assert_ledger(script.us.ledger(script.id), 11, 11);
        // Not expect_silence, which would take long in a flood.
        script.raw.respond(|_, segment| panic!("it sent {segment}"));
        script.run(secs(20));
        script.raw.respond(|_, _| {});
        // The data of the ACK is accepted when the peer retransmits it.
        script.send_data(text);
        let fin = script.flow.fin();
        script.send(&fin);
        script.expect_ack();
    }
}

/// RFC 9293, SHLD-3; RFC 2525, 2.17: an end that finishes with unread data sends a RST,
/// so that the peer detects the loss; its own bytes drain first.
fn row_35_finish_with_unread_data(on: Setting) {
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let mut script = Script::open(on, keep);
    script.write(10);
    script.expect_data(10);
    script.send_data(*b"never read");
    script.us.writer(script.id).begin_finish();
    script.run(ms(100));
    let sent = script.take_all();
    let is_ending = |segment: &Segment| segment.is(Flags::FIN) || segment.is(Flags::RST);
    assert!(!sent.iter().any(is_ending), "{sent:?}");
    script.acknowledge(10);
    script.expect_rst(0);
    assert_eq!(script.state(), State::Closed(Cause::Finished));
    script.assert_refused(Cause::Finished, 10, 10);
    script.expect_silence(secs(1_000));
}

/// RFC 9293, 3.10.5: an abort sends a RST at SND.NXT and reports the queue.
fn row_36_abort(on: Setting) {
    let mut script = Script::open_at(on, 1_000, options(|o| o.nagle(Nagle::Off)));
    script.write(3_000);
    script.expect_data(1_000);
    script.acknowledge(400);
    let sent = script.take_all();
    let more: u32 = sent.iter().map(|s| s.payload.len() as u32).sum();
    assert_eq!(more, 400, "the window slides: {sent:?}");
    let report = script.us.writer(script.id).abort().expect("ours");
    assert_eq!(report.cause, Some(Cause::Aborted));
    assert_ledger(report.ledger, 3_000, 400);
    script.expect_rst(1_000);
    script.assert_refused(Cause::Aborted, 3_000, 400);
    // An acknowledgement that is still in flight does not count: the cause and the ledger
    // are latched.
    script.acknowledge(1_000);
    script.assert_refused(Cause::Aborted, 3_000, 400);
}

/// RFC 9293, 3.6: both ends close at once; nothing is lost and neither end is at
/// fault.
fn row_37_simultaneous_close(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    script.expect_data(10);
    script.acknowledge(10);
    script.us.writer(script.id).begin_finish();
    script.expect_fin();
    // The peer's FIN crosses ours: it acknowledges nothing of it.
    script.send_fin();
    assert_eq!(script.state(), State::Finishing(Closer::Us));
    script.run(ms(20));
    let answers = script.take_all();
    let last = answers.last().expect("an ACK of the FIN");
    assert_eq!((last.ack, last.is(Flags::RST)), (script.flow.seq, false));
    script.acknowledge(1);
    let report = script.us.report(script.id);
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_ledger(report.ledger, 10, 10);
    let outcome = script.us.writer(script.id).finished().expect("an end");
    assert_eq!(
        outcome.map(|report| report.cause),
        Ok(Some(Cause::Finished))
    );
    script.expect_silence(secs(100));
}

/// RFC 9293, 3.6, case 2: the peer closes first and the ACK of our FIN is lost.
/// Our FIN is retransmitted, and the connection ends within the finish timeout.
fn row_38_last_ack_lost(on: Setting) {
    let in_last_ack = || {
        let mut script = Script::open(on, Options::default());
        script.write(10);
        script.expect_data(10);
        script.flow.take(10);
        script.send_fin();
        script.expect_ack();
        script.us.writer(script.id).begin_finish();
        script.expect_fin();
        assert_eq!(script.state(), State::Finishing(Closer::Peer));
        script
    };
    // Lost once: the FIN is retransmitted and acknowledged.
    let mut script = in_last_ack();
    script.run(secs(3));
    let again = script.take_all();
    assert!(again.iter().any(|fin| fin.is(Flags::FIN)), "{again:?}");
    script.acknowledge(1);
    let outcome = script.us.writer(script.id).finished().expect("an end");
    let report = outcome.expect("everything drained");
    assert_eq!(report.cause, Some(Cause::PeerFinished));
    assert_ledger(report.ledger, 10, 10);
    script.expect_silence(secs(100));

    // Never acknowledged: reported at the timeout. Every byte was acknowledged.
    let mut script = in_last_ack();
    script.run(secs(29));
    assert_eq!(script.state(), State::Finishing(Closer::Peer));
    script.run(secs(1));
    assert!(script.state().is_closed());
    assert_ledger(script.us.ledger(script.id), 10, 10);
    let outcome = script.us.writer(script.id).finished().expect("an end");
    let reported = outcome.map(|report| report.cause);
    assert_eq!(reported, Ok(Some(Cause::PeerFinished)));
    script.take_all();
    script.expect_silence(secs(1_000));

    // The peer has lost the connection: its RST is not a final ACK, but every byte is
    // still counted.
    let mut script = in_last_ack();
    script.send(&script.flow.rst());
    assert_eq!(script.state(), State::Closed(Cause::PeerFinished));
    assert_ledger(script.us.ledger(script.id), 10, 10);
    script.expect_silence(secs(1_000));
}

/// RFC 9293, MUST-13; RFC 6191, 2: after an end in TIME-WAIT the slot can be reused at
/// once, and old duplicates disturb no connection.
fn row_40_time_wait_reuse(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    script.expect_data(10);
    script.acknowledge(10);
    script.us.writer(script.id).begin_finish();
    script.expect_fin();
    script.acknowledge(1);
    script.send_fin();
    script.expect_ack();
    script.assert_refused(Cause::Finished, 10, 10);
    // The ACK was lost: the FIN is retransmitted and acknowledged again.
    let old = script.flow;
    let fin = Segment {
        seq: old.seq.wrapping_sub(1),
        ..old.segment(Flags::FIN | Flags::ACK)
    };
    script.run(secs(2));
    script.send(&fin);
    script.expect_ack();
    script.us.stack.release(script.id).expect("ours");

    // The same slot, while its previous connection is in TIME-WAIT.
    let id = script
        .us
        .stack
        .connect((on.family.peer(), PORT), Options::default());
    script.id = id.expect("the slot is free");
    let handshake = Handshake {
        isn: 1 << 30,
        ..Handshake::default()
    };
    let raw = script.raw.clone();
    script.flow = raw.handshake(handshake, || {
        script.us.stack.poll();
    });
    assert_ne!(script.flow.remote.port, old.remote.port, "another port");
    script.assert_open(0, 0);
    // Late segments of the old connection belong to no connection.
    for segment in [old.rst(), fin, old.ack(), old.segment(Flags::SYN)] {
        script.send(&segment);
        script.run(ms(20));
        script.assert_open(0, 0);
    }
    script.assert_alive();
}
