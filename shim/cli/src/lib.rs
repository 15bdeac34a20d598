//! The `lastbyte` command.
//!
//! Built from [`lastbyte_host`] (TAP devices and private networks) and [`lastbyte_sim`] (the
//! loopback and the simulator). `lastbyte --help` describes it; the [README of the
//! project](https://github.com/lastbyte-rs/lastbyte) shows examples.
//!
//! - [`demo`]: the demonstration in three scenes. It runs wherever Rust's `std` does.
//! - `command`: everything else, on Linux.
//!
//! It is a library so that its parts have tests and documentation. It guarantees nothing
//! to other crates: a release only keeps the command line, its exit codes and its
//! reports.
#![deny(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

#[cfg(target_os = "linux")]
pub mod command;
pub mod demo;
