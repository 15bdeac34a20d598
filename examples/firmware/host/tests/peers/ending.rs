//! Connections that the peer ends, in every way.

use crate::Case;
use crate::bench::Bench;
use crate::network::{Filter, Place, filter};
use crate::peer::Stream;

pub const CASES: &[Case] = &[
    ("peer_finishes", Place::User, peer_finishes),
    ("peer_finishes", Place::Tap, peer_finishes),
    ("peer_resets", Place::User, peer_resets),
    ("peer_resets", Place::Tap, peer_resets),
    (
        "closed_with_unread_data",
        Place::Tap,
        closed_with_unread_data,
    ),
    ("vanished", Place::Tap, vanished),
    ("vanished_while_idle", Place::Tap, vanished_while_idle),
    (
        "vanished_before_patience_ends",
        Place::Tap,
        vanished_before_patience_ends,
    ),
    ("out_of_patience", Place::Tap, out_of_patience),
];

/// The first beat after the FIN is refused, and none is lost.
fn peer_finishes(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(peer.port(), &["every=700ms", "connections=1"]);
    let mut connection = peer.accept();
    assert_eq!(connection.read_exact(14), b"beat 1\nbeat 2\n");
    connection.finish();
    bench.wait_for("write refused: PeerClosed");
    assert_eq!(connection.read_to_end(), b"");
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, "peer_finished");
    assert_eq!((ended.accepted, ended.acknowledged), (14, 14));
    assert_eq!(ended.writes_refused, 1);
    bench.wait_exit(3);
}

fn peer_resets(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(peer.port(), &["every=700ms", "connections=1"]);
    let mut connection = peer.accept();
    assert_eq!(connection.read_exact(14), b"beat 1\nbeat 2\n");
    connection.reset();
    bench.wait_for("write refused: PeerClosed");
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, "peer_reset");
    assert_eq!((ended.accepted, ended.acknowledged), (14, 14));
    assert_eq!(ended.writes_refused, 1);
    bench.wait_exit(4);
}

/// Linux then sends a RST. Its TCP had acknowledged exactly the bytes that were not read,
/// and the ledger counts them as acknowledged.
fn closed_with_unread_data(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(
        peer.port(),
        &["mode=bulk", "bytes=100000000", "connections=1"],
    );
    let connection = peer.accept();
    let received = connection.wait_full();
    drop(connection);
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, "peer_reset");
    assert_eq!(ended.acknowledged, received);
    assert!(ended.undelivered > 0, "{ended:?}");
    bench.wait_exit(4);
}

/// Every packet is dropped, in both directions.
fn vanished(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(
        peer.port(),
        &[
            "mode=bulk",
            "bytes=100000000",
            "silence=3s",
            "connections=1",
        ],
    );
    let mut connection = peer.accept();
    let mut octets = connection.read_exact(50_000);
    filter(Filter::Both);
    octets.extend(connection.read_available());
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, "vanished");
    // Acknowledgements were dropped too, so the peer may have received more.
    assert!(ended.acknowledged <= connection.read(), "{ended:?}");
    assert!(connection.read() <= ended.accepted, "{ended:?}");
    assert!(ended.undelivered > 0, "{ended:?}");
    assert!(!ended.link_was_down);
    let mut stream = Stream::default();
    stream.take(&octets);
    bench.wait_exit(7);
}

/// Patience is for a peer that responds and does not read. This one is silent.
fn vanished_before_patience_ends(bench: &mut Bench) {
    let peer = bench.peer();
    let settings = [
        "mode=bulk",
        "bytes=100000000",
        "silence=4s",
        "patience=1s",
        "connections=1",
    ];
    bench.boot(peer.port(), &settings);
    let mut connection = peer.accept();
    connection.read_exact(50_000);
    filter(Filter::Both);
    assert_eq!(bench.wait_ended().cause, "vanished");
    bench.wait_exit(7);
}

/// With keep-alives an idle connection detects it too, and nothing is lost.
fn vanished_while_idle(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(
        peer.port(),
        &["every=7s", "keep-alive=1s", "silence=3s", "connections=1"],
    );
    let mut connection = peer.accept();
    assert_eq!(connection.read_exact(7), b"beat 1\n");
    filter(Filter::Both);
    bench.wait_for("closed, vanished");
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, "vanished");
    assert_eq!((ended.accepted, ended.acknowledged), (7, 7));
    bench.wait_exit(7);
}

/// The peer responds and reads nothing: the application, not the library, decides to
/// stop.
fn out_of_patience(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(
        peer.port(),
        &[
            "mode=bulk",
            "bytes=100000000",
            "patience=1s",
            "connections=1",
        ],
    );
    let connection = peer.accept();
    bench.wait_for("the peer does not read");
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, "aborted");
    assert_eq!(ended.acknowledged, connection.unread());
    bench.wait_exit(9);
}
