//! The layer over smoltcp.
//!
//! stub
mod calls;
mod config;
mod parse;
mod ports;
mod reader;
mod slot;
mod stack;
mod time;
mod tracker;
mod watch;
mod writer;

pub use smoltcp;

pub use calls::{OpenError, UnknownConnection};
pub use config::{Buffers, Config, ConfigError, SlotBuffers};
pub use reader::Reader;
pub use slot::Step;
pub use stack::Stack;
pub use tracker::{ConnectionId, Net, Tracker};
pub use watch::Watch;
pub use writer::{Scoped, Writer};
