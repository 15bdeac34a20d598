//! What an off-path attacker can send: SYNs without ACK, fragments, guessed numbers.

use crate::common::frames::{fragments, to_our_hardware};
use crate::common::*;
use embedded_io::Write;
use lastbyte::stack::smoltcp::socket::udp;
use lastbyte::stack::smoltcp::wire::IpAddress;
use lastbyte::{Cause, Options, State, Timeout};
use lastbyte_sim::loopback::{
    Flags, Handshake, OUR_V4, PEER_V4, PEER_V6, RawPeer, Segment, World, WorldConfig,
};

const PEERS: [IpAddress; 2] = [IpAddress::Ipv4(PEER_V4), IpAddress::Ipv6(PEER_V6)];

/// Our end while it connects, after its SYN was received.
#[track_caller]
fn calling(
    to: IpAddress,
    config: WorldConfig,
) -> (Us<1>, lastbyte::stack::ConnectionId, RawPeer, Segment) {
    let world = World::new(config);
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = us.stack.connect((to, PORT), Options::default());
    let id = id.expect("a slot, a port and a route");
    us.stack.run_for(ms(10));
    let syn = raw.recv();
    (us, id, raw, syn)
}

/// A segment with the right addresses and ports.
fn from_peer(syn: &Segment, flags: Flags, seq: u32, ack: u32) -> Segment {
    Segment {
        src: syn.dst,
        dst: syn.src,
        ..Segment::new(PORT, syn.src_port, flags, seq, ack)
    }
}

/// A flood of SYNs without ACK, each followed by a RST, neither prolongs the attempt nor
/// ends it.
#[test]
fn syns_without_ack_neither_end_nor_prolong_an_attempt() {
    for to in PEERS {
        for config in [
            WorldConfig::instant(),
            WorldConfig {
                latency: ms(0),
                ..WorldConfig::ip()
            },
        ] {
            let (mut us, id, raw, syn) = calling(to, config);
            let mut seq = 0;
            for _ in 0..295 {
                let bare = Segment {
                    mss: Some(1_460),
                    window_scale: Some(7),
                    ..from_peer(&syn, Flags::SYN, seq, 0)
                };
                raw.send(&bare);
                raw.send(&from_peer(&syn, Flags::RST, seq.wrapping_add(1), 0));
                us.stack.run_for(ms(100));
                assert_eq!(us.state(id), State::Connecting);
                seq = seq.wrapping_add(0x0123_4567);
            }
            us.stack.run_for(secs(1));
            assert_eq!(us.state(id), State::Closed(Cause::ConnectTimeout));
            let sent: Vec<_> = core::iter::from_fn(|| raw.try_recv()).collect();
            assert!(sent.iter().all(|s| s.flags == Flags::SYN), "{sent:?}");
        }
    }
}

/// The true answer arrives afterwards and opens the connection.
#[test]
fn the_true_answer_opens_the_connection_after_a_syn_without_ack() {
    for to in PEERS {
        for flags in [Flags::SYN, Flags::SYN | Flags::PSH, Flags::SYN | Flags::FIN] {
            let (mut us, id, raw, syn) = calling(to, WorldConfig::instant());
            raw.send(&from_peer(&syn, flags, 9_000, 0));
            us.stack.poll();
            let next = syn.seq.wrapping_add(1);
            // An ACK of a SYN that was not accepted opens no connection.
            raw.send(&from_peer(&syn, Flags::ACK, 9_001, next));
            us.stack.poll();
            assert_eq!(us.state(id), State::Connecting, "{flags}");
            raw.send(&from_peer(&syn, Flags::SYN | Flags::ACK, 77, next));
            us.stack.poll();
            assert_eq!(us.state(id), State::Open, "{flags}");
            us.write(id, 10);
            let sent: Vec<_> = core::iter::from_fn(|| raw.try_recv()).collect();
            let data = sent.iter().find(|s| !s.payload.is_empty()).expect("data");
            assert_eq!((data.seq, data.ack), (next, 78), "{data}");
        }
    }
}

