//! A peer that has lost its state, and RSTs that must reach it.

use crate::common::*;
use embedded_io::Write;
use lastbyte::stack::ConnectionId;
use lastbyte::stack::smoltcp::wire::IpAddress;
use lastbyte::{Cause, OnPeerFin, OnReceive, Options, State};
use lastbyte_sim::loopback::{
    Flags, Flow, Handshake, OUR_V4, PEER_V4, PEER_V6, RawPeer, Segment, World, WorldConfig,
};

const PEERS: [IpAddress; 2] = [IpAddress::Ipv4(PEER_V4), IpAddress::Ipv6(PEER_V6)];

/// The RST with which a TCP without this connection answers this segment (RFC 9293,
/// 3.10.7.1). It acknowledges `beyond` octets too many.
fn forgotten(segment: &Segment, beyond: u32) -> Segment {
    let ack = segment.seq.wrapping_add(segment.seq_len());
    Segment {
        src: segment.dst,
        dst: segment.src,
        ..Segment::new(
            segment.dst_port,
            segment.src_port,
            Flags::RST | Flags::ACK,
            segment.ack,
            ack.wrapping_add(beyond),
        )
    }
}

/// From now on the peer answers every segment like that.
fn restart(raw: &RawPeer, beyond: u32) {
    raw.respond(move |raw, segment| {
        if !segment.is(Flags::RST) {
            raw.send(&forgotten(segment, beyond));
        }
    });
}

/// Five octets are acknowledged, and then the peer restarts.
#[track_caller]
fn restarted(to: IpAddress, beyond: u32, options: Options) -> (Us<1>, ConnectionId) {
    let (mut us, id, raw, mut flow) = scripted_to(to, Handshake::default(), options);
    us.write(id, 5);
    assert_eq!(raw.recv().payload.len(), 5);
    flow.take(5);
    raw.send(&flow.ack());
    us.stack.poll();
    restart(&raw, beyond);
    (us, id)
}

#[test]
fn bytes_that_a_restarted_peer_discarded_are_undelivered() {
    for to in PEERS {
        for beyond in [0, 1, 2] {
            let (mut us, id) = restarted(to, beyond, Options::default());
            us.write(id, 100);
            let error = us.writer(id).flush().expect_err("discarded");
            assert_error(error, Cause::PeerReset, 105, 5);
            us.assert_refused(id, Cause::PeerReset, 105, 5);

            let (mut us, id) = restarted(to, beyond, Options::default());
            us.write(id, 100);
            let error = us.writer(id).finish().expect_err("discarded");
            assert_error(error, Cause::PeerReset, 105, 5);

            // Many segments, and more than fits.
            let (mut us, id) = restarted(to, beyond, Options::default());
            let bytes = pattern(5, 10 * TX);
            let error = us.writer(id).write_all(&bytes).expect_err("discarded");
            let ledger = error.ledger();
            assert_eq!(ledger.acknowledged(), 5);
            assert_error(error, Cause::PeerReset, ledger.accepted(), 5);
        }
    }
}

#[test]
fn a_fin_that_a_restarted_peer_discarded_does_not_finish() {
    for to in PEERS {
        // Only the FIN is in flight: every octet was acknowledged before.
        let (mut us, id) = restarted(to, 0, Options::default());
        let error = us.writer(id).finish().expect_err("reset");
        assert_error(error, Cause::PeerReset, 5, 5);
    }
}

#[test]
fn a_rst_after_the_fin_of_the_peer_acknowledges_nothing() {
    for beyond in [0, 1] {
        for (policy, cause) in [
            (OnPeerFin::Refuse, Cause::PeerFinished),
            (OnPeerFin::HalfClose, Cause::PeerReset),
        ] {
            let (mut us, id, raw, mut flow) = scripted(options(|o| o.on_peer_fin(policy)));
            us.write(id, 100);
            let data = raw.recv();
            raw.send(&flow.fin());
            us.stack.poll();
            let rst = forgotten(&data, beyond).with_seq(flow.seq);
            raw.send(&rst);
            let error = us.writer(id).flush().expect_err("discarded");
            assert_error(error, cause, 100, 0);
            let error = us.writer(id).finish().expect_err("discarded");
            assert_ledger(error.ledger(), 100, 0);
        }
    }
}

