//! Our end closes or aborts.

use crate::common::*;
use crate::script::{ENDED, PEERS, Script, numbers};
use lastbyte_sim::loopback::{
    Bare, Flags, OUR_V4, OUR_V6, Segment, World, WorldConfig, smoltcp_time,
};
use smoltcp::iface::PollResult;
use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;

/// A write after our own close is refused with the same error as one after a RST. RFC
/// 9293, 3.10.2, requires "connection closing". Worked around in `src/core/transition.rs`
/// and `src/core/error.rs`.
#[test]
fn row_04_send_after_close_fails_like_a_reset() {
    for peer in PEERS {
        let mut closed = Script::open(peer);
        closed.bare.socket().close();
        let refused = closed.bare.socket().send_slice(b"more");
        let mut reset = Script::open(peer);
        let rst = reset.flow.rst();
        reset.send(&rst);
        assert_eq!(refused, reset.bare.socket().send_slice(b"more"));
        assert_eq!(refused, Err(tcp::SendError::InvalidState));
    }
}

/// `close()` with unread data sends a FIN, as if the data had been read. RFC 9293,
/// SHLD-3, and RFC 2525, 2.17, require a RST. Worked around in `src/stack/slot.rs`.
#[test]
fn row_35_close_with_unread_data_sends_a_fin() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        let unread = script.flow.data(*b"never read");
        script.send(&unread);
        script.expect_ack();
        script.bare.socket().close();
        let sent = script.sent();
        let fin = (Flags::FIN | Flags::ACK, script.flow.ack, script.flow.seq);
        assert_eq!(numbers(&sent), [fin]);
        assert_eq!(script.state(), tcp::State::FinWait1);
    }
}

/// Our FIN and the peer's, which crosses it.
#[track_caller]
fn closing(peer: IpAddress) -> Script {
    let mut script = Script::open(peer);
    script.bare.socket().close();
    assert_eq!(script.sent().len(), 1);
    script.send_fin();
    assert_eq!(script.state(), tcp::State::Closing);
    script
}

/// A simultaneous close ends through CLOSING and TIME-WAIT, as RFC 9293, 3.6,
/// requires. Nothing to work around.
#[test]
fn row_37_simultaneous_close_ends_in_time_wait() {
    for peer in PEERS {
        let mut script = closing(peer);
        let last = script.sent().pop().expect("an ACK of the FIN");
        assert_eq!(last.ack, script.flow.seq);
        script.acknowledge(1);
        assert_eq!(script.state(), tcp::State::TimeWait);
        script.expect_silence(secs(10));
        assert_eq!(script.shown(), ENDED);
    }
}

/// In LAST-ACK a FIN without an acknowledgement is retransmitted without bound, and a RST
/// and the final ACK look alike. RFC 9293, 3.10.8, requires that retransmission ends.
/// Worked around in `src/core/timers.rs` (the finish timeout).
#[test]
fn row_38_last_ack_has_no_end() {
    for peer in PEERS {
        let in_last_ack = || {
            let mut script = Script::open(peer);
            script.send_fin();
            script.expect_ack();
            script.bare.socket().close();
            script.bare.poll();
            assert_eq!(script.state(), tcp::State::LastAck);
            script
        };
        let mut lost = in_last_ack();
        lost.run(secs(100_000));
        assert_eq!(lost.state(), tcp::State::LastAck);
        let sent = lost.sent();
        assert!(sent.len() > 1_000, "{}", sent.len());
        assert!(sent.iter().all(|segment| segment.is(Flags::FIN)));

        let mut acknowledged = in_last_ack();
        acknowledged.acknowledge(1);
        let mut reset = in_last_ack();
        let rst = reset.flow.rst();
        reset.send(&rst);
        assert_eq!((acknowledged.shown(), reset.shown()), (ENDED, ENDED));
    }
}

