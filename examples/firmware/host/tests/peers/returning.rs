//! Peers and boards that restart.

use crate::Case;
use crate::bench::Bench;
use crate::network::{Filter, Place, filter};
use crate::peer::Stream;

pub const CASES: &[Case] = &[
    (
        "peer_restarts_five_times",
        Place::User,
        peer_restarts_five_times,
    ),
    (
        "peer_restarts_five_times",
        Place::Tap,
        peer_restarts_five_times,
    ),
    (
        "peer_crashes_five_times",
        Place::Tap,
        peer_crashes_five_times,
    ),
    ("reset_button", Place::Tap, reset_button),
    ("power_cut", Place::Tap, power_cut),
];

const LEN: u64 = 4_000_000;
const BULK: &[&str] = &[
    "mode=bulk",
    "bytes=4000000",
    "backoff=50ms",
    "backoff-most=200ms",
];

/// How much the peer reads each time before it ends.
const PART: usize = 30_000;

/// It sends a FIN, and reads what still arrives: the next connection resumes exactly
/// where this one ended.
fn peer_restarts_five_times(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(peer.port(), BULK);
    let mut stream = Stream::default();
    for _ in 0..5 {
        let mut connection = peer.accept();
        let mut octets = connection.read_exact(PART);
        connection.finish();
        octets.extend(connection.read_to_end());
        let had = stream.have();
        assert_eq!(stream.take(&octets), had);
        let ended = bench.wait_ended();
        assert_eq!(ended.cause, "peer_finished");
        assert_eq!(
            (ended.acknowledged, ended.undelivered),
            (connection.read(), 0)
        );
    }
    complete(bench, &mut stream, &peer);
}

/// Its host crashes and restarts: nothing more is acknowledged, and then it sends a RST.
/// What was in flight is sent again, and nothing is missing.
fn peer_crashes_five_times(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(peer.port(), BULK);
    let mut stream = Stream::default();
    for _ in 0..5 {
        let mut connection = peer.accept();
        let mut octets = connection.read_exact(PART);
        filter(Filter::FromBoard);
        octets.extend(connection.read_available());
        let had = stream.have();
        assert_eq!(stream.take(&octets), had);
        let read = connection.read();
        connection.reset();
        let ended = bench.wait_ended();
        filter(Filter::Nothing);
        assert_eq!(
            (ended.cause.as_str(), ended.acknowledged),
            ("peer_reset", read)
        );
    }
    complete(bench, &mut stream, &peer);
}

fn complete(bench: &mut Bench, stream: &mut Stream, peer: &crate::peer::Peer) {
    let had = stream.have();
    assert!(had < LEN, "the stream is too short for this test");
    assert_eq!(stream.take(&peer.accept().read_to_end()), had);
    assert_eq!(stream.have(), LEN);
    assert_eq!(bench.wait_ended().cause, "finished");
    bench.wait_exit(0);
}

/// The board restarts while the peer still holds the old connection.
fn reset_button(bench: &mut Bench) {
    board_returns(bench, |bench, _| bench.monitor().reset().unwrap());
}

fn power_cut(bench: &mut Bench) {
    board_returns(bench, |bench, port| {
        bench.power_off();
        bench.boot(port, &["count=3", "every=300ms"]);
    });
}

fn board_returns(bench: &mut Bench, restart: fn(&mut Bench, u16)) {
    let peer = bench.peer();
    bench.boot(peer.port(), &["count=3", "every=300ms"]);
    let mut old = peer.accept();
    assert_eq!(old.read_exact(7), b"beat 1\n");
    restart(bench, peer.port());
    let mut new = peer.accept();
    assert_eq!(new.read_to_end(), b"beat 1\nbeat 2\nbeat 3\n");
    // The board has lost the old connection, and the peer has not noticed it, which is
    // why a peer also needs a user timeout or keep-alives.
    old.read_available();
    assert!(old.is_alive());
    let ended = bench.wait_ended();
    assert_eq!((ended.cause.as_str(), ended.acknowledged), ("finished", 21));
    bench.wait_exit(0);
}
