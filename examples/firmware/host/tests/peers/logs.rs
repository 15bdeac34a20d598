//! The log, when nobody reads it for a while.

use crate::Case;
use crate::bench::Bench;
use crate::network::Place;
use lastbyte_firmware_host::Line;

pub const CASES: &[Case] = &[("nobody_reads_the_log", Place::User, nobody_reads_the_log)];

const BEATS: u64 = 30_000;
/// More than wait in the runner and in QEMU's pipe.
const UNREAD: u64 = 15_000;
/// What is said after the last beat.
const LAST_LINES: u64 = 3;

/// The firmware goes on, and where lines are missing the log says how many.
fn nobody_reads_the_log(bench: &mut Bench) {
    let peer = bench.peer();
    let count = format!("count={BEATS}");
    bench.boot(peer.port(), &["every=0", &count]);
    let mut connection = peer.accept();
    let beats: String = (1..=UNREAD).map(|beat| format!("beat {beat}\n")).collect();
    assert_eq!(connection.read_exact(beats.len()), beats.as_bytes());
    bench.read_log_to_end();
    connection.read_to_end();
    bench.wait_exit(0);

    let mut holes = 0;
    let (mut last, mut missing) = (0, 0);
    for line in bench.log() {
        assert!(!line.text.contains("cannot be decoded"), "{line}");
        if let Some(lines) = missing_here(line) {
            missing += lines;
            holes += 1;
        } else if let Some(beat) = beat(line) {
            assert_eq!(missing, beat - last - 1, "before beat {beat}");
            (last, missing) = (beat, 0);
        }
    }
    // The last lines may be among those that are missing, the words on the end included.
    let beats = BEATS - last;
    assert!(
        (beats..=beats + LAST_LINES).contains(&missing),
        "{missing} after {last}"
    );
    assert!(holes > 0, "the log was read in time, so this shows nothing");
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
