//! Standard input and output as the program got them.
//!
//! Before `main`, the standard library opens `/dev/null` in place of each of the first
//! three descriptors that is closed. After that, a program cannot detect that it has no
//! input, or that a report is not read.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::libc;

use super::background::Background;
use lastbyte_host::signals::Signals;

static STDIN_WAS_CLOSED: AtomicBool = AtomicBool::new(false);
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Records which of them are closed. It runs before the standard library does
/// (`.init_array`), where almost nothing may be called.
#[expect(unsafe_code, reason = "no descriptor is known to be open yet")]
pub extern "C" fn note_closed() {
    for (fd, was_closed) in [(0, &STDIN_WAS_CLOSED), (1, &STDOUT_WAS_CLOSED)] {
        // SAFETY: a query about a number; it fails if no descriptor has it.
        let is_closed = unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1;
        was_closed.store(is_closed, Ordering::Relaxed);
    }
}

/// Whether there is a standard input.
pub(super) fn has_stdin() -> bool {
    !STDIN_WAS_CLOSED.load(Ordering::Relaxed)
}

/// Whether there is a standard output.
pub(super) fn has_stdout() -> bool {
    !STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

/// A descriptor of standard output; an error if it is closed.
pub(super) fn stdout() -> io::Result<File> {
    if !has_stdout() {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Prints `text` on stdout, however long that takes, unless a signal ends the program.
///
/// # Errors
///
/// stdout cannot be written.
pub(super) fn print(text: &str, mut signals: Option<&mut Signals>) -> io::Result<()> {
    let out = Background::new(text.len());
    out.push(text.as_bytes())?;
    if out.start(stdout).is_err() {
        // No thread can be started: this blocks only the caller.
        return out.write_here(&stdout()?, Duration::MAX);
    }
    let is_overdue = || {
        signals
            .as_mut()
            .is_some_and(|signals| signals.are_overdue())
    };
    out.drain(Duration::MAX, is_overdue)
}
