//! Segments that an off-path attacker could send.

use crate::common::*;
use crate::script::{ENDED, PEERS, Script, numbers};
use lastbyte_sim::loopback::Flags;
use smoltcp::socket::tcp;

/// A RST anywhere in the window silently ends the connection. RFC 5961, 3.2 (3), requires
/// a challenge ACK. Worked around in `src/guard/rules.rs`.
#[test]
fn row_06_rst_in_window_closes_the_connection() {
    for peer in PEERS {
        for ahead in [1, 1_000, 16 * 1024 - 1] {
            let mut script = Script::open(peer);
            let rst = script.flow.rst();
            script.send(&rst.with_seq(script.flow.seq.wrapping_add(ahead)));
            assert_eq!(script.shown(), ENDED, "{ahead}");
            script.expect_silence(secs(100));
        }
    }
}

/// A SYN on a synchronised connection is silently dropped. RFC 5961, 4.2, requires a
/// challenge ACK. Worked around in `src/guard/rules.rs`.
#[test]
fn row_12_syn_in_synchronized_is_silently_dropped() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        let again = script.flow.segment(Flags::SYN | Flags::ACK);
        script.send(&again);
        script.expect_silence(secs(100));
        assert_eq!(script.state(), tcp::State::Established);
        for ahead in [0, 1, 1 << 20, u32::MAX] {
            let syn = script.flow.segment(Flags::SYN);
            script.send(&syn.with_seq(script.flow.seq.wrapping_add(ahead)));
            script.expect_silence(secs(100));
            assert_eq!(script.state(), tcp::State::Established);
        }
    }
}

/// An ACK above SND.NXT frees octets that were never sent, and so they never are. RFC
/// 9293, 3.10.7.4, step 5, requires an ACK and that the segment is dropped. Worked around
/// in `src/guard/rules.rs`.
#[test]
fn row_13_ack_beyond_snd_nxt_frees_octets_never_sent() {
    for peer in PEERS {
        let mut script = Script::open_at(peer, 10);
        script.write(100);
        script.expect_data(10);
        let forged = script.flow.ack.wrapping_add(60);
        let ack = script.flow.ack().with_ack(forged);
        script.send(&ack);
        assert_eq!(script.unsent(), 40, "50 of them were not sent");
        for segment in script.sent() {
            let ahead = segment.seq.wrapping_sub(script.flow.ack);
            assert!(segment.payload.is_empty() || ahead >= 60, "{segment}");
        }
    }
}

/// The ACK number of a RST acknowledges nothing, although it is as valid as that of any
/// other segment at RCV.NXT (RFC 9293, 3.4). Worked around in `src/stack/device.rs` and
/// `src/stack/slot.rs`.
#[test]
fn row_44_rst_acknowledges_nothing() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        script.write(10);
        script.expect_data(10);
        script.flow.take(10);
        let rst = script.flow.segment(Flags::RST | Flags::ACK);
        script.send(&rst);
        assert_eq!(script.unsent(), 10);
        assert_eq!(script.shown(), ENDED);
    }
}

/// Data beyond the window is truncated, but the FIN after it is accepted, at a wrong
/// number. RFC 9293, 3.10.7.4, step 1, requires that what is outside the window is
/// removed, including the FIN. Worked around in `src/guard/rules.rs`.
#[test]
fn fin_after_data_beyond_the_window_is_accepted() {
    for peer in PEERS {
        let mut script = Script::open_with_buffers(peer, 10);
        let fin = script.flow.segment(Flags::FIN | Flags::ACK);
        script.send(&fin.with_payload(*b"ten octets, and more"));
        assert_eq!(script.state(), tcp::State::CloseWait);
        assert_eq!(script.bare.socket().recv_queue(), 10);
        let acked = script.flow.seq.wrapping_add(10 + 1);
        let sent = script.sent();
        assert_eq!(numbers(&sent), [(Flags::ACK, script.flow.ack, acked)]);
    }
}

/// Data after the peer's FIN is accepted and acknowledged. RFC 9293, 3.10.7.4, step 7,
/// requires that it is ignored. Worked around in `src/guard/rules.rs`.
#[test]
fn row_19_data_after_a_fin_is_accepted_and_acknowledged() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        script.send_fin();
        script.expect_ack();
        let late = script.flow.data(*b"later!");
        script.send(&late);
        assert_eq!(script.bare.socket().recv_queue(), 6);
        script.expect_ack();
        assert_eq!(script.state(), tcp::State::CloseWait);
    }
}

/// A RST at RCV.NXT is dropped if RCV.NXT is beyond the window, after a FIN at the edge,
/// until the FIN is acknowledged. By RFC 9293, MUST-66, it counts at a closed window. Not
/// worked around: the peer has already finished, and answers what it still gets with
/// another RST.
#[test]
fn rst_after_a_fin_at_the_edge_is_dropped() {
    for peer in PEERS {
        let mut script = Script::open_with_buffers(peer, 10);
        let fin = script.flow.segment(Flags::FIN | Flags::ACK);
        script.send(&fin.with_payload(*b"ten octets"));
        script.flow.seq = script.flow.seq.wrapping_add(10 + 1);
        let rst = script.flow.rst();
        script.send(&rst);
        assert_eq!(script.state(), tcp::State::CloseWait);
        script.expect_ack();
        script.send(&rst);
        assert_eq!(script.shown(), ENDED);
    }
}
