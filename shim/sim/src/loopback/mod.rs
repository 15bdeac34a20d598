//! A network in one process and in virtual time: our end, a wire, a peer.
//!
//! It needs no privileges, no threads and no real time, and every run is the same. It
//! serves tests, examples and the demonstration.
//!
//! - [`World`]: time, the wire with its drop switches, scheduled actions,
//!   observers.
//! - [`LoopDevice`] and [`LoopClock`]: the two things our end needs.
//! - [`Peer`]: the other end, a real smoltcp TCP driven by [`Behaviour`]s.
//! - [`RawPeer`]: the other end as a script of single [`Segment`]s.
//! - [`Bare`]: our end as one bare smoltcp socket, to compare with.

mod addresses;
mod bare;
mod clock;
mod config;
mod device;
mod drive;
mod drops;
mod events;
mod fate;
mod frame;
mod link;
mod offload;
mod peer;
mod raw;
mod schedule;
mod segment;
mod wire;
mod world;

#[cfg(test)]
mod tests;

pub use addresses::{
    OUR_ADDRESSES, OUR_MAC, OUR_V4, OUR_V6, PEER_MAC, PEER_V4, PEER_V6, our_hardware_address,
};
pub use bare::Bare;
pub use clock::LoopClock;
pub use config::{BEGINNING, Offload, WorldConfig};
pub use device::{LoopDevice, RxToken, TxToken};
pub use drops::Drops;
pub use events::{EventLog, FrameEvent, LogEntry, Sender};
pub use fate::{Damage, Fate, Loss, Path};
pub(crate) use frame::ip_in_frame;
pub use frame::{is_intact, tcp_in_frame};
pub use peer::{
    Action, Answers, Behaviour, Connection, Datagrams, Ending, Mark, Peer, PeerConfig, Presence,
    Reads, Reply, Sends, StreamFault, When,
};
pub(crate) use raw::icmp::{parameter_problem, unreachable};
pub use raw::{Flow, Handshake, RawPeer};
pub use segment::{Flags, Segment};
pub use wire::{Counters, Direction};
pub use world::World;

/// Converts a point in time for smoltcp. [`lastbyte::Instant::NEVER`] becomes smoltcp's
/// last one.
#[must_use]
pub fn smoltcp_time(time: lastbyte::Instant) -> smoltcp::time::Instant {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    smoltcp::time::Instant::from_micros(micros)
}

/// Converts a point in time for lastbyte. Points before the epoch become the epoch.
#[must_use]
pub fn lastbyte_time(time: smoltcp::time::Instant) -> lastbyte::Instant {
    lastbyte::Instant::from_micros(u64::try_from(time.total_micros()).unwrap_or(0))
}
