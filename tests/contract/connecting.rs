//! From `Connecting`: a handshake that we began.

use crate::common::*;
use embedded_io::{Write, WriteReady};
use lastbyte::stack::OpenError;
use lastbyte::stack::smoltcp::iface::Route;
use lastbyte::stack::smoltcp::wire::{IpAddress, IpEndpoint, Ipv4Address, Ipv4Cidr, Ipv6Address};
use lastbyte::{Cause, Options, State, Timeout};
use lastbyte_sim::loopback::{
    Behaviour, Direction, Drops, Flags, Handshake, OUR_ADDRESSES, OUR_V4, OUR_V6, PEER_V4, PEER_V6,
    PeerConfig, Presence, Segment, World, WorldConfig, smoltcp_time,
};

fn world_with(presence: Presence, config: WorldConfig) -> World {
    World::new(WorldConfig {
        peer: PeerConfig {
            presence,
            ..PeerConfig::default()
        },
        ..config
    })
}

fn deaf() -> World {
    world_with(Presence::Deaf, WorldConfig::default())
}

#[test]
fn a_connection_opens_over_every_family_and_medium() {
    for config in [WorldConfig::default(), WorldConfig::ip()] {
        for (ours, theirs) in [
            (IpAddress::from(OUR_V4), IpAddress::from(PEER_V4)),
            (IpAddress::from(OUR_V6), IpAddress::from(PEER_V6)),
        ] {
            let world = World::new(config.clone());
            world.peer().listen(PORT, Behaviour::sink());
            let mut us = Us::<1>::new(&world);
            let id = us.open_to(theirs, Options::default());
            let (local, remote) = us.stack.endpoints(id).unwrap().expect("both ends");
            assert_eq!(local.addr, ours);
            assert_eq!(remote, IpEndpoint::new(theirs, PORT));
            assert!((49_152..).contains(&local.port));
            us.write(id, 10_000);
            us.writer(id).flush().expect("acknowledged");
            let report = us.writer(id).finish().expect("finished");
            assert_ledger(report.ledger, 10_000, 10_000);
            us.check(id);
        }
    }
}

#[test]
fn a_rst_in_answer_to_the_syn_is_a_refusal() {
    for to in [IpAddress::from(PEER_V4), IpAddress::from(PEER_V6)] {
        let world = World::new(WorldConfig::default());
        let mut us = Us::<1>::new(&world);
        let id = us.stack.connect((to, PORT), Options::default()).unwrap();
        let error = us.stack.wait_open(id).expect_err("no listener");
        assert_error(error, Cause::Refused, 0, 0);
        assert_eq!(us.now(), at_ms(4), "neighbour and SYN, 2 ms each");
        assert_eq!(us.state(id), State::Closed(Cause::Refused));
        us.assert_refused(id, Cause::Refused, 0, 0);
        let report = us.report(id);
        assert_eq!(report.elapsed, ms(4));
        assert_eq!(report.writes_accepted, 0);
    }
}

#[test]
fn a_deaf_peer_causes_a_connect_timeout_at_the_exact_time() {
    let world = deaf();
    let tap = Tap::new(&world);
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    let error = us.stack.wait_open(id).expect_err("no answer");
    assert_error(error, Cause::ConnectTimeout, 0, 0);
    assert_eq!(us.now(), at_secs(30));
    let syns = tap.take();
    assert!(syns.iter().filter(|s| s.flags == Flags::SYN).count() >= 4);
    us.assert_refused(id, Cause::ConnectTimeout, 0, 0);
    assert_eq!(us.report(id).elapsed, secs(30));
    // Given up: the wire is silent, except for a RST without an answer.
    us.stack.run_for(secs(3_600));
    assert!(tap.take().iter().all(|segment| segment.is(Flags::RST)));
}

#[test]
fn the_connect_timeout_is_settable() {
    let mut us = Us::<1>::new(&deaf());
    let id = us.connect(options(|o| o.connect_timeout(ms(1_500))));
    assert!(us.stack.wait_open(id).is_err());
    assert_eq!(us.now(), at_ms(1_500));
}

