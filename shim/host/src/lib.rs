//! `lastbyte` on a Linux host: over a TAP device, in real time.
//!
//! The logic is the unchanged crate `lastbyte`. This crate supplies what a port supplies,
//! a device and a clock:
//!
//! - [`tap`] with [`host_clock`]: a TAP device, and one `ppoll` that waits for it, for a
//!   deadline, and for other descriptors.
//! - [`namespace`]: a private network with a TAP of its own, so that the kernel's TCP can be
//!   the peer. The host's network is neither used nor changed. [`namespace::test`] runs a
//!   `#[test]` in one, as any user.
//! - [`capture`]: the frames of a device, as a pcap file.
//! - [`signals`]: SIGINT and SIGTERM as an event that a wait can watch.
//!
//! `lastbyte_sim::setup::Setup` makes a stack in one call. The crate `lastbyte-sim` also runs
//! the same applications in virtual time.
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
pub mod host_clock;
#[cfg(target_os = "linux")]
pub mod namespace;
mod packet;
#[cfg(target_os = "linux")]
pub mod signals;
#[cfg(target_os = "linux")]
pub mod tap;
#[cfg(feature = "tokio")]
mod tokio_time;

#[cfg(feature = "tokio")]
pub use tokio_time::TokioTime;

/// The snippet of the README, compiled.
#[cfg(all(doctest, target_os = "linux"))]
#[doc = include_str!("../README.md")]
pub struct ReadmeDoctests;
