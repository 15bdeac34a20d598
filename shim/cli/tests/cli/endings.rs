//! Every way in which a connection ends, by exit code, cause and count.

use std::time::Duration;

use lastbyte_host::namespace::TAP_NAME;
use nix::sys::signal::Signal;

use crate::cases::cases;
use crate::common::{Done, is_running, lastbyte, peer, peer_at, run, start};

cases![
    a_peer_that_reads_all_is_finished,
    offload_is_at_most_what_was_requested,
    a_transfer_over_ipv6_is_finished,
    a_peer_that_closes_is_peer_finished,
    a_peer_that_resets_is_peer_reset,
    a_peer_that_closes_with_unread_bytes_is_peer_reset,
    no_listener_is_refused,
    a_peer_that_listens_elsewhere_is_refused_with_a_hint,
    an_address_without_a_host_is_unreachable,
    no_route_is_unreachable_at_once,
    a_dropped_syn_is_a_connect_timeout,
    a_peer_that_falls_silent_is_vanished,
    a_peer_that_never_reads_is_not_reading,
    a_drain_that_never_ends_is_a_finish_timeout,
    half_close_continues_to_write_after_the_fin,
    bytes_of_the_peer_are_discarded_and_counted,
    signals_abort_while_connecting_draining_and_waiting,
    a_heartbeat_that_reaches_its_count_is_finished,
    the_next_beat_detects_the_end,
    no_process_of_the_peer_is_left,
    the_text_report_shows_what_is_proven,
    quiet_prints_nothing,
];

fn send(mode: &str, args: &[&str]) -> Done {
    run(lastbyte(
        &[
            &["send", "--json", "--peer", &peer(mode), "10.77.0.1:5000"],
            args,
        ]
        .concat(),
    ))
}

fn a_peer_that_reads_all_is_finished() {
    let report = send("all", &["Cargo.toml"]).reports(0, "finished");
    let len = std::fs::metadata("Cargo.toml").expect("ours").len();
    let report = report.counts(len, len);
    assert!(
        report.done.stderr.contains(&format!("peer got {len}")),
        "{report:#?}"
    );
    assert_eq!(report.value["remote"], "10.77.0.1:5000");
    let local = report.value["local"].as_str().unwrap_or_default();
    assert!(local.starts_with("10.77.0.2:"), "{report:#?}");
    assert_eq!(report.value["offload"], "tso");
}

fn offload_is_at_most_what_was_requested() {
    for offload in ["none", "checksum", "tso"] {
        let args = ["--offload", offload, "Cargo.toml"];
        let report = send("all", &args).reports(0, "finished");
        assert_eq!(report.value["offload"], offload);
    }
}

fn a_transfer_over_ipv6_is_finished() {
    let peer = peer_at("fd77::1", "all");
    let args = [
        "send",
        "--json",
        "--peer",
        &peer,
        "[fd77::1]:5000",
        "Cargo.toml",
    ];
    let done = run(lastbyte(&args));
    if done.stderr.contains("IPv6 is switched off") {
        eprintln!("SKIPPED: a_transfer_over_ipv6_is_finished, since this kernel has no IPv6");
        return;
    }
    let report = done.reports(0, "finished");
    assert_eq!(report.value["remote"], "[fd77::1]:5000");
    // Over IPv6 smoltcp does not offload segmentation.
    assert_eq!(report.value["offload"], "checksum");
}

fn a_peer_that_closes_is_peer_finished() {
    // /dev/zero never ends, so the peer ends the connection. The peer still reads after
    // its FIN: bytes accepted before it still drain.
    let report = send("half 100000", &["/dev/zero"]).reports(3, "peer_finished");
    let accepted = report.number("accepted");
    assert!(accepted >= 100_000, "{report:#?}");
    let report = report.counts(accepted, accepted);
    assert!(
        report.done.stderr.contains(&format!("peer got {accepted}")),
        "{report:#?}"
    );
}

fn a_peer_that_resets_is_peer_reset() {
    let report = send("reset 100000", &["/dev/zero"]).reports(4, "peer_reset");
    assert!(report.number("acknowledged") >= 100_000, "{report:#?}");
}

