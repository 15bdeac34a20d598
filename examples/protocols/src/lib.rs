//! A network of `lastbyte::asynch` over a TAP, on tokio: what the examples and the tests of
//! protocol crates run on. A board has the same three parts: a device, a clock, an executor.

mod args;
mod network;

pub use args::{Failure, main};
pub use network::{CONNECTIONS, Net, Time, run};
