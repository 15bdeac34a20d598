//! The state machine: it names no TCP stack, and does neither I/O nor timing of its own.
//!
//! Facts go in, decisions come out. [`transition`] is the table of states and events, [`Ledger`]
//! counts every byte, [`Options`] holds validated settings, and [`Connection`] combines them.
//!
//! # The loop of a driver
//!
//! `lastbyte::stack` does this, and so would a driver over another TCP stack:
//!
//! 1. Detect removed addresses: [`Connection::handle_address_lost`].
//! 2. Process one frame. Report to each connection that it concerns first what it
//!    acknowledged ([`Connection::handle_pending`]), then that the peer was heard
//!    ([`Connection::handle_heard`]), then what it carried ([`Connection::handle_fin`],
//!    [`Connection::handle_rst`]...). Repeat.
//! 3. Process the time: [`Connection::handle_timeout`].
//! 4. Send, and report what was sent: [`Connection::handle_sent`].
//! 5. Sleep until [`Connection::poll_timeout`], the next timer of the TCP stack, or a
//!    frame.
//!
//! A write goes through step 2 first, then calls [`Connection::handle_write`],
//! and reports what was accepted with [`Connection::handle_accepted`]. Every returned
//! [`Action`] is performed at once.

pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod facts;
pub(crate) mod fmt;
pub(crate) mod ledger;
pub(crate) mod options;
pub(crate) mod outcome;
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
