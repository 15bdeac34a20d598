//! Segments that an off-path attacker could send.

use crate::common::*;
use crate::rows;
use crate::script::{Script, Setting};
use lastbyte::{Cause, OnPeerFin, OnReceive, Options, State};
use lastbyte_sim::loopback::{Flags, Segment};

rows!(
    row_05_rst_exact,
    row_06_rst_in_window_challenged,
    row_06_rst_in_window_after_fin,
    row_14_ack_at_the_edge,
    row_07_rst_out_of_window_dropped,
    row_08_rst_at_zero_receive_window,
    row_09_rst_with_data,
    row_12_syn_in_synchronized_challenged,
    row_13_ack_beyond_snd_nxt,
    row_14_ack_too_old,
    row_15_fin_out_of_order,
    row_16_fin_blind_out_of_window,
);

/// Asserts that the segment is answered with one challenge ACK and changes nothing.
#[track_caller]
fn assert_challenged(script: &mut Script, segment: &Segment) {
    let ledger = script.us.ledger(script.id);
    let discarded = script.us.report(script.id).discarded;
    script.send(segment);
    script.expect_ack();
    let report = script.assert_open(ledger.accepted(), ledger.acknowledged());
    assert_eq!(report.discarded, discarded);
    // Challenge ACKs are limited to one a second (RFC 5961, 7).
    script.expect_silence(secs(2));
}

/// RFC 5961, 3.2 (2): a RST at RCV.NXT ends the connection.
fn row_05_rst_exact(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    script.expect_data(10);
    script.acknowledge(4);
    script.raw.send(&script.flow.rst());
    // No poll before: the write itself detects it.
    script.assert_refused(Cause::PeerReset, 10, 4);
    script.expect_silence(secs(1_000));
}

/// RFC 5961, 3.2 (3): a RST in the window but not at RCV.NXT is challenged; a true peer
/// then sends the exact one.
fn row_06_rst_in_window_challenged(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    script.expect_data(10);
    script.acknowledge(10);
    for ahead in [1, 2, 1_000, RX as u32 - 1] {
        let rst = script.flow.rst();
        let rst = rst.with_seq(script.flow.seq.wrapping_add(ahead));
        assert_challenged(&mut script, &rst);
        let with_ack = rst.with_flags(Flags::RST | Flags::ACK);
        assert_challenged(&mut script, &with_ack);
    }
    // One ACK for many, within a second (RFC 5961, 7).
    for ahead in 1..=500 {
        let rst = script.flow.rst();
        let seq = script.flow.seq.wrapping_add(ahead);
        script.send(&rst.with_seq(seq));
    }
    assert_eq!(script.take_all().len(), 1);
    script.assert_alive();
    script.send(&script.flow.rst());
    script.assert_refused(Cause::PeerReset, 20, 20);
}

/// The same after the peer's FIN, if a writer may continue.
fn row_06_rst_in_window_after_fin(on: Setting) {
    let half_close = options(|o| o.on_peer_fin(OnPeerFin::HalfClose));
    let mut script = Script::open(on, half_close);
    script.send_fin();
    script.expect_ack();
    let rst = script.flow.rst();
    script.send(&rst.with_seq(script.flow.seq.wrapping_add(825)));
    script.expect_ack();
    assert_eq!(script.state(), State::PeerFinished(OnPeerFin::HalfClose));
    script.send(&script.flow.rst());
    script.assert_refused(Cause::PeerReset, 0, 0);
}

/// RFC 5961, 3.2 (1): a RST outside the window is silently dropped.
fn row_07_rst_out_of_window_dropped(on: Setting) {
    let mut script = Script::open(on, Options::default());
    for off in [u32::MAX, RX as u32, 1 << 20, 1 << 31, 3 << 30] {
        let rst = script.flow.rst();
        let rst = rst.with_seq(script.flow.seq.wrapping_add(off));
        script.send(&rst);
        script.expect_silence(secs(2));
        script.assert_open(0, 0);
    }
    script.assert_alive();
}

/// RFC 9293, MUST-66: a RST is processed while our receive window is zero.
fn row_08_rst_at_zero_receive_window(on: Setting) {
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let mut script = Script::open(on, keep);
    script.write(10);
    script.expect_data(10);
    script.flow.take(10);
    script.send_data(vec![7; RX / 2]);
    script.send_data(vec![7; RX / 2]);
    script.run(ms(20));
    let last = script.take_all().pop().expect("an ACK");
    assert_eq!((last.ack, last.window), (script.flow.seq, 0), "{last}");
    // Neither below nor above the edge of that window.
    for off in [u32::MAX, 1] {
        let rst = script.flow.rst();
        let rst = rst.with_seq(script.flow.seq.wrapping_add(off));
        script.send(&rst);
        script.expect_silence(ms(20));
    }
    script.send(&script.flow.rst());
    script.assert_refused(Cause::PeerReset, 10, 10);
    script.expect_silence(secs(1_000));
}

/// RFC 9293, SHLD-2: a RST may carry data, which contains the reason.
fn row_09_rst_with_data(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    script.expect_data(10);
    let rst = script.flow.segment(Flags::RST | Flags::ACK);
    script.send(&rst.with_payload(*b"out of memory"));
    script.assert_refused(Cause::PeerReset, 10, 0);
    assert_eq!(script.us.report(script.id).discarded, 0);
    script.expect_silence(secs(1_000));
}

