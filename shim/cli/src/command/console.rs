//! Messages on stderr.
//!
//! The state of stderr cannot disturb a run: it may be full, closed, a pipe without a
//! reader, or a stopped terminal. So messages are queued here, and a thread writes them.
//! If the queue is full, lines are dropped and counted.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};

use super::background::Background;
use super::locale;

/// The maximum number of bytes that wait to be written.
const MOST: usize = 256 * 1024;
/// With more than this waiting, other output should wait if it can.
const PLENTY: usize = 16 * 1024;
/// How long the end of the program waits for a stderr that accepts nothing.
const PATIENCE: Duration = Duration::from_millis(300);

static CONSOLE: LazyLock<Background> = LazyLock::new(|| Background::new(MOST));
static LINES_LOST: AtomicUsize = AtomicUsize::new(0);

/// Starts the thread. Until then messages are queued: a process with more than one thread
/// cannot enter a user namespace.
pub(super) fn start() {
    // Without a thread, the end of the program writes the queue.
    let _ = CONSOLE.start(stderr);
}

fn stderr() -> io::Result<File> {
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}

/// Prints a line, with colours for a terminal.
pub(super) fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// Prints `text`, with colours for a terminal.
pub(super) fn print(text: &str) {
    let text = &locale::shown(text);
    if AutoStream::choice(&io::stderr()) == ColorChoice::Never {
        write(&strip_str(text).to_string());
    } else {
        write(text);
    }
}

/// Prints `text` unchanged.
pub(super) fn write(text: &str) {
    let lost = LINES_LOST.swap(0, Ordering::Relaxed);
    let said = if lost == 0 {
        CONSOLE.push(text.as_bytes())
    } else {
        let gap = format!("lastbyte: {lost} lines are missing here: stderr took nothing\n");
        CONSOLE.push([gap.as_bytes(), text.as_bytes()].concat().as_slice())
    };
    if said.is_err() {
        let lines = text.lines().count();
        LINES_LOST.fetch_add(lost + lines, Ordering::Relaxed);
    }
}

/// Whether stderr keeps up with the messages.
pub(super) fn keeps_up() -> bool {
    CONSOLE.waiting() < PLENTY
}

/// Waits until everything is written, but not for a stderr that accepts nothing.
pub(super) fn finish() {
    if CONSOLE.waiting() == 0 {
        return;
    }
    // A message that cannot be written is dropped: the exit code still reports the result.
    let _ = match (CONSOLE.start(stderr), stderr()) {
        (Err(_), Ok(stderr)) => CONSOLE.write_here(&stderr, PATIENCE),
        _ => CONSOLE.drain(PATIENCE, || false),
    };
}
