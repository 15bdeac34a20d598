//! A `no_std` TCP writer for microcontrollers that never swallows a byte.
//!
//! Once the peer's FIN or RST has arrived, the **very next** write returns
//! [`WriteError::PeerClosed`] and accepts nothing. Every error and every report
//! carries a [`Ledger`]: how many bytes were accepted, how many of them the
//! peer's TCP has acknowledged, and how many are not known to be delivered. Why
//! a connection ended is one [`Cause`], the first, latched.
//!
#![cfg_attr(
    all(
        feature = "smoltcp",
        feature = "medium-ethernet",
        feature = "proto-ipv4"
    ),
    doc = include_str!("first_program.md")
)]
//!
//! # The paved path
//!
//! 1. A port supplies two things: a device (`smoltcp::phy::Device`, or any embassy driver with
//!    `stack::embassy`) and a [`Clock`].
//! 2. `Stack::new` makes a stack of them, with a `Config` and `Buffers`.
//! 3. `Stack::connect` or `Stack::listen` begins a connection, with [`Options`].
//! 4. `Stack::writer` lends a `Writer` (`embedded_io::Write`), `Stack::reader` a `Reader`, and
//!    `Stack::socket` both in one value. Each call fails with a [`WriteError`] or [`ReadError`],
//!    and `?` turns them into `Error`.
//! 5. `Writer::finish` ends a connection and returns the [`Report`].
//!
//! `stack::Tracker` is for applications that own their poll loop.
//!
//! The machine below it is in [`core`]: a pure table of states and events, the
//! account of every byte, and [`core::Connection`], which ties them
//! together for a driver over any stack. It needs no feature.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `smoltcp` | yes | the `stack` layer, on smoltcp 0.14 |
//! | `medium-ethernet`, `medium-ip` | Ethernet | media of the device |
//! | `proto-ipv4`, `proto-ipv6` | IPv4 | IP versions |
//! | `embassy-net-driver-v0.2` | no | `stack::embassy`: any embassy driver as the device |
//! | `socket-dhcpv4`, `socket-dns`, `socket-udp` | no | smoltcp's sockets, for `Stack::sockets_mut` and `Stack::network_mut` |
//! | `congestion-control` | yes | Reno (RFC 5681), as MUST-19 of RFC 9293 demands |
//! | `pipe` | no | `pipe`: the same contract in memory, between two tasks or an interrupt and a task |
//! | `async` | no | the async half of `pipe` (embedded-io-async 0.7) |
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

#[cfg(all(
    feature = "smoltcp",
    not(all(
        any(feature = "medium-ethernet", feature = "medium-ip"),
        any(feature = "proto-ipv4", feature = "proto-ipv6")
    ))
))]
compile_error!(
    "lastbyte's feature `smoltcp` needs a medium (`medium-ethernet` or `medium-ip`) and an IP \
     version (`proto-ipv4` or `proto-ipv6`)"
);

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
#[cfg(feature = "pipe")]
pub mod pipe;
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

pub use self::core::{
    Advice, Cause, ClosedBy, How, Instant, Ledger, OnPeerFin, OnReceive, Options, ReadError,
    Report, State, Timeout, WriteError,
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