/// Fragments that overlap, or that follow an extension header, are fragments too.
#[test]
fn no_segment_is_accepted_however_it_is_fragmented() {
    for to in PEERS {
        let (mut us, id, raw, flow) = scripted_to(to, Handshake::default(), Options::default());
        let medium = us.world.config().medium;
        us.write(id, 10);
        while raw.try_recv().is_some() {}
        let long = vec![7; 100];
        for segment in [
            flow.rst().with_payload(long.clone()),
            flow.rst()
                .with_seq(flow.seq.wrapping_add(1))
                .with_payload(long.clone()),
            flow.ack()
                .with_ack(flow.ack.wrapping_add(10))
                .with_payload(long.clone()),
            flow.segment(Flags::FIN | Flags::ACK)
                .with_payload(long.clone()),
        ] {
            let whole = fragments(&segment, medium, &[8]);
            let overlapping = fragments(&segment, medium, &[16]);
            let pieces = [whole, overlapping].concat();
            for first in 0..pieces.len() {
                for piece in pieces[first..].iter().chain(&pieces[..first]) {
                    raw.send_frame(piece.clone());
                    us.stack.poll();
                }
            }
            assert_eq!(us.state(id), State::Open, "{segment}");
            let report = us.report(id);
            assert_ledger(report.ledger, 10, 0);
            assert_eq!(report.discarded, 0, "{segment}");
        }
    }
}

/// Only TCP fragments are dropped: other sockets of the application get what smoltcp
/// reassembles.
#[test]
fn a_datagram_in_fragments_reaches_a_socket_of_the_application() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 2_048]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(9_000).expect("free");
    let handle = us.stack.sockets_mut().add(socket);
    // A segment's frame with a datagram in place of the segment.
    let carrier = Segment::new(9_001, 9_000, Flags::ACK, 0, 0).with_payload(vec![0; 588]);
    let medium = world.config().medium;
    let text = pattern(0, 600);
    let datagram = [&[0x23, 0x29, 0x23, 0x28, 0x02, 0x60, 0, 0][..], &text].concat();
    for mut frame in fragments(&carrier, medium, &[8, 304]) {
        let ip = 14;
        let offset = usize::from(u16::from_be_bytes([frame[ip + 6], frame[ip + 7]]) & 0x1fff) * 8;
        let len = frame.len() - ip - 20;
        frame[ip + 20..].copy_from_slice(&datagram[offset..offset + len]);
        // Protocol 17 in place of 6: the checksum is lower by the difference.
        frame[ip + 9] = 17;
        let sum = u16::from_be_bytes([frame[ip + 10], frame[ip + 11]]);
        let sum = sum.checked_sub(11).unwrap_or_else(|| sum.wrapping_sub(12));
        frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
        raw.send_frame(frame);
        us.stack.poll();
    }
    let socket = us.stack.sockets_mut().get_mut::<udp::Socket<'_>>(handle);
    let (bytes, _) = socket.recv().expect("it was reassembled");
    assert!(bytes == text);
}

/// The peer does not answer, its window is open, and an attacker claims otherwise with
/// guessed numbers.
#[test]
fn forged_windows_do_not_make_a_silent_peer_one_that_does_not_read() {
    for seed in 0..4_u64 {
        let limits = options(|o| o.call_timeout(secs(10)));
        let (mut us, id, raw, flow) = scripted(limits);
        us.write(id, TX);
        let mut state = seed;
        let mut random = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        let from = us.now();
        for step in 1..90 {
            let forged: Vec<_> = (0..4)
                .map(|_| {
                    flow.ack()
                        .with_seq(random())
                        .with_ack(random())
                        .with_window(0)
                })
                .collect();
            let raw = raw.clone();
            us.world.at(from + ms(100 * step), move |_| {
                forged.iter().for_each(|segment| raw.send(segment));
            });
        }
        let error = us.writer(id).write(b"more").expect_err("no room");
        assert_call_timed_out(error, Timeout::Call);
        us.stack.run_for(secs(91));
        us.assert_refused(id, Cause::Vanished, TX as u64, 0);
    }
}

/// Our own segments, sent back to us, belong to no connection.
#[test]
fn our_own_segments_do_not_count_as_the_peers() {
    let (mut us, id, raw, _) = scripted(Options::default());
    us.write(id, 10);
    let ours = raw.recv();
    assert_eq!(ours.src, OUR_V4.into());
    let medium = us.world.config().medium;
    raw.send_frame(to_our_hardware(&ours, medium));
    us.stack.run_for(secs(1));
    assert_eq!(us.state(id), State::Open);
    assert_ledger(us.ledger(id), 10, 0);
    us.stack.run_for(secs(100));
    us.assert_refused(id, Cause::Vanished, 10, 0);
}
