//! The firmware with DHCP and DNS, with dnsmasq at the other end of the cable.

use crate::Case;
use crate::bench::Bench;
use crate::network::Place;

pub const CASES: &[Case] = &[
    ("a_lease_and_a_name", Place::Leased, a_lease_and_a_name),
    ("no_lease", Place::Leased, no_lease),
    ("no_such_name", Place::Leased, no_such_name),
];

/// The address comes from the lease, and the peer's from its DNS server.
fn a_lease_and_a_name(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(peer.port(), &["every=50ms", "count=3"]);
    let mut connection = peer.accept();
    connection.read_to_end();
    bench.wait_for("lease: 10.77.0.5");
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, "finished");
    assert_eq!(ended.undelivered, 0);
    bench.wait_exit(0);
}

/// Without a server the attempt ends by the connect timeout, and is repeated.
fn no_lease(bench: &mut Bench) {
    bench.service = None;
    bench.boot(5000, &["connect=2s", "connections=2", "backoff=50ms"]);
    bench.wait_for("attempt 1: not begun: Lease(NoLease)");
    bench.wait_for("attempt 2: not begun: Lease(NoLease)");
    bench.wait_exit(6);
}

fn no_such_name(bench: &mut Bench) {
    bench.boot(5000, &["host=nowhere.test", "connections=1"]);
    bench.wait_for("attempt 1: not begun: Resolve(NoSuchName)");
    bench.wait_exit(6);
}
