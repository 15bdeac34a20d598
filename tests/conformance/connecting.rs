//! While our end connects.

use crate::common::*;
use crate::rows;
use crate::script::{Script, Setting};
use lastbyte::{Advice, Cause, Options, State};
use lastbyte_sim::loopback::Flags;

rows!(
    row_10_syn_sent_rst_needs_ack,
    row_11_refused,
    row_18_fin_in_syn_sent,
    row_23_connect_timeout,
    row_32_icmp_soft,
    row_33_icmp_hard_while_connecting,
    row_45_syn_sent_syn_without_ack_dropped,
    row_59_syn_sent_bad_ack,
    row_60_abort_in_syn_sent,
    row_67_icmp_prohibited_while_connecting,
);

/// RFC 9293, 3.10.7.3: while connecting, a RST counts only if it acknowledges
/// our SYN.
fn row_10_syn_sent_rst_needs_ack(on: Setting) {
    let mut script = Script::connecting(on, Options::default());
    let answered = Flags::RST | Flags::ACK;
    for seq in [0, script.flow.seq, script.flow.ack] {
        script.send(&script.flow.rst().with_seq(seq));
        for wrong in [u32::MAX, 1, 1 << 20] {
            let rst = script.flow.segment(answered).with_seq(seq);
            let ack = script.flow.ack.wrapping_add(wrong);
            script.send(&rst.with_ack(ack));
        }
    }
    assert_eq!(script.state(), State::Connecting);
    script.raw.recv_nothing();
    script.accept();
    script.assert_alive();
}

/// RFC 9293, 3.8.3: a RST in answer to our SYN is a refusal.
fn row_11_refused(on: Setting) {
    let mut script = Script::connecting(on, Options::default());
    let rst = script.flow.segment(Flags::RST | Flags::ACK);
    script.send(&rst.with_seq(0));
    script.assert_refused(Cause::Refused, 0, 0);
    // No more SYNs.
    script.expect_silence(secs(1_000));
}

/// RFC 9293, 3.10.7.4, step 8: a FIN is dropped while connecting.
fn row_18_fin_in_syn_sent(on: Setting) {
    let mut script = Script::connecting(on, Options::default());
    for flags in [Flags::FIN, Flags::FIN | Flags::ACK] {
        script.send(&script.flow.segment(flags));
        assert_eq!(script.state(), State::Connecting, "{flags}");
    }
    script.raw.recv_nothing();
    script.accept();
    script.assert_alive();
}

/// RFC 9293, 3.9.1.1 and MUST-23: an attempt without an answer ends at the timeout, which
/// may be three minutes or more.
fn row_23_connect_timeout(on: Setting) {
    for (limit, options) in [
        (30, Options::default()),
        (180, options(|o| o.connect_timeout(secs(180)))),
        (1_000, options(|o| o.connect_timeout(secs(1_000)))),
    ] {
        let mut script = Script::connecting(on, options);
        let left = script.us.world.after(secs(limit)).since(script.us.now());
        script.run(left - ms(1));
        assert_eq!(script.state(), State::Connecting, "{limit} s");
        // It retransmits its SYN, always the same.
        let syns = script.take_all();
        assert!(syns.len() >= 3, "{limit} s: {} SYNs", syns.len());
        let isn = script.flow.remote_isn;
        let is_same =
            |syn: &lastbyte_sim::loopback::Segment| (syn.flags, syn.seq) == (Flags::SYN, isn);
        assert!(syns.iter().all(is_same), "{syns:?}");
        script.run(ms(1));
        assert_eq!(script.state(), State::Closed(Cause::ConnectTimeout));
        script.assert_refused(Cause::ConnectTimeout, 0, 0);
        script.take_all();
        script.expect_silence(secs(1_000));
    }
}

