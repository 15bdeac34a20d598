//! The peers: Python programs on the host kernel's TCP.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The beginning of every peer program: `s` listens, `take(n)` reads up to `n` bytes,
/// `drain()` reads to the end, `report()` prints what was received.
const PRELUDE: &str = r#"
import hashlib, socket, struct, sys, time
PORT = 5000
digest, got = hashlib.sha256(), 0
def note(data):
    global got
    digest.update(data); got += len(data)
def take(n):
    while got < n:
        data = c.recv(min(n - got, 65536))
        if not data: return
        note(data)
def drain():
    while True:
        data = c.recv(1 << 20)
        if not data: return
        note(data)
def report():
    print(got, digest.hexdigest(), flush=True)
def hang():
    while True: time.sleep(60)
family = socket.AF_INET6 if V6 else socket.AF_INET
s = socket.create_server(('', PORT), family=family, backlog=BACKLOG)
"#;

/// What a peer reports as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub bytes: u64,
    pub sha256: String,
}

/// A running peer; killed and reaped when dropped.
#[derive(Debug)]
pub struct Peer {
    pub child: Child,
    out: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a peer that accepts one connection, `c`, and then runs `script`.
    #[track_caller]
    pub fn serving(script: &str) -> Self {
        Self::python(
            "V6 = False; BACKLOG = 8",
            &format!("c, _ = s.accept()\n{script}"),
        )
    }

    /// Like [`serving`](Self::serving), on IPv6.
    #[track_caller]
    pub fn serving_v6(script: &str) -> Self {
        Self::python(
            "V6 = True; BACKLOG = 8",
            &format!("c, _ = s.accept()\n{script}"),
        )
    }

    /// Starts a peer that listens and runs `script`.
    #[track_caller]
    pub fn python(settings: &str, script: &str) -> Self {
        Self::start(Command::new("python3"), settings, script)
    }

    /// Starts a peer that listens and runs `script`, in a separate network that has no
    /// interfaces yet.
    #[track_caller]
    pub fn apart(is_v6: bool, script: &str) -> Self {
        let mut python = Command::new("unshare");
        python.args(["--net", "python3"]);
        let is_v6 = if is_v6 { "True" } else { "False" };
        Self::start(python, &format!("V6 = {is_v6}; BACKLOG = 8"), script)
    }

    #[track_caller]
    fn start(mut python: Command, settings: &str, script: &str) -> Self {
        let program = format!("{settings}\n{PRELUDE}\n{script}");
        let mut child = python
            .args(["-u", "-c", &program])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self { child, out }
    }

    /// Waits for the peer's next line.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("the peer speaks");
        line.trim().to_owned()
    }

    /// Waits until the peer reports what it received.
    #[track_caller]
    pub fn received(&mut self) -> Received {
        let line = self.line();
        let (bytes, sha256) = line.split_once(' ').expect("two words");
        Received {
            bytes: bytes.parse().expect("a number"),
            sha256: sha256.to_owned(),
        }
    }

    /// Sends a signal by name, such as `KILL`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .expect("kill starts");
        assert!(status.success(), "kill -{name} {pid}: {status}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut rest = String::new();
        let _ = self.out.read_to_string(&mut rest);
    }
}
