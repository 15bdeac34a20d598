//! The errors of calls on a connection, each with the ledger.

use crate::core::ledger::Ledger;
use crate::core::state::{Cause, Closer, OnPeerFin, State};
use core::fmt;
use embedded_io::ErrorKind;

/// How the peer closed.
///
/// Exhaustive: a program that distinguishes the variants must fail to compile when one is
/// added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum How {
    /// With a FIN: it sends no more and, unless it only half-closed, reads no more.
    Fin,
    /// With a RST: it has forgotten the connection.
    Reset,
}

/// Which timeout was reached.
///
/// Exhaustive: a program that distinguishes the variants must fail to compile when one is
/// added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Timeout {
    /// The connect timeout: nothing answered our SYN.
    Connect,
    /// The user timeout: the peer vanished.
    Vanished,
    /// The user timeout: the peer was heard, but acknowledged none of the pending bytes.
    Unacknowledged,
    /// The finish timeout: the drain or our FIN was not acknowledged in time.
    Finish,
    /// The call timeout: the peer was not heard during the call. The connection lives and
    /// the call may be repeated.
    Call,
    /// The call timeout: the peer answered but did not read. The connection lives and the
    /// call may be repeated.
    NotReading,
}

/// Which of our own calls closed the connection.
///
/// Exhaustive: a program that distinguishes the variants must fail to compile when one is
/// added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClosedBy {
    /// We finished the connection, or are finishing it.
    Finish,
    /// We aborted the connection.
    Abort,
}

/// Why a write, flush, finish or open did not succeed. Each variant has the ledger at
/// that moment, so that the caller knows which bytes are safe and which to send again.
///
/// ```
/// use embedded_io::{Error, ErrorKind};
/// use lastbyte::{Cause, How, Ledger, WriteError};
///
/// let error = WriteError::PeerClosed { how: How::Fin, ledger: Ledger::default() };
/// assert_eq!(error.kind(), ErrorKind::BrokenPipe);
/// assert_eq!(error.cause(), Some(Cause::PeerFinished));
/// assert_eq!(error.ledger().undelivered(), 0);
/// ```
///
/// Variants may be added: a write that fails for a new reason still has a ledger and a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WriteError {
    /// The peer has closed the connection.
    PeerClosed {
        /// With a FIN or with a RST.
        how: How,
        /// The ledger at the moment of the error.
        ledger: Ledger,
    },
    /// The peer's host refused the connection.
    Refused {
        /// The ledger at the moment of the error.
        ledger: Ledger,
    },
    /// The peer is unreachable.
    Unreachable {
        /// The ledger at the moment of the error.
        ledger: Ledger,
    },
    /// A timeout was reached. For [`Timeout::Call`] and [`Timeout::NotReading`] the
    /// connection lives.
    TimedOut {
        /// Which timeout.
        why: Timeout,
        /// The ledger at the moment of the error.
        ledger: Ledger,
    },
    /// Our own IP address was removed.
    AddressLost {
        /// The ledger at the moment of the error.
        ledger: Ledger,
    },
    /// We closed the connection ourselves.
    Closed {
        /// By which call.
        by: ClosedBy,
        /// The ledger at the moment of the error.
        ledger: Ledger,
    },
    /// The connection was never opened.
    NotOpen {
        /// The ledger at the moment of the error.
        ledger: Ledger,
    },
    /// The ledger cannot count more bytes (2^64 - 1 were accepted).
    LedgerFull {
        /// The ledger at the moment of the error.
        ledger: Ledger,
    },
    /// From calls that do not wait: nothing can be accepted at present, because the
    /// transmit buffer or the device has no room, or the connection is still being opened.
    /// The connection lives and the call may be repeated.
    WouldBlock {
        /// The ledger at the moment of the error.
        ledger: Ledger,
    },
    /// The message has more octets than the transmit buffer, so it can never be accepted
    /// in one piece. The connection lives.
    MessageTooLong {
        /// The maximum length of a message in octets: the size of the transmit buffer.
        capacity: u32,
        /// The ledger at the moment of the error.
        ledger: Ledger,
    },
}

impl WriteError {
    /// The error with which a connection in `state` refuses calls; `None` if it refuses
    /// none.
    pub(crate) const fn of_state(state: State, ledger: Ledger) -> Option<Self> {
        match state {
            State::Idle => Some(Self::NotOpen { ledger }),
            State::Connecting
            | State::Listening
            | State::Open
            | State::PeerFinished(OnPeerFin::HalfClose) => None,
            State::PeerFinished(OnPeerFin::Refuse) | State::Finishing(Closer::Peer) => {
                Some(Self::of_cause(Cause::PeerFinished, ledger))
            }
            State::WriteFinished(_) | State::Finishing(Closer::Us) => {
                Some(Self::of_cause(Cause::Finished, ledger))
            }
            State::Closed(cause) => Some(Self::of_cause(cause, ledger)),
        }
    }

    /// The error for `cause`.
    #[must_use]
    pub const fn of_cause(cause: Cause, ledger: Ledger) -> Self {
        match cause {
            Cause::PeerFinished => Self::PeerClosed {
                how: How::Fin,
                ledger,
            },
            Cause::PeerReset => Self::PeerClosed {
                how: How::Reset,
                ledger,
            },
            Cause::Refused => Self::Refused { ledger },
            Cause::Unreachable => Self::Unreachable { ledger },
            Cause::ConnectTimeout => Self::TimedOut {
                why: Timeout::Connect,
                ledger,
            },
            Cause::Vanished => Self::TimedOut {
                why: Timeout::Vanished,
                ledger,
            },
            Cause::Unacknowledged => Self::TimedOut {
                why: Timeout::Unacknowledged,
                ledger,
            },
            Cause::FinishTimeout => Self::TimedOut {
                why: Timeout::Finish,
                ledger,
            },
            Cause::AddressLost => Self::AddressLost { ledger },
            Cause::Finished => Self::Closed {
                by: ClosedBy::Finish,
                ledger,
            },
            Cause::Aborted => Self::Closed {
                by: ClosedBy::Abort,
                ledger,
            },
        }
    }

