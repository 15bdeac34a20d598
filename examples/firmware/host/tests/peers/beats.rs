//! Beats: which of them were lost, and when they are due.

use crate::Case;
use crate::bench::Bench;
use crate::network::{Filter, Place, filter};
use crate::peer::{Connection, Peer};
use lastbyte_firmware_host::Level;

pub const CASES: &[Case] = &[
    ("last_beat_lost", Place::Tap, last_beat_lost),
    ("last_beats_lost", Place::Tap, last_beats_lost),
    ("beat_lost_on_the_way", Place::Tap, beat_lost_on_the_way),
    ("lost_beats_sent_again", Place::Tap, lost_beats_sent_again),
    ("last_beat_sent_again", Place::Tap, last_beat_sent_again),
    (
        "beats_keep_their_period",
        Place::User,
        beats_keep_their_period,
    ),
];

/// The peer's host crashes: from `beat` on nothing arrives, and with `last` it sends a RST.
#[track_caller]
fn lose(bench: &mut Bench, mut connection: Connection, beat: u64, last: u64) {
    let before: String = (1..beat).map(|beat| format!("beat {beat}\n")).collect();
    assert_eq!(connection.read_exact(before.len()), before.as_bytes());
    filter(Filter::FromBoard);
    bench.wait_for(&format!("beat {last}: "));
    connection.reset();
    let ended = bench.wait_ended();
    filter(Filter::Nothing);
    assert_eq!(ended.cause, "peer_reset");
    assert_eq!(ended.acknowledged, u64::try_from(before.len()).unwrap());
    assert_eq!(ended.undelivered, 7 * (last - beat + 1));
}

#[track_caller]
fn boot(bench: &mut Bench, settings: &[&str]) -> Peer {
    let peer = bench.peer();
    bench.boot(peer.port(), &[&["every=300ms"], settings].concat());
    peer
}

/// There is nothing more to send, so the run ends, but not successfully.
fn last_beat_lost(bench: &mut Bench) {
    let peer = boot(bench, &["count=3"]);
    lose(bench, peer.accept(), 3, 3);
    bench.wait_for("beats 3 to 3 are not known to have arrived: counted");
    bench.wait_for("ended: 1 of 3 beats are not known to have arrived");
    bench.wait_exit(1);
}

fn last_beats_lost(bench: &mut Bench) {
    let peer = boot(bench, &["count=5"]);
    lose(bench, peer.accept(), 3, 5);
    bench.wait_for("ended: 3 of 5 beats");
    bench.wait_exit(1);
}

/// The other beats arrive over a second connection. It finishes, but the run is not successful.
fn beat_lost_on_the_way(bench: &mut Bench) {
    let peer = boot(bench, &["count=4"]);
    lose(bench, peer.accept(), 2, 2);
    assert_eq!(peer.accept().read_to_end(), b"beat 3\nbeat 4\n");
    assert_eq!(bench.wait_ended().cause, "finished");
    bench.wait_for("ended: 1 of 4 beats");
    bench.wait_exit(1);
    assert!(!bench.has_said(Level::Info, "done"));
}

fn lost_beats_sent_again(bench: &mut Bench) {
    let peer = boot(bench, &["count=4", "lost=again"]);
    lose(bench, peer.accept(), 2, 3);
    bench.wait_for("beats 2 to 3 are not known to have arrived: sent again");
    assert_eq!(peer.accept().read_to_end(), b"beat 2\nbeat 3\nbeat 4\n");
    assert_eq!(bench.wait_ended().cause, "finished");
    bench.wait_for("done");
    bench.wait_exit(0);
}

fn last_beat_sent_again(bench: &mut Bench) {
    let peer = boot(bench, &["count=3", "lost=again"]);
    lose(bench, peer.accept(), 3, 3);
    assert_eq!(peer.accept().read_to_end(), b"beat 3\n");
    bench.wait_for("done");
    bench.wait_exit(0);
}

/// A beat is due at its time, not at an interval after the previous one was written. On a
/// busy machine a late beat delays no other one: so the earliest of the first ten is
/// compared with the earliest of the last ten.
fn beats_keep_their_period(bench: &mut Bench) {
    const BEATS: u32 = 200;
    let peer = bench.peer();
    bench.boot(peer.port(), &["every=50ms", "count=200"]);
    let mut connection = peer.accept();
    let after_its_time: Vec<f64> = (1..=BEATS)
        .map(|beat| {
            let line = bench.wait_for(&format!("beat {beat}: "));
            line.time.parse::<f64>().unwrap() - 0.05 * f64::from(beat)
        })
        .collect();
    let earliest = |beats: &[f64]| beats.iter().copied().fold(f64::INFINITY, f64::min);
    let first = earliest(&after_its_time[..10]);
    let last = earliest(&after_its_time[190..]);
    assert!((last - first).abs() < 0.02, "{first} s, then {last} s");
    connection.read_to_end();
    bench.wait_exit(0);
}