/// Our FIN is acknowledged, and the peer's has arrived.
#[track_caller]
fn in_time_wait(peer: IpAddress) -> Script {
    let mut script = Script::open(peer);
    let unread = script.flow.data(*b"unread");
    script.send(&unread);
    script.bare.socket().close();
    script.sent();
    script.acknowledge(1);
    script.send_fin();
    script.sent();
    assert_eq!(script.state(), tcp::State::TimeWait);
    script
}

/// TIME-WAIT lasts ten seconds, not the four minutes of RFC 9293, MUST-13, and a socket
/// in it can connect again at once. After that a peer that did not get our last ACK is
/// answered with a RST. Worked around in `src/stack/opening.rs` (the choice of the slot)
/// and `src/stack/ports.rs` (the port rests).
#[test]
fn row_40_time_wait_is_short_and_can_be_ended() {
    for peer in PEERS {
        let mut script = in_time_wait(peer);
        script.expect_silence(secs(10) - ms(21));
        assert_eq!(script.state(), tcp::State::TimeWait);
        script.expect_silence(ms(1));
        assert_eq!(script.shown(), ENDED);

        let mut reused = in_time_wait(peer);
        let fin = reused.flow.segment(Flags::FIN | Flags::ACK);
        let fin = fin.with_seq(reused.flow.seq.wrapping_sub(1));
        reused.send(&fin);
        reused.expect_ack();
        assert_eq!(reused.bare.try_connect((peer, PORT)), Ok(()));
        assert_eq!(reused.state(), tcp::State::SynSent);
        reused.send(&fin);
        let sent = reused.sent_so_far();
        let flags: Vec<_> = sent.iter().map(|s| (s.flags, s.seq)).collect();
        assert_eq!(flags[0], (Flags::RST, fin.ack), "{sent:?}");
    }
}

/// The end of TIME-WAIT empties the buffers, unread data included, in a poll
/// that returns `None`. RFC 9293, 3.10.3, allows received data to be read. Worked around
/// in `src/stack/slot.rs`, which sends a RST for unread data and ends the connection once
/// our FIN is acknowledged.
#[test]
fn time_wait_end_drops_unread_data() {
    for peer in PEERS {
        let mut script = in_time_wait(peer);
        assert_eq!(script.bare.socket().recv_queue(), 6);
        script.raw.world().run_for(secs(10));
        assert_eq!(script.bare.poll(), PollResult::None);
        assert_eq!(script.bare.socket().recv_queue(), 0);
        assert_eq!(script.shown(), ENDED);
    }
}

/// FIN-WAIT-2 has no end: a peer that never closes keeps the socket. RFC 9293 allows it;
/// RFC 1122, 4.2.2.13, allows an end for an application that closed both directions.
/// Worked around in `src/stack/slot.rs` (the finish timeout).
#[test]
fn fin_wait_2_has_no_end() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        script.bare.socket().close();
        script.sent();
        script.acknowledge(1);
        assert_eq!(script.state(), tcp::State::FinWait2);
        assert_eq!(script.bare.poll_at(), None);
        script.expect_silence(secs(500_000));
        assert_eq!(script.state(), tcp::State::FinWait2);
    }
}

/// If a window probe is due when our FIN is acknowledged, probing goes on in FIN-WAIT-2
/// without a pause, although there is nothing to send. RFC 9293, 3.8.6.1, requires probes
/// only while there is data to send, with growing pauses. Worked around in
/// `src/guard/rules.rs`.
#[test]
fn fin_wait_2_probes_a_closed_window_without_a_pause() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        script.write(1);
        script.expect_data(1);
        script.flow.window = 0;
        script.acknowledge(1);
        script.write(1);
        script.bare.socket().close();
        script.run(secs(2));
        let probe = script.sent().pop().expect("a probe");
        assert!(probe.is(Flags::FIN), "{probe}");
        script.acknowledge(2);
        assert_eq!(script.state(), tcp::State::FinWait2);
        // smoltcp's `poll` would not return.
        let Bare {
            world,
            iface,
            sockets,
            ..
        } = &mut script.bare;
        world.run_for(secs(10));
        for _ in 0..1_000 {
            let sent = iface.poll_egress(smoltcp_time(world.now()), &mut world.device(), sockets);
            assert_eq!(sent, PollResult::SocketStateChanged);
            assert_eq!(script.raw.recv().flags, Flags::ACK);
        }
    }
}

