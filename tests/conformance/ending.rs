//! The peer ends the connection.

use crate::common::*;
use crate::rows;
use crate::script::{Script, Setting};
use embedded_io::{Read, Write};
use lastbyte::core::Nagle;
use lastbyte::{Cause, OnPeerFin, OnReceive, Options, State};
use lastbyte_sim::loopback::Flags;

rows!(
    row_01_fin_signals_user,
    row_02_fin_vs_rst_distinct,
    row_03_close_wait_send_legal,
    row_17_fin_after_full_receive_buffer,
    row_19_data_after_fin,
    row_39_half_open_discovery,
);

/// RFC 9293, 3.10.7.4, step 8: a FIN is reported to the user, here by the very next
/// write, of any kind.
fn row_01_fin_signals_user(on: Setting) {
    for way in Way::ALL {
        let mut script = Script::open(on, Options::default());
        script.write(10);
        script.expect_data(10);
        script.acknowledge(10);
        let fin = script.flow.fin();
        script.raw.send(&fin);
        // No poll and no read before.
        let refused = way.write(script.us.writer(script.id), b"more");
        let error = refused.expect_err("a write was taken");
        assert_error(error, Cause::PeerFinished, 10, 10);
        script.assert_refused(Cause::PeerFinished, 10, 10);
        script.expect_ack();
        script.expect_silence(secs(20));
    }
}

/// RFC 9293, MUST-12: a FIN and a RST are different causes.
fn row_02_fin_vs_rst_distinct(on: Setting) {
    let mut closed = Script::open(on, Options::default());
    closed.send_fin();
    let mut reset = Script::open(on, Options::default());
    reset.send(&reset.flow.rst());
    let fin = closed.us.try_write(closed.id, 1).expect_err("refused");
    let rst = reset.us.try_write(reset.id, 1).expect_err("refused");
    assert_error(fin, Cause::PeerFinished, 0, 0);
    assert_error(rst, Cause::PeerReset, 0, 0);
    closed.expect_ack();
    reset.expect_silence(secs(1));
}

/// RFC 9293, 3.10.2: sending in CLOSE-WAIT is legal, as an option.
fn row_03_close_wait_send_legal(on: Setting) {
    let half_close = options(|o| o.on_peer_fin(OnPeerFin::HalfClose).nagle(Nagle::Off));
    let mut script = Script::open(on, half_close);
    script.write(10);
    script.expect_data(10);
    script.send_fin();
    script.expect_ack();
    script.acknowledge(10);
    assert_eq!(script.state(), State::PeerFinished(OnPeerFin::HalfClose));
    script.write(3_000);
    // The congestion window.
    script.expect_data(2_058);
    assert_ledger(script.us.ledger(script.id), 3_010, 10);
    script.acknowledge(2_058);
    script.expect_data(942);
    script.acknowledge(942);
    script.us.writer(script.id).flush().expect("acknowledged");
    assert_ledger(script.us.ledger(script.id), 3_010, 3_010);
    script.us.writer(script.id).begin_finish();
    script.expect_fin();
    script.acknowledge(1);
    let report = script.us.report(script.id);
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_ledger(report.ledger, 3_010, 3_010);
    script.expect_silence(secs(100));
}

/// RFC 9293, 3.10.7.4, step 8: a FIN that does not fit into the receive buffer
/// counts once there is room, and an ACK announces the room to the peer.
fn row_17_fin_after_full_receive_buffer(on: Setting) {
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let mut script = Script::open(on, keep);
    script.send_data(vec![7; RX / 2]);
    script.send_data(vec![7; RX / 2]);
    script.run(ms(20));
    let last = script.take_all().pop().expect("an ACK");
    assert_eq!((last.ack, last.window), (script.flow.seq, 0), "{last}");
    let mut late = script.flow.segment(Flags::FIN | Flags::ACK);
    late = late.with_payload(*b"later!");
    script.send(&late);
    script.run(ms(20));
    script.take_all();
    script.assert_open(0, 0);
    let progress = script.us.writer(script.id).progress().expect("ours");
    assert!(progress.is_receive_full);

    let mut read = vec![0; RX];
    let mut reader = script.us.stack.reader(script.id).expect("ours");
    reader.read_exact(&mut read).expect("it is there");
    script.run(ms(20));
    let last = script.take_all().pop().expect("a window update");
    assert!(last.window > 0, "{last}");
    script.send(&late);
    script.flow.seq = script.flow.seq.wrapping_add(7);
    script.assert_refused(Cause::PeerFinished, 0, 0);
    script.expect_ack();

    // A writer that discards what it receives detects the FIN with the very next write,
    // after a whole window of data.
    let mut script = Script::open(on, Options::default());
    for _ in 0..2 {
        let data = script.flow.data(vec![7; RX / 2]);
        script.raw.send(&data);
    }
    let fin = script.flow.fin();
    script.raw.send(&fin);
    script.assert_refused(Cause::PeerFinished, 0, 0);
    assert_eq!(script.us.report(script.id).discarded, RX as u64);
}

/// RFC 9293, 3.10.7.4, step 7: data after a FIN is ignored.
fn row_19_data_after_fin(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.send_data(*b"before");
    script.send_fin();
    script.run(ms(20));
    script.take_all();
    let fin_at = script.flow.seq;
    script.send_data(*b"later!");
    script.flow.seq = fin_at;
    script.run(ms(20));
    for answer in script.take_all() {
        assert_eq!((answer.flags, answer.ack), (Flags::ACK, fin_at), "{answer}");
    }
    assert_eq!(script.us.report(script.id).discarded, 6);
    script.assert_refused(Cause::PeerFinished, 0, 0);
}

/// RFC 9293, 3.5.1, figures 9 and 10: a peer that has lost its state answers data with a
/// RST; the next write reports it.
fn row_39_half_open_discovery(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(100);
    script.expect_data(100);
    script.acknowledge(100);
    script.run(secs(10_000));
    // The peer restarts. Our end detects it once it sends something.
    script.write(50);
    script.expect_data(50);
    script.assert_open(150, 100);
    // A closed TCP takes the sequence number from the segment that it received.
    let rst = script.flow.rst();
    script.raw.send(&rst);
    script.assert_refused(Cause::PeerReset, 150, 100);
    let flushed = script.us.writer(script.id).flush();
    assert_error(
        flushed.expect_err("50 are lost"),
        Cause::PeerReset,
        150,
        100,
    );
    script.expect_silence(secs(1_000));
}
