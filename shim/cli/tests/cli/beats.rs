//! The content of a beat.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cases::cases;
use crate::common::{Done, lastbyte, peer, run, start};

cases![
    a_beat_is_any_bytes,
    a_message_file_may_be_a_pipe,
    a_signal_ends_the_wait_for_a_message_file,
];

/// Tests that need no network.
pub mod refused {
    use super::*;

    cases![
        only_one_option_sets_the_message,
        an_empty_message_is_refused,
        a_message_file_must_be_readable,
        a_capture_never_overwrites_the_message,
    ];
}

/// Bytes that are not text.
const BYTES: &[u8] = &[0xc0, 0x00, 0xff, b'\n', 0x80];

const BEAT: [&str; 6] = [
    "heartbeat",
    "--json",
    "--every",
    "50ms",
    "--peer",
    "echo started",
];

fn beat(args: &[&str]) -> Done {
    run(lastbyte(&[&BEAT, args, &["10.77.0.1:5000"]].concat()))
}

fn a_beat_is_any_bytes() {
    let folder = tempfile::tempdir().expect("a directory");
    let [message, copy] = ["message", "copy"].map(|name| folder.path().join(name));
    fs::write(&message, BYTES).expect("room");
    let peer = peer(&format!("save '{}'", copy.display()));
    let ways: [[OsString; 2]; 4] = [
        [
            "--message".into(),
            OsString::from_vec(BYTES.iter().copied().filter(|b| *b > 0).collect()),
        ],
        ["--message-hex".into(), "c000ff0a80".into()],
        ["--message-hex".into(), "C0:00:FF 0a 80".into()],
        ["--message-file".into(), message.into()],
    ];
    for way in ways {
        let args = [
            "heartbeat",
            "--json",
            "--every",
            "20ms",
            "--count",
            "3",
            "--peer",
            &peer,
        ];
        let mut command = lastbyte(&args);
        command.args(&way).arg("10.77.0.1:5000");
        run(command).reports(0, "finished");
        let has_zero = way[0] != "--message";
        let mut expected = BYTES.repeat(3);
        expected.retain(|byte| has_zero || *byte > 0);
        assert_eq!(fs::read(&copy).expect("a copy"), expected, "{way:?}");
    }
}

fn a_message_file_may_be_a_pipe() {
    for file in ["-", "/dev/stdin"] {
        let args = ["--message-file", file, "--count", "2", "10.77.0.1:5000"];
        let peer = peer("all");
        let beat = ["heartbeat", "--json", "--every", "20ms", "--peer", &peer];
        let mut command = lastbyte(&[&beat, &args[..]].concat());
        command.stdin(Stdio::piped());
        let mut running = start(command);
        let mut input = running.child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut input, BYTES).expect("it reads");
        drop(input);
        running.finish().reports(0, "finished").counts(10, 10);
    }
}

fn a_signal_ends_the_wait_for_a_message_file() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a named pipe");
    let args = [
        "--message-file",
        path.to_str().expect("UTF-8"),
        "10.77.0.1:5000",
    ];
    let running = start(lastbyte(&[&BEAT, &args[..]].concat()));
    running.signal_after(Duration::from_millis(500), Signal::SIGINT);
    let report = running.finish().reports(9, "aborted").counts(0, 0);
    assert!(!report.done.stderr.contains("started"), "{report:#?}");
}

fn only_one_option_sets_the_message() {
    beat(&[]).ended_with(2, &["--message", "--message-hex", "--message-file"]);
    beat(&["--message", "x", "--message-hex", "00"]).ended_with(2, &["cannot be used with"]);
    beat(&["--message-hex", "00", "--message-file", "x"]).ended_with(2, &["cannot be used with"]);
}

fn an_empty_message_is_refused() {
    for (args, word) in [
        (["--message", ""], "--message"),
        (["--message-hex", ""], "--message-hex"),
        (["--message-hex", "0x"], "--message-hex"),
        (["--message-file", "/dev/null"], "--message-file"),
    ] {
        let done = beat(&args).ended_with(2, &[word, "at least one byte"]);
        assert_eq!(done.stdout, "");
    }
    beat(&["--message-hex", "abc"]).ended_with(2, &["--message-hex", "3 digits"]);
    beat(&["--message-hex", "0g"]).ended_with(2, &["--message-hex", "'g'"]);
    beat(&["--message-file", "/dev/zero"]).ended_with(2, &["--message-file", "16 MiB"]);
}

fn a_message_file_must_be_readable() {
    for (path, word) in [("/no/such/file", "No such file"), ("/", "directory")] {
        let report = beat(&["--message-file", path]).reports(1, None::<&str>);
        for word in ["--message-file", path, word] {
            assert!(report.done.stderr.contains(word), "{word} in {report:#?}");
        }
        assert!(!report.done.stderr.contains("started"), "{report:#?}");
    }
}

fn a_capture_never_overwrites_the_message() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), BYTES).expect("room");
    let path = file.path().to_str().expect("UTF-8");
    beat(&["--message-file", path, "--pcap", path]).ended_with(2, &["--pcap", "the message file"]);
    assert_eq!(fs::read(path).expect("there"), BYTES);
}
