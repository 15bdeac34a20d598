//! What the doctor finds on machines that lack something, and the remedies that it prints.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cases::cases;
use crate::common::{Done, has_program, program, run};

cases![
    if_nothing_is_missing_everything_is_ok,
    a_limit_of_zero_user_namespaces_is_named,
    a_limit_of_zero_network_namespaces_is_named,
    a_missing_driver_and_a_forbidden_one_have_their_own_remedies,
    the_peer_needs_what_the_doctor_checks,
];

/// What is missing for these tests: each runs in a user namespace of its own.
pub fn missing() -> Option<&'static str> {
    if !has_program("unshare") || !has_program("setpriv") {
        return Some("there is no `unshare` or no `setpriv`");
    }
    let done = run(sandbox("exit 0"));
    (done.code != Some(0)).then_some("no user namespace can be made here")
}

/// Runs a script as root, with limits and a mount namespace of its own. It has
/// `$lastbyte`, and `$powerless` for a user without any capability.
fn sandbox(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "--net",
            "sh",
            "-ec",
            script,
        ])
        .env("lastbyte", program())
        .env("powerless", "setpriv --bounding-set -all --inh-caps -all")
        .stdin(Stdio::null());
    command
}

/// The finding with this name.
#[track_caller]
fn finding(done: &Done, name: &str) -> Value {
    let findings: Value = match serde_json::from_str(&done.stdout) {
        Ok(findings) => findings,
        Err(error) => panic!("{error} in {done:#?}"),
    };
    let mut findings = findings.as_array().cloned().unwrap_or_default();
    findings.retain(|finding| finding["name"] == name);
    assert_eq!(findings.len(), 1, "{name} in {done:#?}");
    findings.remove(0)
}

/// Checks that `name` is missing, and its remedy.
#[track_caller]
fn assert_remedy(done: &Done, name: &str, words: &[&str], not: &[&str]) {
    let finding = finding(done, name);
    assert_eq!(finding["ok"], false, "{finding}");
    let remedy = finding["remedy"].as_str().unwrap_or_default();
    for word in words {
        assert!(remedy.contains(word), "{word:?} in {finding:#}");
    }
    for word in not {
        assert!(!remedy.contains(word), "{word:?} in {finding:#}");
    }
}

const USER: &str = "user.max_user_namespaces";
const NET: &str = "user.max_net_namespaces";

fn if_nothing_is_missing_everything_is_ok() {
    let done = run(sandbox("$lastbyte doctor --json"));
    let found = finding(&done, "user namespaces");
    assert_eq!(found["ok"], true, "{found}");
    let done = run(sandbox("$lastbyte doctor")).ended_with(0, &[]);
    assert!(
        done.stdout
            .contains("user namespaces, for --peer without root"),
        "{done:#?}"
    );
}

fn a_limit_of_zero_user_namespaces_is_named() {
    let done = run(sandbox(
        "echo 0 >/proc/sys/user/max_user_namespaces
         exec $powerless $lastbyte doctor --json",
    ));
    let change = format!("{USER}=1000");
    assert_remedy(
        &done,
        "user namespaces",
        &["sysctl", &change],
        &[NET, "clone", "apparmor"],
    );
}

fn a_limit_of_zero_network_namespaces_is_named() {
    let done = run(sandbox(
        "echo 0 >/proc/sys/user/max_net_namespaces
         exec $lastbyte doctor --json",
    ));
    if finding(&done, "TUN/TAP driver")["ok"] == true {
        let change = format!("{NET}=1000");
        assert_remedy(
            &done,
            "private network",
            &["sysctl", &change],
            &[USER, "apparmor"],
        );
    }
    // In this sandbox this looks the same as too many user namespaces.
    assert_remedy(&done, "user namespaces", &["sysctl", NET], &[USER]);
}

fn a_missing_driver_and_a_forbidden_one_have_their_own_remedies() {
    let done = run(sandbox(
        "mount -t tmpfs none /dev/net
         exec $lastbyte doctor --json",
    ));
    for name in ["TUN/TAP driver", "private network"] {
        assert_remedy(&done, name, &["modprobe tun", "--device"], &["chmod"]);
    }
    let done = run(sandbox(
        "mount -t tmpfs none /dev/net
         touch /dev/net/tun
         chmod 0 /dev/net/tun
         exec $powerless $lastbyte doctor --json",
    ));
    for name in ["TUN/TAP driver", "private network"] {
        assert_remedy(&done, name, &["chmod 666"], &["modprobe"]);
    }
}

fn the_peer_needs_what_the_doctor_checks() {
    // `send` prints the same remedy.
    let done = run(sandbox(
        "echo 0 >/proc/sys/user/max_user_namespaces
         echo 0 >/proc/sys/user/max_net_namespaces
         exec $powerless $lastbyte send --json --peer true 10.77.0.1:5000 </dev/null",
    ));
    if done.stderr.contains("/dev/net/tun") {
        eprintln!("SKIPPED: the words of --peer, since /dev/net/tun cannot be opened here");
        return;
    }
    let report = done.reports(1, None::<&str>);
    for word in [
        "--peer: no more namespaces are allowed",
        USER,
        NET,
        "sysctl",
    ] {
        assert!(report.done.stderr.contains(word), "{word:?} in {report:#?}");
    }
}
