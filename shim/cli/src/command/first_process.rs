//! The first process of a peer's PID namespace.
//!
//! `--peer` starts this command once more, as process 1 of a new PID namespace,
//! and that starts the shell. When process 1 ends, the kernel kills every other
//! process of the namespace; and it ends as soon as the other end of its standard
//! input is closed. So nothing of a peer outlives the command, even if the command
//! is killed, and no other program has to look for processes.
//!
//! Its standard input is the socket between the two: `News` in one direction, `Order`s in
//! the other.

use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use lastbyte::Clock;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::SIGCHLD;
use signal_hook::low_level::pipe;

use super::exit::Failure;
use lastbyte_host::host_clock::HostClock;

/// The name of this hidden subcommand.
pub const NAME: &str = "peer-process-1";

/// What process 1 reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The shell runs.
    Started,
    /// There is no shell; the system's error number is the reason.
    Failed(i32),
    /// The shell has ended; what it started may still run.
    ShellEnded(ExitStatus),
}

impl News {
    pub(super) const LEN: usize = 8;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let (kind, value) = match self {
            Self::Started => (0_i32, 0),
            Self::Failed(errno) => (1, errno),
            Self::ShellEnded(status) => (2, status.into_raw()),
        };
        let mut bytes = [0; Self::LEN];
        let (first, second) = bytes.split_at_mut(Self::LEN / 2);
        first.copy_from_slice(&kind.to_ne_bytes());
        second.copy_from_slice(&value.to_ne_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; Self::LEN]) -> Option<Self> {
        let [k0, k1, k2, k3, v0, v1, v2, v3] = bytes;
        let value = i32::from_ne_bytes([v0, v1, v2, v3]);
        match i32::from_ne_bytes([k0, k1, k2, k3]) {
            0 => Some(Self::Started),
            1 => Some(Self::Failed(value)),
            2 => Some(Self::ShellEnded(ExitStatus::from_raw(value))),
            _ => None,
        }
    }
}

/// What process 1 is ordered to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    /// Close the standard input of the peer.
    EndInput = b'i',
    /// End every process (SIGTERM).
    Terminate = b't',
}

/// Runs `command` in a shell, and runs until the last process, or the command that started
/// this one, has ended.
///
/// # Errors
///
/// This process is not process 1.
pub fn run(command: &str) -> Result<u8, Failure> {
    if Pid::this() != Pid::from_raw(1) {
        return Err(Failure::usage(format!(
            "{NAME} is a part of --peer; it does nothing by itself"
        )));
    }
    // The name that `ps` and `top` show.
    let _ = prctl::set_name(c"lastbyte-peer");
    show_own_processes();
    let failed = |error: io::Error| Failure::other(format!("starting the peer: {error}"));
    let control = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let mut control = UnixStream::from(control);
    let (input, kept_open) = io::pipe().map_err(failed)?;
    // A process inherits the blocked signals of its parent.
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_unblock()
        .map_err(|error| failed(error.into()))?;
    // Registered before anything can end.
    let (children, caught) = UnixStream::pair().map_err(failed)?;
    pipe::register(SIGCHLD, caught).map_err(failed)?;
    let shell = Command::new("sh")
        .args(["-c", command])
        .stdin(input)
        .spawn();
    let news = match &shell {
        Ok(_) => News::Started,
        Err(error) => News::Failed(error.raw_os_error().unwrap_or(0)),
    };
    let _ = control.write_all(&news.to_bytes());
    let shell = shell.map_err(failed)?;
    let shell = Pid::from_raw(shell.id().try_into().unwrap_or_default());
    watch_over(shell, control, &children, kept_open).map_err(failed)
}

/// Mounts a procfs with the peer's own processes, so that `ps` and `pkill` work as
/// expected. Some containers do not permit it; then these show the processes outside, and
/// everything else works.
fn show_own_processes() {
    let nothing = None::<&str>;
    let apart = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    let _ = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(nothing, "/", nothing, apart, nothing))
        .and_then(|()| {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("proc"), "/proc", Some("proc"), flags, nothing)
        });
}

fn watch_over(
    shell: Pid,
    mut control: UnixStream,
    mut children: &UnixStream,
    kept_open: PipeWriter,
) -> io::Result<u8> {
    control.set_nonblocking(true)?;
    children.set_nonblocking(true)?;
    let mut kept_open = Some(kept_open);
    let mut clock = HostClock::new();
    clock.watch(&control)?;
    clock.watch(children)?;
    let mut code = 0;
    loop {
        let mut bytes = [0; 64];
        while matches!(children.read(&mut bytes), Ok(1..)) {}
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                // No process is left.
                Err(Errno::ECHILD) => return Ok(code),
                Ok(ended) if ended.pid() == Some(shell) => {
                    let status = raw_status(ended);
                    code = exit_code(status);
                    let _ = control.write_all(&News::ShellEnded(status).to_bytes());
                }
                Ok(_) | Err(_) => {}
            }
        }
        loop {
            let mut order = [0];
            match control.read(&mut order) {
                // The command has ended. When this process ends, all others end too.
                Ok(0) => return Ok(code),
                Ok(_) if order == [Order::EndInput as u8] => drop(kept_open.take()),
                Ok(_) if order == [Order::Terminate as u8] => {
                    let every_process = Pid::from_raw(-1);
                    let _ = kill(every_process, Signal::SIGTERM);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        clock.wait(None);
    }
}

/// The status from wait(2).
fn raw_status(ended: WaitStatus) -> ExitStatus {
    ExitStatus::from_raw(match ended {
        WaitStatus::Exited(_, code) => code << 8,
        WaitStatus::Signaled(_, signal, _) => signal as i32,
        _ => 0,
    })
}

/// The exit code that a shell would return.
fn exit_code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, signal) => 128 + signal.unwrap_or(0),
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_arrive_as_they_were_sent() {
        let killed = ExitStatus::from_raw(9);
        for news in [News::Started, News::Failed(12), News::ShellEnded(killed)] {
            assert_eq!(News::from_bytes(news.to_bytes()), Some(news));
        }
        assert_eq!(News::from_bytes([9; News::LEN]), None);
    }

    #[test]
    fn only_process_1_runs_a_peer() {
        assert!(matches!(run("true"), Err(Failure::Usage(_))));
    }
}
