//! The throughput by transmit buffer and round-trip time: the table of the porting guide,
//! in virtual time, so that it is the same on every machine.

use embedded_io::Write as _;
use lastbyte::{Clock as _, Options};
use lastbyte_sim::loopback::{
    Behaviour, OUR_ADDRESSES, PEER_V4, World, WorldConfig, our_hardware_address,
};
use lastbyte_sim::setup::Setup;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// A full segment on Ethernet.
const SEGMENT: usize = 1460;
/// Whole numbers of segments, and powers of two.
const BUFFERS: [usize; 9] = [
    SEGMENT,
    2048,
    2 * SEGMENT,
    4096,
    5 * SEGMENT,
    8192,
    16_384,
    20 * SEGMENT,
    44 * SEGMENT,
];
const ROUND_TRIPS_MS: [u64; 4] = [1, 10, 50, 200];

/// Linux delays the acknowledgement of a lone segment by this.
const ACK_DELAY: Duration = Duration::from_millis(40);

const WRITES: usize = 300;

/// Octets per second, from the handshake to the last acknowledgement.
fn throughput(buffer: usize, round_trip: Duration) -> f64 {
    let world = World::new(WorldConfig {
        latency: round_trip / 2,
        ..WorldConfig::default()
    });
    let behaviour = Behaviour {
        ack_delay: Some(ACK_DELAY),
        ..Behaviour::sink().rx_buffer(256 * 1024)
    };
    world.peer().listen(5000, behaviour);
    let hardware_addr = our_hardware_address(world.config().medium);
    let mut setup = Setup::new(hardware_addr, &OUR_ADDRESSES, 1);
    setup.tx_buffer = buffer;
    let took = setup.run(world.device(), world.clock(), |stack| {
        let id = stack.connect((PEER_V4, 5000), Options::default()).unwrap();
        stack.wait_open(id).unwrap();
        let start = stack.clock_mut().now();
        let mut writer = stack.writer(id).unwrap();
        for _ in 0..WRITES {
            writer.write_all(&[0; SEGMENT]).unwrap();
        }
        writer.flush().unwrap();
        stack.clock_mut().now().since(start)
    });
    let octets = u32::try_from(WRITES * SEGMENT).unwrap();
    f64::from(octets) / took.unwrap().as_secs_f64()
}

fn table() -> String {
    let mut table = String::from("| transmit buffer |");
    for round_trip in ROUND_TRIPS_MS {
        write!(table, " {round_trip} ms |").unwrap();
    }
    table.push_str("\n|---|--:|--:|--:|--:|\n");
    for buffer in BUFFERS {
        let segments = match buffer % SEGMENT {
            0 => format!(" = {} x 1460", buffer / SEGMENT),
            _ => String::new(),
        };
        write!(table, "| {buffer}{segments} |").unwrap();
        for round_trip in ROUND_TRIPS_MS {
            let octets = throughput(buffer, Duration::from_millis(round_trip));
            write!(table, " {:.0} |", octets / 1000.0).unwrap();
        }
        table.push('\n');
    }
    table
}

#[test]
fn the_porting_guide_shows_what_is_measured() {
    let table = table();
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    assert!(guide.contains(&table), "the guide lacks:\n\n{table}");
}