    /// The ledger at the moment of the error.
    #[must_use]
    pub const fn ledger(&self) -> Ledger {
        match self {
            Self::PeerClosed { ledger, .. }
            | Self::Refused { ledger }
            | Self::Unreachable { ledger }
            | Self::TimedOut { ledger, .. }
            | Self::AddressLost { ledger }
            | Self::Closed { ledger, .. }
            | Self::NotOpen { ledger }
            | Self::LedgerFull { ledger }
            | Self::WouldBlock { ledger }
            | Self::MessageTooLong { ledger, .. } => *ledger,
        }
    }

    /// Why the connection ended; `None` if it lives, or was never opened.
    #[must_use]
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::PeerClosed { how: How::Fin, .. } => Some(Cause::PeerFinished),
            Self::PeerClosed {
                how: How::Reset, ..
            } => Some(Cause::PeerReset),
            Self::Refused { .. } => Some(Cause::Refused),
            Self::Unreachable { .. } => Some(Cause::Unreachable),
            Self::TimedOut { why, .. } => match why {
                Timeout::Connect => Some(Cause::ConnectTimeout),
                Timeout::Vanished => Some(Cause::Vanished),
                Timeout::Unacknowledged => Some(Cause::Unacknowledged),
                Timeout::Finish => Some(Cause::FinishTimeout),
                Timeout::Call | Timeout::NotReading => None,
            },
            Self::AddressLost { .. } => Some(Cause::AddressLost),
            Self::Closed { by, .. } => match by {
                ClosedBy::Finish => Some(Cause::Finished),
                ClosedBy::Abort => Some(Cause::Aborted),
            },
            Self::NotOpen { .. }
            | Self::LedgerFull { .. }
            | Self::WouldBlock { .. }
            | Self::MessageTooLong { .. } => None,
        }
    }

    const fn describe(&self) -> &'static str {
        match self {
            Self::PeerClosed { how: How::Fin, .. } => "the peer has closed the connection (FIN)",
            Self::PeerClosed {
                how: How::Reset, ..
            } => "the peer has reset the connection (RST)",
            Self::Refused { .. } => "the peer refused the connection",
            Self::Unreachable { .. } => "the peer cannot be reached",
            Self::TimedOut { why, .. } => match why {
                Timeout::Connect => "no answer while connecting",
                Timeout::Vanished => "the peer has vanished",
                Timeout::Unacknowledged => "the peer is heard, but acknowledges nothing",
                Timeout::Finish => "finishing took too long",
                Timeout::Call => "the call took too long, the connection lives",
                Timeout::NotReading => "the peer does not read, the connection lives",
            },
            Self::AddressLost { .. } => "our own address was removed",
            Self::Closed {
                by: ClosedBy::Finish,
                ..
            } => "the connection is finished",
            Self::Closed {
                by: ClosedBy::Abort,
                ..
            } => "the connection was aborted",
            Self::NotOpen { .. } => "the connection is not open",
            Self::LedgerFull { .. } => "the connection cannot count any more bytes",
            Self::WouldBlock { .. } => "there is no room at present, the connection lives",
            Self::MessageTooLong { .. } => "the message is longer than the transmit buffer",
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.describe(), self.ledger())
    }
}

impl core::error::Error for WriteError {}

impl embedded_io::Error for WriteError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::PeerClosed { how: How::Fin, .. } => ErrorKind::BrokenPipe,
            Self::PeerClosed {
                how: How::Reset, ..
            } => ErrorKind::ConnectionReset,
            Self::Refused { .. } => ErrorKind::ConnectionRefused,
            Self::Unreachable { .. } | Self::AddressLost { .. } => ErrorKind::AddrNotAvailable,
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::Closed {
                by: ClosedBy::Finish,
                ..
            }
            | Self::NotOpen { .. } => ErrorKind::NotConnected,
            Self::Closed {
                by: ClosedBy::Abort,
                ..
            } => ErrorKind::ConnectionAborted,
            Self::LedgerFull { .. } => ErrorKind::OutOfMemory,
            // embedded-io has no kind for this: its calls always wait.
            Self::WouldBlock { .. } => ErrorKind::Other,
            Self::MessageTooLong { .. } => ErrorKind::InvalidInput,
        }
    }
}

/// Why bytes could not be read.
///
/// Variants may be added: a read that fails for a new reason still has a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReadError {
    /// The connection was opened with
    /// [`OnReceive::Discard`](crate::OnReceive::Discard): there is never anything to
    /// read.
    Discarding,
    /// The connection ended without a FIN from the peer, so that the bytes read may be
    /// incomplete; or the call timeout was reached.
    Ended(WriteError),
}

impl From<WriteError> for ReadError {
    fn from(error: WriteError) -> Self {
        Self::Ended(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discarding => f.write_str(
                "received bytes are discarded on this connection; open it with OnReceive::Keep",
            ),
            Self::Ended(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReadError {}

impl embedded_io::Error for ReadError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Discarding => ErrorKind::Unsupported,
            Self::Ended(error) => embedded_io::Error::kind(error),
        }
    }
}
