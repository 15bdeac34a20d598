//! A `no_std` TCP writer for microcontrollers that never swallows a byte.
//!
//! Once the peer's FIN or RST has arrived, the **very next** write returns
//! [`WriteError::PeerClosed`] and accepts nothing. Every error and every report
//! carries a [`Ledger`]: how many bytes were accepted, how many of them the
//! peer's TCP has acknowledged, and how many are not known to be delivered. Why
//! a connection ended is told as one [`Cause`], the first, latched.
//!
//! # Layers
//!
//! - The core, always there: a pure state machine ([`transition`]), the
//!   [`Ledger`], validated [`Options`], and [`Connection`], which ties them
//!   together. No I/O, no clock, no stack: facts go in, decisions come out.
//! - `stack`, with the feature `smoltcp`: `stack::Stack` drives connections
//!   over smoltcp and lends `stack::Writer`s that implement
//!   `embedded_io::Write`; `stack::Tracker` is the same for applications that
//!   own their poll loop.
//!
//! # The driver loop
//!
//! What `stack` does, and what a driver over another stack would do:
//!
//! 1. Notice lost addresses: [`Connection::handle_address_lost`].
//! 2. Take in one frame. Tell each connection that it touched what it
//!    acknowledged ([`Connection::handle_pending`]), that the peer was heard
//!    ([`Connection::handle_heard`]), then what it carried
//!    ([`Connection::handle_fin`], [`Connection::handle_rst`]...). Repeat.
//! 3. Let time pass: [`Connection::handle_timeout`].
//! 4. Send, and tell what left: [`Connection::handle_sent`].
//! 5. Sleep until [`Connection::poll_timeout`], the stack's own next timer, or
//!    a frame.
//!
//! A write goes through step 2 first, then asks [`Connection::handle_write`],
//! and tells what it took with [`Connection::handle_accepted`]. Whatever
//! [`Action`] comes back is carried out at once.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `smoltcp` | yes | the `stack` layer, on smoltcp 0.14 |
//! | `medium-ethernet`, `medium-ip` | Ethernet | media of the device |
//! | `proto-ipv4`, `proto-ipv6` | IPv4 | IP versions |
//! | `embassy-net-driver-v0.2` | no | `stack::embassy`: any embassy driver as the device |
//! | `log`, `defmt` | no | events to either or both; `defmt::Format` on every public type |
//!
//! The `stack` layer needs at least one medium and one IP version.
//!
//! One more is for tests, on hosts, and no part of what the crate promises: `trace` reports
//! to one observer for each thread what its connections do. The simulator, `lastbyte-sim`,
//! is built on it.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::alloc_instead_of_core,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::std_instead_of_alloc,
    clippy::std_instead_of_core,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm
)]

#[cfg(feature = "trace")]
extern crate std;

mod clock;
pub mod core;
// A frame has a medium, and a packet a version.
#[cfg(all(
    any(feature = "medium-ethernet", feature = "medium-ip"),
    any(feature = "proto-ipv4", feature = "proto-ipv6")
))]
#[cfg_attr(
    not(feature = "smoltcp"),
    allow(dead_code, reason = "the layer over a stack uses it")
)]
mod guard;
#[cfg(not(lastbyte_sabotage))]
mod sabotage;
#[cfg(lastbyte_sabotage)]
pub mod sabotage;
#[cfg(feature = "smoltcp")]
pub mod stack;
#[cfg(not(feature = "trace"))]
mod trace;
#[cfg(feature = "trace")]
pub mod trace;

pub use self::core::transition;
pub use self::core::{
    Action, Admission, Advice, Cause, ClosedBy, Closer, Connection, Event, How, Icmp, Incoming,
    Instant, Ledger, Nagle, OnPeerFin, OnReceive, Options, OptionsBuilder, OptionsError, Progress,
    ReadError, Report, Retry, Sent, Setting, State, Timeout, Window, WriteError,
};
pub use clock::Clock;
#[cfg(feature = "smoltcp")]
pub use stack::{Buffers, Config, ConnectionId, Error, Reader, Socket, Stack, Writer};

/// The snippets of the README, compiled.
#[cfg(all(
    doctest,
    feature = "smoltcp",
    feature = "proto-ipv4",
    feature = "medium-ethernet"
))]
#[doc = include_str!("../README.md")]
pub struct ReadmeDoctests;
