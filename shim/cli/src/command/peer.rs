//! `--peer 'CMD'`: the peer's processes in the private network.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant as HostInstant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;

use super::exit::{self, Failure};
use super::first_process::{self, News, Order};
use super::{console, work};
use lastbyte_host::namespace::{ListenError, Namespace};
use lastbyte_host::signals::Signals;

/// How often to check for a signal while waiting for the peer.
const SLICE: Duration = Duration::from_millis(50);
/// How long a peer may take to end after SIGTERM.
const TERM_LIMIT: Duration = Duration::from_millis(300);
/// How long the kernel may take to end a killed peer. Only a process in an
/// uninterruptible operation takes longer.
const KILL_LIMIT: Duration = Duration::from_millis(200);
/// How long the first process may take to report its start.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The maximum length, in bytes, of a line of its output that is shown as one.
const LONGEST_LINE: usize = 4096;
/// The maximum number of bytes of its output that are read at a time.
const PIECE: usize = 4096;
/// How often a process that has to end is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The peer's processes. None of them outlives this.
#[derive(Debug)]
pub struct Peer {
    /// Process 1 of their PID namespace. All of them end with it.
    first: Child,
    control: UnixStream,
    /// Their output, if it must not mix with a progress line.
    output: Option<Output>,
    namespace: Namespace,
    is_quiet: bool,
    /// Whether the shell was started; otherwise the error number.
    start: Option<Result<(), i32>>,
    /// How the shell has ended.
    shell: Option<ExitStatus>,
    /// How process 1, and with it all others, has ended.
    all: Option<ExitStatus>,
    /// Whether SIGTERM was sent while its shell ran.
    was_terminated: bool,
}

/// The state of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Its shell runs.
    Runs,
    /// Its shell has ended, and processes that it started still run.
    LeftMore(ExitStatus),
    /// All of its processes have ended.
    Ended(ExitStatus),
}

/// How the peer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ended by itself, successfully.
    Finished,
    /// It ended by itself, with another exit code or by a signal.
    Failed,
    /// It had to be terminated: its remaining work was not done.
    Terminated,
}

impl Outcome {
    /// The name in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Terminated => "terminated",
        }
    }
}

impl Peer {
    /// Starts `command` in the namespace of this thread. Its output goes to our stderr;
    /// through us, line by line, if `is_by_line`. Its standard input stays open and
    /// silent until [`end_input`](Self::end_input).
    ///
    /// # Errors
    ///
    /// There is no shell to run it, or no process can be started.
    pub fn start(
        command: &str,
        namespace: Namespace,
        is_quiet: bool,
        is_by_line: bool,
        signals: &mut Signals,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::other(format!("starting the peer: {error}"));
        let (control, theirs) = UnixStream::pair().map_err(failed)?;
        control.set_nonblocking(true).map_err(failed)?;
        // The link refers to this program even if its file was replaced.
        let mut first = Command::new("/proc/self/exe");
        first
            .arg0("lastbyte")
            .args([first_process::NAME, "--", command])
            .stdin(OwnedFd::from(theirs))
            // A process group of its own: Ctrl-C is for us.
            .process_group(0);
        let output = if is_by_line {
            let (output, input) = Output::new().map_err(failed)?;
            first.stdout(input.try_clone().map_err(failed)?);
            first.stderr(input);
            Some(output)
        } else {
            // Our stdout is for the report.
            let stderr = io::stderr().as_fd().try_clone_to_owned();
            first.stdout(stderr.map_err(failed)?);
            None
        };
        let child = namespace
            .spawn_first(&mut first)
            .map_err(|error| Failure::other(format!("starting the peer: {error}")))?;
        // It holds our ends of the output, which would otherwise never end.
        drop(first);
        let mut peer = Self {
            first: child,
            control,
            output,
            namespace,
            is_quiet,
            start: None,
            shell: None,
            all: None,
            was_terminated: false,
        };
        peer.wait_started(signals)?;
        Ok(peer)
    }

