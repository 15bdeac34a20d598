//! Runs the command, with a bound on its time, and checks its report.

use std::cell::Cell;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// No run of a test takes longer, even on a busy machine: there, the kernel may need many
/// seconds to remove an interface, and its process waits for that.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// A run that ends later than this did not wait for the signal.
const SOON: Duration = Duration::from_secs(6);

/// The binary of the command under test; what runs it is [`program`].
pub const LASTBYTE: &str = env!("CARGO_BIN_EXE_lastbyte");

/// A script that runs the command over the async layer.
const OVER_ASYNC: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/lastbyte-over-async");

thread_local! {
    /// The program that the test of this thread runs as the command.
    static PROGRAM: Cell<&'static str> = const { Cell::new(LASTBYTE) };
}

/// The command under test, over the layer of the test that runs in this thread.
pub fn program() -> &'static str {
    PROGRAM.get()
}

/// Runs `test` with the command over the async layer, or over the stack.
pub fn run_over(is_async: bool, test: fn()) {
    PROGRAM.set(if is_async { OVER_ASYNC } else { LASTBYTE });
    test();
}

/// A script with `$lastbyte send`, over the layer of the test that runs in this thread: for
/// scripts whose limits concern the program that starts the command as well.
pub fn with_layer(script: &str) -> String {
    match program() == LASTBYTE {
        true => script.to_owned(),
        false => script.replace("$lastbyte send", "$lastbyte send --over async"),
    }
}

/// Writes the script. It replaces an older one in one step, before any test runs.
pub fn prepare_over_async() {
    let script = format!(
        "#!/bin/sh\n\
         case $1 in\n\
         send|heartbeat) layer=$1; shift; exec '{LASTBYTE}' \"$layer\" --over async \"$@\" ;;\n\
         esac\n\
         exec '{LASTBYTE}' \"$@\"\n"
    );
    let written = format!("{OVER_ASYNC}.{}", std::process::id());
    std::fs::write(&written, script).expect("room");
    std::fs::set_permissions(&written, Permissions::from_mode(0o755)).expect("ours");
    std::fs::rename(&written, OVER_ASYNC).expect("ours");
}

/// All keys of the JSON report, in their order.
pub const KEYS: [&str; 14] = [
    "cause",
    "accepted",
    "acknowledged",
    "undelivered",
    "discarded",
    "writes_accepted",
    "writes_refused",
    "link_was_down",
    "path_mtu",
    "elapsed_ms",
    "local",
    "remote",
    "offload",
    "peer",
];

/// The command line of the peer in `mode` (see `peer.py`).
pub fn peer(mode: &str) -> String {
    peer_at("10.77.0.1", mode)
}

/// Like [`peer`], listening on `address`.
pub fn peer_at(address: &str, mode: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/peer.py");
    format!("exec python3 '{}' {address} {mode}", script.display())
}

/// What a run printed, and its exit code.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Checks the exit code, and that stderr contains every word.
    #[track_caller]
    pub fn ended_with(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} in {self:#?}");
        }
        self
    }

    /// Checks the exit code, and that stdout is one JSON object with exactly the
    /// documented keys, this cause, and consistent numbers.
    #[track_caller]
    pub fn reports(self, code: i32, cause: impl Into<Value>) -> Report {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let value: Value = match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("{error} in {self:#?}"),
        };
        let mut keys: Vec<&str> = value
            .as_object()
            .map(|object| object.keys().map(String::as_str).collect())
            .unwrap_or_default();
        keys.sort_unstable();
        let mut promised = KEYS;
        promised.sort_unstable();
        assert_eq!(keys, promised, "{self:#?}");
        for pair in KEYS.windows(2) {
            let position = |key: &str| self.stdout.find(&format!("\"{key}\""));
            assert!(position(pair[0]) < position(pair[1]), "{self:#?}");
        }
        assert_eq!(value["cause"], cause.into(), "{self:#?}");
        let report = Report { value, done: self };
        assert_eq!(
            report.number("accepted"),
            report.number("acknowledged") + report.number("undelivered"),
            "{report:#?}"
        );
        assert!(report.value["link_was_down"].is_boolean(), "{report:#?}");
        report
    }
}

/// A run whose JSON report was checked.
#[derive(Debug)]
pub struct Report {
    pub value: Value,
    pub done: Done,
}

