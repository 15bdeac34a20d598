//! The log while it is not read for some time.

use crate::Case;
use crate::bench::Bench;
use crate::network::Place;
use lastbyte_firmware_host::Line;

pub const CASES: &[Case] = &[("log_is_not_read", Place::User, log_is_not_read)];

const BEATS: u64 = 30_000;
/// More lines than fit in the runner's queue and QEMU's pipe.
const UNREAD: u64 = 15_000;
/// The number of lines after the last beat.
const LAST_LINES: u64 = 3;

/// The firmware continues, and where lines are missing the log has their number.
fn log_is_not_read(bench: &mut Bench) {
    let peer = bench.peer();
    let count = format!("count={BEATS}");
    bench.boot(peer.port(), &["every=0", &count]);
    let mut connection = peer.accept();
    let beats: String = (1..=UNREAD).map(|beat| format!("beat {beat}\n")).collect();
    assert_eq!(connection.read_exact(beats.len()), beats.as_bytes());
    bench.read_log_to_end();
    connection.read_to_end();
    bench.wait_exit(0);

    let mut gaps = 0;
    let (mut last, mut missing) = (0, 0);
    for line in bench.log() {
        assert!(!line.text.contains("cannot be decoded"), "{line}");
        if let Some(lines) = missing_here(line) {
            missing += lines;
            gaps += 1;
        } else if let Some(beat) = beat(line) {
            assert_eq!(missing, beat - last - 1, "before beat {beat}");
            (last, missing) = (beat, 0);
        }
    }
    // The last lines may be missing too, including the report of the end.
    let beats = BEATS - last;
    assert!(
        (beats..=beats + LAST_LINES).contains(&missing),
        "{missing} after {last}"
    );
    assert!(gaps > 0, "the log was read in time, so this shows nothing");
}

fn beat(line: &Line) -> Option<u64> {
    let (beat, _) = line.text.strip_prefix("beat ")?.split_once(": ")?;
    beat.parse().ok()
}

fn missing_here(line: &Line) -> Option<u64> {
    let lines = line
        .text
        .strip_suffix(" lines of the log are missing here")?;
    lines.parse().ok()
}