/// RFC 9293, MUST-47, MUST-54, MUST-56 and SHLD-25: soft errors are reported and end
/// nothing.
fn row_32_icmp_soft(on: Setting) {
    for &code in on.family.soft_codes() {
        let mut script = Script::connecting(on, Options::default());
        let syn = script.flow.segment(Flags::SYN);
        let syn = reversed(&script, syn.with_seq(script.flow.remote_isn));
        script.raw.send_unreachable(&syn, code);
        script.us.stack.poll();
        assert_eq!(script.state(), State::Connecting, "code {code}");
        assert_advice(&mut script, Advice::Icmp);
        script.raw.recv_nothing();
        script.accept();

        // Progress clears it.
        script.assert_alive();
        script.write(10);
        let data = script.raw.recv();
        script.raw.send_unreachable(&data, code);
        script.us.stack.poll();
        script.assert_open(20, 10);
        assert_advice(&mut script, Advice::Icmp);
        script.acknowledge(10);
        script.assert_alive();
    }
}

/// RFC 9293, SHLD-26: hard errors end the attempt to connect; on an open connection they
/// are only advice (RFC 5927, 5.2).
fn row_33_icmp_hard_while_connecting(on: Setting) {
    for &code in on.family.hard_codes() {
        let mut script = Script::connecting(on, Options::default());
        let syn = script.flow.segment(Flags::SYN);
        let syn = reversed(&script, syn.with_seq(script.flow.remote_isn));
        script.raw.send_unreachable(&syn, code);
        script.assert_refused(Cause::Unreachable, 0, 0);
        let sent = script.take_all();
        assert!(
            sent.iter().all(|segment| segment.is(Flags::RST)),
            "{sent:?}"
        );
        script.expect_silence(secs(1_000));

        let mut script = Script::open(on, Options::default());
        script.write(10);
        let data = script.raw.recv();
        script.raw.send_unreachable(&data, code);
        script.us.stack.poll();
        script.assert_open(10, 0);
        assert_advice(&mut script, Advice::Icmp);
        script.acknowledge(10);
        script.assert_alive();
        // Nothing is in flight, so such an error is forged (RFC 5927, 4.1).
        script.raw.send_unreachable(&data, code);
        script.us.stack.poll();
        assert_eq!(script.us.stack.poll_advice(script.id), Ok(None));
    }
}

/// The segment as our end would have sent it.
fn reversed(
    script: &Script,
    segment: lastbyte_sim::loopback::Segment,
) -> lastbyte_sim::loopback::Segment {
    lastbyte_sim::loopback::Segment {
        src: script.flow.remote.addr,
        dst: script.flow.local.addr,
        src_port: script.flow.remote.port,
        dst_port: script.flow.local.port,
        ..segment
    }
}

/// Asserts that it is reported once.
#[track_caller]
fn assert_advice(script: &mut Script, advice: Advice) {
    assert_eq!(script.us.stack.poll_advice(script.id), Ok(Some(advice)));
    assert_eq!(script.us.stack.poll_advice(script.id), Ok(None));
}

/// A client ignores a SYN that does not acknowledge its own, because any host could send
/// it: it opens no connection (in the simultaneous open of RFC 9293, 3.5, both ends
/// connect), and a RST after it does not refuse one.
fn row_45_syn_sent_syn_without_ack_dropped(on: Setting) {
    for seq in [0, 5_000, 1 << 31, u32::MAX] {
        for is_followed in [false, true] {
            let mut script = Script::connecting(on, Options::default());
            let syn = script.flow.segment(Flags::SYN).with_seq(seq);
            script.send(&syn);
            script.send(&syn.with_payload(*b"data"));
            if is_followed {
                let next = seq.wrapping_add(1);
                script.send(&script.flow.rst().with_seq(next));
                let ack = script.flow.ack().with_seq(next);
                script.send(&ack);
                let rst = script.flow.segment(Flags::RST).with_seq(next);
                script.send(&rst);
            }
            assert_eq!(script.state(), State::Connecting, "{seq}");
            // It still retransmits its SYN.
            script.run(secs(4));
            let asked = script.take_all();
            assert!(asked.iter().all(|s| s.flags == Flags::SYN), "{asked:?}");
            assert!(!asked.is_empty());
            script.accept();
            script.assert_alive();
        }
    }
}

