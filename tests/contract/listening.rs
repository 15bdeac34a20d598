//! From `Listening`: a peer that connects to us.

use crate::common::*;
use embedded_io::{Write, WriteReady};
use lastbyte::stack::OpenError;
use lastbyte::stack::smoltcp::socket::tcp;
use lastbyte::stack::smoltcp::wire::{IpAddress, IpEndpoint};
use lastbyte::{Cause, Options, State, Timeout};
use lastbyte_sim::loopback::{
    Behaviour, Direction, Drops, Flags, Flow, Handshake, OUR_ADDRESSES, OUR_V4, OUR_V6, PEER_V4,
    PEER_V6, RawPeer, World, WorldConfig,
};

const OURS: u16 = 7_000;

#[track_caller]
fn listening<const N: usize>(us: &mut Us<N>, options: Options) -> lastbyte::stack::ConnectionId {
    let id = us.stack.listen(OURS, options).expect("a slot");
    assert_eq!(us.state(id), State::Listening);
    id
}

#[test]
fn a_peer_is_accepted_over_every_family_and_medium() {
    for config in [WorldConfig::default(), WorldConfig::ip()] {
        for (ours, theirs) in [
            (IpAddress::from(OUR_V4), IpAddress::from(PEER_V4)),
            (IpAddress::from(OUR_V6), IpAddress::from(PEER_V6)),
        ] {
            let world = World::new(config.clone());
            let mut us = Us::<1>::new(&world);
            let id = listening(&mut us, Options::default());
            assert_eq!(us.stack.endpoints(id), Ok(None));
            world.at(at_secs(5), move |world| {
                let peer = world.peer();
                peer.connect(PORT, (ours, OURS), Behaviour::sink());
            });
            us.stack.wait_open(id).expect("it connects");
            assert!((at_secs(5)..at_ms(5_020)).contains(&us.now()));
            let ends = us.stack.endpoints(id).unwrap().expect("both ends");
            assert_eq!(ends.0, IpEndpoint::new(ours, OURS));
            assert_eq!(ends.1, IpEndpoint::new(theirs, PORT));
            us.write(id, 10_000);
            us.writer(id).flush().expect("acknowledged");
            let report = us.writer(id).finish().expect("finished");
            assert_eq!(report.cause, Some(Cause::Finished));
            assert_ledger(report.ledger, 10_000, 10_000);
            assert_eq!(world.peer().received(PORT), pattern(0, 10_000));
        }
    }
}

#[test]
fn waiting_costs_nothing() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, Options::default());
    assert_eq!(us.stack.poll(), None);
    us.stack.run_for(secs(100 * 3_600));
    assert_eq!(us.state(id), State::Listening);
    assert_eq!(world.counters(Direction::ToPeer).frames, 0);
    world
        .peer()
        .connect(PORT, (OUR_V4, OURS), Behaviour::sink());
    us.stack.wait_open(id).expect("it connects");
}

#[test]
fn the_call_timeout_ends_the_wait_and_not_the_listening() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, options(|o| o.call_timeout(secs(5))));
    let error = us.stack.wait_open(id).expect_err("no caller");
    assert_call_timed_out(error, Timeout::Call);
    assert_eq!(us.now(), at_secs(5));
    assert_would_block(us.writer(id).try_write(b"early"));
    assert_eq!(us.writer(id).write_ready(), Ok(false));
    assert_eq!(us.writer(id).write(b""), Ok(0));
    let error = us.writer(id).write(b"early").expect_err("no caller");
    assert_call_timed_out(error, Timeout::Call);
    assert_eq!(us.now(), at_secs(10));
    assert_eq!(us.state(id), State::Listening);
    world.at(at_secs(12), |world| {
        let peer = world.peer();
        peer.connect(PORT, (OUR_V4, OURS), Behaviour::sink());
    });
    us.write(id, 100);
    assert!((at_secs(12)..at_secs(13)).contains(&us.now()));
    us.writer(id).flush().expect("acknowledged");
    assert_ledger(us.check(id).ledger, 100, 100);
}

#[test]
fn several_listeners_share_a_port_and_further_peers_wait() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<3>::new(&world);
    let ids = [(); 3].map(|()| listening(&mut us, Options::default()));
    assert_eq!(
        us.stack.listen(OURS, Options::default()),
        Err(OpenError::NoSlot)
    );
    for port in [101, 102, 103, 104] {
        let peer = world.peer();
        peer.connect(port, (OUR_V4, OURS), Behaviour::sink());
        us.stack.run_for(secs(1));
    }
    for id in ids {
        assert_eq!(us.state(id), State::Open);
        us.write(id, 1_000);
        us.writer(id).flush().expect("acknowledged");
    }
    for port in [101, 102, 103] {
        assert_eq!(world.peer().received(port), pattern(0, 1_000));
    }
    assert_eq!(world.peer().state(104), Some(tcp::State::SynSent));
    let mut ports = ids.map(|id| us.stack.endpoints(id).unwrap().unwrap().1.port);
    ports.sort_unstable();
    assert_eq!(ports, [101, 102, 103]);
}