#[test]
fn a_caller_that_restarts_acknowledges_nothing() {
    for beyond in [0, 1] {
        let world = World::new(WorldConfig::instant());
        let raw = world.raw();
        let mut us = Us::<1>::new(&world);
        let id = us.stack.listen(7_000, Options::default()).expect("a slot");
        raw.open(100, (OUR_V4, 7_000), Handshake::default(), || {
            us.stack.poll();
        });
        raw.recv_nothing();
        restart(&raw, beyond);
        us.write(id, 100);
        let error = us.writer(id).flush().expect_err("discarded");
        assert_error(error, Cause::PeerReset, 100, 0);
    }
}

/// Our receive buffer is full and its window announced as closed.
#[track_caller]
fn full(policy: OnPeerFin) -> (Us<1>, ConnectionId, RawPeer, Flow) {
    let keep = options(|o| o.on_receive(OnReceive::Keep).on_peer_fin(policy));
    let (mut us, id, raw, mut flow) = scripted(keep);
    for _ in 0..2 {
        raw.send(&flow.data(vec![7; RX / 2]));
        us.stack.poll();
    }
    us.stack.run_for(ms(20));
    let last = core::iter::from_fn(|| raw.try_recv())
        .last()
        .expect("an ACK");
    assert_eq!((last.ack, last.window), (flow.seq, 0), "{last}");
    (us, id, raw, flow)
}

/// RFC 9293, SHLD-2 and MUST-66.
#[test]
fn a_rst_with_data_counts_while_our_window_is_closed() {
    for flags in [Flags::RST, Flags::RST | Flags::ACK] {
        for len in [1, 13, 1_000] {
            let (mut us, id, raw, flow) = full(OnPeerFin::Refuse);
            let rst = flow.segment(flags).with_payload(vec![7; len]);
            raw.send(&rst);
            us.assert_refused(id, Cause::PeerReset, 0, 0);

            let (mut us, id, raw, flow) = full(OnPeerFin::Refuse);
            us.write(id, 10);
            let rst = flow.segment(flags).with_payload(vec![7; len]);
            for off in [1, u32::MAX] {
                raw.send(&rst.clone().with_seq(flow.seq.wrapping_add(off)));
                us.stack.poll();
                assert_eq!(us.state(id), State::Open, "{rst}");
            }
            us.writer(id).begin_finish();
            raw.send(&rst);
            us.stack.poll();
            assert_eq!(us.state(id), State::Closed(Cause::PeerReset), "{rst}");
        }
    }
}

/// The same at a closed window after the peer's FIN.
#[test]
fn a_rst_with_data_counts_after_the_fin_of_the_peer() {
    let (mut us, id, raw, mut flow) = full(OnPeerFin::HalfClose);
    raw.send(&flow.fin());
    us.stack.poll();
    assert_eq!(us.state(id), State::PeerFinished(OnPeerFin::HalfClose));
    let rst = flow.segment(Flags::RST | Flags::ACK);
    raw.send(&rst.with_payload(*b"out of memory"));
    us.assert_refused(id, Cause::PeerReset, 0, 0);
}

/// A peer with a strict TCP only accepts a RST at the number after everything sent (RFC
/// 5961, 3.2). Every RST of ours has it, whatever its reason, and even if a
/// retransmission is due.
#[test]
fn every_rst_of_ours_is_at_snd_nxt() {
    type End = fn(Us<1>, ConnectionId);
    let ends: [End; 3] = [
        |mut us, id| {
            us.writer(id).abort().expect("ours");
        },
        |mut us, id| drop(us.writer(id).scoped()),
        |us, _| drop(us),
    ];
    for end in ends {
        for late in [ms(0), ms(1_100), secs(10)] {
            let (mut us, id, raw, flow) = scripted(Options::default());
            us.write(id, 2_000);
            let sent = core::iter::from_fn(|| raw.try_recv());
            let sent: u32 = sent.map(|segment| segment.seq_len()).sum();
            assert!(sent > 1_000, "{sent}");
            us.world.run_for(late);
            end(us, id);
            let rst = raw.recv();
            assert!(rst.is(Flags::RST), "{rst}");
            assert_eq!(rst.seq, flow.ack.wrapping_add(sent), "after {late:?}");
            raw.recv_nothing();
        }
    }
}
