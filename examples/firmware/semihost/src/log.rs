//! The way out for logs: `defmt` frames through the host's standard output.
//!
//! The host may stop reading, as with a terminal that is held (Ctrl-S) or a full pipe. The
//! board goes on: a frame for which there is no room is left out, those that are missing
//! are counted, and the log says how many, at the place where they are missing. Frames
//! leave as a whole, so that no other one is damaged. On a chip with RTT or a UART the same
//! has to be decided, and a logger that waits stops the connection with the log.
//!
//! A panic inside a log line finds the logger taken: [`seize`] gives it up, with the frame
//! that was being made, and the panic handler has it.

use core::cell::UnsafeCell;
use critical_section::RestoreState;
use defmt::Encoder;
use semihosting::io::{Stdout, Write, stdout};

/// What the host has not taken yet, in octets. A frame that is longer is left out.
const ROOM: usize = 1024;

/// How often a frame is offered at the end of a run, to a host that reads slowly.
const LAST_OFFERS: u32 = 50_000;

static LOG: Shared = Shared(UnsafeCell::new(Log::new()));

/// Not a `RefCell`: an overflow of the stack comes most likely in the midst of a log line,
/// and its last words must not find the log borrowed.
struct Shared(UnsafeCell<Log>);

// SAFETY: `with` alone reaches the log.
unsafe impl Sync for Shared {}

struct Log {
    encoder: Encoder,
    host: Option<Stdout>,
    out: [u8; ROOM],
    /// How much of `out` the host has.
    taken: usize,
    /// Where in `out` the frame that is being made begins.
    start: usize,
    /// Where it ends so far.
    end: usize,
    /// Whether the frame that is being made does not fit, or must not leave.
    is_cut: bool,
    /// How many lines are being made: one, unless the formatting of one writes another.
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

    /// Appends a part of the frame, as the encoder gives it.
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
        // What is missing is reported first: no later line may come before the report.
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

    /// Offers the host what is finished. It takes as much as it can at once.
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

/// What `operation` does to the log, with interrupts off. It must not call this again.
fn with<T>(operation: impl FnOnce(&mut Log) -> T) -> T {
    critical_section::with(|_| {
        // SAFETY: nothing else runs on the only core there is, but the handler of a fault or
        // a panic in the midst of the operation; and that never goes back to it.
        operation(unsafe { &mut *LOG.0.get() })
    })
}

/// Reports the lines that are missing, before any other line.
fn report_missing() {
    let missing = with(|log| {
        log.offer();
        log.take_missing()
    });
    if let Some(missing) = missing {
        // Printed without a level: no filter of levels leaves it out.
        defmt::println!("{} lines of the log are missing here", missing);
    }
}

/// Takes the logger from a line that will not be finished, wherever that was interrupted.
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

// SAFETY: a line is made with interrupts off, on the only core there is, and a second one in
// its midst is counted and left out.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        if with(|log| log.depth == 0) {
            report_missing();
        }
        // SAFETY: given back in `release`, which `defmt` calls once for each call of this.
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
            // SAFETY: the state is that of the `acquire` of this line.
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
