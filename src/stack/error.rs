//! One error for a whole program, for `?`.

#[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
use super::addressing::AddressError;
#[cfg(feature = "dhcpv4")]
use super::addressing::LeaseError;
#[cfg(feature = "dns")]
use super::addressing::ResolveError;
use super::calls::UnknownConnection;
use super::config::ConfigError;
use super::opening::OpenError;
use crate::core::error::{ReadError, WriteError};
use crate::core::ledger::Ledger;
use crate::core::options::OptionsError;
use crate::core::state::Cause;
use core::fmt;
use embedded_io::{ErrorKind, ReadExactError, WriteFmtError};

/// Any error of this crate. Each operation has its own error type; `?` converts each of
/// them to this one, including those of `write!` and `read_exact`.
///
/// ```
/// use embedded_io::Write;
/// use lastbyte::stack::OpenError;
/// use lastbyte::{Error, WriteError};
///
/// fn program(mut out: impl Write<Error = WriteError>) -> Result<(), Error> {
///     write!(out, "{} degrees", 21)?;
///     out.flush()?;
///     Err(OpenError::NoSlot)?
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The stack cannot be made.
    Config(ConfigError),
    /// The options contradict each other.
    Options(OptionsError),
    /// The connection could not be opened.
    Open(OpenError),
    /// The id is stale.
    Unknown(UnknownConnection),
    /// A write, flush or finish failed.
    Write(WriteError),
    /// A read failed.
    Read(ReadError),
    /// There is no such address, or a service for it cannot be started.
    #[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
    Address(AddressError),
    /// There is no lease.
    #[cfg(feature = "dhcpv4")]
    Lease(LeaseError),
    /// A name has no address.
    #[cfg(feature = "dns")]
    Resolve(ResolveError),
    /// The peer finished before a buffer was full (`read_exact`).
    UnexpectedEof,
    /// In [`asynch`](crate::asynch): the call was made inside a closure to which the network
    /// is lent (`with_network`, `write_with`), in which no other call works.
    #[cfg(feature = "async")]
    Busy,
    /// A `Display` that was written with `write!` returned an error of its own.
    Format,
}

impl Error {
    /// Why the connection ended, if that is the error.
    ///
    /// ```
    /// use lastbyte::{Cause, Error, How, Ledger, WriteError};
    ///
    /// let ledger = Ledger::default();
    /// let error = Error::from(WriteError::PeerClosed { how: How::Fin, ledger });
    /// assert_eq!(error.cause(), Some(Cause::PeerFinished));
    /// assert_eq!(error.ledger(), Some(ledger));
    /// ```
    #[must_use]
    pub const fn cause(&self) -> Option<Cause> {
        match self.of_connection() {
            Some(error) => error.cause(),
            None => None,
        }
    }

    /// The ledger at the time of the error, if it is an error of a connection.
    #[must_use]
    pub const fn ledger(&self) -> Option<Ledger> {
        match self.of_connection() {
            Some(error) => Some(error.ledger()),
            None => None,
        }
    }

    /// The error of a connection.
    const fn of_connection(&self) -> Option<&WriteError> {
        match self {
            Self::Write(error) | Self::Read(ReadError::Ended(error)) => Some(error),
            Self::Config(_)
            | Self::Options(_)
            | Self::Open(_)
            | Self::Unknown(_)
            | Self::Read(ReadError::Discarding)
            | Self::UnexpectedEof
            | Self::Format => None,
            #[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
            Self::Address(_) => None,
            #[cfg(feature = "dhcpv4")]
            Self::Lease(_) => None,
            #[cfg(feature = "dns")]
            Self::Resolve(_) => None,
            #[cfg(feature = "async")]
            Self::Busy => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Options(error) => error.fmt(f),
            Self::Open(error) => error.fmt(f),
            Self::Unknown(error) => error.fmt(f),
            Self::Write(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
            #[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
            Self::Address(error) => error.fmt(f),
            #[cfg(feature = "dhcpv4")]
            Self::Lease(error) => error.fmt(f),
            #[cfg(feature = "dns")]
            Self::Resolve(error) => error.fmt(f),
            Self::UnexpectedEof => f.write_str("the peer finished before all bytes were read"),
            #[cfg(feature = "async")]
            Self::Busy => f.write_str("the network is lent to a closure; call it after that"),
            Self::Format => f.write_str("a value could not be formatted"),
        }
    }
}

impl core::error::Error for Error {}

impl embedded_io::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::Options(_) => ErrorKind::InvalidInput,
            Self::Open(error) => error.kind(),
            Self::Unknown(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Read(error) => error.kind(),
            #[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
            Self::Address(error) => error.kind(),
            #[cfg(feature = "dhcpv4")]
            Self::Lease(error) => error.kind(),
            #[cfg(feature = "dns")]
            Self::Resolve(error) => error.kind(),
            Self::UnexpectedEof => ErrorKind::Other,
            #[cfg(feature = "async")]
            Self::Busy => ErrorKind::Other,
            Self::Format => ErrorKind::InvalidInput,
        }
    }
}

/// Converts the error of one operation to the error of the crate.
macro_rules! from {
    ($error:ty, $variant:ident) => {
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    };
}

from!(ConfigError, Config);
from!(OptionsError, Options);
from!(OpenError, Open);
from!(UnknownConnection, Unknown);
from!(WriteError, Write);
from!(ReadError, Read);
#[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
from!(AddressError, Address);
#[cfg(feature = "dhcpv4")]
from!(LeaseError, Lease);
#[cfg(feature = "dns")]
from!(ResolveError, Resolve);

impl<E: Into<Self>> From<WriteFmtError<E>> for Error {
    fn from(error: WriteFmtError<E>) -> Self {
        match error {
            WriteFmtError::FmtError => Self::Format,
            WriteFmtError::Other(error) => error.into(),
        }
    }
}

impl<E: Into<Self>> From<ReadExactError<E>> for Error {
    fn from(error: ReadExactError<E>) -> Self {
        match error {
            ReadExactError::UnexpectedEof => Self::UnexpectedEof,
            ReadExactError::Other(error) => error.into(),
        }
    }
}
