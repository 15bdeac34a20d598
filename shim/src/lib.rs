//! The host side.
pub mod demo;
pub mod loopback;
pub mod setup;
