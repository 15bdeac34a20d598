//! The firmware in QEMU, from the host's side: boots it, decodes its log, unplugs its
//! cable.
//!
//! The program of this package is the runner of `cargo run` in a board's directory; its
//! tests act as the peer.
#![deny(missing_docs, unreachable_pub)]

mod log;
mod machine;
mod monitor;
mod qemu;

pub use log::{Level, Line, LogError};
pub use machine::{Machine, MachineError};
pub use monitor::{Monitor, MonitorError};
pub use qemu::{Boot, BootError, Network, Qemu, QemuEnd};
