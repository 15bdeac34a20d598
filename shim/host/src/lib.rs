//! `lastbyte` on a host: the same writer, over other wires.
//!
//! The logic is that of the core crate, unchanged; this crate supplies what a
//! port supplies, a device and a clock, three times over:
//!
//! - [`loopback`]: both ends in one process, in virtual time. Deterministic,
//!   needs no privileges. For tests.
//! - [`tap`] with [`host_clock`]: a Linux TAP device, in real time.
//! - [`namespace`]: a private network with a TAP of its own, so that the
//!   kernel's TCP can be the peer without touching the host's network.
//!
//! [`capture`] records what crosses any of them. The `lastbyte` command is
//! built from these parts.
#![deny(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

pub mod capture;
#[cfg(target_os = "linux")]
pub mod cli;
pub mod demo;
#[cfg(target_os = "linux")]
pub mod example;
#[cfg(target_os = "linux")]
pub mod host_clock;
pub mod loopback;
#[cfg(target_os = "linux")]
pub mod namespace;
mod packet;
pub mod setup;
#[cfg(target_os = "linux")]
pub mod signals;
pub mod sim;
#[cfg(target_os = "linux")]
pub mod tap;

/// The snippets of the page on testing, run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/TESTING.md")]
pub struct TestingDoctests;
