//! The layer over smoltcp, and the only module that names it.
//!
//! - [`Stack`] owns interface, device, sockets and clock, and has blocking calls.
//!   [`Writer`] and [`Reader`] are its ends of a connection.
//! - [`Tracker`] is the same logic for an application that owns those parts and
//!   its poll loop, and never blocks.
//!
//! Both check each connection after each step of a poll, with a guard ([`Watch`]) around
//! the device that reads every frame. So a FIN, a RST, a refusal, silence and a removed
//! address stay distinct causes, the ledger stays exact where smoltcp clears its buffers,
//! and segments of an off-path attacker do not reach smoltcp (RFC 5961).
//!
//! smoltcp itself is re-exported as [`smoltcp`], so that an application uses the same
//! version.
//!
//! The crate's front page has an example program.

mod addressing;
mod attempts;
mod calls;
mod config;
mod device;
#[cfg(feature = "medium-ethernet")]
mod discovery;
mod driver;
#[cfg(feature = "embassy-net-driver-v0.2")]
pub mod embassy;
mod ends;
mod error;
#[cfg(feature = "defmt")]
mod format;
#[cfg(feature = "medium-ethernet")]
mod frames;
mod isn;
#[cfg(feature = "medium-ethernet")]
mod neighbours;
mod observer;
mod opening;
mod parts;
mod ports;
mod reader;
mod reading;
mod retry;
mod room;
mod secret;
mod slot;
mod socket;
mod steps;
mod time;
mod tracker;
mod turns;
#[cfg(feature = "async")]
mod waiting;
#[cfg(feature = "async")]
mod waking;
mod writer;
mod writing;

pub use smoltcp;

#[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
pub use addressing::AddressError;
#[cfg(feature = "address-conflicts")]
pub use addressing::Conflict;
#[cfg(feature = "dhcpv4")]
pub use addressing::{Lease, LeaseChange, LeaseError};
#[cfg(feature = "dns")]
pub use addressing::{Lookup, ResolveError};
pub use calls::UnknownConnection;
pub use config::{Buffers, Config, ConfigError, SlotBuffers};
#[doc(hidden)]
pub use device::Watch;
pub use driver::Stack;
pub use error::Error;
pub use opening::OpenError;
pub use parts::Network;
#[cfg(feature = "async")]
pub(crate) use parts::{DEVICE_FULL_PAUSE_MS, Parts};
pub use reader::Reader;
pub use secret::boot_seed;
#[doc(hidden)]
pub use slot::Step;
pub use socket::Socket;
pub use steps::Steps;
#[cfg(feature = "async")]
pub(crate) use tracker::Taken;
pub use tracker::{ConnectionId, Net, Tracker};
#[cfg(feature = "async")]
pub(crate) use waiting::{Half, Wish};
pub use writer::{Scoped, Writer};
#[cfg(feature = "async")]
pub(crate) use writing::{Departure, SHORTEST_TIMER_MS};
