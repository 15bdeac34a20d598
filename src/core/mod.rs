//! The machine: it names no stack, and does neither I/O nor timing of its own.

pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod facts;
pub(crate) mod fmt;
pub(crate) mod ledger;
pub(crate) mod options;
pub(crate) mod report;
pub(crate) mod state;
pub(crate) mod time;
pub(crate) mod timers;
pub mod transition;

pub use connection::Connection;
pub use error::{ClosedBy, How, ReadError, Timeout, WriteError};
pub use facts::{Admission, Icmp, Retry, Sent, Window};
pub use ledger::Ledger;
pub use options::{Nagle, Options, OptionsBuilder, OptionsError, Setting};
pub use report::{Advice, Progress, Report};
pub use state::{Action, Cause, Closer, Event, Incoming, OnPeerFin, OnReceive, State};
pub use time::Instant;
