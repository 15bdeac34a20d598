//! The cable comes out, and goes in again.

use crate::Case;
use crate::bench::Bench;
use crate::network::Place;
use crate::peer::Stream;

pub const CASES: &[Case] = &[
    ("out_and_in", Place::Tap, out_and_in),
    ("out_for_a_moment", Place::Tap, out_for_a_moment),
    ("stays_out", Place::Tap, stays_out),
    ("in_again_in_a_pause", Place::Tap, in_again_in_a_pause),
];

/// Nothing ends, nothing is lost, and the application is told that nothing
/// gets through.
fn out_and_in(bench: &mut Bench) {
    let peer = bench.peer();
    let settings = ["mode=bulk", "bytes=3000000", "stall=1s"];
    bench.boot(peer.port(), &settings);
    let mut connection = peer.accept();
    let mut octets = connection.read_exact(50_000);
    bench.monitor().set_link(false).unwrap();
    bench.wait_for("advice=");
    bench.monitor().set_link(true).unwrap();
    octets.extend(connection.read_to_end());
    let mut stream = Stream::default();
    stream.take(&octets);
    assert_eq!(stream.have(), 3_000_000);
    let ended = bench.wait_ended();
    assert_eq!((ended.cause.as_str(), ended.undelivered), ("finished", 0));
    assert_eq!(ended.link_was_down, bench.machine().tells_link());
    bench.wait_exit(0);
}

/// Shorter than the time between two looks of the application.
fn out_for_a_moment(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(peer.port(), &["every=1s", "count=2"]);
    let mut connection = peer.accept();
    connection.read_exact(7);
    bench.monitor().set_link(false).unwrap();
    bench.monitor().set_link(true).unwrap();
    connection.read_to_end();
    let ended = bench.wait_ended();
    assert_eq!((ended.cause.as_str(), ended.undelivered), ("finished", 0));
    assert_eq!(ended.link_was_down, bench.machine().tells_link());
    bench.wait_exit(0);
}

/// The cause is what is known, that nothing was heard; the link stands beside.
fn stays_out(bench: &mut Bench) {
    let peer = bench.peer();
    let settings = [
        "mode=bulk",
        "bytes=100000000",
        "silence=3s",
        "connections=1",
    ];
    bench.boot(peer.port(), &settings);
    let mut connection = peer.accept();
    connection.read_exact(50_000);
    bench.monitor().set_link(false).unwrap();
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, "vanished");
    assert_eq!(ended.link_was_down, bench.machine().tells_link());
    assert!(ended.undelivered > 0, "{ended:?}");
    bench.wait_exit(7);
}

/// The pause between two attempts ends with it, where the board can tell.
fn in_again_in_a_pause(bench: &mut Bench) {
    let peer = bench.peer();
    let settings = [
        "every=300ms",
        "count=3",
        "backoff=1000s",
        "backoff-most=1000s",
    ];
    bench.boot(peer.port(), &settings);
    drop(peer.accept());
    bench.wait_for("connecting again");
    if !bench.machine().tells_link() {
        return bench.power_off();
    }
    bench.monitor().set_link(false).unwrap();
    bench.wait_for("link=Down");
    bench.monitor().set_link(true).unwrap();
    peer.accept().read_to_end();
    assert_eq!(bench.wait_ended().cause, "finished");
    bench.wait_exit(0);
}
