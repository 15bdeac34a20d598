//! A lack of resources: closed descriptors, no threads, no processes, no memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::cases::cases;
use crate::common::{Done, LASTBYTE, peer, run, with_layer};

cases![
    a_closed_stdin_is_an_error_and_sends_nothing,
    a_closed_stdout_is_an_error_if_something_is_written_to_it,
    without_threads_there_is_an_error_and_one_report,
    without_memory_there_is_an_error_and_one_report,
    with_little_memory_no_run_ends_without_a_report,
    without_descriptors_there_is_an_error_and_one_report,
    a_limit_of_file_sizes_is_an_error_of_every_command,
    a_parent_that_blocks_signals_does_not_hide_the_end_of_a_peer,
];

/// Runs a script that has `$lastbyte` and `$peer`.
fn script(text: &str) -> Done {
    let mut command = Command::new("sh");
    command
        .args(["-c", &with_layer(text)])
        .env("lastbyte", LASTBYTE)
        .env("peer", peer("all"))
        .stdin(Stdio::null());
    run(command)
}

fn a_closed_stdin_is_an_error_and_sends_nothing() {
    let report = script("$lastbyte send --json --peer \"$peer\" 10.77.0.1:5000 <&-")
        .reports(1, None::<&str>)
        .counts(0, 0);
    let stderr = &report.done.stderr;
    assert!(stderr.contains("standard input is closed"), "{report:#?}");
    // An empty input is empty, however it was opened.
    for how in ["</dev/null", "<>/dev/null"] {
        let text = format!(
            "$lastbyte send --json --listen-wait 30s --peer \"$peer\" 10.77.0.1:5000 {how}"
        );
        script(&text).reports(0, "finished");
    }
    // With a file, standard input is not needed.
    script(
        "$lastbyte send --json --listen-wait 30s --peer \"$peer\" 10.77.0.1:5000 Cargo.toml <&-",
    )
    .reports(0, "finished");
}

fn a_closed_stdout_is_an_error_if_something_is_written_to_it() {
    let to = "--listen-wait 30s --peer \"$peer\" 10.77.0.1:5000 Cargo.toml";
    for command in [
        format!("send --json {to}"),
        format!("send --pcap - {to}"),
        "doctor --json".to_owned(),
        "doctor".to_owned(),
        "demo".to_owned(),
        "sim --seeds 0..1".to_owned(),
        "--help".to_owned(),
        "--version".to_owned(),
    ] {
        script(&format!("$lastbyte {command} >&-")).ended_with(1, &["standard output is closed"]);
    }
    script(&format!("$lastbyte send {to} >&-")).ended_with(0, &["finished"]);
    // A full stdout is an error too.
    script(&format!("$lastbyte send --json {to} >/dev/full"))
        .ended_with(1, &["printing the report"]);
}

/// Runs the command with at most this many processes and threads. The limit does not
/// apply to root, so root runs it as a user without processes, and gives that user access
/// to the TUN driver.
fn with_processes(most: u32, target: &str) -> Done {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("lastbyte");
    fs::copy(LASTBYTE, &program).expect("room");
    for path in [directory.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let run_it =
        format!("prlimit --nproc={most} ./lastbyte send --json --peer true {target} /etc/passwd");
    let unprivileged = "mknod tun c 10 200 && chmod 666 tun && mount --bind tun /dev/net/tun &&
        exec setpriv --reuid 64321 --regid 64321 --clear-groups";
    let mut command = if nix::unistd::Uid::effective().is_root() {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &format!("{unprivileged} {run_it}")]);
        command
    } else {
        // The limit counts the processes of this user in each user namespace.
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", &run_it]);
        command
    };
    command.current_dir(directory.path()).stdin(Stdio::null());
    run(command)
}

fn without_threads_there_is_an_error_and_one_report() {
    let done = with_processes(1, "localhost:5000");
    assert!(done.stderr.contains("querying the resolver"), "{done:#?}");
    done.reports(1, None::<&str>);
    let mut reports = 0;
    for most in 1..=8 {
        let done = with_processes(most, "10.77.0.1:5000");
        assert!(!done.stderr.contains("panicked"), "{most}: {done:#?}");
        let is_enough = done.code == Some(5);
        if most == 1 {
            assert!(done.stderr.contains("starting"), "{done:#?}");
        }
        let cause = is_enough.then_some("refused");
        done.reports(if is_enough { 5 } else { 1 }, cause);
        reports += u32::from(is_enough);
    }
    assert!(reports > 0, "eight processes were not enough either");
}

fn without_memory_there_is_an_error_and_one_report() {
    let report = script(
        "ulimit -v 600000
         $lastbyte send --json --tx-buffer 1GiB --listen-wait 30s --peer \"$peer\" \\
             10.77.0.1:5000 Cargo.toml",
    )
    .reports(1, None::<&str>);
    assert!(report.done.stderr.contains("--tx-buffer"), "{report:#?}");
}

fn with_little_memory_no_run_ends_without_a_report() {
    // From too little to load the program up to more than enough.
    let mut reports = 0;
    for kibibytes in (4_000..40_000).step_by(1_500) {
        let done = script(&format!(
            "trap '' XFSZ; ulimit -v {kibibytes}
             exec $lastbyte send --json --listen-wait 30s --peer true 10.77.0.1:5000 Cargo.toml"
        ));
        // The program itself cannot be loaded: the loader reports it, or the program ends
        // before it has read its arguments.
        let is_loaded = done.code.is_some_and(|code| code != 127);
        if reports == 0 && !is_loaded {
            continue;
        }
        assert!(
            matches!(done.code, Some(1 | 5)),
            "{kibibytes} KiB: {done:#?}"
        );
        let report: Result<serde_json::Value, _> = serde_json::from_str(&done.stdout);
        assert!(report.is_ok(), "{kibibytes} KiB: {done:#?}");
        reports += 1;
    }
    assert!(reports > 0, "no run had enough memory to start");
}

fn without_descriptors_there_is_an_error_and_one_report() {
    for limit in 3..24 {
        let done = script(&format!(
            "ulimit -n {limit}
             exec $lastbyte send --json --listen-wait 30s --peer true 10.77.0.1:5000 Cargo.toml"
        ));
        // 127: the loader needs descriptors too.
        if done.code == Some(127) {
            continue;
        }
        assert!(matches!(done.code, Some(1 | 5)), "{limit}: {done:#?}");
        let report: Result<serde_json::Value, _> = serde_json::from_str(&done.stdout);
        assert!(report.is_ok(), "{limit}: {done:#?}");
    }
}

/// By default the signal of this limit silently ends a program.
fn a_limit_of_file_sizes_is_an_error_of_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display();
    for command in [
        format!("sim --seed 3 --ladder {path}/ladder.svg"),
        format!("sim --seed 3 --pcap {path}/run.pcap"),
    ] {
        script(&format!("ulimit -f 0; $lastbyte {command}")).ended_with(1, &["File too large"]);
    }
    let usage = script(&format!(
        "ulimit -f 0; $lastbyte send --nope 2>{path}/errors"
    ));
    assert_eq!(usage.code, Some(2), "{usage:#?}");
}

fn a_parent_that_blocks_signals_does_not_hide_the_end_of_a_peer() {
    for _ in 0..3 {
        let report = script(
            "env --block-signal=CHLD $lastbyte send --json --listen-wait 30s --peer \"$peer\" \
             10.77.0.1:5000 Cargo.toml",
        )
        .reports(0, "finished");
        assert_eq!(report.value["peer"], "finished", "{report:#?}");
    }
}
