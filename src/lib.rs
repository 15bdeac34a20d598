#![no_std]
#![forbid(unsafe_code)]
//! lastbyte
mod clock;
mod time;
pub use clock::Clock;
pub use time::Instant;
