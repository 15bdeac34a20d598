//! While our end listens.

use crate::common::*;
use crate::rows;
use crate::script::{CALLER, Family, OURS, Script, Setting};
use lastbyte::stack::smoltcp::wire::{IpAddress, Ipv4Address, Ipv6Address};
use lastbyte::{Options, State};
use lastbyte_sim::loopback::{Flags, Segment};

rows!(
    row_53_group_address_syn,
    row_54_handshake_bounded,
    row_54_callers_meanwhile_are_not_reset,
    row_58_syn_received_bad_ack,
);

impl Family {
    /// Addresses at which more than one host receives, our end among them.
    fn groups(self) -> Vec<IpAddress> {
        match self {
            Self::V4 => vec![
                Ipv4Address::new(10, 77, 0, 255).into(),
                Ipv4Address::BROADCAST.into(),
                Ipv4Address::new(224, 0, 0, 1).into(),
            ],
            // All nodes, and those that share the last octets of our address.
            Self::V6 => vec![
                Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
                Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2).into(),
            ],
        }
    }
}

/// Asserts that no handshake is in progress, and the next caller gets an answer.
#[track_caller]
fn assert_listens(script: &mut Script) {
    assert_eq!(script.state(), State::Listening);
    assert_eq!(script.us.stack.endpoints(script.id), Ok(None));
    script.take_all();
    script.call(CALLER + 50);
    script.send_ack();
    assert_eq!(script.state(), State::Open);
    script.assert_alive();
}

/// RFC 9293, MUST-57 and MUST-63: a segment to a group or a broadcast address is silently
/// dropped, at a port where our end listens and at others.
fn row_53_group_address_syn(on: Setting) {
    for dst in on.family.groups() {
        for port in [OURS, OURS + 1] {
            let mut script = Script::listening(on, Options::default());
            for flags in [Flags::SYN, Flags::ACK, Flags::SYN | Flags::ACK] {
                let segment = script.flow.segment(flags);
                let segment = Segment {
                    dst,
                    dst_port: port,
                    ..segment
                };
                for _ in 0..3 {
                    script.send(&segment);
                    script.expect_silence(secs(2));
                }
            }
            assert_listens(&mut script);
        }
    }
}

/// A handshake that its caller does not complete takes at most five seconds.
fn row_54_handshake_bounded(on: Setting) {
    let mut script = Script::called(on, Options::default());
    let called_at = script.us.now();
    script.run(secs(3));
    let local = script.flow.remote;
    let ends = script.us.stack.endpoints(script.id).expect("ours");
    assert_eq!(ends, Some((local, script.flow.local)), "not given up yet");
    let left = (called_at + secs(5)).since(script.us.now());
    script.run(left + ms(20));
    assert_listens(&mut script);
}

/// While a handshake is not complete, other callers have to retransmit their SYN: none of
/// them is reset.
fn row_54_callers_meanwhile_are_not_reset(on: Setting) {
    let mut script = Script::called(on, Options::default());
    let other = Segment {
        src_port: CALLER + 1,
        ..script.flow.segment(Flags::SYN)
    };
    for second in 0..5 {
        script.send(&other);
        let sent = script.take_all();
        let is_for_other = |s: &Segment| s.dst_port == CALLER + 1;
        assert!(!sent.iter().any(is_for_other), "{second} s: {sent:?}");
        script.run(secs(1));
    }
    script.run(ms(20));
    assert_listens(&mut script);
}

/// RFC 9293, 3.10.7.4, step 5: in SYN-RECEIVED an acknowledgement of anything but
/// our SYN is answered with a RST at its number, and the handshake goes on.
fn row_58_syn_received_bad_ack(on: Setting) {
    let mut script = Script::called(on, Options::default());
    for wrong in [1, 2, 1_000, 1 << 20, 1 << 30, u32::MAX, u32::MAX - 1_000] {
        let ack = script.flow.ack.wrapping_add(wrong);
        script.send(&script.flow.ack().with_ack(ack));
        let sent = script.take_all();
        let [rst] = sent.as_slice() else {
            panic!("{wrong}: one segment was expected, not {sent:?}");
        };
        assert_eq!((rst.flags, rst.seq), (Flags::RST, ack), "{rst}");
        assert_eq!(script.state(), State::Listening);
    }
    script.send_ack();
    assert_eq!(script.state(), State::Open);
    script.assert_alive();
}
