//! Measures the speed; run with `--release --ignored --nocapture`.

use std::time::{Duration, Instant as RealTime};

use smoltcp::socket::tcp;

use super::{Bare, pattern};
use crate::loopback::{Behaviour, PEER_V4, World, WorldConfig};

fn connections_per_second(config: WorldConfig, label: &str) {
    let world = World::new(WorldConfig {
        horizon: Duration::from_secs(1_000_000_000),
        ..config
    });
    world.peer().listen(80, Behaviour::sink().acking_at_once());
    let mut bare = Bare::new(&world);
    let bytes = pattern(8 * 1024);
    let connections = 50_000;
    let started = RealTime::now();
    for _ in 0..connections {
        bare.connect((PEER_V4, 80));
        assert_eq!(bare.write(&bytes), bytes.len());
        bare.socket().close();
        bare.run_until(|bare| bare.socket().state() == tcp::State::TimeWait);
        // Its last ACK has to arrive before the port listens again.
        world.run_for(Duration::from_millis(2));
    }
    let elapsed = started.elapsed();
    assert_eq!(world.peer().accepted(80), connections);
    let rate = connections as f64 / elapsed.as_secs_f64();
    println!("{label}: {rate:.0} connections/s of 8 KiB");
}

#[test]
#[ignore = "measures; meaningful in release builds only"]
fn connections_of_8_kib() {
    let config = WorldConfig::default();
    connections_per_second(config.clone(), "Ethernet, checksums");
    let plain = WorldConfig {
        checksums: false,
        ..config.clone()
    };
    connections_per_second(plain, "Ethernet, no checksums");
    let no_copies = crate::loopback::PeerConfig {
        keep_bytes: 0,
        ..Default::default()
    };
    let lean = WorldConfig {
        checksums: false,
        peer: no_copies,
        ..WorldConfig::ip()
    };
    connections_per_second(lean, "IP, no checksums, bytes not kept");
}
