//! The guard: what a received frame may do, and what was seen of each connection.

pub(crate) mod checksum;
pub(crate) mod ends;
pub(crate) mod icmp;
pub(crate) mod parse;
pub(crate) mod probe;
pub(crate) mod row;
pub(crate) mod rules;
pub(crate) mod segment;
pub(crate) mod seq;
pub(crate) mod table;
