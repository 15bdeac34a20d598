//! One error for a whole program, for `?`.

use super::calls::UnknownConnection;
use super::config::ConfigError;
use super::opening::OpenError;
use crate::core::error::{ReadError, WriteError};
use crate::core::options::OptionsError;
use core::fmt;
use embedded_io::ErrorKind;

/// Whatever the steps of a program over a [`Stack`](super::Stack) fail with.
/// Each operation has its own error; this one holds any of them.
///
/// ```
/// use lastbyte::stack::{OpenError, StackError};
///
/// fn program() -> Result<(), StackError> {
///     Err(OpenError::NoSlot)?
/// }
/// assert_eq!(program(), Err(StackError::Open(OpenError::NoSlot)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StackError {
    /// The stack cannot be made.
    Config(ConfigError),
    /// The options contradict each other.
    Options(OptionsError),
    /// The connection could not even begin.
    Open(OpenError),
    /// The id is stale.
    Unknown(UnknownConnection),
    /// A write, flush or finish failed.
    Write(WriteError),
    /// A read failed.
    Read(ReadError),
}

impl StackError {
    fn inner(&self) -> &dyn core::error::Error {
        match self {
            Self::Config(error) => error,
            Self::Options(error) => error,
            Self::Open(error) => error,
            Self::Unknown(error) => error,
            Self::Write(error) => error,
            Self::Read(error) => error,
        }
    }
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.inner(), f)
    }
}

impl core::error::Error for StackError {}

impl embedded_io::Error for StackError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::Options(_) => ErrorKind::InvalidInput,
            Self::Open(error) => error.kind(),
            Self::Unknown(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Read(error) => error.kind(),
        }
    }
}

/// An error of one operation as that of a program.
macro_rules! from {
    ($error:ty, $variant:ident) => {
        impl From<$error> for StackError {
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
