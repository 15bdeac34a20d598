//! Files: an input that changes while it is sent, and several options that name the same file.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;

use crate::cases::cases;
use crate::common::{Done, lastbyte, peer, run};

cases![
    an_input_that_shrinks_is_an_error_with_what_was_accepted,
    an_input_that_shrinks_and_grows_again_is_an_error_too,
    an_input_that_grows_is_sent_to_its_end,
    standard_input_is_sent_from_its_present_position,
    a_file_with_a_wrong_size_is_sent_completely,
];

/// Tests that need no network: the command fails before it makes one.
pub mod refused {
    use super::*;

    cases![
        a_capture_never_overwrites_the_input,
        a_capture_never_overwrites_standard_input,
        a_capture_must_not_go_where_the_report_goes,
        a_capture_on_stdout_must_not_overwrite_the_input,
        a_ladder_and_a_capture_must_be_different_files,
        a_ladder_must_not_go_where_the_text_goes,
    ];
}

const CONTENT: &[u8] = b"precious";

/// A folder with a file `data` in it.
fn folder_with(content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("data");
    fs::write(&path, content).expect("room");
    (folder, path)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// `send` to a peer that first changes the input, which is already open.
fn send_changed(change: &str, file: &Path, more: &[&str]) -> Done {
    let peer = format!("{change}; {}", peer("all"));
    let args = ["send", "--json", "--peer", &peer, "10.77.0.1:5000"];
    run(lastbyte(&[&args, more, &[text(file)]].concat()))
}

fn an_input_that_shrinks_is_an_error_with_what_was_accepted() {
    for (left, write_size) in [
        (0, "64KiB"),
        (1_000, "64KiB"),
        (1_000, "100"),
        (99_999, "7"),
    ] {
        let (_folder, file) = folder_with(&[7; 100_000]);
        let change = format!("truncate --size {left} '{}'", file.display());
        let report =
            send_changed(&change, &file, &["--write-size", write_size]).reports(1, "aborted");
        assert_eq!(report.number("accepted"), left, "{report:#?}");
        for word in [
            "reading the input",
            "shrank",
            &format!("to {left} bytes"),
            "100000",
        ] {
            assert!(report.done.stderr.contains(word), "{word:?} in {report:#?}");
        }
    }
    // The peer's own redirection shrinks it, as in `cat file > file`.
    let (_folder, file) = folder_with(&[7; 100_000]);
    let peer = format!("{} > '{}'", peer("all"), file.display());
    let args = ["send", "--peer", &peer, "10.77.0.1:5000", text(&file)];
    run(lastbyte(&args)).ended_with(1, &["shrank to 0 bytes", "accepted                0 bytes"]);
    // On stdin, from the position up to which others have read.
    let (_folder, file) = folder_with(&[7; 100_000]);
    let peer = format!(
        "truncate --size 60000 '{}'; {}",
        file.display(),
        self::peer("all")
    );
    let mut command = lastbyte(&["send", "--json", "--peer", &peer, "10.77.0.1:5000"]);
    let mut input = File::open(&file).expect("there");
    input.seek(SeekFrom::Start(50_000)).expect("a file");
    command.stdin(Stdio::from(input));
    let report = run(command).reports(1, "aborted");
    assert_eq!(report.number("accepted"), 10_000, "{report:#?}");
}

fn an_input_that_shrinks_and_grows_again_is_an_error_too() {
    // The peer makes it grow again after the first byte, long before its end is read.
    let (_folder, file) = folder_with(&vec![7; 4_000_000]);
    let program = "import os, socket, sys
listener = socket.create_server(('10.77.0.1', 5000))
connection, _ = listener.accept()
connection.recv(1)
os.truncate(sys.argv[1], 5_000_000)
while connection.recv(65536): pass";
    let peer = format!(
        "truncate --size 3000000 '{0}'; exec python3 -c \"{program}\" '{0}'",
        file.display()
    );
    let args = [
        "send",
        "--json",
        "--peer",
        &peer,
        "10.77.0.1:5000",
        text(&file),
    ];
    let report = run(lastbyte(&args)).reports(1, "aborted");
    assert!(
        report.done.stderr.contains("shrank to 3000000"),
        "{report:#?}"
    );
}

fn an_input_that_grows_is_sent_to_its_end() {
    let (_folder, file) = folder_with(CONTENT);
    let change = format!("printf more >> '{}'", file.display());
    send_changed(&change, &file, &[])
        .reports(0, "finished")
        .counts(12, 12);
}

fn standard_input_is_sent_from_its_present_position() {
    let (_folder, file) = folder_with(&[7; 1_000]);
    let peer = peer("all");
    let mut command = lastbyte(&["send", "--json", "--peer", &peer, "10.77.0.1:5000"]);
    let mut input = File::open(&file).expect("there");
    input.seek(SeekFrom::Start(900)).expect("a file");
    command.stdin(Stdio::from(input));
    run(command).reports(0, "finished").counts(100, 100);
}

fn a_file_with_a_wrong_size_is_sent_completely() {
    for path in ["/proc/self/status", "/sys/kernel/uevent_seqnum"] {
        let report = send_changed("true", Path::new(path), &[]).reports(0, "finished");
        assert!(report.number("accepted") > 0, "{report:#?}");
    }
}

fn a_capture_never_overwrites_the_input() {
    let (folder, file) = folder_with(CONTENT);
    let [hard, soft] = ["hard", "soft"].map(|name| folder.path().join(name));
    fs::hard_link(&file, &hard).expect("one file system");
    symlink(&file, &soft).expect("a symbolic link");
    let dotted = folder.path().join(".").join("data");
    for (input, capture) in [
        (&file, &file),
        (&file, &hard),
        (&hard, &file),
        (&file, &soft),
        (&soft, &file),
        (&file, &dotted),
    ] {
        let args = ["send", "--json", "--peer", "echo started", "10.77.0.1:5000"];
        let files = ["--pcap", text(capture), text(input)];
        let done = run(lastbyte(&[&args, &files[..]].concat()));
        let done = done.ended_with(2, &["--pcap", text(capture), "the input", "same file"]);
        assert_eq!(done.stdout, "");
        assert!(!done.stderr.contains("started"), "{done:#?}");
        assert_eq!(fs::read(&file).expect("there"), CONTENT);
    }
}

fn a_capture_never_overwrites_standard_input() {
    let (_folder, file) = folder_with(CONTENT);
    let args = ["send", "--peer", "true", "10.77.0.1:5000", "--pcap"];
    let mut command = lastbyte(&[&args, &[text(&file)][..]].concat());
    command.stdin(File::open(&file).expect("there"));
    run(command).ended_with(2, &["--pcap", "the input"]);
    assert_eq!(fs::read(&file).expect("there"), CONTENT);
}

fn a_capture_must_not_go_where_the_report_goes() {
    let (_folder, file) = folder_with(CONTENT);
    let script = r#""$0" send --json --peer true 10.77.0.1:5000 --pcap "$1" </dev/null >>"$1""#;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, crate::common::program(), text(&file)]);
    run(command).ended_with(2, &["--pcap", "stdout"]);
    assert_eq!(fs::read(&file).expect("there"), CONTENT);
}

fn a_capture_on_stdout_must_not_overwrite_the_input() {
    let (_folder, file) = folder_with(CONTENT);
    let script = r#""$0" send --peer true 10.77.0.1:5000 --pcap - "$1" >>"$1""#;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, crate::common::program(), text(&file)]);
    run(command).ended_with(2, &["--pcap", "the input"]);
    assert_eq!(fs::read(&file).expect("there"), CONTENT);
}

fn a_ladder_and_a_capture_must_be_different_files() {
    // Two names of a file that exists, and of one that does not.
    let (folder, file) = folder_with(CONTENT);
    let [hard, new, link] = ["hard", "new", "link"].map(|name| folder.path().join(name));
    fs::hard_link(&file, &hard).expect("one file system");
    symlink(&new, &link).expect("a symbolic link");
    for (ladder, capture) in [(&file, &hard), (&file, &file), (&new, &new), (&link, &new)] {
        let args = ["sim", "--profile", "lan", "--seed", "3"];
        let files = ["--ladder", text(ladder), "--pcap", text(capture)];
        let done = run(lastbyte(&[&args, &files[..]].concat()));
        let done = done.ended_with(2, &["--ladder", "--pcap", "same file"]);
        assert_eq!(done.stdout, "");
        assert_eq!(fs::read(&file).expect("there"), CONTENT);
        assert!(!new.exists(), "nothing is left of a refused command");
    }
}

fn a_ladder_must_not_go_where_the_text_goes() {
    let (_folder, file) = folder_with(CONTENT);
    let script = r#""$0" sim --profile lan --seed 3 --log --ladder "$1" >>"$1""#;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, crate::common::program(), text(&file)]);
    run(command).ended_with(2, &["--ladder", "stdout"]);
    assert_eq!(fs::read(&file).expect("there"), CONTENT);
}
