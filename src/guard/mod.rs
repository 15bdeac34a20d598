//! The guard: what a received frame may do, and what was seen of each connection.

pub(crate) mod flow;
pub(crate) mod rewrite;
pub(crate) mod rules;
pub(crate) mod table;
pub(crate) mod tcb;
pub(crate) mod verdict;
pub(crate) mod wire;
