//! The cost of lastbyte over bare smoltcp: the same client twice, with the same MAC, the
//! same buffers and the same work, to compare size and instructions.
//!
//! `src/bin/bare.rs` is the loop that a careful user of smoltcp writes,
//! `src/bin/writer.rs` is lastbyte's `Stack` and `Writer`. Both open a
//! connection, write for as long as it lives, and open it again.
#![no_std]

pub mod board;
pub mod client;
pub mod mac;
