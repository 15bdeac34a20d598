//! The firmware's log: decodes `defmt` frames to lines.

use defmt_decoder::{DecodeError, Table};
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

/// The level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For debugging.
    Debug,
    /// An expected event.
    Info,
    /// An unexpected event that is handled.
    Warn,
    /// An event that is not handled.
    Error,
    /// Printed without a level.
    Print,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Print => "",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The time since power-on, as the firmware formats it.
    pub time: String,
    /// The level.
    pub level: Level,
    /// The text.
    pub text: String,
}

impl Line {
    /// The value of `key=value` in the line.
    ///
    /// ```
    /// use lastbyte_firmware_host::{Level, Line};
    ///
    /// let text = "attempt 1: ended cause=finished accepted=21".to_owned();
    /// let line = Line { time: String::new(), level: Level::Info, text };
    /// assert_eq!(line.value("accepted"), Some("21"));
    /// assert_eq!(line.value("cepted"), None);
    /// ```
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.text
            .split_whitespace()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12} {:5} {}", self.time, self.level, self.text)
    }
}

/// Why a log cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The firmware's file describes no log.
    #[error("the firmware has no log: it was linked without defmt.x")]
    NoTable,
    /// The description has another version, or is damaged.
    #[error("the log's description in the firmware: {0}")]
    Table(String),
}

/// The description of a log, from the firmware's file.
#[derive(Clone)]
pub(crate) struct Format {
    table: Arc<Table>,
}

impl Format {
    pub(crate) fn of(elf: &[u8]) -> Result<Self, LogError> {
        let table = Table::parse(elf)
            .map_err(|error| LogError::Table(error.to_string()))?
            .ok_or(LogError::NoTable)?;
        Ok(Self {
            table: Arc::new(table),
        })
    }

    /// Decodes `source`, until its end or until the receiver is dropped.
    pub(crate) fn decode(
        &self,
        mut source: impl Read,
        mut tell: impl FnMut(Line) -> bool,
    ) -> io::Result<()> {
        let mut decoder = self.table.new_stream_decoder();
        let mut chunk = [0; 4096];
        loop {
            let len = source.read(&mut chunk)?;
            if len == 0 {
                return Ok(());
            }
            decoder.received(&chunk[..len]);
            loop {
                let line = match decoder.decode() {
                    Ok(frame) => Line {
                        time: frame
                            .display_timestamp()
                            .map(|time| time.to_string())
                            .unwrap_or_default(),
                        level: frame.level().map_or(Level::Print, level),
                        text: frame.display_message().to_string(),
                    },
                    Err(DecodeError::UnexpectedEof) => break,
                    // It is reported, not skipped: a test that reads the log must not
                    // mistake a gap for silence.
                    Err(DecodeError::Malformed) => Line {
                        time: String::new(),
                        level: Level::Error,
                        text: "(a log frame that cannot be decoded)".to_owned(),
                    },
                };
                if !tell(line) {
                    return Ok(());
                }
            }
        }
    }
}

fn level(level: defmt_parser::Level) -> Level {
    use defmt_parser::Level as L;
    match level {
        L::Trace => Level::Trace,
        L::Debug => Level::Debug,
        L::Info => Level::Info,
        L::Warn => Level::Warn,
        L::Error => Level::Error,
    }
}