#[test]
fn a_peer_without_a_neighbour_entry_is_unreachable_at_the_limit() {
    for to in [IpAddress::from(PEER_V4), IpAddress::from(PEER_V6)] {
        let world = world_with(Presence::Absent, WorldConfig::default());
        let tap = Tap::new(&world);
        let mut us = Us::<1>::new(&world);
        let id = us.stack.connect((to, PORT), Options::default()).unwrap();
        let error = us.stack.wait_open(id).expect_err("no peer");
        assert_error(error, Cause::Unreachable, 0, 0);
        assert_eq!(us.now(), at_secs(30));
        assert!(tap.take().is_empty(), "no segment could leave");
        us.assert_refused(id, Cause::Unreachable, 0, 0);
        assert_eq!(us.report(id).elapsed, secs(30));
    }
}

#[test]
fn without_neighbours_an_absent_peer_is_a_connect_timeout() {
    let world = world_with(Presence::Absent, WorldConfig::ip());
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    let error = us.stack.wait_open(id).expect_err("no peer");
    assert_error(error, Cause::ConnectTimeout, 0, 0);
}

#[test]
fn a_peer_that_appears_late_is_reached() {
    for presence in [Presence::Absent, Presence::Deaf] {
        let world = world_with(presence, WorldConfig::default());
        world.peer().listen(PORT, Behaviour::sink());
        world.at(at_secs(10), |world| {
            world.peer().set_presence(Presence::Present);
        });
        let mut us = Us::<1>::new(&world);
        us.open(Options::default());
        assert!((at_secs(10)..at_secs(30)).contains(&us.now()));
    }
}

#[test]
fn a_lost_arp_request_and_a_lost_syn_are_sent_again() {
    for dropped in 1..=3 {
        for direction in [Direction::ToPeer, Direction::ToUs] {
            let world = World::new(WorldConfig::default());
            world.peer().listen(PORT, Behaviour::sink());
            world.set_drops(direction, Drops::Next(dropped));
            let mut us = Us::<1>::new(&world);
            let id = us.open(Options::default());
            us.write(id, 100);
            us.writer(id).flush().expect("acknowledged");
            us.check(id);
        }
    }
}

#[test]
fn no_route_is_reported_at_once_and_takes_no_slot() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let elsewhere = Ipv4Address::new(192, 0, 2, 1);
    let refused = us.stack.connect((elsewhere, PORT), Options::default());
    assert_eq!(refused, Err(OpenError::NoRoute));
    us.set_addresses(&OUR_ADDRESSES[..1]);
    let refused = us.stack.connect((PEER_V6, PORT), Options::default());
    assert_eq!(refused, Err(OpenError::NoRoute));
    us.set_addresses(&[]);
    let refused = us.stack.connect((PEER_V4, PORT), Options::default());
    assert_eq!(refused, Err(OpenError::NoRoute));
    us.set_addresses(&OUR_ADDRESSES);
    us.open(Options::default());
}

#[test]
fn a_route_through_a_gateway_is_a_route() {
    let world = World::new(WorldConfig::default());
    let tap = Tap::new(&world);
    let mut us = Us::<1>::new(&world);
    let routes = us.stack.interface_mut().routes_mut();
    routes.add_default_ipv4_route(PEER_V4).expect("room");
    let elsewhere = Ipv4Address::new(192, 0, 2, 1);
    us.stack
        .connect((elsewhere, PORT), Options::default())
        .expect("a route");
    us.stack.run_for(secs(1));
    assert_eq!(tap.take()[0].dst, IpAddress::from(elsewhere));
}

#[test]
fn a_route_counts_for_what_it_leads_to_and_until_it_expires() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    let net = Ipv4Cidr::new(Ipv4Address::new(192, 0, 2, 0), 24);
    let expires_at = us.now() + secs(10);
    us.stack.interface_mut().routes_mut().update(|routes| {
        let route = Route {
            cidr: net.into(),
            via_router: PEER_V4.into(),
            preferred_until: None,
            expires_at: Some(smoltcp_time(expires_at)),
        };
        routes.push(route).expect("room");
    });
    let mut connect = |last| {
        let to = (Ipv4Address::from(last), PORT);
        let opened = us.stack.connect(to, Options::default());
        let released = opened.map(|id| us.stack.release(id).is_ok());
        us.stack.run_for(secs(5));
        released
    };
    assert_eq!(connect([198, 51, 100, 1]), Err(OpenError::NoRoute));
    assert_eq!(connect([192, 0, 2, 1]), Ok(true));
    // It expires here.
    assert_eq!(connect([192, 0, 2, 1]), Err(OpenError::NoRoute));
    assert_eq!(connect([192, 0, 2, 1]), Err(OpenError::NoRoute));
}