/// Sends a SYN and receives our SYN|ACK; the handshake stays incomplete.
#[track_caller]
fn half_open<const N: usize>(us: &mut Us<N>, raw: &RawPeer, port: u16) -> Flow {
    raw.call(port, (OUR_V4, OURS), Handshake::default(), || {
        us.stack.run_for(ms(1));
    })
}

#[test]
fn a_rst_during_the_handshake_goes_back_to_listening() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, Options::default());
    for port in 100..110 {
        let flow = half_open(&mut us, &raw, port);
        raw.send(&flow.rst());
        us.stack.poll();
        assert_eq!(us.state(id), State::Listening);
        assert_eq!(us.stack.endpoints(id), Ok(None));
    }
    // No timer of the handshakes is left.
    us.stack.run_for(secs(31));
    assert_eq!(us.stack.poll(), None);
    let open = raw.open(200, (OUR_V4, OURS), Handshake::default(), || {
        us.stack.poll();
    });
    assert_eq!(us.state(id), State::Open);
    assert_eq!(us.stack.endpoints(id).unwrap().unwrap().1, open.local);
    us.write(id, 5);
    assert_eq!(raw.recv().payload, pattern(0, 5));
}

#[test]
fn a_half_open_handshake_is_dropped_at_the_connect_timeout() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, options(|o| o.connect_timeout(secs(4))));
    us.stack.run_for(secs(100));
    let began = us.now();
    half_open(&mut us, &raw, 100);
    us.stack.run_for(secs(4) - ms(2));
    assert!(
        us.stack.endpoints(id).unwrap().is_some(),
        "it is not given up"
    );
    us.stack.run_for(ms(2));
    assert!(us.now() >= began + secs(4));
    assert_eq!(us.state(id), State::Listening);
    assert_eq!(us.stack.endpoints(id), Ok(None));
    while raw.try_recv().is_some() {}
    raw.recv_nothing_for(secs(60), || {
        us.stack.poll();
    });
    raw.open(200, (OUR_V4, OURS), Handshake::default(), || {
        us.stack.poll();
    });
    assert_eq!(us.state(id), State::Open);
    // The timeout of the earlier handshake has no effect any more.
    us.stack.run_for(secs(1_000));
    assert_eq!(us.state(id), State::Open);
}

#[test]
fn each_handshake_has_the_whole_connect_timeout() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, options(|o| o.connect_timeout(secs(4))));
    let first = half_open(&mut us, &raw, 100);
    us.stack.run_for(secs(3));
    while raw.try_recv().is_some() {}
    raw.send(&first.rst());
    us.stack.poll();
    let second = half_open(&mut us, &raw, 101);
    us.stack.run_for(secs(3));
    raw.send(&second.ack());
    us.stack.poll();
    assert_eq!(us.state(id), State::Open);
}

#[test]
fn a_lost_syn_ack_is_sent_again() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, Options::default());
    world.set_drops(Direction::ToPeer, Drops::Next(2));
    world
        .peer()
        .connect(PORT, (OUR_V4, OURS), Behaviour::sink());
    us.stack.wait_open(id).expect("it connects");
    us.write(id, 10);
    us.writer(id).flush().expect("acknowledged");
    us.check(id);
}

#[test]
fn a_fin_right_after_the_handshake_is_detected() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, Options::default());
    let mut flow = half_open(&mut us, &raw, 100);
    // The ACK that completes the handshake carries the FIN.
    raw.send(&flow.fin());
    us.assert_refused(id, Cause::PeerFinished, 0, 0);
    us.stack.wait_open(id).expect("it was open for a moment");
}

#[test]
fn a_rst_right_after_the_handshake_is_a_reset() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, Options::default());
    let flow = half_open(&mut us, &raw, 100);
    raw.send(&flow.ack());
    raw.send(&flow.rst());
    us.assert_refused(id, Cause::PeerReset, 0, 0);
}

