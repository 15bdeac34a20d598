//! Addresses that do not belong to a single other host: to connect to, to listen at, and
//! in segments.

use std::net::Ipv6Addr;

use crate::common::frames::to_our_hardware;
use crate::common::*;
use lastbyte::stack::smoltcp::iface::Route;
use lastbyte::stack::smoltcp::wire::{IpAddress, IpListenEndpoint, Ipv4Address};
use lastbyte::{Cause, Options, State};
use lastbyte_sim::loopback::{
    Direction, Flags, Handshake, OUR_ADDRESSES, OUR_V4, OUR_V6, PEER_V4, PEER_V6, Segment, World,
    WorldConfig,
};

const OURS: u16 = 7_000;

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddress {
    Ipv4Address::new(a, b, c, d).into()
}

fn v6(text: &str) -> IpAddress {
    text.parse::<Ipv6Addr>().expect("an address").into()
}

/// Addresses that reach no other host.
fn no_peers() -> Vec<IpAddress> {
    vec![
        v4(0, 0, 0, 0),
        v4(127, 0, 0, 1),
        v4(127, 1, 2, 3),
        // The broadcast address of our network, the limited one, a group.
        v4(10, 77, 0, 255),
        v4(255, 255, 255, 255),
        v4(224, 0, 0, 1),
        v4(239, 1, 2, 3),
        // Ourselves.
        OUR_V4.into(),
        OUR_V6.into(),
        v6("::"),
        v6("::1"),
        // IPv4-mapped: on no wire (RFC 4291, 2.5.5.2).
        v6("::ffff:10.77.0.1"),
        v6("::ffff:127.0.0.1"),
        v6("ff02::1"),
        v6("ff02::1:ff00:1"),
        v6("ff0e::1"),
    ]
}

#[test]
fn only_one_other_host_can_be_connected_to() {
    for config in [WorldConfig::default(), WorldConfig::ip()] {
        for address in no_peers() {
            let world = World::new(config.clone());
            let mut us = Us::<1>::new(&world);
            // A default route, so that only the address is wrong.
            us.stack.interface_mut().routes_mut().update(|routes| {
                let gateway = Route::new_ipv4_gateway(PEER_V4);
                routes.push(gateway).expect("room");
                let gateway = Route::new_ipv6_gateway(PEER_V6);
                routes.push(gateway).expect("room");
            });
            let opened = us.stack.connect((address, PORT), Options::default());
            assert!(opened.is_err(), "{address} was connected to");
            us.stack.run_for(secs(5));
            assert_eq!(world.counters(Direction::ToPeer).frames, 0, "{address}");
            // Nothing has begun.
            let opened = us.stack.connect((PEER_V4, PORT), Options::default());
            assert!(opened.is_ok(), "{address} took the slot");
        }
    }
}

#[test]
fn a_listener_listens_at_an_address_of_ours_or_returns_an_error() {
    for address in no_peers() {
        let is_ours = [OUR_V4.into(), OUR_V6.into()].contains(&address);
        if is_ours || address.is_unspecified() {
            continue;
        }
        let world = World::new(WorldConfig::instant());
        let mut us = Us::<1>::new(&world);
        let opened = us.stack.listen((address, OURS), Options::default());
        assert!(opened.is_err(), "{address} was listened at");
        assert!(us.stack.listen(OURS, Options::default()).is_ok());
    }
    // Another host's.
    for address in [
        PEER_V4.into(),
        PEER_V6.into(),
        v4(10, 77, 0, 3),
        v4(8, 8, 8, 8),
    ] {
        let world = World::new(WorldConfig::instant());
        let mut us = Us::<1>::new(&world);
        let opened = us.stack.listen((address, OURS), Options::default());
        assert!(opened.is_err(), "{address} is not ours");
    }
}

#[test]
fn the_unspecified_address_is_any_of_ours() {
    for address in [None, Some(v4(0, 0, 0, 0)), Some(v6("::"))] {
        for ours in [IpAddress::from(OUR_V4), IpAddress::from(OUR_V6)] {
            // If we have only one version, it accepts at least that one.
            if address.is_some_and(|any| any.version() != ours.version()) {
                continue;
            }
            let world = World::new(WorldConfig::instant());
            let raw = world.raw();
            let mut us = Us::<1>::new(&world);
            let at = IpListenEndpoint {
                addr: address,
                port: OURS,
            };
            let id = us
                .stack
                .listen(at, Options::default())
                .expect("any of ours");
            raw.open(100, (ours, OURS), Handshake::default(), || {
                us.stack.poll();
            });
            assert_eq!(us.state(id), State::Open, "{address:?}");
        }
    }
}

