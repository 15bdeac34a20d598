//! The sources of the bytes, and what happens to them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cases::cases;
use crate::common::{has_program, lastbyte, peer, run, start};

cases![
    ten_mebibytes_arrive_unchanged,
    a_pipe_is_sent_as_it_arrives,
    an_open_stdin_does_not_outlive_the_connection,
    no_input_is_read_after_the_end,
    a_broken_stdin_is_reported_with_what_was_accepted,
    an_empty_input_is_finished,
    send_waits_for_a_named_pipe,
    write_size_bounds_each_write,
    max_segment_bounds_each_segment,
    waiting_costs_no_processor_time,
    a_capture_is_a_valid_pcap_file,
    a_capture_that_cannot_be_made_fails_early,
];

fn ten_mebibytes_arrive_unchanged() {
    let directory = tempfile::tempdir().expect("a directory");
    let (sent, got) = (directory.path().join("sent"), directory.path().join("got"));
    let mut bytes = Vec::new();
    let random = File::open("/dev/urandom").expect("randomness");
    random
        .take(10 << 20)
        .read_to_end(&mut bytes)
        .expect("randomness");
    fs::write(&sent, &bytes).expect("room");
    let peer = peer(&format!("save '{}'", got.display()));
    for from in ["file", "pipe"] {
        let mut command = lastbyte(&["send", "--json", "--peer", &peer, "10.77.0.1:5000"]);
        match from {
            "file" => drop(command.arg(&sent)),
            _ => {
                let cat = Command::new("cat")
                    .arg(&sent)
                    .stdout(Stdio::piped())
                    .spawn();
                let output = cat.expect("cat").stdout.expect("piped");
                command.stdin(output);
            }
        }
        run(command)
            .reports(0, "finished")
            .counts(10 << 20, 10 << 20);
        assert!(
            fs::read(&got).expect("a copy") == bytes,
            "changed, from a {from}"
        );
        fs::remove_file(&got).expect("ours");
    }
}

fn a_pipe_is_sent_as_it_arrives() {
    let directory = tempfile::tempdir().expect("a directory");
    let got = directory.path().join("got");
    let peer = peer(&format!("save '{}'", got.display()));
    let mut command = lastbyte(&["send", "--json", "--peer", &peer, "10.77.0.1:5000"]);
    command.stdin(Stdio::piped());
    let mut running = start(command);
    let mut input = running.child.stdin.take().expect("piped");
    for lines in 1..=3 {
        input.write_all(b"line\n").expect("it reads");
        let limit = Instant::now() + Duration::from_secs(10);
        while fs::metadata(&got).map_or(0, |got| got.len()) < lines * 5 {
            assert!(Instant::now() < limit, "line {lines} does not arrive");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    drop(input);
    let report = running.finish().reports(0, "finished").counts(15, 15);
    assert_eq!(report.number("writes_accepted"), 3, "{report:#?}");
}

fn an_open_stdin_does_not_outlive_the_connection() {
    for (mode, code, cause) in [
        ("close 5", 3, "peer_finished"),
        ("reset 5", 4, "peer_reset"),
    ] {
        let mut command = lastbyte(&["send", "--json", "--peer", &peer(mode), "10.77.0.1:5000"]);
        command.stdin(Stdio::piped());
        let mut running = start(command);
        let mut input = running.child.stdin.take().expect("piped");
        input.write_all(b"hello").expect("it reads");
        running.finish().reports(code, cause).counts(5, 5);
        drop(input);
    }
}

fn no_input_is_read_after_the_end() {
    let (mut left, input) = std::io::pipe().expect("a pipe");
    let mut writer = input;
    let mut command = lastbyte(&[
        "send",
        "--json",
        "--peer",
        &peer("close 5"),
        "10.77.0.1:5000",
    ]);
    command.stdin(left.try_clone().expect("a descriptor"));
    let running = start(command);
    writer.write_all(b"hello").expect("room");
    running.finish().reports(3, "peer_finished").counts(5, 5);
    writer.write_all(b"late").expect("room");
    drop(writer);
    let mut rest = Vec::new();
    left.read_to_end(&mut rest).expect("ours");
    assert_eq!(rest, b"late", "what was not accepted is still in the pipe");
}

fn a_broken_stdin_is_reported_with_what_was_accepted() {
    // Open for writing only.
    let mut command = lastbyte(&["send", "--json", "--peer", &peer("all"), "10.77.0.1:5000"]);
    command.stdin(File::create("/dev/null").expect("writable"));
    let report = run(command).reports(1, "aborted").counts(0, 0);
    assert!(
        report.done.stderr.contains("reading the input"),
        "{report:#?}"
    );
    // It can be opened, but not read.
    let report = run(lastbyte(&[
        "send",
        "--json",
        "--peer",
        &peer("all"),
        "10.77.0.1:5000",
        "/proc/self/mem",
    ]));
    let report = report.reports(1, "aborted").counts(0, 0);
    assert!(
        report.done.stderr.contains("Input/output error"),
        "{report:#?}"
    );
}

fn an_empty_input_is_finished() {
    let args = ["send", "--json", "--peer", &peer("all"), "10.77.0.1:5000"];
    run(lastbyte(&args)).reports(0, "finished").counts(0, 0);
}

fn send_waits_for_a_named_pipe() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a named pipe");
    let name = path.to_str().expect("UTF-8");
    let running = start(lastbyte(&[
        "send",
        "--json",
        "--peer",
        &peer("all"),
        "10.77.0.1:5000",
        name,
    ]));
    std::thread::sleep(Duration::from_millis(300));
    fs::write(&path, b"through the pipe").expect("it reads");
    running.finish().reports(0, "finished").counts(16, 16);
}

fn write_size_bounds_each_write() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), [7; 10_000]).expect("room");
    let name = file.path().to_str().expect("UTF-8");
    let args = [
        "send",
        "--json",
        "--write-size",
        "100",
        "--peer",
        &peer("all"),
        "10.77.0.1:5000",
        name,
    ];
    let report = run(lastbyte(&args))
        .reports(0, "finished")
        .counts(10_000, 10_000);
    assert_eq!(report.number("writes_accepted"), 100, "{report:#?}");
}

