//! When accepted bytes are passed to the device, and how late other packets may be
//! because of a write that has nothing to send.

use core::time::Duration;

use crate::common::devices::Cutting;
use crate::common::*;
use lastbyte::core::Nagle;
use lastbyte::stack::ConnectionId;
use lastbyte::stack::smoltcp::socket::{tcp, udp};
use lastbyte::stack::smoltcp::wire::IpEndpoint;
use lastbyte::{Clock, Instant, Options};
use lastbyte_sim::loopback::{Flags, Handshake, Offload, PEER_V4, RawPeer, World, WorldConfig};

/// What an application does between two writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    Polls,
}

/// When the first segment, which is lost, was retransmitted, if there is a small write in
/// every `step` that Nagle's algorithm holds back.
fn resent_at(step: Duration, between: Between) -> Instant {
    let (mut us, id, raw, _) = scripted(Options::default());
    us.write(id, 10);
    assert_eq!(raw.recv().payload, pattern(0, 10));
    let mut clock = us.world.clock();
    for _ in 0..500 {
        let until = us.now() + step;
        clock.wait(Some(until));
        if between == Between::Polls {
            us.stack.poll();
        }
        assert_eq!(us.try_write(id, 1), Ok(1));
        if let Some(segment) = raw.try_recv() {
            assert_eq!(segment.payload[..10], pattern(0, 10));
            return us.now();
        }
    }
    panic!("it was never retransmitted");
}

#[test]
fn a_retransmission_is_hardly_late_after_writes_that_are_held_back() {
    for step in [3, 4, 7].map(ms) {
        let late = resent_at(step, Between::Nothing).since(resent_at(step, Between::Polls));
        assert!(late < ms(10) + step, "{late:?}, a write every {step:?}");
    }
}

/// A socket of the application, with datagrams to send.
fn with_datagrams(us: &mut Us<1>, datagrams: usize) {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 1_024]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(9_000).expect("free");
    let to = IpEndpoint::new(PEER_V4.into(), 9_001);
    for _ in 0..datagrams {
        socket.send_slice(b"datagram", to).expect("room");
    }
    us.stack.sockets_mut().add(socket);
}

/// Asserts that a write that fills the transmit buffer is sent completely.
#[track_caller]
fn assert_all_leaves(us: &mut Us<1>, id: ConnectionId, raw: &RawPeer) {
    us.write(id, TX);
    let mut sent = 0;
    while let Some(segment) = raw.try_recv() {
        sent += segment.payload.len();
    }
    assert_eq!(sent, TX);
}

/// smoltcp visits every socket each time that it sends.
#[test]
fn a_write_that_is_held_back_leaves_other_sockets_to_the_next_poll() {
    let (mut us, id, raw, _) = scripted(Options::default());
    us.write(id, 10);
    assert_eq!(raw.recv().payload, pattern(0, 10));
    with_datagrams(&mut us, 1);
    us.write(id, 10);
    assert_eq!(raw.other_frames().len(), 0);
    us.stack.poll();
    assert_eq!(raw.other_frames().len(), 1);
    raw.recv_nothing();
}

/// Even if it is held back itself: the waiting datagram may be the answer.
#[test]
fn a_write_that_receives_something_serves_other_sockets() {
    let (mut us, id, raw, flow) = scripted(Options::default());
    us.write(id, 10);
    assert_eq!(raw.recv().payload, pattern(0, 10));
    with_datagrams(&mut us, 1);
    raw.send(&flow.ack());
    us.write(id, 10);
    assert_eq!(raw.other_frames().len(), 1);
    raw.recv_nothing();
}

#[test]
fn a_write_sends_one_frame_of_another_socket_and_a_poll_the_rest() {
    let (mut us, id, raw, _) = scripted(Options::default());
    with_datagrams(&mut us, 3);
    us.write(id, 10);
    assert_eq!(raw.recv().payload, pattern(0, 10));
    assert_eq!(raw.other_frames().len(), 1);
    us.stack.poll();
    assert_eq!(raw.other_frames().len(), 2);
}

#[test]
fn a_write_sends_all_that_it_has_added() {
    let (mut us, id, raw, mut flow) = scripted(options(|o| o.nagle(Nagle::Off)));
    widen(&mut us, id, &raw, &mut flow, TX);
    assert_all_leaves(&mut us, id, &raw);
}

/// Like [`a_write_sends_all_that_it_has_added`], but the write had to wait for room.
#[test]
fn a_write_that_had_to_wait_sends_at_once_what_it_has_added() {
    let (mut us, id, raw, mut flow) = scripted(options(|o| o.nagle(Nagle::Off)));
    widen(&mut us, id, &raw, &mut flow, TX);
    assert_all_leaves(&mut us, id, &raw);
    flow.take(1_000);
    let accepted = us.ledger(id).accepted();
    let (acknowledgement, peer) = (flow.ack(), raw.clone());
    us.world
        .at(us.now() + ms(20), move |_| peer.send(&acknowledgement));
    us.write(id, 100);
    assert_eq!(raw.recv().payload, pattern(accepted, 100));
}

/// RFC 9293, 3.7.1 (MUST-15): it accepts segments of 536 octets.
#[test]
fn a_full_segment_to_a_peer_that_announces_no_size_is_not_held_back() {
    for (len, leaves) in [(535, false), (536, true)] {
        let silent = Handshake {
            mss: None,
            ..Handshake::default()
        };
        let (mut us, id, raw, _) = scripted_with(silent, Options::default());
        us.write(id, 10);
        assert_eq!(raw.recv().payload, pattern(0, 10));
        us.write(id, len);
        assert_eq!(raw.try_recv().is_some(), leaves, "{len} octets");
    }
}

/// smoltcp does not report in advance what it does with a socket whose address is
/// removed.
#[test]
fn the_next_poll_detects_a_changed_interface() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let buffer = || tcp::SocketBuffer::new(vec![0; 64]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    let context = us.stack.interface_mut().context();
    let connecting = socket.connect(context, (PEER_V4, PORT), 9_000);
    connecting.expect("a free port");
    let handle = us.stack.sockets_mut().add(socket);
    // The neighbour is resolved first.
    us.stack.run_for(ms(1));
    assert!(raw.recv().is(Flags::SYN));
    us.lose_addresses();
    us.stack.poll();
    let socket = us.stack.sockets_mut().get::<tcp::Socket<'_>>(handle);
    assert_eq!(socket.state(), tcp::State::Closed);
}

/// Data that the device segments counts as several segments, and Nagle's algorithm does
/// not hold back more than one.
#[test]
fn a_write_after_a_segment_that_the_device_segmented_leaves_at_once() {
    let offload = Offload {
        tcp_tx: true,
        ..Offload::default()
    };
    let world = World::new(WorldConfig {
        offload,
        ..WorldConfig::instant()
    });
    let raw = world.raw();
    let device = Cutting::new(&world);
    let mut us = Us::<1, _>::over(device, &world, config(&world), buffers(20_000, RX));
    let id = us.connect(Options::default());
    let mut flow = raw.handshake(Handshake::default(), || {
        us.stack.poll();
    });
    widen(&mut us, id, &raw, &mut flow, 4 * 1_460);
    us.write(id, 4 * 1_460);
    assert_eq!(raw.recv().payload.len(), 4 * 1_460);
    flow.take(4 * 1_460);
    raw.send(&flow.ack());
    us.stack.poll();
    us.write(id, 100);
    assert_eq!(raw.recv().payload.len(), 100);
    us.write(id, 2 * 1_460);
    assert_eq!(raw.recv().payload.len(), 2 * 1_460);
}
