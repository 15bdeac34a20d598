//! The process of `--peer`: its input, its grace time, and how it ends.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use crate::cases::cases;
use crate::common::{Done, file_of, has_program, lastbyte, peer, run, start};

cases![
    a_peer_that_still_reads_may_finish,
    a_background_process_of_the_shell_may_finish_too,
    a_peer_without_progress_is_terminated_and_the_run_fails,
    a_background_job_that_reads_nothing_is_not_a_failure,
    the_grace_is_the_requested_one,
    peers_that_half_close_at_the_end_of_their_input_get_every_byte,
    the_input_of_a_peer_ends_after_the_connection,
    a_peer_gets_the_requested_time_to_listen,
    a_peer_sees_its_own_processes,
];

fn send(command: &str, args: &[&str]) -> Done {
    run(lastbyte(
        &[
            &["send", "--json", "--peer", command, "10.77.0.1:5000"],
            args,
        ]
        .concat(),
    ))
}

fn a_peer_that_still_reads_may_finish() {
    // Everything is acknowledged at once, and read in eight seconds.
    let file = file_of(100_000);
    let path = file.path().to_str().expect("UTF-8");
    for quiet in [&[][..], &["--quiet"]] {
        let args = [quiet, &["--tx-buffer", "1MiB", path]].concat();
        let report = send(&peer("slow 12000"), &args).reports(0, "finished");
        let report = report.counts(100_000, 100_000);
        assert_eq!(report.value["peer"], "finished", "{report:#?}");
        let stderr = &report.done.stderr;
        assert!(stderr.contains("peer got 100000"), "{report:#?}");
    }
}

fn a_background_process_of_the_shell_may_finish_too() {
    let file = file_of(100_000);
    let path = file.path().to_str().expect("UTF-8");
    let command = format!("({}) &", peer("slow 12000"));
    let report = send(&command, &["--tx-buffer", "1MiB", path]).reports(0, "finished");
    let stderr = &report.done.stderr;
    assert!(stderr.contains("peer got 100000"), "{report:#?}");
}

fn a_peer_without_progress_is_terminated_and_the_run_fails() {
    let command = format!("{}; sleep 1000", peer("all").replace("exec ", ""));
    for quiet in [&[][..], &["--quiet"]] {
        let report = send(&command, &[quiet, &["Cargo.toml"]].concat()).reports(1, "finished");
        assert_eq!(report.value["peer"], "terminated", "{report:#?}");
        let stderr = &report.done.stderr;
        assert!(stderr.contains("--peer-grace"), "{report:#?}");
    }
    // The text report shows it too.
    let args = ["send", "--peer", &command, "10.77.0.1:5000", "Cargo.toml"];
    run(lastbyte(&args)).ended_with(1, &["finished", "had to be terminated"]);
    // A connection that ended badly keeps its exit code.
    let report = send(&peer("stop"), &["--call-timeout", "1s", "/dev/zero"]);
    let report = report.reports(7, "not_reading");
    assert_eq!(report.value["peer"], "terminated", "{report:#?}");
}

fn a_background_job_that_reads_nothing_is_not_a_failure() {
    let busy = format!("yes >/dev/null & {}", peer("all"));
    let report = send(&busy, &["Cargo.toml"]).reports(0, "finished");
    assert_eq!(report.value["peer"], "finished", "{report:#?}");
    let failed = format!("{}; exit 3", peer("all").replace("exec ", ""));
    let report = send(&failed, &["Cargo.toml"]).reports(0, "finished");
    assert_eq!(report.value["peer"], "failed", "{report:#?}");
    assert!(report.done.stderr.contains("exit code 3"), "{report:#?}");
}

fn the_grace_is_the_requested_one() {
    let command = format!("{}; sleep 4; echo slept", peer("all").replace("exec ", ""));
    let report = send(&command, &["--peer-grace", "30s", "Cargo.toml"]).reports(0, "finished");
    assert!(report.done.stderr.contains("slept"), "{report:#?}");
    let start = Instant::now();
    let report = send(&command, &["--peer-grace", "0s", "Cargo.toml"]).reports(1, "finished");
    assert!(!report.done.stderr.contains("slept"), "{report:#?}");
    assert!(start.elapsed().as_secs() < 30, "{report:#?}");
}

fn peers_that_half_close_at_the_end_of_their_input_get_every_byte() {
    let file = file_of(200_000);
    let path = file.path().to_str().expect("UTF-8");
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("copy");
    let script = "import socket, sys, threading
listener = socket.create_server(('10.77.0.1', 5000))
c, _ = listener.accept()
def send():
    sys.stdin.buffer.read()
    c.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := c.recv(65536): sys.stdout.buffer.write(data)";
    let python = format!("python3 -c \"{script}\"");
    let mut commands = vec![python.as_str()];
    for (program, command) in [
        ("ncat", "ncat -l 5000"),
        ("busybox", "busybox nc -l -p 5000"),
        ("socat", "socat - TCP-LISTEN:5000"),
        ("nc.openbsd", "nc.openbsd -N -l 5000"),
        ("nc.traditional", "nc.traditional -l -p 5000"),
    ] {
        if has_program(program) {
            commands.push(command);
        } else {
            eprintln!("SKIPPED: {program} as a peer, which is not installed");
        }
    }
    for command in commands {
        let command = format!("{command} > '{}'", copy.display());
        let report = send(&command, &[path]).reports(0, "finished");
        let is_equal = fs::read(&copy).expect("a copy") == fs::read(path).expect("ours");
        assert!(is_equal, "{command}: {report:#?}");
    }
}

fn the_input_of_a_peer_ends_after_the_connection() {
    let command = format!("{}; cat; echo end", peer("all").replace("exec ", ""));
    let report = send(&command, &["Cargo.toml"]).reports(0, "finished");
    assert!(report.done.stderr.contains("end\n"), "{report:#?}");
}

fn a_peer_gets_the_requested_time_to_listen() {
    let command = format!("sleep 6; {}", peer("all"));
    send(&command, &["--listen-wait", "60s", "Cargo.toml"]).reports(0, "finished");
    let command = format!("sleep 20; {}", peer("all"));
    let report = send(&command, &["--listen-wait", "500ms", "Cargo.toml"]).reports(5, "refused");
    assert!(report.done.stderr.contains("--listen-wait"), "{report:#?}");
}

fn a_peer_sees_its_own_processes() {
    // Not in a container that forbids mounting a procfs.
    let mut command = lastbyte(&[
        "send",
        "--json",
        "--peer",
        &format!("cat /proc/1/comm; {}", peer("all")),
        "10.77.0.1:5000",
        "Cargo.toml",
    ]);
    command.stdin(Stdio::null());
    let report = start(command).finish().reports(0, "finished");
    if !report.done.stderr.contains("lastbyte-peer") {
        eprintln!("SKIPPED: the peer's own procfs, which this machine does not permit");
    }
}
