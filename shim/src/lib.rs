//! The host side.

pub mod capture;