fn a_peer_that_closes_with_unread_bytes_is_peer_reset() {
    // The bytes were acknowledged, and no application ever read them.
    send("unread 1000", &["/dev/zero"]).reports(4, "peer_reset");
}

fn no_listener_is_refused() {
    for command in ["true", ""] {
        let args = [
            "send",
            "--json",
            "--peer",
            command,
            "10.77.0.1:5000",
            "Cargo.toml",
        ];
        let report = run(lastbyte(&args)).reports(5, "refused").counts(0, 0);
        assert!(
            report.done.stderr.contains("before it listened"),
            "{report:#?}"
        );
    }
}

fn a_peer_that_listens_elsewhere_is_refused_with_a_hint() {
    let peer = peer_at("127.0.0.1", "all");
    let args = [
        "send",
        "--json",
        "--listen-wait",
        "5s",
        "--peer",
        &peer,
        "10.77.0.1:5000",
        "Cargo.toml",
    ];
    let report = run(lastbyte(&args)).reports(5, "refused");
    assert!(
        report
            .done
            .stderr
            .contains("only listens on 127.0.0.1:5000"),
        "{report:#?}"
    );
}

fn an_address_without_a_host_is_unreachable() {
    let args = [
        "send",
        "--json",
        "--peer",
        "",
        "--connect-timeout",
        "1500ms",
        "10.77.0.9:5000",
    ];
    let report = run(lastbyte(&args)).reports(6, "unreachable");
    assert!(report.number("elapsed_ms") >= 1_500, "{report:#?}");
}

fn no_route_is_unreachable_at_once() {
    let args = ["send", "--json", "--peer", "", "192.0.2.1:5000"];
    let report = run(lastbyte(&args)).reports(6, "unreachable");
    assert!(report.value["local"].is_null(), "{report:#?}");
}

fn a_dropped_syn_is_a_connect_timeout() {
    let report = send("full", &["--connect-timeout", "2s", "Cargo.toml"]);
    report.reports(7, "connect_timeout").counts(0, 0);
}

fn a_peer_that_falls_silent_is_vanished() {
    // Its host loses the address, and so neither receives nor sends anything for it.
    let unreachable = peer(&format!("lose {TAP_NAME}"));
    let mut args = vec![
        "heartbeat",
        "--json",
        "--peer",
        &unreachable,
        "10.77.0.1:5000",
    ];
    args.extend("--every 100ms --message x --user-timeout 2s".split(' '));
    let report = run(lastbyte(&args)).reports(7, "vanished");
    assert!(report.number("acknowledged") > 0, "{report:#?}");
    assert!(report.number("undelivered") > 0, "{report:#?}");
}

fn a_peer_that_never_reads_is_not_reading() {
    let report = send("stop", &["--call-timeout", "1s", "/dev/zero"]).reports(7, "not_reading");
    assert!(report.number("acknowledged") > 0, "{report:#?}");
    assert!(report.number("undelivered") > 0, "{report:#?}");
}

fn a_drain_that_never_ends_is_a_finish_timeout() {
    // More than the peer's kernel can receive, and all of it accepted at once.
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(8 << 20).expect("room");
    let path = file.path().to_str().expect("UTF-8");
    let args = ["--tx-buffer", "16MiB", "--finish-timeout", "1s", path];
    let report = send("stop", &args).reports(7, "finish_timeout");
    assert_eq!(report.number("accepted"), 8 << 20, "{report:#?}");
}

fn half_close_continues_to_write_after_the_fin() {
    let report = send(
        "half 1",
        &["--half-close", "--write-size", "100", "Cargo.toml"],
    )
    .reports(0, "finished");
    let len = report.number("accepted");
    assert!(
        report.done.stderr.contains(&format!("peer got {len}")),
        "{report:#?}"
    );
}

fn bytes_of_the_peer_are_discarded_and_counted() {
    let mut command = lastbyte(&[
        "send",
        "--json",
        "--peer",
        &peer("chatty"),
        "10.77.0.1:5000",
    ]);
    // The input stays open: the FIN after the peer's bytes ends the connection.
    command.stdin(std::process::Stdio::piped());
    let report = start(command).finish().reports(3, "peer_finished");
    assert_eq!(report.number("discarded"), 100_000, "{report:#?}");
}

