//! Transfers, the same every time.

use std::time::Duration;

use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;

use super::{Bare, pattern};
use crate::loopback::{Behaviour, OUR_V4, PEER_V4, PEER_V6, Reads, World, WorldConfig};

const MIB: usize = 1024 * 1024;

/// Sends `bytes`, closes, and checks what the peer received.
#[track_caller]
fn transfer(world: &World, to: impl Into<IpAddress>, bytes: &[u8]) {
    world.peer().listen(80, Behaviour::sink());
    let mut bare = Bare::new(world);
    bare.connect((to.into(), 80));
    assert_eq!(bare.write(bytes), bytes.len());
    bare.socket().close();
    bare.run_until_state(tcp::State::TimeWait);
    let peer = world.peer();
    assert_eq!(peer.taken_in(80), bytes.len() as u64);
    assert!(peer.received(80) == bytes, "the bytes differ");
    assert!(peer.saw_fin(80).is_some());
    assert_eq!(peer.saw_rst(80), None);
}

#[test]
fn a_mebibyte_arrives_byte_for_byte() {
    let world = World::new(WorldConfig::default());
    transfer(&world, PEER_V4, &pattern(MIB));
}

#[test]
fn a_mebibyte_arrives_over_ipv6() {
    let world = World::new(WorldConfig::default());
    transfer(&world, PEER_V6, &pattern(MIB));
}

#[test]
fn a_mebibyte_arrives_over_an_ip_medium() {
    for to in [IpAddress::from(PEER_V4), IpAddress::from(PEER_V6)] {
        transfer(&World::new(WorldConfig::ip()), to, &pattern(MIB / 4));
    }
}

#[test]
fn a_mebibyte_arrives_without_checksums_and_without_latency() {
    let world = World::new(WorldConfig {
        checksums: false,
        ..WorldConfig::instant()
    });
    transfer(&world, PEER_V4, &pattern(MIB));
    // Only delayed acknowledgements take time.
    assert!(world.now() < world.after(Duration::from_millis(10_000)));
}

#[test]
fn a_mebibyte_arrives_through_the_shortest_queue_and_a_small_mtu() {
    let world = World::new(WorldConfig {
        queue_frames: 1,
        mtu: 590,
        ..WorldConfig::default()
    });
    transfer(&world, PEER_V4, &pattern(20_000));
}

fn log_of_a_run(peer_seed: u64) -> (u64, u64) {
    let mut config = WorldConfig::default();
    config.peer.seed = peer_seed;
    let world = World::new(config);
    let log = world.record(0);
    world.at(world.after(Duration::from_millis(7)), |world| {
        let slow = |behaviour: &mut Behaviour| {
            behaviour.reads = Reads::Rate {
                bytes: 10_000,
                every: Duration::from_millis(3),
            }
        };
        world.peer().change(80, slow);
    });
    transfer(&world, PEER_V4, &pattern(300_000));
    (log.hash(), log.frames())
}

#[test]
fn the_same_run_gives_the_same_log() {
    let (first, second) = (log_of_a_run(1), log_of_a_run(1));
    assert_eq!(first, second);
    assert!(first.1 > 200, "only {} frames", first.1);
    assert_ne!(first.0, log_of_a_run(2).0, "the seed must show in the log");
}

#[test]
fn a_handshake_over_20_ms_takes_two_round_trips_with_arp() {
    let world = World::new(WorldConfig {
        latency: Duration::from_millis(20),
        ..WorldConfig::default()
    });
    let log = world.record(100);
    world.peer().listen(80, Behaviour::sink());
    let mut bare = Bare::new(&world);
    bare.connect((PEER_V4, 80));
    bare.run_until_state(tcp::State::Established);
    assert_eq!(world.now(), world.after(Duration::from_millis(80)), "{log}");
    let kinds: Vec<_> = log.entries().into_iter().map(|e| e.summary).collect();
    assert!(kinds[0].starts_with("ARP"), "{log}");
    assert!(kinds[2].contains("SYN seq"), "{log}");
    assert!(kinds[3].contains("SYN|ACK"), "{log}");
}

#[test]
fn a_slow_reader_sets_the_pace() {
    let world = World::new(WorldConfig::default());
    let every = Duration::from_secs(1);
    let reader = Behaviour::sink().reading(1_000, every).rx_buffer(2_000);
    world.peer().listen(80, reader);
    let mut bare = Bare::with_buffers(&world, 1_000, 1_000);
    bare.connect((PEER_V4, 80));
    assert_eq!(bare.write(&pattern(20_000)), 20_000);
    // 3000 bytes fit into the buffers; the rest waits for about 17 reads.
    let took = world.now();
    assert!(
        took > world.after(Duration::from_millis(15_000)),
        "too fast: {took:?}"
    );
    assert!(
        took < world.after(Duration::from_millis(60_000)),
        "too slow: {took:?}"
    );
}

#[test]
fn the_peer_connects_and_floods_us() {
    flood(1024);
}

#[test]
fn a_flood_passes_the_shortest_queue() {
    flood(1);
}

fn flood(queue_frames: usize) {
    let world = World::new(WorldConfig {
        queue_frames,
        ..WorldConfig::default()
    });
    let mut bare = Bare::new(&world);
    bare.socket().listen(7).expect("a free socket");
    let flood = Behaviour::sink().flooding();
    world.peer().connect(5000, (OUR_V4, 7), flood);
    let mut received = Vec::new();
    bare.run_until(|bare| {
        let mut buffer = [0; 4096];
        if bare.socket().can_recv() {
            let len = bare.socket().recv_slice(&mut buffer).expect("open");
            received.extend_from_slice(&buffer[..len]);
        }
        received.len() > 100_000
    });
    assert!(
        (0u64..)
            .zip(&received)
            .all(|(n, byte)| u64::from(*byte) == n % 251)
    );
    assert!(world.peer().connections(5000)[0].sent > 100_000);
    // A frame of 1460 bytes or more for each millisecond, if the peer continues as soon
    // as the wire has room.
    assert!(
        world.now() < world.after(Duration::from_millis(250)),
        "{:?}",
        world.now()
    );
}

#[test]
fn an_answer_is_sent_whole_before_the_peer_closes() {
    let world = World::new(WorldConfig::default());
    let answer = pattern(30_000);
    let server = Behaviour::sink().sending(answer.clone());
    world.peer().listen(80, server.closing_after_sending());
    let mut bare = Bare::new(&world);
    bare.connect((PEER_V4, 80));
    let mut received = Vec::new();
    bare.run_until(|bare| {
        let mut buffer = [0; 4096];
        let socket = bare.socket();
        let len = socket.recv_slice(&mut buffer).unwrap_or(0);
        received.extend_from_slice(&buffer[..len]);
        socket.state() == tcp::State::CloseWait && !socket.can_recv()
    });
    assert!(received == answer);
}
