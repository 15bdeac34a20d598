//! The outputs of the command: terminals, stopped or not, and everything else that stderr
//! may be.

use std::fs::{self, File};
use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::termios::{
    FlowArg, LocalFlags, SetArg, SpecialCharacterIndices, tcflow, tcgetattr, tcsetattr,
};

use crate::cases::cases;
use crate::common::{file_of, lastbyte, peer, program, start, start_with};

cases![
    endless_output_of_a_peer_does_not_block_a_run,
    a_stopped_terminal_does_not_block_a_run,
    a_stderr_that_cannot_be_written_changes_nothing,
    an_unread_stderr_changes_nothing,
    a_closed_stderr_changes_nothing,
    a_blocking_input_does_not_block_a_run,
    an_unread_capture_does_not_block_a_run,
    a_capture_can_go_to_stdout_if_nothing_else_does,
    a_run_waits_for_an_unread_stdout_until_a_signal,
];

/// A terminal: our end, and the command's.
fn terminal() -> (File, OwnedFd) {
    let pty = openpty(None, None).expect("a terminal");
    (pty.master.into(), pty.slave)
}

/// Reads everything that is printed there, and discards it.
fn swallow(mut terminal: File) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while matches!(terminal.read(&mut bytes), Ok(1..)) {}
    });
}

fn saving(command: &str, copy: &std::path::Path) -> String {
    format!("{command} {}", peer(&format!("save '{}'", copy.display())))
}

fn endless_output_of_a_peer_does_not_block_a_run() {
    let file = file_of(500_000);
    let path = file.path().to_str().expect("UTF-8");
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("copy");
    let command = saving("yes &", &copy);
    let (ours, theirs) = terminal();
    swallow(ours);
    let args = ["send", "--json", "--peer", &command, "10.77.0.1:5000", path];
    let stderr = Stdio::from(theirs.try_clone().expect("a descriptor"));
    start_with(lastbyte(&args), Stdio::piped(), stderr)
        .finish()
        .reports(0, "finished")
        .counts(500_000, 500_000);
    assert!(fs::read(&copy).expect("a copy") == fs::read(path).expect("ours"));
    // And a signal ends it.
    let command = format!("yes & {}", peer("stop"));
    let args = ["send", "--json", "--peer", &command, "10.77.0.1:5000"];
    let mut command = lastbyte(&[&args[..], &["/dev/zero"]].concat());
    command.stdin(Stdio::null());
    let running = start_with(command, Stdio::piped(), theirs.into());
    thread::sleep(Duration::from_secs(2));
    let done = running.ends_soon_after(Signal::SIGINT);
    done.reports(9, "aborted");
}

fn a_stopped_terminal_does_not_block_a_run() {
    let file = file_of(500_000);
    let path = file.path().to_str().expect("UTF-8");
    for verbose in [&[][..], &["--verbose"]] {
        let (_ours, theirs) = terminal();
        tcflow(&theirs, FlowArg::TCOOFF).expect("Ctrl-S");
        let command = format!("{} >/dev/null", peer("all"));
        let args = ["send", "--json", "--peer", &command, "10.77.0.1:5000", path];
        let stderr = Stdio::from(theirs.try_clone().expect("a descriptor"));
        let command = lastbyte(&[&args[..], verbose].concat());
        start_with(command, Stdio::piped(), stderr)
            .finish()
            .reports(0, "finished")
            .counts(500_000, 500_000);
        let command = format!("{} >/dev/null", peer("stop"));
        let args = ["send", "--json", "--peer", &command, "10.77.0.1:5000"];
        let command = lastbyte(&[&args[..], verbose, &["/dev/zero"]].concat());
        let running = start_with(command, Stdio::piped(), theirs.into());
        thread::sleep(Duration::from_secs(2));
        running
            .ends_soon_after(Signal::SIGINT)
            .reports(9, "aborted");
    }
}

/// Checks that a run that succeeds, one that a peer ends, and one with invalid arguments
/// end the same way, whatever `stderr` is.
#[track_caller]
fn holds_with(stderr: impl Fn() -> Stdio) {
    for verbose in [&[][..], &["--verbose"]] {
        let quiet = format!("{} 2>/dev/null >/dev/null", peer("all"));
        let args = ["send", "--json", "--peer", &quiet, "10.77.0.1:5000"];
        let command = lastbyte(&[&args[..], &["Cargo.toml"], verbose].concat());
        start_with(command, Stdio::piped(), stderr())
            .finish()
            .reports(0, "finished");
        let quiet = format!("{} 2>/dev/null >/dev/null", peer("reset 1000"));
        let args = ["send", "--json", "--peer", &quiet, "10.77.0.1:5000"];
        let command = lastbyte(&[&args[..], &["/dev/zero"], verbose].concat());
        start_with(command, Stdio::piped(), stderr())
            .finish()
            .reports(4, "peer_reset");
        let command = lastbyte(&[&["send", "10.77.0.1:5000"], verbose].concat());
        let done = start_with(command, Stdio::piped(), stderr()).finish();
        assert_eq!(done.code, Some(2), "{done:#?}");
        let command = lastbyte(&["send", "--no-such-option"]);
        let done = start_with(command, Stdio::piped(), stderr()).finish();
        assert_eq!(done.code, Some(2), "{done:#?}");
    }
}

fn a_stderr_that_cannot_be_written_changes_nothing() {
    holds_with(|| File::create("/dev/full").expect("Linux").into());
}

/// A pipe that is full, and whether a write to it fails or waits.
fn full_pipe(is_non_blocking: bool) -> (PipeReader, Stdio) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    if !is_non_blocking {
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("a flag");
    }
    (reader, writer.into())
}

