//! A peer whose application is code of the test.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::IpEndpoint;

use super::{Bare, pattern};
use crate::loopback::{
    Behaviour, OUR_ADDRESSES, OUR_V4, PEER_V4, Reply, World, WorldConfig, lastbyte_time,
    our_hardware_address, smoltcp_time,
};
use lastbyte::Clock;

const MS: Duration = Duration::from_millis(1);

/// Answers each line with the same line, backwards.
fn reverses_lines(received: &mut Vec<u8>, reply: &mut Reply<'_>) {
    while let Some(end) = received.iter().position(|&byte| byte == b'\n') {
        let mut line: Vec<u8> = received.drain(..=end).collect();
        line.pop();
        line.reverse();
        line.push(b'\n');
        reply.send(&line);
    }
}

fn connected(world: &World) -> Bare {
    let mut bare = Bare::new(world);
    bare.connect((PEER_V4, 80));
    bare.run_until_state(tcp::State::Established);
    bare
}

fn read(bare: &mut Bare, len: usize) -> Vec<u8> {
    bare.run_until(|bare| bare.socket().recv_queue() >= len);
    let mut into = vec![0; len];
    assert_eq!(bare.socket().recv_slice(&mut into), Ok(len));
    into
}

#[test]
fn a_request_in_pieces_is_answered_once_it_is_whole() {
    let world = World::new(WorldConfig::default());
    world.peer().serve(80, reverses_lines);
    let mut bare = connected(&world);
    bare.write(b"abc");
    bare.run_for(200 * MS);
    assert_eq!(bare.socket().recv_queue(), 0);
    bare.write(b"def\ngh\ni");
    assert_eq!(read(&mut bare, 10), b"fedcba\nhg\n");
    bare.write(b"\n");
    assert_eq!(read(&mut bare, 2), b"i\n");
    assert_eq!(world.peer().received(80), b"abcdef\ngh\ni\n");
}

#[test]
fn a_server_that_sends_first_is_called_when_the_connection_opens() {
    let world = World::new(WorldConfig::default());
    world.peer().serve(80, |received, reply| {
        if received.is_empty() && !reply.is_at_end() {
            let connection = reply.connection();
            reply.send(format!("220 number {connection}\r\n").as_bytes());
        }
    });
    let mut bare = connected(&world);
    assert_eq!(read(&mut bare, 14), b"220 number 0\r\n");
}

#[test]
fn an_answer_longer_than_every_buffer_arrives_whole() {
    let world = World::new(WorldConfig::default());
    world.peer().serve(80, |received, reply| {
        if !std::mem::take(received).is_empty() {
            reply.send(&pattern(200_000));
            reply.close();
        }
    });
    let mut bare = connected(&world);
    bare.write(b"get");
    let mut all = Vec::new();
    while bare.socket().may_recv() || bare.socket().recv_queue() > 0 {
        let mut into = [0; 4096];
        let len = bare.socket().recv_slice(&mut into).unwrap_or(0);
        all.extend_from_slice(&into[..len]);
        bare.run_for(MS);
    }
    assert!(all == pattern(200_000), "{}", all.len());
}

#[test]
fn replies_after_our_fin_arrive_before_the_fin_of_the_server() {
    let world = World::new(WorldConfig::default());
    world.peer().serve(80, |received, reply| {
        if reply.is_at_end() {
            reply.send(&received.len().to_string().into_bytes());
        }
    });
    let mut bare = connected(&world);
    bare.write(b"12345678901");
    bare.socket().close();
    assert_eq!(read(&mut bare, 2), b"11");
    bare.run_until_state(tcp::State::TimeWait);
}

