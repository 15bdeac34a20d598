//! Signals in each phase of a run, and the processes that a killed run leaves.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::cases::cases;
use crate::common::{file_of, is_running, lastbyte, peer, run, start, start_with, wait_until};

cases![
    signals_end_a_run_before_the_peer_listens,
    signals_end_a_run_that_connects,
    signals_end_a_run_that_waits_for_input,
    signals_end_a_run_that_sends,
    signals_end_a_run_that_is_blocked_on_a_slow_peer,
    signals_end_a_run_that_drains,
    a_signal_ends_the_grace_of_the_peer,
    a_file_size_limit_only_stops_the_capture,
    a_hangup_that_is_ignored_stays_ignored,
    a_killed_run_leaves_no_process_of_its_peer,
];

/// The signals that people and CI systems send, and others that end a process by default.
const SIGNALS: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGXFSZ,
    Signal::SIGXCPU,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// Sends each signal, twice at once, to a separate run. Each run must end with one
/// report, and with a RST if there was a connection.
#[track_caller]
fn each_signal_ends(has_connection: bool, args: &[&str]) {
    for signal in SIGNALS {
        let capture = tempfile::NamedTempFile::new().expect("a file");
        let path = capture.path().to_str().expect("UTF-8");
        let mut command = lastbyte(&[&["send", "--json", "--pcap", path], args].concat());
        // A pipe that stays open and silent.
        command.stdin(Stdio::piped());
        let mut running = start(command);
        if has_connection {
            running = running.runs_until("a handshake", || segments(capture.path()) >= 3);
        }
        thread::sleep(Duration::from_millis(500));
        let report = running.ends_soon_after(signal).reports(9, "aborted");
        if has_connection {
            assert_eq!(report.value["peer"], "terminated", "{signal}: {report:#?}");
            assert!(has_reset(capture.path()), "{signal}: {report:#?}");
        }
    }
}

/// The TCP segments of a capture, with their flags.
fn flags(capture: &Path) -> Vec<u8> {
    let bytes = fs::read(capture).expect("a capture");
    let mut rest = bytes.get(24..).unwrap_or_default();
    let mut flags = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let [.., a, b, c, d, _, _, _, _] = *header;
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some((frame, after)) = after.split_at_checked(len) else {
            break;
        };
        // Ethernet, IPv4 without options, TCP.
        if frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&6) {
            flags.extend(frame.get(14 + 20 + 13));
        }
        rest = after;
    }
    flags
}

fn segments(capture: &Path) -> usize {
    flags(capture).len()
}

fn has_reset(capture: &Path) -> bool {
    flags(capture).iter().any(|flags| flags & 4 != 0)
}

fn signals_end_a_run_before_the_peer_listens() {
    for signal in SIGNALS {
        let mut command = lastbyte(&["send", "--json", "--peer", "sleep 1000", "10.77.0.1:5000"]);
        command.stdin(Stdio::piped());
        let running = start(command);
        // Whether it waits for the peer or is still in its setup, it ends in the same way.
        thread::sleep(Duration::from_millis(300));
        let report = running.ends_soon_after(signal).reports(9, "aborted");
        let report = report.counts(0, 0);
        assert!(report.value["local"].is_null(), "{signal}: {report:#?}");
    }
}

fn signals_end_a_run_that_connects() {
    let args = ["--listen-wait", "0s", "--peer", "sleep 1000"];
    each_signal_ends(false, &[&args[..], &["10.77.0.9:5000"]].concat());
}

fn signals_end_a_run_that_waits_for_input() {
    each_signal_ends(true, &["--peer", &peer("all"), "10.77.0.1:5000"]);
}

fn signals_end_a_run_that_sends() {
    let slow = peer("slow 200000");
    each_signal_ends(true, &["--peer", &slow, "10.77.0.1:5000", "/dev/zero"]);
}

fn signals_end_a_run_that_is_blocked_on_a_slow_peer() {
    each_signal_ends(
        true,
        &["--peer", &peer("stop"), "10.77.0.1:5000", "/dev/zero"],
    );
}

fn signals_end_a_run_that_drains() {
    let file = file_of(8 << 20);
    let path = file.path().to_str().expect("UTF-8");
    let args = ["--tx-buffer", "16MiB", "10.77.0.1:5000", path];
    each_signal_ends(true, &[&["--peer", &peer("stop")], &args[..]].concat());
}

fn a_signal_ends_the_grace_of_the_peer() {
    let directory = tempfile::tempdir().expect("a directory");
    let got_all = directory.path().join("got-all");
    let reads = peer("all").replace("exec ", "");
    let command = format!("{reads}; touch '{}'; sleep 1000", got_all.display());
    let mut args = vec!["send", "--json", "--peer", &command];
    args.extend(["--peer-grace", "1000s", "10.77.0.1:5000", "Cargo.toml"]);
    let running = start(lastbyte(&args)).runs_until("it got all", || got_all.exists());
    thread::sleep(Duration::from_millis(500));
    let report = running.ends_soon_after(Signal::SIGINT);
    // Everything was acknowledged, but it is unknown whether the peer's application read it.
    let report = report.reports(9, "finished");
    assert_eq!(report.value["peer"], "terminated", "{report:#?}");
}

fn a_file_size_limit_only_stops_the_capture() {
    let file = file_of(200_000);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = directory.path().join("capture");
    let script = format!(
        "ulimit -f 8; exec '{}' send --json --listen-wait 30s --pcap '{}' --peer \"{}\" \\
         10.77.0.1:5000 '{}'",
        crate::common::program(),
        capture.display(),
        peer("all"),
        file.path().display(),
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::null());
    let report = run(command).reports(0, "finished").counts(200_000, 200_000);
    let stderr = &report.done.stderr;
    assert!(stderr.contains("the capture is incomplete"), "{report:#?}");
}

fn a_hangup_that_is_ignored_stays_ignored() {
    let script = format!(
        "trap '' HUP; exec '{}' send --json --listen-wait 30s --peer \"{}\" 10.77.0.1:5000",
        crate::common::program(),
        peer("all"),
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::piped());
    let mut running = start(command);
    running.signal_after(Duration::from_millis(700), Signal::SIGHUP);
    thread::sleep(Duration::from_millis(300));
    drop(running.child.stdin.take());
    running.finish().reports(0, "finished");
}

fn a_killed_run_leaves_no_process_of_its_peer() {
    for (number, is_whole_group) in [(1, false), (2, true)] {
        let seconds = format!("{number}00{}", std::process::id());
        let sleeping = ["sleep", seconds.as_str()];
        // One process in a session of its own, one in the background, and the peer itself.
        let command = format!(
            "setsid sleep {seconds} & sleep {seconds} & {}; sleep {seconds}",
            peer("all").replace("exec ", "")
        );
        let args = ["send", "--json", "--peer", &command, "10.77.0.1:5000"];
        let mut command = lastbyte(&args);
        command.stdin(Stdio::piped());
        // Remaining processes would keep its pipes open.
        let running = start_with(command, Stdio::null(), Stdio::null());
        let running = running.runs_until("its peer runs", || is_running(&sleeping));
        thread::sleep(Duration::from_millis(300));
        let mut pid = running.pid();
        if is_whole_group {
            pid = nix::unistd::Pid::from_raw(-pid.as_raw());
        }
        kill(pid, Signal::SIGKILL).expect("it runs");
        let done = running.finish();
        assert_eq!(done.code, None, "{done:#?}");
        wait_until("no process is left", || !is_running(&sleeping));
    }
}
