//! A `no_std` TCP writer for microcontrollers that never swallows a byte.
//!
//! Once the peer's FIN or RST has arrived, the **very next** write returns
//! [`WriteError::PeerClosed`] and accepts nothing. Every error and every report
//! carries a [`Ledger`]: how many bytes were accepted, how many of them the
//! peer's TCP has acknowledged, and how many are not known to be delivered. The first
//! reason why a connection ended is latched as its [`Cause`].
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
//! 2. `Stack::new` makes a stack from them, a `Config` and `Buffers`.
//! 3. `Stack::connect` or `Stack::listen` begins a connection, with [`Options`].
//! 4. `Stack::writer` lends a `Writer` (`embedded_io::Write`), `Stack::reader` lends a `Reader`,
//!    and `Stack::socket` lends both in one value. Each call fails with a [`WriteError`] or
//!    [`ReadError`], and `?` turns them into `Error`.
//! 5. `Writer::finish` ends a connection and returns the [`Report`].
//!
//! `stack::Tracker` is for applications that own their poll loop, `asynch` for those whose tasks
//! are async.
//!
//! The state machine is in [`core`]: a pure table of states and events, the ledger of
//! every byte, and [`core::Connection`], which combines them for a driver over any TCP
//! stack. It needs no feature.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `smoltcp` | yes | the `stack` layer, on smoltcp 0.14 |
//! | `medium-ethernet`, `medium-ip` | Ethernet | media of the device |
//! | `proto-ipv4`, `proto-ipv6` | IPv4 | IP versions |
//! | `embassy-net-driver-v0.2` | no | `stack::embassy`: any embassy driver as the device |
//! | `dhcpv4` | no | `Stack::start_dhcp`: address, route and DNS servers of a lease (RFC 2131) |
//! | `dns` | no | `Stack::resolve`: names of hosts (RFC 1035) |
//! | `address-conflicts` | no | duplicate addresses are answered and detected (RFC 5227, RFC 4862) |
//! | `slaac` | no | `Stack::start_slaac`: addresses of IPv6 from the prefixes of routers (RFC 4862) |
//! | `socket-dhcpv4`, `socket-dns`, `socket-udp` | no | smoltcp's sockets, for `Stack::sockets_mut` and `Stack::network_mut` |
//! | `async` | no | `asynch`: the same calls for tasks of any executor, on embedded-io-async 0.7; the async calls of `pipe` |
//! | `critical-section`, `std` | no | an async network shared by priorities, cores or threads |
//! | `embassy-time-v0.5`, `embedded-hal-async-v1`, `rtic-time-v3` | no | clocks for `asynch` |
//! | `embedded-nal-async-v0.9`, `edge-nal-v0.7` | no | `asynch::Client`, for crates that open connections by these traits |
//! | `pipe` | no | `pipe`: the same contract in memory, between two tasks or an interrupt and a task |
//! | `congestion-control` | yes | Reno (RFC 5681), as MUST-19 of RFC 9293 requires |
//! | `log`, `defmt` | no | events to either or both; `defmt::Format` on every public type |
//!
//! The `stack` layer needs at least one medium and one IP version.
//!
//! One more feature, `trace`, is for tests on hosts and has no guarantee of stability: it
//! reports to one observer for each thread what its connections do. The simulator,
//! `lastbyte-sim`, is built on it.
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

#[cfg(any(feature = "std", feature = "trace"))]
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

#[cfg(all(feature = "async", feature = "smoltcp"))]
pub mod asynch;
mod clock;
pub mod core;
// Each frame has a medium, and each packet an IP version.
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
