//! SIGINT and SIGTERM as a descriptor that becomes readable.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

/// Catches SIGINT and SIGTERM for as long as it lives.
///
/// A signal no longer ends the process; it makes this readable, which a
/// [`HostClock`](crate::host_clock::HostClock) can watch. After the drop the
/// two signals are ignored (their default action does not come back), so keep
/// it until the end of the program.
///
/// ```
/// use lastbyte_shim::signals::Signals;
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
        let mut signals = Self {
            pipe,
            registered: Vec::new(),
        };
        for signal in [SIGINT, SIGTERM] {
            let id = pipe::register(signal, caught.try_clone()?)?;
            signals.registered.push(id);
        }
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
        arrived
    }
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
    fn both_signals_end_a_wait_and_are_taken_once() {
        let mut signals = Signals::catch().unwrap();
        let mut clock = HostClock::new();
        let watch = clock.watch(&signals).unwrap();
        for signal in [SIGINT, SIGTERM] {
            raise(signal).unwrap();
            clock.wait(None);
            assert!(clock.is_ready(watch));
            assert!(signals.take());
            assert!(!signals.take());
            let soon = clock.now() + Duration::from_millis(5);
            clock.wait(Some(soon));
            assert!(!clock.is_ready(watch), "no wake-up without a signal");
        }
    }
}