    fn wait_started(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        let start = HostInstant::now();
        loop {
            let life = self.life();
            match self.start {
                Some(Ok(())) => return Ok(()),
                Some(Err(errno)) => {
                    let error = io::Error::from_raw_os_error(errno);
                    return Err(Failure::other(format!("starting the peer's sh: {error}")));
                }
                None => {}
            }
            if signals.have_arrived() {
                return Err(Failure::Interrupted);
            }
            if let Life::Ended(status) = life {
                let how = describe(status);
                return Err(Failure::other(format!("starting the peer: {how}")));
            }
            if start.elapsed() >= START_LIMIT {
                return Err(Failure::other(format!(
                    "the peer did not start within {START_LIMIT:?}"
                )));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Processes all reports of process 1.
    fn take_in_news(&mut self) {
        let mut bytes = [0; News::LEN];
        while let Ok(News::LEN) = self.control.read(&mut bytes) {
            match News::from_bytes(bytes) {
                Some(News::Started) => self.start = Some(Ok(())),
                Some(News::Failed(errno)) => self.start = Some(Err(errno)),
                Some(News::ShellEnded(status)) => self.shell = Some(status),
                None => {}
            }
        }
    }

    /// The descriptor to watch for [`show_output`](Self::show_output).
    #[must_use]
    pub fn to_watch(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(|output| output.pipe.as_fd())
    }

    /// Shows some of the peer's output. Returns whether there may ever be more.
    pub fn show_output(&mut self, show: impl FnMut(&str)) -> bool {
        self.output.as_mut().is_some_and(|output| output.show(show))
    }

    /// Waits until the peer listens on `wanted`. If it does not within `limit`, prints a
    /// message, and the caller connects anyway and is refused.
    ///
    /// # Errors
    ///
    /// [`Failure::Interrupted`].
    pub fn wait_listening(
        &mut self,
        wanted: SocketAddr,
        limit: Duration,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        let start = HostInstant::now();
        loop {
            let life = self.life();
            let slice = SLICE.min(limit.saturating_sub(start.elapsed()));
            let waited = self.namespace.wait_listening(wanted, None, slice);
            if signals.have_arrived() {
                return Err(Failure::Interrupted);
            }
            self.show_output(console::line);
            let is_over = start.elapsed() >= limit;
            let problem = match waited {
                Ok(()) => return Ok(()),
                Err(error) => match (life, error) {
                    // No process is left that could listen.
                    (Life::Ended(status), _) => ListenError::PeerEnded { wanted, status },
                    (_, ListenError::TimedOut { .. }) if is_over => {
                        ListenError::TimedOut { wanted, limit }
                    }
                    (_, ListenError::TimedOut { .. } | ListenError::Elsewhere { .. })
                        if !is_over =>
                    {
                        continue;
                    }
                    (_, error) => error,
                },
            };
            let remedy = match problem {
                ListenError::TimedOut { .. } => " (--listen-wait gives it more time)",
                _ => "",
            };
            self.say(&format!("{problem}{remedy}; connecting anyway"));
            return Ok(());
        }
    }

    /// Its state.
    pub fn life(&mut self) -> Life {
        if self.all.is_none() {
            // In this order: its last output comes before its end.
            self.all = self.first.try_wait().ok().flatten();
            self.take_in_news();
        }
        match (self.shell, self.all) {
            (shell, Some(first)) => Life::Ended(shell.unwrap_or(first)),
            (Some(status), None) => Life::LeftMore(status),
            (None, None) => Life::Runs,
        }
    }

    /// The work that it has done so far.
    #[must_use]
    pub fn work(&self) -> work::Work {
        work::Work::of_this_network(self.first.id())
    }

    /// Closes the standard input of the peer.
    pub fn end_input(&mut self) {
        self.order(Order::EndInput);
    }

    /// Sends it SIGTERM, without waiting.
    pub fn terminate(&mut self) {
        self.was_terminated |= self.life() == Life::Runs;
        self.order(Order::Terminate);
    }

    fn order(&mut self, order: Order) {
        // It fails if the peer has ended.
        let _ = self.control.write(&[order as u8]);
    }

    /// Ends what is left of the peer after its grace time. Shows the rest of its output,
    /// and prints how it ended if that was not a success.
    pub fn end(mut self, is_interrupted: bool, show: impl FnMut(&str)) -> Outcome {
        let life = self.life();
        let outcome = match life {
            _ if self.was_terminated => Outcome::Terminated,
            Life::Ended(status) if status.success() => Outcome::Finished,
            Life::Ended(_) => Outcome::Failed,
            // A process that a shell leaves in the background may run without end. It is
            // terminated too, unless it still has bytes of ours to read.
            Life::LeftMore(_) if self.work().unread > 0 => Outcome::Terminated,
            Life::LeftMore(status) if status.success() => Outcome::Finished,
            Life::LeftMore(_) => Outcome::Failed,
            Life::Runs => Outcome::Terminated,
        };
        match (life, outcome) {
            (Life::Ended(status) | Life::LeftMore(status), Outcome::Failed) => {
                self.say(&format!("the peer ended with {}", describe(status)));
            }
            (_, Outcome::Terminated) if !is_interrupted => exit::error(
                "the peer did not end, made no more progress, and was terminated: what it had not \
                 done by then is lost. --peer-grace gives it more time",
            ),
            (Life::LeftMore(_), Outcome::Finished) if !is_interrupted => {
                self.say("the peer has ended; its background processes are terminated now");
            }
            _ => {}
        }
        self.kill();
        let mut show = show;
        // The capacity of a pipe.
        for _ in 0..=(1024 * 1024 / PIECE) {
            if !self.show_output(&mut show) {
                break;
            }
        }
        outcome
    }

    fn say(&self, message: &str) {
        if !self.is_quiet {
            exit::note(message);
        }
    }

    /// Ends all processes: with SIGTERM, then with SIGKILL.
    fn kill(&mut self) {
        if matches!(self.life(), Life::Ended(_)) {
            return;
        }
        self.terminate();
        if !self.has_ended_within(TERM_LIMIT) {
            let _ = self.first.kill();
            let _ = self.has_ended_within(KILL_LIMIT);
        }
    }

    fn has_ended_within(&mut self, limit: Duration) -> bool {
        let start = HostInstant::now();
        loop {
            match self.life() {
                Life::Ended(_) => return true,
                Life::Runs | Life::LeftMore(_) if start.elapsed() >= limit => return false,
                Life::Runs | Life::LeftMore(_) => thread::sleep(POLL_INTERVAL),
            }
        }
    }
}

impl AsFd for Peer {
    /// Becomes readable when its shell ends, and when all processes have ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The output of a peer, in lines.
#[derive(Debug)]
struct Output {
    pipe: PipeReader,
    /// The beginning of an unfinished line.
    line: Vec<u8>,
}

impl Output {
    fn new() -> io::Result<(Self, PipeWriter)> {
        let (pipe, input) = io::pipe()?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let line = Vec::new();
        Ok((Self { pipe, line }, input))
    }

    /// Shows the complete lines of what has arrived, and at the end what is left. Returns
    /// whether there may be more.
    fn show(&mut self, mut show: impl FnMut(&str)) -> bool {
        let mut bytes = [0; PIECE];
        let is_open = match self.pipe.read(&mut bytes) {
            Ok(0) => false,
            Ok(read) => {
                self.line.extend(bytes.iter().take(read));
                true
            }
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ),
        };
        // Without a limit, an endless line would use unbounded memory.
        let is_long = self.line.len() > LONGEST_LINE;
        let end = self.line.iter().rposition(|&byte| byte == b'\n');
        if let Some(end) = end.or(is_long.then_some(self.line.len())) {
            let rest = self.line.split_off(self.line.len().min(end + 1));
            show(String::from_utf8_lossy(&self.line).trim_end_matches('\n'));
            self.line = rest;
        }
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