/// RFC 5961, 4.2: a SYN on a synchronised connection is challenged, whatever
/// its sequence number.
fn row_12_syn_in_synchronized_challenged(on: Setting) {
    let mut script = Script::open(on, Options::default());
    let original = script.flow.segment(Flags::SYN | Flags::ACK);
    let original = original.with_seq(script.flow.isn);
    assert_challenged(&mut script, &original);
    for ahead in [0, 1, RX as u32 - 1, 1 << 20, 1 << 31, u32::MAX] {
        for flags in [Flags::SYN, Flags::SYN | Flags::ACK] {
            let syn = script.flow.segment(flags);
            let syn = syn.with_seq(script.flow.seq.wrapping_add(ahead));
            assert_challenged(&mut script, &syn);
        }
    }
    script.assert_alive();
}

/// RFC 9293, 3.10.7.4, step 5: an acknowledgement of what was never sent is answered with
/// an ACK and dropped, including its data.
fn row_13_ack_beyond_snd_nxt(on: Setting) {
    let mut script = Script::open_at(on, 10, Options::default());
    script.write(100);
    script.expect_data(10);
    for beyond in [11, 50, 100, 101, 1 << 20] {
        let ack = script.flow.ack.wrapping_add(beyond);
        let forged = script.flow.segment(Flags::ACK).with_ack(ack);
        // The retransmission timer runs, so only ACKs are checked.
        script.send(&forged.with_payload(*b"forged"));
        script.run(ms(20));
        let answers = script.take_all();
        let acks = answers.iter().filter(|answer| answer.payload.is_empty());
        let numbers: Vec<_> = acks.map(|ack| ack.ack).collect();
        assert_eq!(numbers, [script.flow.seq], "{beyond}");
        let report = script.assert_open(100, 0);
        assert_eq!(report.discarded, 0);
        script.run(secs(2));
        script.take_all();
    }
    script.acknowledge(10);
    script.assert_open(100, 10);
}

/// RFC 5961, 5.2: a very old acknowledgement does no harm.
fn row_14_ack_too_old(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(1_000);
    script.expect_data(1_000);
    script.acknowledge(1_000);
    script.write(10);
    script.expect_data(10);
    for old in [1, 1_000, 1_001, 1 << 20, 1 << 30] {
        let ack = script.flow.ack.wrapping_sub(old);
        script.send(&script.flow.ack().with_ack(ack));
        script.assert_open(1_010, 1_000);
    }
    let answers = script.take_all();
    assert!(answers.iter().all(|answer| answer.payload.is_empty()));
    assert!(answers.len() <= 1, "no flood of answers: {answers:?}");
    script.acknowledge(10);
    script.assert_open(1_010, 1_010);
}

/// If its last window of data was lost, a peer acknowledges our data with a sequence
/// number beyond it, at the edge of our window or after a FIN there. RFC 9293, 3.10.7.4,
/// drops that, although the peer responds and has our data.
fn row_14_ack_at_the_edge(on: Setting) {
    let mut script = Script::open(on, Options::default());
    let next = script.flow.seq;
    for (ahead, is_taken) in [
        (RX as u32 - 1, true),
        (RX as u32, true),
        // A FIN at the edge was lost too.
        (RX as u32 + 1, true),
        (RX as u32 + 2, false),
    ] {
        let before = script.us.ledger(script.id);
        script.write(10);
        script.expect_data(10);
        script.flow.take(10);
        let ack = script.flow.ack().with_seq(next.wrapping_add(ahead));
        script.send(&ack);
        let gained = if is_taken { 10 } else { 0 };
        let (accepted, acknowledged) = (before.accepted() + 10, before.acknowledged() + gained);
        script.assert_open(accepted, acknowledged);
        script.run(ms(20));
        script.take_all();
    }
}

/// RFC 9293, SHLD-31: a FIN after a gap does not count before the gap is filled.
fn row_15_fin_out_of_order(on: Setting) {
    let mut script = Script::open(on, Options::default());
    let gap = script.flow.segment(Flags::PSH | Flags::ACK);
    let gap = gap.with_payload(*b"12345");
    let fin = script.flow.segment(Flags::FIN | Flags::ACK);
    let fin = fin.with_seq(script.flow.seq.wrapping_add(5));
    script.send(&fin);
    script.assert_open(0, 0);
    script.assert_alive();
    script.send(&gap.with_ack(script.flow.ack));
    script.flow.seq = script.flow.seq.wrapping_add(5);
    script.send_fin();
    script.assert_refused(Cause::PeerFinished, 10, 10);
    assert_eq!(script.us.report(script.id).discarded, 5);
    script.run(ms(20));
    let last = script.take_all().pop().expect("an ACK");
    assert_eq!(last.ack, script.flow.seq, "{last}");
}

/// RFC 9293, 3.10.7.4, step 1: a FIN outside the window does not count.
fn row_16_fin_blind_out_of_window(on: Setting) {
    let mut script = Script::open(on, Options::default());
    for off in [u32::MAX, RX as u32 + 1, 1 << 20, 1 << 31, 3 << 30] {
        let fin = script.flow.segment(Flags::FIN | Flags::ACK);
        let fin = fin.with_seq(script.flow.seq.wrapping_add(off));
        script.send(&fin);
        script.assert_open(0, 0);
        if off != u32::MAX {
            script.send(&fin.with_payload(*b"forged"));
            script.assert_open(0, 0);
        }
        script.run(ms(20));
        let answers = script.take_all();
        let in_order =
            |answer: &Segment| (answer.flags, answer.ack) == (Flags::ACK, script.flow.seq);
        assert!(answers.iter().all(in_order), "{answers:?}");
        script.run(secs(2));
    }
    assert_eq!(script.us.report(script.id).discarded, 0);
    script.assert_alive();
}