fn max_segment_bounds_each_segment() {
    let folder = tempfile::tempdir().expect("a directory");
    let [sent, capture] = ["sent", "capture"].map(|name| folder.path().join(name));
    fs::write(&sent, [7; 100_000]).expect("room");
    let longest = |more: &[&str]| {
        let [sent, capture] = [&sent, &capture].map(|path| path.to_str().expect("UTF-8"));
        let peer = peer("all");
        let args = ["send", "--json", "--pcap", capture, "--peer", &peer];
        let to = ["10.77.0.1:5000", sent];
        run(lastbyte(&[&args, more, &to[..]].concat())).reports(0, "finished");
        let bytes = fs::read(capture).expect("a capture");
        longest_frame(&bytes)
    };
    // Headers of Ethernet, IPv4 and TCP.
    assert_eq!(longest(&["--max-segment", "500"]), 14 + 20 + 20 + 500);
    assert_eq!(longest(&[]), 14 + 1500);
}

/// The length of the longest frame of a capture of this machine.
fn longest_frame(pcap: &[u8]) -> usize {
    let (mut rest, mut longest) = (&pcap[24..], 0);
    while let Some((header, after)) = rest.split_at_checked(16) {
        let len = u32::from_ne_bytes(header[8..12].try_into().expect("four bytes"));
        let (frame, after) = after.split_at(len.try_into().expect("it fits"));
        longest = longest.max(frame.len());
        rest = after;
    }
    longest
}

fn waiting_costs_no_processor_time() {
    for (mode, from) in [("all", "-"), ("stop", "/dev/zero")] {
        let mut command = lastbyte(&[
            "send",
            "--json",
            "--peer",
            &peer(mode),
            "10.77.0.1:5000",
            from,
        ]);
        command.stdin(Stdio::piped());
        let running = start(command);
        // The setup takes time and some work. There must then be a second of rest, which
        // a spinning loop never has.
        let is_at_rest = || {
            let before = processor_time_of(running.child.id());
            std::thread::sleep(Duration::from_secs(1));
            processor_time_of(running.child.id()) - before < Duration::from_millis(10)
        };
        assert!(
            (0..10).any(|_| is_at_rest()),
            "no rest with the peer {mode}"
        );
        running.signal_after(Duration::ZERO, nix::sys::signal::Signal::SIGINT);
        running.finish().reports(9, "aborted");
    }
}

/// The processor time used so far.
fn processor_time_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("it runs");
    let nanos = stat
        .split_whitespace()
        .next()
        .and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}

fn a_capture_is_a_valid_pcap_file() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let name = file.path().to_str().expect("UTF-8");
    let args = [
        "send",
        "--json",
        "--pcap",
        name,
        "--peer",
        &peer("all"),
        "10.77.0.1:5000",
        "Cargo.toml",
    ];
    run(lastbyte(&args)).reports(0, "finished");
    let bytes = fs::read(file.path()).expect("a capture");
    assert_eq!(bytes[..4], 0xa1b2_c3d4_u32.to_ne_bytes());
    if !has_program("tshark") {
        eprintln!("without tshark, only the header of the capture was checked");
        return;
    }
    let output = Command::new("tshark")
        .args([
            "-r",
            name,
            "-T",
            "fields",
            "-e",
            "tcp.flags.str",
            "-Y",
            "tcp.port == 5000",
        ])
        .output()
        .expect("tshark");
    let flags = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        flags.contains('S') && flags.contains('F'),
        "SYN and FIN in {flags}"
    );
}

fn a_capture_that_cannot_be_made_fails_early() {
    let args = [
        "send",
        "--json",
        "--pcap",
        "/no/such/file",
        "--peer",
        &peer("all"),
        "10.77.0.1:5000",
    ];
    let report = run(lastbyte(&args)).reports(1, None::<&str>);
    assert!(report.done.stderr.contains("--pcap"), "{report:#?}");
}
