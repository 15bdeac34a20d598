//! ICMP errors about our segments: which have an effect, and when.

use crate::common::frames::icmp;
use crate::common::*;
use lastbyte::stack::ConnectionId;
use lastbyte::stack::smoltcp::wire::{IpAddress, Ipv4Address, Ipv6Address};
use lastbyte::{Advice, Cause, Options, State};
use lastbyte_sim::loopback::{
    Handshake, OUR_V4, OUR_V6, PEER_V4, PEER_V6, RawPeer, Segment, World, WorldConfig,
};

/// Our end while it connects, after its SYN was received.
#[track_caller]
fn calling(to: IpAddress) -> (Us<1>, ConnectionId, RawPeer, Segment) {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = us.stack.connect((to, PORT), Options::default());
    let id = id.expect("a slot, a port and a route");
    us.stack.run_for(ms(10));
    let syn = raw.recv();
    (us, id, raw, syn)
}

/// The router that sends it.
fn router(to: IpAddress) -> IpAddress {
    match to {
        IpAddress::Ipv4(_) => Ipv4Address::new(10, 77, 0, 254).into(),
        IpAddress::Ipv6(_) => Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, 254).into(),
    }
}

fn ours(to: IpAddress) -> IpAddress {
    match to {
        IpAddress::Ipv4(_) => OUR_V4.into(),
        IpAddress::Ipv6(_) => OUR_V6.into(),
    }
}

/// Sends the error about `segment`.
fn report_icmp(us: &mut Us<1>, raw: &RawPeer, message: (u8, u8), segment: &Segment) {
    let medium = us.world.config().medium;
    let between = (router(segment.dst), segment.src);
    raw.send_frame(icmp(medium, between, message, segment));
    us.stack.poll();
}

/// RFC 4443, 3.1: 1 prohibited, 4 no such port, 5 the source address failed a
/// policy, 6 the route is rejected; 3.4, code 1: an unknown next header, TCP.
const HARD_V6: [(u8, u8); 5] = [(1, 1), (1, 4), (1, 5), (1, 6), (4, 1)];

/// Soft errors, and other problems with a packet.
const SOFT_V6: [(u8, u8); 3] = [(1, 0), (1, 2), (1, 3)];

#[test]
fn a_hard_icmpv6_error_ends_an_attempt_at_once() {
    for message in HARD_V6 {
        let (mut us, id, raw, syn) = calling(PEER_V6.into());
        report_icmp(&mut us, &raw, message, &syn);
        assert_eq!(
            us.state(id),
            State::Closed(Cause::Unreachable),
            "{message:?}"
        );
        us.assert_refused(id, Cause::Unreachable, 0, 0);
    }
    for message in SOFT_V6 {
        let (mut us, id, raw, syn) = calling(PEER_V6.into());
        report_icmp(&mut us, &raw, message, &syn);
        assert_eq!(us.state(id), State::Connecting, "{message:?}");
        assert_eq!(us.stack.poll_advice(id), Ok(Some(Advice::Icmp)));
    }
}

/// RFC 5927, 5.2: none of them ends an open connection.
#[test]
fn no_icmpv6_error_ends_an_open_connection() {
    for message in HARD_V6.into_iter().chain(SOFT_V6) {
        let (mut us, id, raw, _) = scripted_to(PEER_V6, Handshake::default(), Options::default());
        us.write(id, 10);
        let data = raw.recv();
        report_icmp(&mut us, &raw, message, &data);
        assert_eq!(us.state(id), State::Open, "{message:?}");
        let advice = us.stack.poll_advice(id);
        assert_eq!(advice, Ok(Some(Advice::Icmp)), "{message:?}");
    }
}

/// A message that is not about an unreachable host or protocol has no effect.
#[test]
fn other_icmpv6_messages_have_no_effect() {
    for message in [(3, 0), (3, 1), (4, 0), (4, 2), (128, 0), (1, 7), (1, 255)] {
        let (mut us, id, raw, syn) = calling(PEER_V6.into());
        report_icmp(&mut us, &raw, message, &syn);
        assert_eq!(us.state(id), State::Connecting, "{message:?}");
    }
}

/// An error that is sent to another host, or to a group, is not for us, whatever it
/// quotes.
#[test]
fn an_icmp_error_for_another_host_is_ignored() {
    let cases: [(IpAddress, (u8, u8), Vec<IpAddress>); 2] = [
        (
            PEER_V4.into(),
            (3, 3),
            vec![
                Ipv4Address::new(10, 77, 0, 3).into(),
                Ipv4Address::new(10, 77, 0, 255).into(),
                Ipv4Address::BROADCAST.into(),
                Ipv4Address::new(224, 0, 0, 1).into(),
            ],
        ),
        (
            PEER_V6.into(),
            (1, 4),
            vec![
                Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, 3).into(),
                Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
                Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2).into(),
            ],
        ),
    ];
    for (peer, message, others) in cases {
        let (mut us, id, raw, syn) = calling(peer);
        let medium = us.world.config().medium;
        for other in others {
            raw.send_frame(icmp(medium, (router(peer), other), message, &syn));
            us.stack.poll();
            assert_eq!(us.state(id), State::Connecting, "to {other}");
            assert_eq!(us.stack.poll_advice(id), Ok(None), "to {other}");
        }
        // The same error to us has an effect; otherwise the test would prove nothing.
        raw.send_frame(icmp(medium, (router(peer), ours(peer)), message, &syn));
        us.stack.poll();
        assert_eq!(us.state(id), State::Closed(Cause::Unreachable));
    }
}

/// RFC 9293, 3.9.2.2: a router's error while connecting is the cause if the timeout is
/// reached and nothing else has arrived. If the peer answers after the error, it is not
/// the cause any more.
#[test]
fn a_routers_error_is_the_cause_at_the_connect_timeout() {
    for (peer, messages) in [
        (
            IpAddress::from(PEER_V4),
            vec![(3, 0), (3, 1), (3, 9), (3, 10), (3, 13)],
        ),
        (IpAddress::from(PEER_V6), vec![(1, 0), (1, 3)]),
    ] {
        for message in messages {
            let (mut us, id, raw, syn) = calling(peer);
            report_icmp(&mut us, &raw, message, &syn);
            let medium = us.world.config().medium;
            raw.respond(move |raw, syn| {
                raw.send_frame(icmp(medium, (router(peer), syn.src), message, syn));
            });
            us.stack.run_for(secs(29));
            assert_eq!(us.state(id), State::Connecting, "{message:?}");
            us.stack.run_for(secs(1));
            us.assert_refused(id, Cause::Unreachable, 0, 0);
        }
    }
}