#[test]
fn a_remote_that_is_not_one_host_is_invalid() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    for (address, port) in [
        (IpAddress::from(PEER_V4), 0),
        (IpAddress::v4(224, 0, 0, 1), PORT),
        (IpAddress::v4(255, 255, 255, 255), PORT),
        (IpAddress::v4(0, 0, 0, 0), PORT),
        (IpAddress::from(Ipv6Address::UNSPECIFIED), PORT),
        (IpAddress::v6(0xff02, 0, 0, 0, 0, 0, 0, 1), PORT),
    ] {
        let refused = us.stack.connect((address, port), Options::default());
        assert_eq!(refused, Err(OpenError::InvalidRemote), "{address}:{port}");
    }
}

#[test]
fn a_write_waits_for_the_handshake() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    assert_would_block(us.writer(id).try_write(b"early"));
    assert_would_block(us.writer(id).write_with(|_| panic!("not open")));
    assert_eq!(us.writer(id).write_ready(), Ok(false));
    assert_eq!(us.writer(id).write(b""), Ok(0));
    assert_eq!(us.writer(id).flush(), Ok(()), "nothing is pending");
    assert_eq!(us.now(), at_ms(0), "none of them waited");
    assert_ledger(us.ledger(id), 0, 0);
    us.write(id, 1_000);
    assert_eq!(us.now(), at_ms(4));
    us.writer(id).flush().expect("acknowledged");
    let report = us.check(id);
    assert_ledger(report.ledger, 1_000, 1_000);
    assert_eq!(report.writes_accepted, 1);
    assert_eq!(report.writes_refused, 0);
}

#[test]
fn a_write_that_waits_is_woken_by_the_refusal() {
    let world = World::new(WorldConfig::default());
    world.set_latency(Direction::ToUs, secs(3));
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    let error = us.writer(id).write(b"early").expect_err("refused");
    assert_error(error, Cause::Refused, 0, 0);
    // The neighbour's answer and the RST, each slow in one direction.
    assert_eq!(us.now(), at_ms(6_002));
}

#[test]
fn a_write_that_waits_is_woken_by_the_connect_timeout() {
    let mut us = Us::<1>::new(&deaf());
    let id = us.connect(options(|o| o.connect_timeout(secs(7))));
    let error = us.writer(id).write(b"early").expect_err("given up");
    assert_error(error, Cause::ConnectTimeout, 0, 0);
    assert_eq!(us.now(), at_secs(7));
}

#[test]
fn the_call_timeout_ends_the_call_and_not_the_handshake() {
    let world = deaf();
    world.peer().listen(PORT, Behaviour::sink());
    world.at(at_secs(12), |world| {
        world.peer().set_presence(Presence::Present);
    });
    let mut us = Us::<1>::new(&world);
    let id = us.connect(options(|o| o.call_timeout(secs(5))));
    let error = us.stack.wait_open(id).expect_err("it takes longer");
    assert_call_timed_out(error, Timeout::Call);
    assert_eq!(us.now(), at_secs(5));
    assert_eq!(us.state(id), State::Connecting);
    assert_eq!(us.report(id).cause, None);
    let error = us.writer(id).write(b"x").expect_err("it takes longer");
    assert_call_timed_out(error, Timeout::Call);
    assert_eq!(us.now(), at_secs(10));
    us.stack.run_for(secs(5));
    us.stack.wait_open(id).expect("open");
    us.write(id, 10);
    us.writer(id).flush().expect("acknowledged");
    assert_ledger(us.check(id).ledger, 10, 10);
}

#[test]
fn finishing_before_it_is_open_loses_nothing() {
    let world = deaf();
    let tap = Tap::new(&world);
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    us.stack.run_for(secs(2));
    let report = us.writer(id).finish().expect("nothing was accepted");
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_ledger(report.ledger, 0, 0);
    assert_eq!(report.elapsed, secs(2));
    assert_eq!(us.now(), at_secs(2), "there is nothing to wait for");
    us.assert_refused(id, Cause::Finished, 0, 0);
    tap.take();
    us.stack.run_for(secs(60));
    assert!(tap.take().iter().all(|segment| !segment.is(Flags::SYN)));
}

#[test]
fn aborting_before_it_is_open_stops_the_handshake() {
    let world = deaf();
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    us.stack.run_for(secs(2));
    let report = us.writer(id).abort().expect("a connection of ours");
    assert_eq!(report.cause, Some(Cause::Aborted));
    us.assert_refused(id, Cause::Aborted, 0, 0);
    // The peer responds again: it receives no SYN of this connection any more.
    world.peer().listen(PORT, Behaviour::sink());
    world.peer().set_presence(Presence::Present);
    us.stack.run_for(secs(60));
    assert_eq!(world.peer().accepted(PORT), 0);
}

