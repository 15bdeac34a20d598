//! The layout of frames, packets and segments, and the arithmetic on their fields.

pub(crate) mod checksum;
pub(crate) mod frame;
pub(crate) mod icmp;
pub(crate) mod layout;
#[cfg(all(feature = "address-conflicts", feature = "proto-ipv6"))]
pub(crate) mod ndp;
#[cfg(feature = "medium-ethernet")]
pub(crate) mod neighbour;
pub(crate) mod segment;
pub(crate) mod seq;
