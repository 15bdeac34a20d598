//! While our end connects.

use crate::common::*;
use crate::rows;
use crate::script::{Script, Setting};
use lastbyte::{Advice, Cause, Options, State};
use lastbyte_shim::loopback::Flags;

rows!(
    row_10_syn_sent_rst_needs_ack,
    row_11_refused,
    row_18_fin_in_syn_sent,
    row_23_connect_limit,
    row_32_icmp_soft,
    row_33_icmp_hard_while_connecting,
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

/// RFC 9293, 3.9.1.1 and MUST-23: a SYN without an answer ends at the limit,
/// which may be three minutes or more.
fn row_23_connect_limit(on: Setting) {
    for (limit, options) in [
        (30, Options::default()),
        (180, options(|o| o.connect_limit(secs(180)))),
        (1_000, options(|o| o.connect_limit(secs(1_000)))),
    ] {
        let mut script = Script::connecting(on, options);
        let left = at_secs(limit).since(script.us.now());
        script.run(left - ms(1));
        assert_eq!(script.state(), State::Connecting, "{limit} s");
        // It asks again and again, always the same.
        let syns = script.take_all();
        assert!(syns.len() >= 3, "{limit} s: {} SYNs", syns.len());
        let isn = script.flow.remote_isn;
        let is_same =
            |syn: &lastbyte_shim::loopback::Segment| (syn.flags, syn.seq) == (Flags::SYN, isn);
        assert!(syns.iter().all(is_same), "{syns:?}");
        script.run(ms(1));
        assert_eq!(script.state(), State::Closed(Cause::ConnectTimeout));
        script.assert_refused(Cause::ConnectTimeout, 0, 0);
        script.take_all();
        script.expect_silence(secs(1_000));
    }
}

/// RFC 9293, MUST-47, MUST-54, MUST-56 and SHLD-25: errors that may pass are
/// told and end nothing.
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

        // Progress takes it back.
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

/// RFC 9293, SHLD-26: errors that will not pass end the attempt to connect; an
/// open connection is only told (RFC 5927, 5.2).
fn row_33_icmp_hard_while_connecting(on: Setting) {
    for &code in on.family.hard_codes() {
        let mut script = Script::connecting(on, Options::default());
        let syn = script.flow.segment(Flags::SYN);
        let syn = reversed(&script, syn.with_seq(script.flow.remote_isn));
        script.raw.send_unreachable(&syn, code);
        script.assert_refused(Cause::Unreachable, 0, 0);
        let said = script.take_all();
        assert!(
            said.iter().all(|segment| segment.is(Flags::RST)),
            "{said:?}"
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
        // Nothing is in flight: such an error is forged (RFC 5927, 4.1).
        script.raw.send_unreachable(&data, code);
        script.us.stack.poll();
        assert_eq!(script.us.stack.poll_advice(script.id), Ok(None));
    }
}

/// The segment as our end would have sent it.
fn reversed(
    script: &Script,
    segment: lastbyte_shim::loopback::Segment,
) -> lastbyte_shim::loopback::Segment {
    lastbyte_shim::loopback::Segment {
        src: script.flow.remote.addr,
        dst: script.flow.local.addr,
        src_port: script.flow.remote.port,
        dst_port: script.flow.local.port,
        ..segment
    }
}

/// It is told, once.
#[track_caller]
fn assert_advice(script: &mut Script, advice: Advice) {
    assert_eq!(script.us.stack.poll_advice(script.id), Ok(Some(advice)));
    assert_eq!(script.us.stack.poll_advice(script.id), Ok(None));
}
