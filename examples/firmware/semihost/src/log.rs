//! The output for logs: `defmt` frames to the host's standard output.
//!
//! The host may stop reading, as with a stopped terminal (Ctrl-S) or a full pipe. The board
//! continues: a frame without room is dropped, dropped frames are counted, and the log
//! reports their number in their place. Frames are only written completely, so that no
//! other one is damaged. A chip with RTT or a UART needs the same decision: a logger that
//! waits stops the connection together with the log.
//!
//! A panic inside a log line happens while the logger is in use: [`seize`] discards the
//! unfinished frame, and gives the logger to the panic handler.

use core::cell::UnsafeCell;
use critical_section::RestoreState;
use defmt::Encoder;
use semihosting::io::{Stdout, Write, stdout};

/// The size of the buffer for what the host has not yet read, in octets. A longer frame is
/// dropped.
const ROOM: usize = 1024;

/// How often writing is tried at the end of a run, for a host that reads slowly.
const LAST_OFFERS: u32 = 50_000;

static LOG: Shared = Shared(UnsafeCell::new(Log::new()));

/// Not a `RefCell`: a stack overflow most likely happens in the middle of a log line, and
/// the log must not be borrowed when it is reported.
struct Shared(UnsafeCell<Log>);

// SAFETY: only `with` accesses the log.
unsafe impl Sync for Shared {}

struct Log {
    encoder: Encoder,
    host: Option<Stdout>,
    out: [u8; ROOM],
    /// How much of `out` the host has read.
    taken: usize,
    /// The offset in `out` where the unfinished frame begins.
    start: usize,
    /// The offset where it ends so far.
    end: usize,
    /// Whether the unfinished frame does not fit, or must not be written.
    is_cut: bool,
    /// How many lines are in progress: one, unless the formatting of one writes another.
    depth: u32,
    /// How many lines are missing here.
    missing: u32,
    restore: RestoreState,
}

impl Log {
    const fn new() -> Self {
        Self {
            encoder: Encoder::new(),
            host: None,
            out: [0; ROOM],
            taken: 0,
            start: 0,
            end: 0,
            is_cut: false,
            depth: 0,
            missing: 0,
            restore: RestoreState::invalid(),
        }
    }

    /// Appends a part of the frame from the encoder.
    fn push(&mut self, encode: impl FnOnce(&mut Encoder, &mut dyn FnMut(&[u8]))) {
        let Self {
            encoder,
            out,
            end,
            is_cut,
            ..
        } = self;
        encode(encoder, &mut |octets| {
            let room = out.get_mut(*end..).unwrap_or_default();
            match room.get_mut(..octets.len()) {
                Some(room) => {
                    room.copy_from_slice(octets);
                    *end += octets.len();
                }
                None => *is_cut = true,
            }
        });
    }

    fn start_frame(&mut self) {
        self.start = self.end;
        // Missing lines are reported first: no later line may come before the report.
        self.is_cut = self.missing > 0;
        self.push(|encoder, out| encoder.start_frame(out));
    }

    fn end_frame(&mut self) {
        self.push(|encoder, out| encoder.end_frame(out));
        if self.is_cut {
            self.end = self.start;
            self.missing = self.missing.saturating_add(1);
        }
        self.start = self.end;
        self.offer();
    }

    /// Writes finished frames to the host, as much as it accepts at once.
    fn offer(&mut self) {
        if self.host.is_none() {
            self.host = stdout().ok();
        }
        let octets = self.out.get(self.taken..self.start).unwrap_or_default();
        if let (Some(host), false) = (&mut self.host, octets.is_empty()) {
            self.taken += host.write(octets).unwrap_or(0).min(octets.len());
        }
        if self.taken >= self.start && self.start == self.end {
            (self.taken, self.start, self.end) = (0, 0, 0);
        }
    }

    /// How many lines are missing, if there is room for the report.
    fn take_missing(&mut self) -> Option<u32> {
        let is_due = self.missing > 0 && self.end == 0;
        is_due.then(|| core::mem::take(&mut self.missing))
    }
}

/// Runs `operation` on the log, with interrupts off. It must not call this again.
fn with<T>(operation: impl FnOnce(&mut Log) -> T) -> T {
    critical_section::with(|_| {
        // SAFETY: nothing else runs on the only core, except the handler of a fault or a
        // panic in the middle of the operation, which never returns to it.
        operation(unsafe { &mut *LOG.0.get() })
    })
}

/// Reports missing lines, before any other line.
fn report_missing() {
    let missing = with(|log| {
        log.offer();
        log.take_missing()
    });
    if let Some(missing) = missing {
        // Printed without a level, so that no level filter drops it.
        defmt::println!("{} lines of the log are missing here", missing);
    }
}

/// Takes the logger from a line that will not be finished, wherever it was interrupted.
pub fn seize() {
    with(|log| {
        log.encoder = Encoder::new();
        log.end = log.start;
        log.taken = log.taken.min(log.end);
        log.depth = 0;
    });
}

/// Waits for a host that reads slowly, for a bounded time.
pub fn flush() {
    for _ in 0..LAST_OFFERS {
        report_missing();
        if with(|log| log.end == 0) {
            return;
        }
    }
}

#[defmt::global_logger]
struct Logger;

// SAFETY: a line is made with interrupts off, on the only core, and a second one within it
// is counted and dropped.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        if with(|log| log.depth == 0) {
            report_missing();
        }
        // SAFETY: released in `release`, which `defmt` calls once for each call of this.
        let restore = unsafe { critical_section::acquire() };
        with(|log| {
            log.depth = log.depth.saturating_add(1);
            if log.depth == 1 {
                log.restore = restore;
                log.start_frame();
            }
        });
    }

    unsafe fn flush() {
        flush();
    }

    unsafe fn release() {
        let restore = with(|log| {
            log.depth = log.depth.saturating_sub(1);
            if log.depth > 0 {
                log.missing = log.missing.saturating_add(1);
                return None;
            }
            log.end_frame();
            Some(log.restore)
        });
        if let Some(restore) = restore {
            // SAFETY: the state is from the `acquire` of this line.
            unsafe { critical_section::release(restore) }
        }
    }

    unsafe fn write(octets: &[u8]) {
        with(|log| {
            if log.depth == 1 {
                log.push(|encoder, out| encoder.write(octets, out));
            }
        });
    }
}
