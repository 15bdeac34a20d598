//! `--tap`: on a TAP made by `ip`, in a namespace of its own.

use std::process::{Command, Stdio};

use crate::cases::cases;
use crate::common::{Done, peer_at, program, run};

cases![
    a_tap_of_this_user_is_enough,
    a_peer_beyond_a_router_is_reached,
    a_tap_that_is_down_is_reported_and_recorded,
    a_removed_tap_ends_the_run,
    a_tap_in_use_is_reported,
];

/// Runs a script in a new namespace with a TAP called tap0 in it. It has `$lastbyte` and
/// `until_it_listens` (on port 5000, which is 1388 in hex).
pub(super) fn with_tap(script: &str) -> Done {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--net", "sh", "-ec"])
        .arg(format!(
            "ip link set lo up
             ip tuntap add dev tap0 mode tap
             ip addr add 10.0.0.1/24 dev tap0
             until_it_listens() {{ until grep -q ':1388 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do sleep 0.02; done; }}
             {script}"
        ))
        .env("lastbyte", program())
        .stdin(Stdio::null());
    run(command)
}

fn a_tap_of_this_user_is_enough() {
    let peer = peer_at("0.0.0.0", "all");
    with_tap(&format!(
        "ip link set tap0 up
         ({peer}) >&2 & until_it_listens
         $lastbyte send --json --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000 Cargo.toml"
    ))
    .reports(0, "finished");
}

fn a_peer_beyond_a_router_is_reached() {
    let peer = peer_at("192.0.2.1", "all");
    let to = "--tap tap0 --addr 10.0.0.2/24 192.0.2.1:5000 Cargo.toml";
    with_tap(&format!(
        "ip link set tap0 up
         ip addr add 192.0.2.1/32 dev lo
         ({peer}) >&2 & until_it_listens
         $lastbyte send --quiet {to} && exit 1
         $lastbyte send --json --gateway 10.0.0.1 {to}"
    ))
    .reports(0, "finished");
}

fn a_tap_that_is_down_is_reported_and_recorded() {
    let report = with_tap(
        "$lastbyte send --json --connect-timeout 1s --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000",
    )
    .reports(6, "unreachable");
    assert_eq!(report.value["link_was_down"], true, "{report:#?}");
    assert!(
        report.done.stderr.contains("ip link set tap0 up"),
        "{report:#?}"
    );
}

fn a_removed_tap_ends_the_run() {
    let peer = peer_at("0.0.0.0", "stop");
    let report = with_tap(&format!(
        "ip link set tap0 up
         ({peer}) >&2 & until_it_listens
         (sleep 1; ip link del tap0) &
         $lastbyte send --json --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000 /dev/zero || code=$?
         kill %1 2>&- || true
         exit $code"
    ))
    .reports(1, "aborted");
    assert!(report.done.stderr.contains("was removed"), "{report:#?}");
    assert!(report.number("undelivered") > 0, "{report:#?}");
}

fn a_tap_in_use_is_reported() {
    let on_tap = "--tap tap0 --addr 10.0.0.2/24 10.0.0.9:5000";
    with_tap(&format!(
        "ip link set tap0 up
         $lastbyte send --quiet --connect-timeout 5s {on_tap} & sleep 0.3
         $lastbyte send {on_tap} || code=$?
         kill %1; wait
         exit $code"
    ))
    .ended_with(1, &["in use"]);
}
