//! The scripted end.

use std::time::Duration;

use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;

use super::Bare;
use crate::loopback::{
    Flags, Flow, Handshake, OUR_V4, OUR_V6, PEER_V4, PEER_V6, RawPeer, Segment, World, WorldConfig,
};

fn opened(world: &World, to: impl Into<IpAddress>, handshake: Handshake) -> (Bare, RawPeer, Flow) {
    let raw = world.raw();
    let mut bare = Bare::new(world);
    bare.connect((to.into(), 80));
    let flow = raw.handshake(handshake, || {
        bare.poll();
    });
    assert_eq!(bare.socket().state(), tcp::State::Established);
    (bare, raw, flow)
}

#[test]
fn a_script_opens_receives_and_closes_over_every_family_and_medium() {
    for to in [IpAddress::from(PEER_V4), IpAddress::from(PEER_V6)] {
        for config in [WorldConfig::default(), WorldConfig::ip()] {
            let latency = Duration::ZERO;
            let world = World::new(WorldConfig { latency, ..config });
            let (mut bare, raw, mut flow) = opened(&world, to, Handshake::default());
            raw.recv_nothing();
            bare.socket().send_slice(b"hello").expect("open");
            bare.poll();
            let data = raw.recv();
            assert_eq!((data.seq, data.payload), (flow.ack, b"hello".to_vec()));
            flow.take(5);
            raw.send(&flow.data(*b"thanks"));
            bare.poll();
            assert_eq!(bare.socket().send_queue(), 0);
            assert_eq!(bare.socket().recv_queue(), 6);
            raw.send(&flow.fin());
            bare.poll();
            assert_eq!(bare.socket().state(), tcp::State::CloseWait);
            assert!(raw.other_frames().is_empty());
        }
    }
}

#[test]
fn a_script_connects_to_our_listener() {
    for to in [IpAddress::from(OUR_V4), IpAddress::from(OUR_V6)] {
        let world = World::new(WorldConfig::instant());
        let mut bare = Bare::new(&world);
        bare.socket().listen(7).expect("free");
        let raw = world.raw();
        let flow = raw.open(5000, (to, 7), Handshake::default(), || {
            bare.poll();
        });
        assert_eq!(bare.socket().state(), tcp::State::Established);
        assert_eq!(flow.ack, flow.remote_isn.wrapping_add(1));
    }
}

#[test]
fn sequence_numbers_may_wrap_and_windows_are_exact() {
    let world = World::new(WorldConfig::instant());
    let handshake = Handshake {
        isn: u32::MAX,
        window: 3,
        ..Handshake::default()
    };
    let (mut bare, raw, mut flow) = opened(&world, PEER_V4, handshake);
    assert_eq!(flow.seq, 0);
    bare.socket().send_slice(b"hello").expect("open");
    bare.poll();
    assert_eq!(raw.recv().payload, b"hel");
    flow.take(3);
    flow.window = 0;
    raw.send(&flow.ack());
    bare.poll();
    raw.recv_nothing();
    assert_eq!(bare.socket().send_queue(), 2);
}

#[test]
fn a_wrong_checksum_is_not_accepted() {
    let world = World::new(WorldConfig::instant());
    let (mut bare, raw, flow) = opened(&world, PEER_V4, Handshake::default());
    let mut frame = flow.rst().to_frame(world.config().medium);
    let last = frame.len() - 1;
    frame[last] ^= 1;
    raw.send_frame(frame);
    bare.poll();
    assert_eq!(bare.socket().state(), tcp::State::Established);
    raw.send(&flow.rst());
    bare.poll();
    assert_eq!(bare.socket().state(), tcp::State::Closed);
}

