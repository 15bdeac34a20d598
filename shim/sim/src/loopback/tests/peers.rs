//! The behaviours of a peer.

use std::time::{Duration, Instant as RealTime};

use smoltcp::socket::tcp;

use super::{Bare, pattern};
use crate::loopback::{Behaviour, Direction, Ending, PEER_V4, PEER_V6, Presence, Reads, When};
use crate::loopback::{World, WorldConfig};

fn connected(world: &World, behaviour: Behaviour) -> Bare {
    world.peer().listen(80, behaviour);
    let mut bare = Bare::new(world);
    bare.connect((PEER_V4, 80));
    bare.run_until_state(tcp::State::Established);
    bare
}

#[test]
fn a_fin_arrives_at_its_scheduled_time() {
    let world = World::new(WorldConfig::default());
    let mut bare = connected(&world, Behaviour::sink());
    world.at(world.after(Duration::from_millis(5_000)), |world| {
        world.peer().close(80);
    });
    bare.run_until_state(tcp::State::CloseWait);
    assert_eq!(world.now(), world.after(Duration::from_millis(5_001)));
    // Half-closed: it still reads.
    assert_eq!(bare.write(b"more"), 4);
    bare.run_until(|bare| bare.socket().send_queue() == 0);
    assert_eq!(world.peer().received(80), b"more");
    bare.socket().close();
    bare.run_until_state(tcp::State::Closed);
    assert_eq!(world.peer().state(80), Some(tcp::State::TimeWait));
}

#[test]
fn a_behaviour_can_close_at_a_set_time() {
    let world = World::new(WorldConfig::default());
    let at = world.after(Duration::from_millis(3_000));
    let mut bare = connected(&world, Behaviour::sink().closing_at(at));
    bare.run_until_state(tcp::State::CloseWait);
    assert_eq!(world.now(), world.after(Duration::from_millis(3_001)));
}

#[test]
fn a_fin_that_arrived_waits_in_our_device() {
    let world = World::new(WorldConfig::default());
    let mut bare = connected(&world, Behaviour::sink());
    bare.run_for(Duration::from_millis(50));
    world.peer().close(80);
    world.run_for(Duration::from_millis(5));
    assert_eq!(bare.socket().state(), tcp::State::Established);
    bare.poll();
    assert_eq!(bare.socket().state(), tcp::State::CloseWait);
}

#[test]
fn a_reset_arrives_after_a_number_of_bytes() {
    let world = World::new(WorldConfig::default());
    let mut bare = connected(&world, Behaviour::sink().aborting_after(10_000));
    let written = bare.write(&pattern(100_000));
    assert!(written < 100_000);
    assert_eq!(bare.socket().state(), tcp::State::Closed);
    let taken_in = world.peer().taken_in(80);
    assert!((10_000..11_460).contains(&taken_in), "{taken_in}");
    assert!(world.peer().received(80) == pattern(taken_in as usize));
    assert_eq!(world.peer().saw_rst(80), None, "the RST was the peer's");
}

#[test]
fn an_exited_peer_answers_late_data_with_a_reset() {
    let world = World::new(WorldConfig::default());
    let mut bare = connected(&world, Behaviour::sink());
    world.peer().exit(80);
    bare.run_until_state(tcp::State::CloseWait);
    // Linux does the same: the first write is sent, the answer is a RST.
    bare.write(b"late");
    bare.run_until_state(tcp::State::Closed);
    assert_eq!(bare.socket().send_queue(), 4);
}

#[test]
fn an_ending_is_only_replaced_by_a_stronger_one() {
    let world = World::new(WorldConfig::default());
    let behaviour = Behaviour::sink()
        .closing_after(0)
        .ending(
            When::At(world.after(Duration::from_millis(900))),
            Ending::Reset,
        )
        .ending(
            When::At(world.after(Duration::from_millis(950))),
            Ending::Fin,
        );
    let mut bare = connected(&world, behaviour);
    bare.run_until_state(tcp::State::CloseWait);
    assert!(world.now() < world.after(Duration::from_millis(100)));
    bare.run_until_state(tcp::State::Closed);
    assert_eq!(world.now(), world.after(Duration::from_millis(901)));
}

#[test]
fn our_reset_is_seen() {
    let world = World::new(WorldConfig::default());
    let mut bare = connected(&world, Behaviour::sink());
    bare.write(b"x");
    bare.socket().abort();
    bare.run_for(Duration::from_millis(100));
    let last = world.peer().connections(80).pop().expect("a connection");
    assert!(last.saw_rst.is_some() && last.saw_fin.is_none(), "{last:?}");
    assert_eq!(last.state, tcp::State::Closed);
    // The port listens again.
    bare.connect((PEER_V4, 80));
    bare.run_until_state(tcp::State::Established);
    assert_eq!(world.peer().accepted(80), 2);
    assert_eq!(world.peer().received(80), b"");
}

#[test]
fn without_a_listener_we_are_refused() {
    let world = World::new(WorldConfig::default());
    let mut bare = Bare::new(&world);
    bare.connect((PEER_V4, 80));
    bare.run_until_state(tcp::State::Closed);
    assert!(world.now() < world.after(Duration::from_millis(10)));
    assert_eq!(world.peer().state(80), None);
}

#[test]
fn a_port_that_accepts_once_refuses_the_next() {
    let world = World::new(WorldConfig::default());
    let mut bare = connected(&world, Behaviour::sink().once());
    bare.socket().close();
    bare.run_until_state(tcp::State::TimeWait);
    bare.run_for(Duration::from_secs(1));
    bare.connect((PEER_V4, 80));
    bare.run_until_state(tcp::State::Closed);
    assert_eq!(world.peer().accepted(80), 1);
}

