//! The command with lwIP, the TCP of many small devices, as the peer (`lwip/peer.c`).
//!
//! Each test makes a namespace with two TAPs on a bridge: one for the command, one
//! for lwIP. All processes of the namespace end with it. The results are compared with
//! lwIP's counts: the bytes that its TCP received, and those that its application read.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::cases::cases;
use crate::common::{Done, Report, has_program, program, run};

cases![
    lwip_reads_all_bytes_unchanged,
    a_heartbeat_that_lwip_reads_is_finished,
    no_listener_is_refused,
    an_abort_is_peer_reset,
    an_abort_refuses_the_next_beat,
    a_close_with_unread_bytes_is_peer_reset,
    a_close_refuses_the_next_beat,
    a_half_closed_lwip_receives_all_accepted_bytes,
    bytes_that_a_closed_lwip_discards_are_undelivered,
    a_closed_lwip_resets_a_writer_that_continues,
    a_beat_that_meets_a_restarted_lwip_is_undelivered,
    a_beat_that_meets_a_restarted_lwip_without_a_listener_is_undelivered,
    a_stream_that_meets_a_restarted_lwip_is_undelivered,
    a_restart_while_finishing_is_peer_reset,
];

/// The folder of the headers in Debian.
const INCLUDE: [&str; 2] = ["-isystem", "/usr/include/lwip"];

/// Options of `unshare` for a network that this user may change, and whose processes end
/// with the first one.
const NAMESPACE: [&str; 6] = [
    "--user",
    "--map-root-user",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
];

/// Two TAPs on a bridge.
const NETWORK: &str = "
    ip link add bridge0 type bridge
    ip link set bridge0 up
    for tap in ours theirs; do
        ip tuntap add dev $tap mode tap
        ip link set $tap master bridge0 up
    done
";

/// Starts lwIP, and when it is up the command, with the arguments of the script.
const BOTH: &str = r#"
    : >"$folder/printed"
    "$peer" theirs "$folder/copy" $role >>"$folder/printed" &
    until grep -q ready "$folder/printed"; do
        kill -0 $!
        sleep 0.02
    done
    "$lastbyte" "$@" || exit $?
"#;

/// The length of most files, and a beat.
const FILE: usize = 300_000;
const BEAT: &str = "alive";

/// What is missing for these tests.
pub fn missing() -> Option<&'static str> {
    let has_headers = || {
        let mut compiler = Command::new("cc");
        compiler
            .args(INCLUDE)
            .args(["-E", "-include", "lwip/tcp.h", "-x", "c", "/dev/null"]);
        succeeds(compiler)
    };
    let has_network = || {
        let mut unshare = Command::new("unshare");
        unshare.args(NAMESPACE).args(["sh", "-ec", NETWORK]);
        succeeds(unshare)
    };
    if !has_program("cc") {
        Some("there is no C compiler to build lwIP's program (apt-get install gcc)")
    } else if !has_headers() {
        Some("there is no lwIP (apt-get install liblwip-dev)")
    } else if !has_network() {
        Some("no network with two TAPs and a bridge can be made here")
    } else {
        None
    }
}

fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// lwIP's program, built once in each run of the tests.
fn peer() -> &'static Path {
    static PEER: OnceLock<PathBuf> = OnceLock::new();
    PEER.get_or_init(|| {
        let mut builder = tempfile::Builder::new();
        builder.prefix("lwip-peer-");
        // In the folder of the tests, unless another user built them.
        let built = builder
            .tempfile_in(env!("CARGO_TARGET_TMPDIR"))
            .or_else(|_| builder.tempfile())
            .expect("a file")
            .into_temp_path();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lwip/peer.c");
        let status = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-O1"])
            .args(INCLUDE)
            .arg("-o")
            .args([built.as_os_str(), source.as_os_str()])
            .arg("-llwip")
            .status()
            .expect("there is a compiler");
        assert!(status.success(), "{} does not compile", source.display());
        // In one step, because another run of the tests may start it at any time.
        let peer = built.with_file_name(format!("lwip-peer-of-{}", nix::unistd::Uid::current()));
        built.persist(&peer).expect("the same folder");
        peer
    })
}