#[test]
fn finish_and_abort_stop_the_listening() {
    for (cause, half) in [
        (Cause::Finished, false),
        (Cause::Aborted, false),
        (Cause::Finished, true),
        (Cause::Aborted, true),
    ] {
        let world = World::new(WorldConfig::instant());
        let raw = world.raw();
        let mut us = Us::<1>::new(&world);
        let id = listening(&mut us, Options::default());
        if half {
            half_open(&mut us, &raw, 100);
        }
        let report = match cause {
            Cause::Finished => us.writer(id).finish().expect("nothing was accepted"),
            _ => us.writer(id).abort().expect("a connection of ours"),
        };
        assert_eq!(report.cause, Some(cause));
        us.assert_refused(id, cause, 0, 0);
        if half {
            assert!(raw.recv().is(Flags::RST));
        }
        let syn = lastbyte_sim::loopback::Segment::new(101, OURS, Flags::SYN, 0, 0);
        // An answer is lost if the neighbour is not yet resolved.
        raw.send(&syn);
        us.stack.run_for(secs(2));
        while raw.try_recv().is_some() {}
        raw.send(&syn);
        us.stack.poll();
        assert!(raw.recv().is(Flags::RST), "no listener is left");
        // The slot is free again.
        listening(&mut us, Options::default());
    }
}

#[test]
fn listening_continues_after_a_lost_address() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, Options::default());
    us.lose_addresses();
    us.stack.run_for(secs(10));
    assert_eq!(us.state(id), State::Listening);
    us.set_addresses(&OUR_ADDRESSES);
    world
        .peer()
        .connect(PORT, (OUR_V4, OURS), Behaviour::sink());
    us.stack.wait_open(id).expect("it connects");
}

#[test]
fn a_half_open_handshake_is_dropped_with_its_address() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, Options::default());
    half_open(&mut us, &raw, 100);
    us.lose_addresses();
    us.stack.poll();
    assert_eq!(us.state(id), State::Listening);
    assert_eq!(us.stack.endpoints(id), Ok(None));
    us.stack.run_for(secs(100));
    us.set_addresses(&OUR_ADDRESSES);
    while raw.try_recv().is_some() {}
    raw.open(200, (OUR_V4, OURS), Handshake::default(), || {
        us.stack.poll();
    });
    assert_eq!(us.state(id), State::Open);
}

#[test]
fn an_accepted_connection_that_ended_does_not_listen_again() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    let id = listening(&mut us, Options::default());
    world
        .peer()
        .connect(PORT, (OUR_V4, OURS), Behaviour::sink());
    us.stack.wait_open(id).expect("it connects");
    world.peer().abort(PORT);
    us.stack.run_for(secs(1));
    us.assert_refused(id, Cause::PeerReset, 0, 0);
    world
        .peer()
        .connect(PORT, (OUR_V4, OURS), Behaviour::sink());
    us.stack.run_for(secs(1));
    us.assert_refused(id, Cause::PeerReset, 0, 0);
    assert_eq!(world.peer().accepted(PORT), 2);
    assert_eq!(world.peer().state(PORT), Some(tcp::State::Closed));
}

#[test]
fn only_the_address_it_listens_at_counts() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    let here = (IpAddress::from(OUR_V6), OURS);
    let id = us.stack.listen(here, Options::default()).expect("a slot");
    world
        .peer()
        .connect(PORT, (OUR_V4, OURS), Behaviour::sink());
    us.stack.run_for(secs(1));
    assert_eq!(us.state(id), State::Listening);
    world
        .peer()
        .connect(PORT, (OUR_V6, OURS), Behaviour::sink());
    us.stack.wait_open(id).expect("it connects");
}

#[test]
fn listening_at_port_zero_is_refused() {
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    let refused = us.stack.listen(0, Options::default());
    assert_eq!(refused, Err(OpenError::InvalidLocal));
    listening(&mut us, Options::default());
}

#[test]
fn a_flood_of_half_open_handshakes_leaves_the_listener_usable() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<2>::new(&world);
    let ids = [(); 2].map(|()| listening(&mut us, options(|o| o.connect_timeout(secs(2)))));
    for port in 1_000..1_200 {
        raw.send(&lastbyte_sim::loopback::Segment::new(
            port,
            OURS,
            Flags::SYN,
            0,
            0,
        ));
        us.stack.run_for(ms(100));
        while raw.try_recv().is_some() {}
    }
    us.stack.run_for(secs(3));
    while raw.try_recv().is_some() {}
    for (port, id) in [200, 201].into_iter().zip(ids) {
        assert_eq!(us.state(id), State::Listening);
        raw.open(port, (OUR_V4, OURS), Handshake::default(), || {
            us.stack.poll();
        });
    }
    assert!(ids.iter().all(|&id| us.state(id) == State::Open));
}