#[test]
fn a_lost_address_ends_it() {
    let mut us = Us::<1>::new(&deaf());
    let id = us.connect(Options::default());
    us.stack.run_for(secs(3));
    us.lose_addresses();
    us.stack.poll();
    us.assert_refused(id, Cause::AddressLost, 0, 0);
    assert_eq!(us.report(id).elapsed, secs(3));
}

#[test]
fn a_change_of_other_addresses_does_not_affect_it() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    us.set_addresses(&OUR_ADDRESSES[..1]);
    us.stack.wait_open(id).expect("open");
}

#[test]
fn segments_of_another_host_do_not_end_it() {
    let (mut us, id, raw, syn) = connecting();
    let ack = syn.seq.wrapping_add(1);
    let segment = |flags, ack| Segment::new(PORT, syn.src_port, flags, 7, ack);
    let rst = Flags::RST | Flags::ACK;
    for stray in [
        segment(rst, ack.wrapping_add(1)),
        segment(rst, syn.seq),
        segment(Flags::RST, 0),
        segment(Flags::FIN | Flags::ACK, ack),
        segment(Flags::ACK, ack),
        segment(Flags::SYN | Flags::ACK, ack.wrapping_add(9)),
        Segment::new(PORT + 1, syn.src_port, rst, 0, ack),
    ] {
        raw.send(&stray);
        us.stack.poll();
        assert_eq!(us.state(id), State::Connecting, "{stray}");
    }
    raw.send(&segment(rst, ack));
    us.stack.poll();
    assert_eq!(us.state(id), State::Closed(Cause::Refused));
}

#[test]
fn a_fin_right_after_the_handshake_is_detected() {
    let world = World::new(WorldConfig::default());
    world
        .peer()
        .listen(PORT, Behaviour::sink().closing_after(0));
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    us.stack.wait_open(id).expect("it was open");
    us.stack.run_for(ms(100));
    us.assert_refused(id, Cause::PeerFinished, 0, 0);
}

#[test]
fn the_handshake_with_the_largest_numbers_works() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    let handshake = Handshake {
        isn: u32::MAX,
        ..Handshake::default()
    };
    let mut flow = raw.handshake(handshake, || {
        us.stack.poll();
    });
    raw.send(&flow.fin());
    us.assert_refused(id, Cause::PeerFinished, 0, 0);
}

#[test]
fn an_address_lost_before_the_first_poll_is_noticed() {
    let world = World::new(WorldConfig::ip());
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    us.lose_addresses();
    us.stack.poll();
    us.assert_refused(id, Cause::AddressLost, 0, 0);
}

#[test]
fn an_answer_that_smoltcp_drops_does_not_count() {
    let peers: [IpAddress; 2] = [PEER_V4.into(), PEER_V6.into()];
    // To another hardware address, and of another IP version.
    for (peer, octet) in [(peers[0], 0), (peers[1], 0), (peers[0], 14), (peers[1], 14)] {
        let world = World::new(WorldConfig::instant());
        let raw = world.raw();
        let mut us = Us::<1>::new(&world);
        let id = us.stack.connect((peer, PORT), Options::default());
        let id = id.expect("a slot, a port and a route");
        us.stack.run_for(ms(10));
        let syn = raw.recv();
        let flags = Flags::SYN | Flags::ACK;
        let answer = Segment {
            src: syn.dst,
            dst: syn.src,
            ..Segment::new(PORT, syn.src_port, flags, 7, syn.seq.wrapping_add(1))
        };
        let mut frame = answer.to_frame(world.config().medium);
        frame[octet] ^= 0x20;
        raw.send_frame(frame);
        us.stack.poll();
        assert_eq!(us.state(id), State::Connecting);
        raw.send(&answer);
        us.stack.poll();
        assert_eq!(us.state(id), State::Open, "{peer}, octet {octet}");
    }
}

/// The peer has no connection yet that a RST could end (RFC 9293, 3.10.5).
#[test]
fn giving_up_sends_nothing() {
    let (mut us, id, raw, _) = connecting();
    us.stack.release(id).expect("ours");
    raw.recv_nothing_for(secs(10), || {
        us.stack.poll();
    });
}
