//! The signals that request a program to end, as a descriptor that becomes readable.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::time::{Duration, Instant};

use nix::libc::{c_int, siginfo_t};
use nix::sys::signal::{SigSet, Signal};
use signal_hook::SigId;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM,
    SIGXCPU, SIGXFSZ,
};
use signal_hook::low_level::unregister;

/// Every signal that ends a program unless it is caught, except those that report a fault
/// of the program itself, and SIGPIPE.
const ENDING: [c_int; 12] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGIO, SIGVTALRM, SIGPROF,
    SIGXCPU, SIGXFSZ,
];

/// The time after the first signal when the program should have ended.
const OVERDUE: Duration = Duration::from_millis(1_400);

/// Catches the signals that request a program to end, until it is dropped:
/// SIGHUP, SIGINT, SIGQUIT, SIGTERM, and the others whose default action ends a
/// process (SIGUSR1, SIGALRM, SIGXCPU ...). Those that report a fault (SIGSEGV, SIGABRT
/// ...) are not caught, and neither is a SIGHUP that is already ignored (`nohup`).
///
/// A signal does not end the process. It makes this readable, which a
/// [`HostClock`](crate::host_clock::HostClock) can watch. SIGXFSZ counts only if another
/// process sent it: if a write of this process reaches the limit of file sizes, that
/// write fails with an error. After the drop the signals are ignored (their default
/// action is not restored), so keep it until the end of the program.
///
/// ```
/// use lastbyte_host::signals::Signals;
///
/// let mut signals = Signals::catch()?;
/// assert!(!signals.take());
/// signal_hook::low_level::raise(signal_hook::consts::SIGINT)?;
/// assert!(signals.take());
/// assert!(!signals.take());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Signals {
    pipe: UnixStream,
    registered: Vec<SigId>,
    first_at: Option<Instant>,
}

impl Signals {
    /// Starts catching.
    ///
    /// # Errors
    ///
    /// The process has no descriptors left.
    pub fn catch() -> io::Result<Self> {
        let (pipe, caught) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        caught.set_nonblocking(true)?;
        let mut signals = Self {
            pipe,
            registered: Vec::new(),
            first_at: None,
        };
        let ignored = ignored_at_start();
        // A process inherits the blocked signals of its parent.
        let mut mask = SigSet::empty();
        for signal in ENDING {
            if signal == SIGHUP && ignored & bit(SIGHUP) != 0 {
                continue;
            }
            signals
                .registered
                .push(register(signal, caught.try_clone()?)?);
            if let Ok(signal) = Signal::try_from(signal) {
                mask.add(signal);
            }
        }
        mask.thread_unblock()?;
        Ok(signals)
    }

    /// Whether a signal arrived since the last call.
    pub fn take(&mut self) -> bool {
        let mut arrived = false;
        // The pipe is bounded, and a burst of signals shares its bytes.
        let mut bytes = [0; 64];
        while matches!(self.pipe.read(&mut bytes), Ok(1..)) {
            arrived = true;
        }
        if arrived {
            self.first_at.get_or_insert_with(Instant::now);
        }
        arrived
    }

    /// Whether a signal has ever arrived.
    pub fn have_arrived(&mut self) -> bool {
        self.take();
        self.first_at.is_some()
    }

    /// Whether a signal arrived so long ago that the program should have ended: it should
    /// not wait for anything any more.
    pub fn are_overdue(&mut self) -> bool {
        self.take();
        self.first_at.is_some_and(|at| at.elapsed() >= OVERDUE)
    }
}

#[expect(unsafe_code, reason = "a signal handler may do next to nothing")]
fn register(signal: c_int, pipe: UnixStream) -> io::Result<SigId> {
    let notify = move |info: &siginfo_t| {
        // SAFETY: the kernel filled in the sender of a signal, and for the
        // limit of file sizes it is this process (`send_sig` in the kernel).
        let sender = unsafe { info.si_pid() };
        let is_own_limit = signal == SIGXFSZ && u32::try_from(sender) == Ok(process::id());
        if !is_own_limit {
            // A full pipe also shows that there was a signal.
            let _ = (&pipe).write(b".");
        }
    };
    // SAFETY: the action makes two system calls that are allowed in a signal
    // handler (getpid, write), and neither allocates nor locks.
    unsafe { signal_hook_registry::register_sigaction(signal, notify) }
}

const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

/// The signals that this process ignores, one bit each.
fn ignored_at_start() -> u64 {
    procfs::process::Process::myself()
        .and_then(|process| process.status())
        .map_or(0, |status| status.sigign)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_clock::HostClock;
    use lastbyte::Clock;
    use signal_hook::low_level::raise;
    use std::time::Duration;

    #[test]
    fn each_signal_ends_a_wait_and_is_reported_once() {
        let mut signals = Signals::catch().unwrap();
        let mut clock = HostClock::new();
        let watch = clock.watch(&signals).unwrap();
        for signal in ENDING {
            if signal == SIGHUP && ignored_at_start() & bit(SIGHUP) != 0 {
                continue;
            }
            raise(signal).unwrap();
            // The signal of the file size limit, sent by the process itself.
            if signal == SIGXFSZ {
                assert!(!signals.take());
                continue;
            }
            clock.wait(None);
            assert!(clock.is_ready(watch), "signal {signal}");
            assert!(signals.take());
            assert!(!signals.take());
            let soon = clock.now() + Duration::from_millis(5);
            clock.wait(Some(soon));
            assert!(!clock.is_ready(watch), "no wake-up without a signal");
        }
        assert!(signals.have_arrived());
    }
}