impl Report {
    /// The number with this name.
    #[track_caller]
    pub fn number(&self, key: &str) -> u64 {
        match self.value[key].as_u64() {
            Some(number) => number,
            None => panic!("{key} in {self:#?}"),
        }
    }

    /// Checks the three numbers.
    #[track_caller]
    pub fn counts(self, accepted: u64, acknowledged: u64) -> Self {
        let found = (self.number("accepted"), self.number("acknowledged"));
        assert_eq!(found, (accepted, acknowledged), "{self:#?}");
        self
    }
}

/// The command with these arguments and an empty stdin. On a busy machine a peer may take
/// long to listen.
pub fn lastbyte(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).stdin(Stdio::null());
    if args.contains(&"--peer") && !args.contains(&"--listen-wait") {
        command.args(["--listen-wait", "30s"]);
    }
    command
}

/// A running command whose output is collected.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
    outputs: [thread::JoinHandle<String>; 2],
    start: Instant,
}

/// Starts it.
pub fn start(command: Command) -> Running {
    start_with(command, Stdio::piped(), Stdio::piped())
}

/// Starts it with this stdout and stderr; output into a pipe of ours is collected.
pub fn start_with(mut command: Command, stdout: Stdio, stderr: Stdio) -> Running {
    let start = Instant::now();
    // A process group of its own, so that nothing of it outlives the test.
    let mut child = command
        .process_group(0)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    Running {
        child,
        outputs: [stdout, stderr],
        start,
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Running {
    /// Sends a signal after `delay`.
    #[track_caller]
    pub fn signal_after(&self, delay: Duration, signal: nix::sys::signal::Signal) {
        thread::sleep(delay);
        nix::sys::signal::kill(self.pid(), signal).expect("the command runs");
    }

    /// Waits until a condition is true while it runs. If it ends before, fails and shows
    /// how it ended.
    #[track_caller]
    pub fn runs_until(mut self, what: &str, mut holds: impl FnMut() -> bool) -> Self {
        while !holds() {
            let has_ended = !matches!(self.child.try_wait(), Ok(None));
            if has_ended || self.start.elapsed() > RUN_LIMIT {
                let done = self.finish();
                panic!("ended before {what}: {done:#?}");
            }
            thread::sleep(Duration::from_millis(10));
        }
        self
    }

    /// Sends a signal twice, and waits for the end, which must come soon: two seconds are
    /// guaranteed, but this machine may be busy.
    #[track_caller]
    pub fn ends_soon_after(self, signal: nix::sys::signal::Signal) -> Done {
        let sent = Instant::now();
        self.signal_after(Duration::ZERO, signal);
        self.signal_after(Duration::ZERO, signal);
        let done = self.finish();
        let took = sent.elapsed();
        assert!(took < SOON, "{signal}: {took:?} for {done:#?}");
        done
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().try_into().expect("a pid"))
    }

    /// Waits for the end. If that takes too long, kills it and fails.
    #[track_caller]
    pub fn finish(mut self) -> Done {
        let status: Option<ExitStatus> = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if self.start.elapsed() < RUN_LIMIT => {}
                _ => break None,
            }
            thread::sleep(Duration::from_millis(2));
        };
        // Remaining processes would keep the pipes open.
        let _ = nix::sys::signal::killpg(self.pid(), nix::sys::signal::Signal::SIGKILL);
        drop(self.child.stdin.take());
        let [stdout, stderr] = self.outputs.map(|output| output.join().unwrap_or_default());
        let done = Done {
            code: status.and_then(|status| status.code()),
            stdout,
            stderr,
        };
        assert!(status.is_some(), "no end within {RUN_LIMIT:?}: {done:#?}");
        done
    }
}

/// Runs the command to its end.
#[track_caller]
pub fn run(command: Command) -> Done {
    start(command).finish()
}

/// Whether a process with exactly these arguments runs.
pub fn is_running(arguments: &[&str]) -> bool {
    let wanted = arguments.join("\0") + "\0";
    std::fs::read_dir("/proc")
        .expect("procfs")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .any(|line| line == wanted)
}

/// Waits until a condition is true; fails if it never is.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < RUN_LIMIT, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A file of this many bytes, each different from its neighbours.
pub fn file_of(len: usize) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
    std::fs::write(file.path(), bytes).expect("room");
    file
}

/// Whether a program is installed.
pub fn has_program(name: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