fn signals_abort_while_connecting_draining_and_waiting() {
    let waiting = peer("all");
    let stopped = peer("stop");
    let beat = ["--every", "100ms", "--message", "x"];
    let cases: [(&[&str], Signal); 4] = [
        (&["send", "--peer", "", "10.77.0.9:5000"], Signal::SIGINT),
        (
            &["send", "--peer", &waiting, "10.77.0.1:5000"],
            Signal::SIGTERM,
        ),
        (
            &["send", "--peer", &stopped, "10.77.0.1:5000", "/dev/zero"],
            Signal::SIGINT,
        ),
        (
            &[
                &["heartbeat", "--peer", &waiting, "10.77.0.1:5000"],
                &beat[..],
            ]
            .concat(),
            Signal::SIGINT,
        ),
    ];
    for (args, signal) in cases {
        let mut command = lastbyte(&[args, &["--json"]].concat());
        // A pipe that stays open and silent.
        command.stdin(std::process::Stdio::piped());
        let running = start(command);
        running.signal_after(Duration::from_millis(700), signal);
        running.finish().reports(9, "aborted");
    }
}

fn heartbeat(mode: &str, args: &[&str]) -> Done {
    let beat = [
        "--json",
        "--every",
        "50ms",
        "--message",
        "alive",
        "10.77.0.1:5000",
    ];
    run(lastbyte(
        &[&["heartbeat", "--peer", &peer(mode)], &beat[..], args].concat(),
    ))
}

fn a_heartbeat_that_reaches_its_count_is_finished() {
    let report = heartbeat("all", &["--count", "4"])
        .reports(0, "finished")
        .counts(20, 20);
    assert_eq!(report.number("writes_accepted"), 4, "{report:#?}");
    assert_eq!(report.number("writes_refused"), 0, "{report:#?}");
    assert!(report.number("elapsed_ms") >= 150, "{report:#?}");
}

fn the_next_beat_detects_the_end() {
    let report = heartbeat("close 10", &[])
        .reports(3, "peer_finished")
        .counts(10, 10);
    assert_eq!(report.number("writes_refused"), 1, "{report:#?}");
    let report = heartbeat("reset 10", &[])
        .reports(4, "peer_reset")
        .counts(10, 10);
    assert_eq!(report.number("writes_refused"), 1, "{report:#?}");
}

fn no_process_of_the_peer_is_left() {
    // A daemon that has left the process group, started by a shell that has ended.
    let seconds = format!("3{}", std::process::id());
    let command = format!("setsid sleep {seconds} & {}", peer("all"));
    let args = [
        "send",
        "--json",
        "--peer",
        &command,
        "10.77.0.1:5000",
        "Cargo.toml",
    ];
    run(lastbyte(&args)).reports(0, "finished");
    assert!(!is_running(&["sleep", &seconds]), "a daemon lives on");
}

fn the_text_report_shows_what_is_proven() {
    let args = [
        "send",
        "--peer",
        &peer("unread 10"),
        "10.77.0.1:5000",
        "/dev/zero",
    ];
    let done = run(lastbyte(&args)).ended_with(
        4,
        &[
            "peer_reset",
            "acknowledged",
            "may not have read them",
            "undelivered",
            "next:",
        ],
    );
    assert_eq!(done.stdout, "");
    assert!(
        !done.stderr.contains('\x1b'),
        "no colours into a pipe: {done:#?}"
    );
}

fn quiet_prints_nothing() {
    let command = format!("{} > /dev/null", peer("half 1"));
    let args = [
        "send",
        "--quiet",
        "--peer",
        &command,
        "10.77.0.1:5000",
        "/dev/zero",
    ];
    let done = run(lastbyte(&args)).ended_with(3, &["peer_finished"]);
    assert_eq!(done.stderr.lines().count(), 1, "{done:#?}");
    let peer = format!("{} > /dev/null", peer("all"));
    let args = [
        "send",
        "--quiet",
        "--peer",
        &peer,
        "10.77.0.1:5000",
        "Cargo.toml",
    ];
    let done = run(lastbyte(&args)).ended_with(0, &[]);
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
}
