//! Exit codes, and failures before there is a connection.

use anstyle::{AnsiColor, Style};
use lastbyte::Cause;

use super::console;

/// Exit code of a run that could not start or continue: no TAP device, an unreadable
/// input.
pub const OTHER: u8 = 1;
/// Exit code of an invalid command line.
pub const USAGE: u8 = 2;
/// Exit code of a reached call timeout, as of every other timeout.
pub const NOT_READING: u8 = 7;

/// The style of "error:" on a terminal.
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// The exit code of a connection that ended with `cause`.
///
/// ```
/// use lastbyte::Cause;
/// use lastbyte_cli::command::exit::of_cause;
///
/// assert_eq!(of_cause(Cause::Finished), 0);
/// assert_eq!(of_cause(Cause::PeerReset), 4);
/// ```
#[must_use]
pub const fn of_cause(cause: Cause) -> u8 {
    match cause {
        Cause::Finished => 0,
        Cause::PeerFinished => 3,
        Cause::PeerReset => 4,
        Cause::Refused => 5,
        Cause::Unreachable => 6,
        Cause::ConnectTimeout | Cause::Vanished | Cause::Unacknowledged | Cause::FinishTimeout => 7,
        Cause::AddressLost => 8,
        Cause::Aborted => 9,
    }
}

/// Why there was no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The command line is invalid.
    Usage(String),
    /// Anything else; the text contains the remedy.
    Other(String),
    /// A signal ended the run before there was a connection.
    Interrupted,
    /// The network has no way to the peer, or no address for us: reported as a connection that
    /// ended with this cause.
    Ended {
        /// What decides the exit code.
        cause: Cause,
        /// What is wrong, and what to do.
        message: String,
    },
}

impl Failure {
    /// A usage error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Any other failure.
    pub fn other(message: impl Into<String>) -> Self {
        Self::Other(message.into())
    }

    /// One that is reported as an end with this cause.
    pub fn ended(cause: Cause, message: impl Into<String>) -> Self {
        Self::Ended {
            cause,
            message: message.into(),
        }
    }

    /// The cause that it is reported with.
    #[must_use]
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Usage(_) | Self::Other(_) => None,
            Self::Interrupted => Some(Cause::Aborted),
            Self::Ended { cause, .. } => Some(*cause),
        }
    }

    /// Prints the failure on stderr, and returns the exit code.
    #[must_use]
    pub fn tell(&self) -> u8 {
        match self {
            Self::Usage(message) => {
                error(message);
                console::line("\nFor more information, try '--help'.");
                USAGE
            }
            Self::Other(message) => {
                error(message);
                OTHER
            }
            Self::Interrupted => {
                error("interrupted before the connection was begun");
                of_cause(Cause::Aborted)
            }
            Self::Ended { cause, message } => {
                error(message);
                of_cause(*cause)
            }
        }
    }
}

/// Prints an error message on stderr.
pub fn error(message: &str) {
    console::line(&format!("{ERROR}error:{ERROR:#} {message}"));
}

/// Prints a remark on stderr.
pub fn note(message: &str) {
    console::line(&format!("lastbyte: {message}"));
}