/// RFC 9293, 3.10.7.3: a segment that acknowledges anything but our SYN is answered with
/// a RST at its number, so that an old connection of the peer ends.
fn row_59_syn_sent_bad_ack(on: Setting) {
    for flags in [
        Flags::ACK,
        Flags::PSH | Flags::ACK,
        Flags::FIN | Flags::ACK,
        Flags::SYN | Flags::ACK,
        Flags::FIN | Flags::PSH | Flags::ACK,
    ] {
        for wrong in [1, 1_000, 1 << 30, u32::MAX, 0_u32.wrapping_sub(1 << 30)] {
            let mut script = Script::connecting(on, Options::default());
            let ack = script.flow.ack.wrapping_add(wrong);
            let mut segment = script.flow.segment(flags).with_ack(ack);
            if flags.contains(Flags::PSH) {
                segment = segment.with_payload(*b"old");
            }
            script.send(&segment);
            let sent = script.take_all();
            let [rst] = sent.as_slice() else {
                panic!("{segment}: one RST was expected, not {sent:?}");
            };
            assert_eq!((rst.flags, rst.seq), (Flags::RST, ack), "{segment}");
            assert_eq!(script.state(), State::Connecting);
            script.accept();
            script.assert_alive();
        }
    }
}

/// RFC 9293, 3.10.5: in SYN-SENT there is nothing to reset at the peer, and no segment is
/// sent, however the attempt is given up.
fn row_60_abort_in_syn_sent(on: Setting) {
    for is_late in [false, true] {
        let connecting = || {
            let mut script = Script::connecting(on, Options::default());
            if is_late {
                script.run(ms(1_500));
                script.take_all();
                // Another SYN is due.
                script.us.world.run_for(secs(3));
            }
            script
        };
        let mut script = connecting();
        let report = script.us.writer(script.id).abort().expect("ours");
        assert_eq!(report.cause, Some(Cause::Aborted));
        script.expect_silence(secs(1_000));

        let mut script = connecting();
        script.us.stack.release(script.id).expect("ours");
        script.expect_silence(secs(1_000));

        let Script { us, raw, .. } = connecting();
        drop(us);
        raw.recv_nothing();
    }
    let mut script = Script::connecting(on, Options::default());
    script.run(secs(30) - ms(20));
    script.take_all();
    script.run(ms(20));
    assert_eq!(script.state(), State::Closed(Cause::ConnectTimeout));
    script.expect_silence(secs(1_000));
}

/// RFC 9293, 3.9.2.2: if a router rejects every SYN, that may be temporary; at the
/// connect timeout it is the cause.
fn row_67_icmp_prohibited_while_connecting(on: Setting) {
    for &code in on.family.no_way_codes() {
        let mut script = Script::connecting(on, Options::default());
        let syn = script.flow.segment(Flags::SYN);
        let syn = reversed(&script, syn.with_seq(script.flow.remote_isn));
        script.raw.send_unreachable(&syn, code);
        script
            .raw
            .respond(move |raw, syn| raw.send_unreachable(syn, code));
        script.us.stack.poll();
        assert_eq!(script.state(), State::Connecting, "code {code}");
        assert_advice(&mut script, Advice::Icmp);
        let left = script.us.world.after(secs(30)).since(script.us.now());
        script.run(left.saturating_sub(ms(20)));
        assert_eq!(script.state(), State::Connecting, "code {code}");
        script.run(ms(40));
        assert_eq!(script.state(), State::Closed(Cause::Unreachable), "{code}");
        script.assert_refused(Cause::Unreachable, 0, 0);

        // The rejection was temporary.
        let mut script = Script::connecting(on, Options::default());
        script.raw.send_unreachable(&syn, code);
        script.us.stack.poll();
        script.accept();
        script.assert_alive();
    }
}
