//! One error for a whole program, for `?`.

use super::calls::UnknownConnection;
use super::config::ConfigError;
use super::opening::OpenError;
use crate::core::error::{ReadError, WriteError};
use crate::core::options::OptionsError;
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
    /// The peer finished before a buffer was full (`read_exact`).
    UnexpectedEof,
    /// A `Display` that was written with `write!` returned an error of its own.
    Format,
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
            Self::UnexpectedEof => f.write_str("the peer finished before all bytes were read"),
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
            Self::UnexpectedEof => ErrorKind::Other,
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
