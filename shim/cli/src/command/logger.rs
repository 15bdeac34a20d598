//! `--verbose`: the events of the connection on stderr.

use super::console;
use log::{LevelFilter, Log, Metadata, Record};

/// Prints records as they come.
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
    // It fails if there is a logger already, which then serves as well.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
}
