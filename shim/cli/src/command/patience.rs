//! Work that may take long, and that a signal can interrupt.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use lastbyte::Clock;

use super::exit::Failure;
use lastbyte_host::host_clock::HostClock;
use lastbyte_host::signals::Signals;

/// Does `work` on a separate thread, and waits for it or for a signal. `doing` describes
/// it in errors.
///
/// When it returns, the process has as many threads as before, unless there was a signal:
/// only a process with one thread can enter a user namespace.
///
/// # Errors
///
/// [`Failure::Interrupted`] if there was a signal first, [`Failure::Other`] if no thread
/// can be started.
pub fn patiently<T: Send + 'static>(
    signals: &mut Signals,
    doing: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let broken = |error: io::Error| Failure::other(format!("{doing}: {error}"));
    let (done, mut worker_end) = UnixStream::pair().map_err(broken)?;
    let mut clock = HostClock::new();
    let is_done = clock.watch(&done).map_err(broken)?;
    clock.watch(signals).map_err(broken)?;
    let worker = thread::Builder::new().spawn(move || {
        let outcome = work();
        // If this fails, the end of the pipe has the same effect.
        let _ = worker_end.write_all(b".");
        outcome
    });
    let worker = worker.map_err(broken)?;
    while !clock.is_ready(is_done) {
        clock.wait(None);
        if signals.take() {
            return Err(Failure::Interrupted);
        }
    }
    worker
        .join()
        .map_err(|_| Failure::other(format!("{doing} failed")))
}