fn an_unread_stderr_changes_nothing() {
    for is_non_blocking in [true, false] {
        let readers = std::cell::RefCell::new(Vec::new());
        holds_with(|| {
            let (reader, stderr) = full_pipe(is_non_blocking);
            readers.borrow_mut().push(reader);
            stderr
        });
    }
}

fn a_closed_stderr_changes_nothing() {
    for verbose in ["", "--verbose"] {
        let script = format!(
            "exec '{}' send --json {verbose} --listen-wait 30s --peer \"{}\" \\
             10.77.0.1:5000 Cargo.toml 2>&-",
            program(),
            peer("all")
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::null());
        start(command).finish().reports(0, "finished");
    }
}

fn a_blocking_input_does_not_block_a_run() {
    // Such a terminal is readable after one byte, and a blocking read of it waits for 255
    // bytes, or 25.5 s.
    let (mut ours, theirs) = terminal();
    let mut mode = tcgetattr(&theirs).expect("a terminal");
    mode.local_flags
        .remove(LocalFlags::ICANON | LocalFlags::ECHO);
    mode.control_chars[SpecialCharacterIndices::VMIN as usize] = 255;
    mode.control_chars[SpecialCharacterIndices::VTIME as usize] = 255;
    tcsetattr(&theirs, SetArg::TCSANOW, &mode).expect("a terminal");
    ours.write_all(b"x").expect("a terminal");
    let args = [
        "send",
        "--json",
        "--peer",
        &peer("leave 2"),
        "10.77.0.1:5000",
    ];
    let mut command = lastbyte(&args);
    command.stdin(Stdio::from(
        theirs.as_fd().try_clone_to_owned().expect("one"),
    ));
    let report = start(command).finish().reports(4, "peer_reset");
    let took = report.number("elapsed_ms");
    assert!(took < 20_000, "the end was detected late: {report:#?}");
    // The flags of the open file, which others share, are unchanged.
    let flags = fcntl(&theirs, FcntlArg::F_GETFL).expect("flags");
    assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
}

fn an_unread_capture_does_not_block_a_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a named pipe");
    let name = path.to_str().expect("UTF-8");
    let all = peer("all");
    let args = ["send", "--json", "--pcap", name, "--peer", &all];
    let command = lastbyte(&[&args[..], &["10.77.0.1:5000", "Cargo.toml"]].concat());
    let report = start(command).finish().reports(0, "finished");
    let stderr = &report.done.stderr;
    assert!(stderr.contains("the capture is incomplete"), "{report:#?}");
    let stop = peer("stop");
    let args = ["send", "--json", "--pcap", name, "--peer", &stop];
    let command = lastbyte(&[&args[..], &["10.77.0.1:5000", "/dev/zero"]].concat());
    let running = start(command);
    thread::sleep(Duration::from_secs(1));
    running
        .ends_soon_after(Signal::SIGINT)
        .reports(9, "aborted");
    // With a reader, the capture is complete.
    let fifo = path.clone();
    let reader = thread::spawn(move || fs::read(fifo));
    let args = ["send", "--json", "--pcap", name, "--peer", &all];
    let command = lastbyte(&[&args[..], &["10.77.0.1:5000", "Cargo.toml"]].concat());
    start(command).finish().reports(0, "finished");
    let capture = reader.join().expect("a thread").expect("a capture");
    assert_eq!(capture[..4], 0xa1b2_c3d4_u32.to_ne_bytes());
    let sent = fs::metadata("Cargo.toml").expect("the input").len() as usize;
    assert!(capture.len() > sent + 500, "{} bytes", capture.len());
}

fn a_capture_can_go_to_stdout_if_nothing_else_does() {
    let all = peer("all");
    let args = ["send", "--pcap", "-", "--peer", &all, "10.77.0.1:5000"];
    let mut child = lastbyte(&[&args[..], &["Cargo.toml"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command");
    let mut capture = Vec::new();
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_to_end(&mut capture).expect("a pipe");
    assert!(child.wait().expect("ours").success());
    assert_eq!(capture[..4], 0xa1b2_c3d4_u32.to_ne_bytes());
    let sent = fs::metadata("Cargo.toml").expect("the input").len() as usize;
    assert!(capture.len() > sent + 500, "{} bytes", capture.len());
    let done = start(lastbyte(&[&args[..], &["Cargo.toml", "--json"]].concat())).finish();
    done.ended_with(2, &["--json", "--pcap -"]);
    let (_ours, theirs) = terminal();
    let command = lastbyte(&[&args[..], &["Cargo.toml"]].concat());
    start_with(command, theirs.into(), Stdio::piped())
        .finish()
        .ended_with(2, &["terminal"]);
}

fn a_run_waits_for_an_unread_stdout_until_a_signal() {
    let quiet = format!("{} >/dev/null", peer("all"));
    let args = ["send", "--json", "--peer", &quiet, "10.77.0.1:5000"];
    for is_non_blocking in [true, false] {
        // Once it is read, it has the report.
        let (mut reader, stdout) = full_pipe(is_non_blocking);
        let command = lastbyte(&[&args[..], &["Cargo.toml"]].concat());
        let running = start_with(command, stdout, Stdio::piped());
        thread::sleep(Duration::from_secs(2));
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        let mut done = running.finish();
        let text = reading.join().expect("a thread").expect("text");
        done.stdout = text.trim_start_matches('x').to_owned();
        done.reports(0, "finished");
        // Even if it is never read, a signal ends the run.
        let (_reader, stdout) = full_pipe(is_non_blocking);
        let command = lastbyte(&[&args[..], &["Cargo.toml"]].concat());
        let running = start_with(command, stdout, Stdio::piped());
        thread::sleep(Duration::from_secs(2));
        let done = running.ends_soon_after(Signal::SIGTERM);
        assert!(done.code != Some(0) && done.code.is_some(), "{done:#?}");
    }
}
