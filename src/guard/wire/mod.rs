//! The layout of frames, packets and segments, and the arithmetic on their fields.

pub(crate) mod checksum;
pub(crate) mod frame;
pub(crate) mod icmp;
pub(crate) mod layout;
pub(crate) mod segment;
pub(crate) mod seq;
