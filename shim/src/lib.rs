//! The host side.
pub mod loopback;
