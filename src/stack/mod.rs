//! The layer over smoltcp, and the only place that names it.
//!
//! - [`Stack`] owns interface, device, sockets and clock, and blocks where it
//!   is asked to. [`Writer`] and [`Reader`] are its ends of a connection.
//! - [`Tracker`] is the same logic for an application that owns those parts and
//!   its poll loop, and never blocks.
//!
//! Both check each connection after each single step of a poll, with a
//! guard ([`Watch`]) around the device that reads every frame. So a FIN, a RST,
//! a refusal, silence and a lost address stay distinct causes, the ledger stays
//! exact where smoltcp clears its buffers, and segments of an attacker off the
//! path do not reach smoltcp (RFC 5961).
//!
//! smoltcp itself is re-exported as [`smoltcp`], so that an application names
//! the same version.
//!
//! ```no_run
//! use embedded_io::Write;
//! use lastbyte::stack::smoltcp::iface::SocketStorage;
//! use lastbyte::stack::smoltcp::phy::Device;
//! use lastbyte::stack::smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
//! use lastbyte::stack::{Buffers, Config, Stack};
//! use lastbyte::{Clock, Options};
//!
//! fn run(
//!     device: impl Device,
//!     clock: impl Clock,
//!     seed: u64,
//! ) -> Result<(), Box<dyn core::error::Error>> {
//!     let mut buffers = Buffers::<1, 2048, 512>::new();
//!     let mut sockets = [SocketStorage::EMPTY; 1];
//!     let mac = EthernetAddress([0x02, 0, 0, 0, 0, 1]);
//!     let config = Config::new(mac.into(), seed);
//!     let mut stack = Stack::new(device, clock, config, buffers.split(), &mut sockets)?;
//!     stack.interface_mut().update_ip_addrs(|addresses| {
//!         let _ = addresses.push(IpCidr::new(IpAddress::v4(10, 0, 0, 2), 24));
//!     });
//!
//!     let id = stack.connect((IpAddress::v4(10, 0, 0, 1), 5000), Options::default())?;
//!     let mut writer = stack.writer(id)?;
//!     writer.write_all(b"every byte counted")?;
//!     let report = writer.finish()?;
//!     assert_eq!(report.ledger.undelivered(), 0);
//!     Ok(())
//! }
//! ```

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
mod isn;
#[cfg(feature = "medium-ethernet")]
mod neighbours;
mod observer;
mod opening;
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
mod writer;
mod writing;

pub use smoltcp;

pub use calls::UnknownConnection;
pub use config::{Buffers, Config, ConfigError, SlotBuffers};
#[doc(hidden)]
pub use device::Watch;
pub use driver::{Network, Stack};
pub use error::Error;
pub use opening::OpenError;
pub use reader::Reader;
pub use secret::boot_seed;
#[doc(hidden)]
pub use slot::Step;
pub use socket::Socket;
pub use steps::Steps;
pub use tracker::{ConnectionId, Net, Tracker};
pub use writer::{Scoped, Writer};
