//! Connections that never open, and wrong settings.

use crate::Case;
use crate::bench::Bench;
use crate::network::{Filter, Place, filter};
use lastbyte_firmware_host::Level;
use std::net::Ipv4Addr;

pub const CASES: &[Case] = &[
    ("refused", Place::User, refused),
    ("refused", Place::Tap, refused),
    ("unreachable", Place::Tap, unreachable),
    ("connect_timeout", Place::Tap, connect_timeout),
    ("wrong_settings", Place::User, wrong_settings),
];

/// A port without a listener.
fn closed_port(bench: &Bench) -> u16 {
    bench.peer().port()
}

fn assert_ended(bench: &mut Bench, cause: &str, status: i32) {
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, cause);
    assert_eq!((ended.accepted, ended.undelivered), (0, 0));
    bench.wait_exit(status);
}

fn refused(bench: &mut Bench) {
    let port = closed_port(bench);
    bench.boot(port, &["connections=2", "backoff=50ms"]);
    assert_eq!(bench.wait_ended().cause, "refused");
    bench.wait_for("connecting again");
    assert_ended(bench, "refused", 5);
}

/// No host answers for the address.
fn unreachable(bench: &mut Bench) {
    let absent = Ipv4Addr::new(10, 77, 0, 99);
    bench.boot_to(Some(absent), 5000, &["connections=1", "connect=2s"]);
    assert_ended(bench, "unreachable", 6);
}

/// The host responds, but its TCP does not answer.
fn connect_timeout(bench: &mut Bench) {
    let port = closed_port(bench);
    filter(Filter::FromBoard);
    bench.boot(port, &["connections=1", "connect=2s"]);
    assert_ended(bench, "connect_timeout", 7);
}

fn wrong_settings(bench: &mut Bench) {
    for word in [
        "mood=bulk",
        "every=fast",
        "silence=1s",
        "host=nowhere",
        "backoff=0",
        "backoff-most=0ms",
        "check=fire",
    ] {
        bench.boot(5000, &["count=1", word]);
        bench.wait_for(&format!("settings: {word}: "));
        bench.wait_exit(2);
        assert!(bench.has_said(Level::Error, word));
    }
}