/// A run of the command with lwIP.
#[derive(Debug)]
struct Run {
    done: Done,
    /// What lwIP's program printed.
    printed: String,
    /// What lwIP's application read.
    copy: Vec<u8>,
    /// What the command had to send, or its beginning.
    content: Vec<u8>,
}

/// Runs the command with lwIP in this role. `after_target` are the arguments after the
/// peer's address.
#[track_caller]
fn against(role: &str, command: &[&str], after_target: &[&str], content: Vec<u8>) -> Run {
    let folder = TempDir::new().expect("a folder");
    let mut unshare = Command::new("unshare");
    unshare
        .args(NAMESPACE)
        .args(["sh", "-ec", &format!("{NETWORK}{BOTH}"), "sh"])
        .args(command)
        .args("--json --tap ours --addr 10.77.0.2/24 10.77.0.1:5000".split(' '))
        .args(after_target)
        .env("lastbyte", program())
        .env("peer", peer())
        .env("folder", folder.path())
        .env("role", role)
        .stdin(Stdio::null());
    let done = run(unshare);
    let printed = std::fs::read_to_string(folder.path().join("printed")).unwrap_or_default();
    let copy = std::fs::read(folder.path().join("copy")).unwrap_or_default();
    assert!(
        printed.starts_with("ready"),
        "lwIP did not start: {done:#?}"
    );
    Run {
        done,
        printed,
        copy,
        content,
    }
}

/// Sends a file of `len` bytes.
#[track_caller]
fn send(role: &str, len: usize, options: &[&str]) -> Run {
    // The top octets of a multiplicative hash, so that all parts differ.
    let content: Vec<u8> = (0_u32..)
        .map(|at| at.wrapping_mul(0x9e37_79b1).to_be_bytes()[0])
        .take(len)
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &content).expect("room");
    let path = file.path().to_str().expect("UTF-8");
    against(role, &[&["send"], options].concat(), &[path], content)
}

/// Sends beats. lwIP delays an ACK by at most 250 ms, so each beat is sent at once.
#[track_caller]
fn heartbeat(role: &str, options: &[&str]) -> Run {
    let beats = ["heartbeat", "--every", "300ms", "--message", BEAT];
    let content = BEAT.repeat(100).into_bytes();
    against(role, &[&beats, options].concat(), &[], content)
}

/// A report of the command, compared with what lwIP received.
#[derive(Debug)]
struct Compared {
    report: Report,
    /// Bytes that lwIP's TCP received.
    tcp: u64,
    /// Bytes that its application read.
    application: u64,
}

impl Run {
    /// Checks exit code and cause, that no more bytes count as acknowledged than lwIP's
    /// TCP received, and that lwIP read what was sent.
    #[track_caller]
    fn reports(self, code: i32, cause: &str) -> Compared {
        let report = self.done.reports(code, cause);
        let took = self.printed.lines().find_map(|line| {
            let counts = line.strip_prefix("took application=")?;
            let (application, tcp) = counts.split_once(" tcp=")?;
            Some((application.parse().ok()?, tcp.parse().ok()?))
        });
        let (application, tcp): (u64, u64) = took.unwrap_or_default();
        let acknowledged = report.number("acknowledged");
        assert!(
            acknowledged <= tcp,
            "{acknowledged} acknowledged, lwIP's TCP received {tcp}: {report:#?}"
        );
        assert_eq!(self.copy.len() as u64, application, "{report:#?}");
        assert!(
            self.content.starts_with(&self.copy),
            "lwIP read something else: {report:#?}"
        );
        Compared {
            report,
            tcp,
            application,
        }
    }
}

impl Compared {
    /// Checks that all accepted bytes were received, read and acknowledged.
    #[track_caller]
    fn lost_nothing(self) -> Self {
        let accepted = self.report.number("accepted");
        let counts = [
            self.report.number("acknowledged"),
            self.tcp,
            self.application,
        ];
        assert_eq!(counts, [accepted; 3], "{self:#?}");
        self
    }