#[test]
fn a_responder_takes_part_while_our_end_blocks() {
    let world = World::new(WorldConfig::default());
    world.raw().respond(|raw, syn| {
        let ack = syn.seq.wrapping_add(syn.seq_len());
        let (from, to) = (syn.dst_port, syn.src_port);
        raw.send(&Segment::new(from, to, Flags::RST | Flags::ACK, 0, ack));
    });
    let mut bare = Bare::new(&world);
    bare.connect((PEER_V4, 80));
    bare.run_until_state(tcp::State::Closed);
    assert_eq!(world.now(), world.after(Duration::from_millis(4)));
    assert_eq!(world.raw().recv().flags, Flags::SYN);
}

#[test]
fn recv_waits_for_the_wire() {
    let world = World::new(WorldConfig::default());
    let raw = world.raw();
    let mut bare = Bare::new(&world);
    bare.connect((PEER_V4, 80));
    bare.poll();
    raw.recv_nothing();
    assert_eq!(
        world.now(),
        world.after(Duration::from_millis(1)),
        "the ARP request"
    );
    world.run_for(Duration::from_millis(1));
    bare.poll();
    assert_eq!(raw.recv().flags, Flags::SYN);
    assert_eq!(world.now(), world.after(Duration::from_millis(3)));
}

#[test]
#[should_panic(expected = "our end sent none")]
fn recv_fails_if_no_segment_arrives() {
    let _ = World::new(WorldConfig::instant()).raw().recv();
}

#[test]
#[should_panic(expected = "expected silence")]
fn recv_nothing_fails_if_a_segment_arrives() {
    let world = World::new(WorldConfig::instant());
    let (mut bare, raw, _) = opened(&world, PEER_V4, Handshake::default());
    bare.socket().send_slice(b"hello").expect("open");
    bare.poll();
    raw.recv_nothing();
}

#[test]
#[should_panic(expected = "expected silence")]
fn silence_is_watched_over_time() {
    let world = World::new(WorldConfig::instant());
    let (mut bare, raw, _) = opened(&world, PEER_V4, Handshake::default());
    bare.socket().send_slice(b"hello").expect("open");
    bare.poll();
    assert_eq!(raw.recv().payload, b"hello");
    // It is not acknowledged, so it is retransmitted within a second or two.
    raw.recv_nothing_for(Duration::from_secs(5), || {
        bare.poll();
    });
}

#[test]
fn neighbours_may_be_left_without_an_answer() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    raw.answer_neighbours(false);
    let mut bare = Bare::new(&world);
    bare.connect((PEER_V4, 80));
    raw.recv_nothing_for(Duration::from_secs(3), || {
        bare.poll();
    });
    assert_eq!(raw.other_frames().len(), 4);
    raw.answer_neighbours(true);
    raw.handshake(Handshake::default(), || {
        world.run_for(Duration::from_millis(100));
        bare.poll();
    });
}

#[test]
fn an_icmp_error_quotes_our_segment() {
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Ipv4Packet, TcpPacket};

    let world = World::new(WorldConfig {
        latency: Duration::ZERO,
        ..WorldConfig::ip()
    });
    let raw = world.raw();
    let mut bare = Bare::new(&world);
    bare.connect((PEER_V4, 80));
    bare.poll();
    let syn = raw.recv();
    world.observe({
        let syn = syn.clone();
        move |_, event| {
            let ip = Ipv4Packet::new_checked(event.frame).expect("IPv4");
            let icmp = Icmpv4Packet::new_checked(ip.payload()).expect("ICMP");
            let repr = Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default());
            let Ok(Icmpv4Repr::DstUnreachable { header, data, .. }) = repr else {
                panic!("not an error: {repr:?}");
            };
            assert_eq!((header.src_addr, header.dst_addr), (OUR_V4, PEER_V4));
            assert_eq!(header.next_header, smoltcp::wire::IpProtocol::Tcp);
            let tcp = TcpPacket::new_unchecked(data);
            assert_eq!(tcp.src_port(), syn.src_port);
            assert_eq!(tcp.seq_number().0 as u32, syn.seq);
        }
    });
    raw.send_unreachable(&syn, 1);
    assert_eq!(world.counters(crate::loopback::Direction::ToUs).frames, 1);
}