/// `close()` in SYN-RECEIVED sends no FIN: the ACK of our SYN counts as the ACK of a FIN.
/// RFC 9293, 3.10.4, requires that the FIN is sent. Worked around in `src/stack/slot.rs`,
/// which calls it only once the connection is open.
#[test]
fn close_in_syn_received_loses_the_fin() {
    for (peer, to) in PEERS.into_iter().zip([OUR_V4.into(), OUR_V6.into()]) {
        let world = World::new(WorldConfig::instant());
        let raw = world.raw();
        let mut bare = Bare::new(&world);
        bare.socket().listen(7).expect("free");
        let syn = Segment {
            src: peer,
            dst: to,
            ..Segment::new(5_000, 7, Flags::SYN, 1_000, 0)
        };
        raw.send(&syn);
        // The neighbour is resolved first.
        let answer = (0..4).find_map(|_| {
            bare.poll();
            raw.try_recv()
        });
        let answer = answer.expect("a SYN|ACK");
        assert_eq!(answer.flags, Flags::SYN | Flags::ACK, "{answer}");
        bare.socket().close();
        bare.poll();
        raw.recv_nothing();
        assert_eq!(bare.socket().state(), tcp::State::FinWait1);
        let ack = syn.with_flags(Flags::ACK).with_seq(1_001);
        raw.send(&ack.with_ack(answer.seq.wrapping_add(1)));
        bare.poll();
        assert_eq!(bare.socket().state(), tcp::State::FinWait2);
        bare.run_for(secs(1_000));
        raw.recv_nothing();
        assert_eq!(bare.socket().state(), tcp::State::FinWait2);
    }
}

/// The RST of `abort()`, if the neighbour is unreachable: an ARP request or a neighbour
/// solicitation is sent each second without bound. RFC 9293, 3.10.5, only requires that
/// the RST is sent. Worked around in `src/stack/slot.rs`.
#[test]
fn rst_that_cannot_leave_requests_the_neighbour_without_bound() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        // The neighbour is forgotten after a minute.
        script.expect_silence(secs(100));
        script.raw.answer_neighbours(false);
        script.bare.socket().abort();
        let _ = script.raw.other_frames();
        script.run(secs(1_000) - ms(1));
        assert_eq!(script.raw.other_frames().len(), 1_000);
        assert_eq!(script.state(), tcp::State::Closed);
        assert!(script.bare.socket().remote_endpoint().is_some());
        script.raw.recv_nothing();
    }
}

/// The RST in answer to a segment of an unknown connection has no ACK number, unless the
/// segment was a SYN (RFC 9293, 3.10.7.1); the RST of `abort()` has one.
/// `src/guard/tcb/sent.rs` distinguishes the two by that.
#[test]
fn rst_has_an_ack_number_only_from_abort() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        let mut unknown: Segment = script.flow.ack();
        unknown.src_port = 4_000;
        script.send(&unknown);
        let sent = script.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].flags, sent[0].seq), (Flags::RST, unknown.ack));

        let syn = unknown.with_flags(Flags::SYN);
        script.send(&syn);
        let sent = script.sent();
        let rst = (Flags::RST | Flags::ACK, 0, syn.seq.wrapping_add(1));
        assert_eq!(numbers(&sent), [rst]);

        script.bare.socket().abort();
        let sent = script.sent();
        let rst = (Flags::RST | Flags::ACK, script.flow.ack, script.flow.seq);
        assert_eq!(numbers(&sent), [rst]);
    }
}