    /// Checks that bytes were lost and that exactly the others count as acknowledged.
    /// Only for roles in which lwIP acknowledges everything that it received before it
    /// sends a RST.
    #[track_caller]
    fn lost_what_lwip_did_not_receive(self) -> Self {
        assert_eq!(self.report.number("acknowledged"), self.tcp, "{self:#?}");
        self.lost_something()
    }

    /// Checks that bytes were lost.
    #[track_caller]
    fn lost_something(self) -> Self {
        assert!(self.report.number("accepted") > self.tcp, "{self:#?}");
        assert!(self.report.number("undelivered") > 0, "{self:#?}");
        self
    }

    /// Checks how many writes were refused.
    #[track_caller]
    fn refused(self, writes: u64) -> Self {
        let refused = self.report.number("writes_refused");
        assert_eq!(refused, writes, "{self:#?}");
        self
    }
}

fn lwip_reads_all_bytes_unchanged() {
    for offload in ["none", "checksum", "tso"] {
        let done = send("sink", FILE, &["--offload", offload])
            .reports(0, "finished")
            .lost_nothing();
        assert_eq!(done.application, FILE as u64, "{done:#?}");
    }
}

fn a_heartbeat_that_lwip_reads_is_finished() {
    let done = heartbeat("sink", &["--count", "3"]).reports(0, "finished");
    assert_eq!(done.lost_nothing().refused(0).tcp, 3 * BEAT.len() as u64);
}

fn no_listener_is_refused() {
    let done = send("refuse", FILE, &[]).reports(5, "refused");
    done.report.counts(0, 0);
}

fn an_abort_is_peer_reset() {
    send("reset 100000", FILE, &[])
        .reports(4, "peer_reset")
        .lost_something();
}

fn an_abort_refuses_the_next_beat() {
    heartbeat("reset 10", &[])
        .reports(4, "peer_reset")
        .refused(1);
}

fn a_close_with_unread_bytes_is_peer_reset() {
    let done = send("close-unread 20000", FILE, &[]).reports(4, "peer_reset");
    assert_eq!(done.lost_something().application, 0);
}

fn a_close_refuses_the_next_beat() {
    heartbeat("close 10", &[])
        .reports(3, "peer_finished")
        .lost_nothing()
        .refused(1);
}

fn a_half_closed_lwip_receives_all_accepted_bytes() {
    let done = send("half-close 100000", FILE, &[]).reports(3, "peer_finished");
    assert!(done.lost_nothing().tcp >= 100_000);
}

fn bytes_that_a_closed_lwip_discards_are_undelivered() {
    // lwIP answers data after its FIN with a RST that acknowledges the data.
    send("close 100000", FILE, &[])
        .reports(3, "peer_finished")
        .lost_what_lwip_did_not_receive();
}

fn a_closed_lwip_resets_a_writer_that_continues() {
    send("close 100000", FILE, &["--half-close"])
        .reports(4, "peer_reset")
        .lost_what_lwip_did_not_receive();
}

fn a_beat_that_meets_a_restarted_lwip_is_undelivered() {
    let restart = format!("restart {} sink", BEAT.len());
    heartbeat(&restart, &[])
        .reports(4, "peer_reset")
        .lost_what_lwip_did_not_receive()
        .refused(1);
}

fn a_beat_that_meets_a_restarted_lwip_without_a_listener_is_undelivered() {
    let restart = format!("restart {} refuse", BEAT.len());
    heartbeat(&restart, &[])
        .reports(4, "peer_reset")
        .lost_what_lwip_did_not_receive()
        .refused(1);
}

fn a_stream_that_meets_a_restarted_lwip_is_undelivered() {
    send("restart 100000 sink", FILE, &[])
        .reports(4, "peer_reset")
        .lost_what_lwip_did_not_receive();
}

fn a_restart_while_finishing_is_peer_reset() {
    // The transmit buffer holds the whole file, so the command is finishing when
    // lwIP restarts.
    let done = send("restart 1 sink", 60_000, &["--tx-buffer", "64KiB"]);
    let done = done
        .reports(4, "peer_reset")
        .lost_what_lwip_did_not_receive();
    assert_eq!(done.report.number("accepted"), 60_000);
}