/// Pairs of addresses between which no segment may be sent.
fn no_pairs() -> Vec<(IpAddress, IpAddress)> {
    let (peer4, ours4) = (IpAddress::from(PEER_V4), IpAddress::from(OUR_V4));
    let (peer6, ours6) = (IpAddress::from(PEER_V6), IpAddress::from(OUR_V6));
    let mut pairs = Vec::new();
    for to in [
        v4(10, 77, 0, 255),
        v4(255, 255, 255, 255),
        v4(224, 0, 0, 1),
        v4(239, 1, 2, 3),
        v4(127, 0, 0, 1),
        v4(0, 0, 0, 0),
    ] {
        pairs.push((peer4, to));
    }
    for from in [
        ours4,
        v4(127, 0, 0, 1),
        v4(10, 77, 0, 255),
        v4(255, 255, 255, 255),
        v4(224, 0, 0, 1),
        v4(0, 0, 0, 0),
    ] {
        pairs.push((from, ours4));
    }
    for to in ["::1", "ff02::1", "ff02::1:ff00:2", "ff0e::1", "::"] {
        pairs.push((peer6, v6(to)));
    }
    for from in [
        "::1",
        "::ffff:10.77.0.1",
        "::ffff:127.0.0.1",
        "ff02::1",
        "::",
    ] {
        pairs.push((v6(from), ours6));
    }
    pairs.push((ours6, ours6));
    pairs
}

/// RFC 9293, MUST-57 and MUST-63; RFC 4291, 2.5.3 and 2.5.5.2.
#[test]
fn segments_to_or_from_no_single_host_are_silently_dropped() {
    for (src, dst) in no_pairs() {
        for port in [OURS, OURS + 1] {
            let world = World::new(WorldConfig::instant());
            let raw = world.raw();
            let mut us = Us::<1>::new(&world);
            let id = us.stack.listen(OURS, Options::default()).expect("a slot");
            for flags in [Flags::SYN, Flags::ACK, Flags::FIN | Flags::ACK] {
                let segment = Segment {
                    src,
                    dst,
                    ..Segment::new(100, port, flags, 500, 77)
                };
                raw.send_frame(to_our_hardware(&segment, world.config().medium));
                us.stack.run_for(secs(2));
                raw.recv_nothing();
                let others = raw.other_frames();
                assert!(others.is_empty(), "{src} to {dst}: {others:?}");
                assert_eq!(us.stack.endpoints(id), Ok(None), "{src} to {dst}");
            }
            assert_eq!(us.state(id), State::Listening);
            // The listener still works.
            let ours = match dst {
                IpAddress::Ipv4(_) => IpAddress::from(OUR_V4),
                IpAddress::Ipv6(_) => IpAddress::from(OUR_V6),
            };
            raw.open(200, (ours, OURS), Handshake::default(), || {
                us.stack.poll();
            });
            assert_eq!(us.state(id), State::Open, "{src} to {dst}, port {port}");
        }
    }
}

/// The address that we listen at is removed: the application gets an error, and may
/// listen at another. A listener at all addresses is not affected, but a caller of that
/// address is.
#[test]
fn a_listener_whose_address_is_removed_ends_with_that_cause() {
    let bound = IpListenEndpoint {
        addr: Some(OUR_V4.into()),
        port: OURS,
    };
    let anywhere = IpListenEndpoint {
        addr: None,
        port: OURS,
    };
    for (at, is_bound) in [(bound, true), (anywhere, false)] {
        for is_called in [false, true] {
            let world = World::new(WorldConfig::instant());
            let raw = world.raw();
            let mut us = Us::<1>::new(&world);
            let id = us.stack.listen(at, Options::default()).expect("ours");
            if is_called {
                raw.send(&Segment {
                    src: PEER_V4.into(),
                    dst: OUR_V4.into(),
                    ..Segment::new(100, OURS, Flags::SYN, 500, 0)
                });
                us.stack.poll();
            }
            us.lose_addresses();
            us.stack.poll();
            let expected = match is_bound {
                true => State::Closed(Cause::AddressLost),
                false => State::Listening,
            };
            assert_eq!(us.state(id), expected, "{at:?}, called: {is_called}");
            if is_bound {
                us.assert_refused(id, Cause::AddressLost, 0, 0);
                us.set_addresses(&OUR_ADDRESSES);
                us.stack.release(id).expect("ours");
                us.stack
                    .listen(at, Options::default())
                    .expect("the address is ours again");
            } else {
                us.set_addresses(&OUR_ADDRESSES);
                // smoltcp sends one request for a neighbour a second.
                us.stack.run_for(secs(2));
                raw.open(
                    100,
                    (IpAddress::from(OUR_V6), OURS),
                    Handshake::default(),
                    || {
                        us.stack.poll();
                    },
                );
                assert_eq!(us.state(id), State::Open);
            }
        }
    }
}
