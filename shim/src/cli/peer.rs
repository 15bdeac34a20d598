//! `--peer 'CMD'`: the peer's process in the private network.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant as HostInstant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::exit::{self, Failure};
use crate::namespace::{ListenError, Namespace};
use crate::signals::Signals;

/// How long the peer gets to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(5);
/// How often a signal is looked for meanwhile.
const LISTEN_SLICE: Duration = Duration::from_millis(50);
/// How long a peer that was asked to end gets to do so.
const TERM_LIMIT: Duration = Duration::from_millis(500);
/// What the longest line of its output is, in bytes, that is shown in one.
const LONGEST_LINE: usize = 4096;
/// How often a process is looked at that is to end.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The peer's process, and whatever it has started. None of it outlives this.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    /// What it prints, where that must not run into a progress line.
    output: Option<Output>,
    namespace: Namespace,
    is_quiet: bool,
    has_ended: bool,
}

impl Peer {
    /// Starts `command` in the namespace this thread is in. What it prints
    /// goes to our stderr; through us, line by line, if `is_by_line`.
    ///
    /// # Errors
    ///
    /// There is no shell to run it.
    pub fn start(
        command: &str,
        namespace: Namespace,
        is_quiet: bool,
        is_by_line: bool,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::other(format!("starting the peer: {error}"));
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .stdin(Stdio::null())
            // A group of its own: Ctrl-C is for us, and all of it can be ended.
            .process_group(0);
        let output = if is_by_line {
            let (output, input) = Output::new().map_err(failed)?;
            shell.stdout(input.try_clone().map_err(failed)?);
            shell.stderr(input);
            Some(output)
        } else {
            // Our stdout belongs to the report.
            let stderr = io::stderr().as_fd().try_clone_to_owned();
            shell.stdout(stderr.map_err(failed)?);
            None
        };
        Ok(Self {
            child: shell.spawn().map_err(failed)?,
            output,
            namespace,
            is_quiet,
            has_ended: false,
        })
    }

    /// What has to be watched for the sake of [`show_output`](Self::show_output).
    #[must_use]
    pub fn to_watch(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(|output| output.pipe.as_fd())
    }

    /// Hands on what the peer has printed; returns whether there may be more,
    /// ever.
    pub fn show_output(&mut self, show: impl FnMut(&str)) -> bool {
        self.output.as_mut().is_some_and(|output| output.show(show))
    }

    /// Waits until the peer listens on `wanted`. If it does not, that is said,
    /// and the caller connects all the same: it will see a refusal.
    ///
    /// # Errors
    ///
    /// [`Failure::Interrupted`].
    pub fn wait_listening(
        &mut self,
        wanted: SocketAddr,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        let start = HostInstant::now();
        loop {
            // Once the shell has ended, what it left behind may still listen.
            let child = (!self.has_left_more()).then_some(&mut self.child);
            let waited = self.namespace.wait_listening(wanted, child, LISTEN_SLICE);
            if signals.take() {
                return Err(Failure::Interrupted);
            }
            let is_over = start.elapsed() >= LISTEN_LIMIT;
            match waited {
                Ok(()) => return Ok(()),
                Err(ListenError::TimedOut { .. } | ListenError::Elsewhere { .. }) if !is_over => {}
                Err(ListenError::TimedOut { wanted, .. }) => {
                    self.say(&format!(
                        "nothing listens on {wanted} after {LISTEN_LIMIT:?}; connecting all the same"
                    ));
                    return Ok(());
                }
                Err(error) => {
                    self.say(&format!("{error}; connecting all the same"));
                    return Ok(());
                }
            }
        }
    }

    /// How the peer ended, once it has.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        self.has_ended |= status.is_some();
        status
    }

    /// Whether the shell has ended and left processes behind.
    fn has_left_more(&mut self) -> bool {
        self.try_wait().is_some() && !self.others().is_empty()
    }

    /// Ends what is left of the peer. Says how it ended if that was not with
    /// success, and that it did not, unless `is_expected`.
    pub fn end(mut self, is_expected: bool, show: impl FnMut(&str)) {
        match self.try_wait() {
            Some(status) if status.success() => {}
            Some(status) => self.say(&format!("the peer ended with {}", describe(status))),
            None if is_expected => {}
            None => self.say("the peer is still running; terminating it"),
        }
        self.terminate();
        self.show_output(show);
    }

    fn say(&self, message: &str) {
        if !self.is_quiet {
            exit::note(message);
        }
    }

    fn terminate(&mut self) {
        if self.try_wait().is_none()
            && let Ok(pid) = i32::try_from(self.child.id())
        {
            let group = Pid::from_raw(pid);
            // The child is not reaped yet, so its group is still its own.
            let _ = killpg(group, Signal::SIGTERM);
            let start = HostInstant::now();
            while self.try_wait().is_none() {
                if start.elapsed() >= TERM_LIMIT {
                    let _ = killpg(group, Signal::SIGKILL);
                    let _ = self.child.wait();
                    self.has_ended = true;
                    break;
                }
                thread::sleep(POLL_INTERVAL);
            }
        }
        // What left the group: daemons, jobs of a shell that has ended.
        for pid in self.others() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// The other processes in our network namespace. It is private: whoever is
    /// in it was started by the peer.
    fn others(&self) -> Vec<Pid> {
        let own = fs::read_link("/proc/thread-self/ns/net");
        let (Ok(own), Ok(processes)) = (own, fs::read_dir("/proc")) else {
            return Vec::new();
        };
        let us = Pid::this();
        processes
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .map(Pid::from_raw)
            .filter(|pid| *pid != us)
            .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| ns == own))
            .collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// What a peer prints, in lines.
#[derive(Debug)]
struct Output {
    pipe: PipeReader,
    /// The beginning of a line that has not ended yet.
    line: Vec<u8>,
}

impl Output {
    fn new() -> io::Result<(Self, PipeWriter)> {
        let (pipe, input) = io::pipe()?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let line = Vec::new();
        Ok((Self { pipe, line }, input))
    }

    /// Shows the lines that have arrived, and at the end what is left. Says
    /// whether the end is still to come.
    fn show(&mut self, mut show: impl FnMut(&str)) -> bool {
        let mut bytes = [0; 4096];
        let is_open = loop {
            match self.pipe.read(&mut bytes) {
                Ok(0) => break false,
                Ok(read) => self.line.extend(bytes.iter().take(read)),
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
            // Without a limit, an endless line would be kept for ever.
            let is_long = self.line.len() > LONGEST_LINE;
            let end = self.line.iter().rposition(|&byte| byte == b'\n');
            if let Some(end) = end.or(is_long.then_some(self.line.len())) {
                let rest = self.line.split_off(self.line.len().min(end + 1));
                show(String::from_utf8_lossy(&self.line).trim_end_matches('\n'));
                self.line = rest;
            }
        };
        if !is_open && !self.line.is_empty() {
            show(&String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
        is_open
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("{signal}"),
            Err(_) => format!("signal {signal}"),
        },
        (None, None) => "an unknown status".to_owned(),
    }
}
