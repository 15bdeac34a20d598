//! The cable is unplugged, and plugged in again.

use crate::Case;
use crate::bench::Bench;
use crate::network::Place;
use crate::peer::Stream;

pub const CASES: &[Case] = &[
    (
        "unplugged_and_plugged_in",
        Place::Tap,
        unplugged_and_plugged_in,
    ),
    ("unplugged_for_a_moment", Place::Tap, unplugged_for_a_moment),
    ("stays_out", Place::Tap, stays_out),
    (
        "plugged_in_during_a_pause",
        Place::Tap,
        plugged_in_during_a_pause,
    ),
];

/// The connection does not end, nothing is lost, and the application gets the advice that
/// the connection has stalled.
fn unplugged_and_plugged_in(bench: &mut Bench) {
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

/// Shorter than the time between two checks of the application.
fn unplugged_for_a_moment(bench: &mut Bench) {
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

/// The cause is that the peer was not heard; the report also contains the link.
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

/// The pause between two attempts ends when the link comes up, if the board can detect that.
fn plugged_in_during_a_pause(bench: &mut Bench) {
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
