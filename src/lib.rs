#![no_std]
#![forbid(unsafe_code)]
//! lastbyte

mod clock;
mod connection;
mod error;
mod fmt;
mod ledger;
mod limits;
mod report;
#[cfg(feature = "smoltcp")]
pub mod stack;
mod state;
mod time;
mod timers;
pub mod transition;

pub use clock::Clock;
pub use connection::{Admission, Connection, Sent, Window};
pub use error::{ClosedBy, How, ReadError, Timeout, WriteError};
pub use ledger::Ledger;
pub use limits::{Limit, Nagle, Options, OptionsBuilder, OptionsError};
pub use report::{Advice, Progress, Report};
pub use state::{Action, Cause, Closer, Event, OnPeerFin, OnReceive, State};
pub use time::Instant;