#[test]
fn a_port_that_stopped_listening_refuses_and_keeps_its_connection() {
    let world = World::new(WorldConfig::default());
    let mut first = connected(&world, Behaviour::sink().backlog(2));
    world.peer().stop_listening(80);
    first.write(b"still");
    first.run_until(|bare| bare.socket().send_queue() == 0);
    assert_eq!(world.peer().received(80), b"still");
    first.socket().abort();
    first.run_for(Duration::from_millis(100));
    first.connect((PEER_V4, 80));
    first.run_until_state(tcp::State::Closed);
    world.peer().listen(80, Behaviour::sink());
    first.connect((PEER_V4, 80));
    first.run_until_state(tcp::State::Established);
}

#[test]
fn an_absent_peer_does_not_answer() {
    for to in [(PEER_V4.into(), 80), (PEER_V6.into(), 80)] {
        let to: (smoltcp::wire::IpAddress, u16) = to;
        let mut config = WorldConfig::default();
        config.peer.presence = Presence::Absent;
        let world = World::new(config);
        world.peer().listen(80, Behaviour::sink());
        let mut bare = Bare::new(&world);
        bare.connect(to);
        bare.run_for(Duration::from_secs(60));
        assert_eq!(bare.socket().state(), tcp::State::SynSent);
        assert_eq!(world.counters(Direction::ToUs).frames, 0);
        // One request a second.
        let asked = world.counters(Direction::ToPeer).frames;
        assert!((55..65).contains(&asked), "{asked}");
        // It is switched on.
        world.peer().set_presence(Presence::Present);
        bare.run_until_state(tcp::State::Established);
    }
}

#[test]
fn a_deaf_peer_answers_arp_alone() {
    for to in [(PEER_V4.into(), 80), (PEER_V6.into(), 80)] {
        let to: (smoltcp::wire::IpAddress, u16) = to;
        let mut config = WorldConfig::default();
        config.peer.presence = Presence::Deaf;
        let world = World::new(config);
        let log = world.record(1_000);
        let mut bare = Bare::new(&world);
        bare.connect(to);
        bare.run_for(Duration::from_secs(30));
        assert_eq!(bare.socket().state(), tcp::State::SynSent);
        let entries = log.entries();
        let count = |direction, tcp: bool| {
            let of = entries.iter().filter(|e| e.direction == direction);
            of.filter(|e| e.summary.contains("SYN") == tcp).count()
        };
        assert!(count(Direction::ToPeer, true) >= 4, "{log}");
        assert!(count(Direction::ToUs, false) >= 1, "{log}");
        assert_eq!(count(Direction::ToUs, true), 0, "{log}");
    }
}

#[test]
fn an_unreachable_peer_receives_nothing_until_it_is_back() {
    for presence in [Presence::Deaf, Presence::Absent] {
        let world = World::new(WorldConfig::default());
        let mut bare = connected(&world, Behaviour::sink());
        bare.run_for(Duration::from_millis(50));
        world.peer().set_presence(presence);
        bare.write(b"anybody?");
        bare.run_for(Duration::from_secs(20));
        assert_eq!(world.peer().taken_in(80), 0, "{presence:?}");
        world.peer().set_presence(Presence::Present);
        bare.run_until(|bare| bare.socket().send_queue() == 0);
        assert_eq!(world.peer().received(80), b"anybody?");
    }
}

#[test]
fn an_hour_with_a_zero_window_takes_no_time() {
    let started = RealTime::now();
    let world = World::new(WorldConfig::default());
    let silent = Behaviour::silent().rx_buffer(5_000);
    let mut bare = connected(&world, silent);
    let mut written = 0;
    let bytes = pattern(1_000_000);
    bare.run_until(|bare| {
        let socket = bare.socket();
        if socket.can_send() {
            written += socket.send_slice(&bytes[written..]).expect("open");
            bare.poll();
        }
        bare.world.now() > world.after(Duration::from_millis(3_600_000))
    });
    assert_eq!(bare.socket().state(), tcp::State::Established);
    assert_eq!(world.peer().taken_in(80), 5_000);
    assert_eq!(written, 5_000 + 16 * 1024);
    assert!(world.peer().received(80) == bytes[..5_000]);
    assert!(bare.polls < 2_000, "{} polls", bare.polls);
    assert!(started.elapsed() < Duration::from_secs(2));
    // Then the peer reads.
    let reads = |behaviour: &mut Behaviour| behaviour.reads = Reads::Everything;
    world.peer().change(80, reads);
    bare.run_until(|bare| bare.socket().send_queue() == 0);
    assert_eq!(world.peer().taken_in(80), written as u64);
}

#[test]
fn a_rebooted_peer_has_no_connections_and_listens_again() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(80, Behaviour::sink());
    let mut bare = Bare::new(&world);
    bare.connect((PEER_V4, 80));
    bare.write(b"before");
    bare.run_for(Duration::from_secs(1));
    world.peer().reboot(8);
    bare.write(b"lost");
    bare.run_until_state(tcp::State::Closed);
    bare.connect((PEER_V4, 80));
    bare.write(b"after");
    bare.run_for(Duration::from_secs(1));
    let connections = world.peer().connections(80);
    let received: Vec<_> = connections.iter().map(|c| c.received.as_slice()).collect();
    assert_eq!(received, [b"before".as_slice(), b"after"]);
    assert!(connections[0].ended_at.is_some() && connections[1].ended_at.is_none());
}
