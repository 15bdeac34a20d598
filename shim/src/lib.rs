//! The host side.

pub mod capture;
#[cfg(target_os = "linux")]
pub mod host_clock;
#[cfg(target_os = "linux")]
pub mod namespace;
#[cfg(target_os = "linux")]
pub mod signals;
#[cfg(target_os = "linux")]
pub mod tap;
