//! `--verbose`: the events of the connection on stderr.

use super::console;
use log::{LevelFilter, Log, Metadata, Record};

/// Prints records as they arrive.
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Other crates have their own logs, not about the connection.
        metadata.target().starts_with("lastbyte")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            console::line(&format!("[{}] {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// Starts logging to stderr.
pub fn init() {
    // It fails if there is already a logger, which is then used.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
}