#[test]
fn a_server_may_send_later_by_itself() {
    let world = World::new(WorldConfig::default());
    let (mut rounds, mut next) = (0, world.now());
    world.peer().serve(80, move |_, reply| {
        // The server is also called for our FIN.
        if reply.now() < next {
            return;
        }
        if rounds > 0 {
            reply.send(&[rounds]);
        }
        rounds += 1;
        if rounds < 4 {
            next = reply.now() + Duration::from_secs(10);
            reply.call_after(Duration::from_secs(10));
        }
    });
    let mut bare = connected(&world);
    bare.socket().close();
    assert_eq!(read(&mut bare, 3), [1, 2, 3]);
    assert!(world.now() >= world.after(Duration::from_secs(30)));
    assert!(world.now() < world.after(Duration::from_secs(31)));
    // It closes then, and not earlier.
    bare.run_until_state(tcp::State::TimeWait);
}

#[test]
fn connections_are_kept_apart_by_their_number() {
    let world = World::new(WorldConfig::default());
    let seen: Rc<RefCell<BTreeMap<u64, Vec<u8>>>> = Rc::default();
    let all = Rc::clone(&seen);
    world.peer().serve(80, move |received, reply| {
        let mut all = all.borrow_mut();
        all.entry(reply.connection()).or_default().append(received);
    });
    for text in [&b"first"[..], b"second"] {
        let mut bare = connected(&world);
        bare.write(text);
        bare.run_until(|bare| bare.socket().send_queue() == 0);
        bare.socket().abort();
        bare.run_for(10 * MS);
    }
    assert_eq!(seen.borrow()[&0], b"first");
    assert_eq!(seen.borrow()[&1], b"second");
}

#[test]
fn a_reset_loses_what_was_not_sent() {
    let world = World::new(WorldConfig::default());
    world.peer().serve(80, |received, reply| {
        if !received.is_empty() {
            reply.send(b"too late");
            reply.reset();
        }
    });
    let mut bare = connected(&world);
    bare.write(b"x");
    bare.run_until_state(tcp::State::Closed);
    assert_eq!(bare.socket().recv_queue(), 0);
}

#[test]
fn a_peer_that_connects_to_us_is_served_as_well() {
    let world = World::new(WorldConfig::default());
    let mut bare = Bare::new(&world);
    bare.socket().listen(80).expect("a port");
    let behaviour = Behaviour::serving(reverses_lines);
    world.peer().connect(4_000, (OUR_V4, 80), behaviour);
    bare.run_until_state(tcp::State::Established);
    bare.write(b"who\n");
    assert_eq!(read(&mut bare, 4), b"ohw\n");
}

#[test]
fn datagrams_are_answered() {
    let world = World::new(WorldConfig::default());
    world.peer().serve_udp(53, |datagram, reply| {
        let mut answer = datagram.to_vec();
        answer.reverse();
        reply.send(&answer);
        let elsewhere = IpEndpoint {
            port: 9_999,
            ..reply.from()
        };
        reply.send_to(elsewhere, b"no host is here");
    });
    let (mut device, mut clock) = (world.device(), world.clock());
    let config = Config::new(our_hardware_address(world.config().medium));
    let mut iface = Interface::new(config, &mut device, smoltcp_time(clock.now()));
    iface.update_ip_addrs(|list| list.extend(OUR_ADDRESSES));
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(4_000).expect("free");
    socket.send_slice(b"question", (PEER_V4, 53)).expect("room");
    let mut sockets = SocketSet::new(Vec::new());
    let handle = sockets.add(socket);
    for _ in 0..100 {
        let now = smoltcp_time(clock.now());
        iface.poll(now, &mut device, &mut sockets);
        let socket = sockets.get_mut::<udp::Socket>(handle);
        if socket.can_recv() {
            break;
        }
        clock.wait(iface.poll_at(now, &sockets).map(lastbyte_time));
    }
    let socket = sockets.get_mut::<udp::Socket>(handle);
    let (answer, from) = socket.recv().expect("an answer");
    assert_eq!(answer, b"noitseuq");
    assert_eq!(from.endpoint, IpEndpoint::new(PEER_V4.into(), 53));
}
