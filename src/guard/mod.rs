//! The guard: filters received frames, and records what was seen of each connection.
//!
//! A TCP stack acts on segments that any host could forge, and does not report when a peer
//! was heard, whether its window is closed, whether a segment was sent, or which ICMP errors
//! arrived. All of that is visible on the wire. So the guard reads every frame between the
//! device and the TCP stack. It does no I/O, uses no clock and names no TCP stack: octets go
//! in, and it returns what goes on to the stack, and the facts that it has seen.
//!
//! # Input and output
//!
//! | in | out |
//! |---|---|
//! | a frame that arrived ([`Table::inspect`]) | what the TCP stack gets: the frame, nothing, or another segment in its place ([`Onward`]) |
//! | a frame that is sent ([`Table::inspect_sent`]) | the same frame, changed where a rule requires it, and the connection that it belongs to |
//! | what the TCP stack accepted ([`Receipt`], [`Table::advance`]) | - |
//! | that a connection is opened, listens, or is over ([`Table::assign`], [`Table::listen`], [`Table::take_off`], [`Table::clear`]) | - |
//! | - | what a frame says that belongs to no connection (`notice.rs`): who has an address, what a router advertises, what a name server answers |
//! | after each step: which connections were touched ([`Table::take_touched`]) | what was seen of each ([`Facts`], [`Table::take`]) |
//!
//! # The path of a frame
//!
//! 1. [`wire`] reads it in place. A frame that is damaged, or that may hide a segment (a
//!    fragment, an IP version that lastbyte was built without), goes no further.
//! 2. [`table`] finds the connection by its [`Flow`], or decides about a segment of no
//!    connection.
//! 3. [`tcb`] accepts the segment that is expected next, as nearly all are. [`rules`] judges
//!    any other segment: one function for each requirement, with its clause. The [`Verdict`]
//!    changes nothing by itself.
//! 4. [`tcb`] records the fields of the segment, as far as the verdict lets them count.
//! 5. [`table`] performs the verdict, and [`rewrite`] makes the replacement if another
//!    segment has to go on.
//!
//! # The phases of a connection
//!
//! The [`Phase`] determines which rules apply. A connection that we open goes from `Opening`
//! (nothing was sent, so nothing can be an answer) through `SynSent` and `SynSeen` (an answer
//! arrived; the TCP stack has yet to accept it) to `Synchronised`. A connection that a peer
//! opens goes from `Listening` through `Opening` and `SynReceived` to `Synchronised`. Then
//! comes the end: `Finishing` (our FIN was sent), `PeerFinished` (the TCP stack accepted the
//! peer's FIN), `Closing` (both, and our FIN is not acknowledged), `TimeWait`, `Over`.
//!
//! Frames advance the phase up to our FIN. The receipt of the TCP stack advances it when the
//! handshake is complete or the peer has closed, because the stack may refuse a segment for
//! reasons of its own. Every transition is in `Phase::after` (`tcb.rs`).
//!
//! # What it relies on
//!
//! SND.NXT and SND.UNA come from the wire. RCV.NXT is computed from what the TCP stack
//! accepted, and `arrived` from what arrived in order: a FIN counts at once, even if the
//! stack gets it only when the peer retransmits it. The ACK number of a RST changes nothing,
//! because some stacks acknowledge in it what they discarded. Only a segment with acceptable
//! numbers counts as hearing the peer.
//!
//! [`Facts`]: tcb::Facts
//! [`Flow`]: flow::Flow
//! [`Onward`]: table::Onward
//! [`Phase`]: tcb::Phase
//! [`Receipt`]: tcb::Receipt
//! [`Table::advance`]: table::Table::advance
//! [`Table::assign`]: table::Table::assign
//! [`Table::clear`]: table::Table::clear
//! [`Table::inspect_sent`]: table::Table::inspect_sent
//! [`Table::inspect`]: table::Table::inspect
//! [`Table::listen`]: table::Table::listen
//! [`Table::take_off`]: table::Table::take_off
//! [`Table::take_touched`]: table::Table::take_touched
//! [`Table::take`]: table::Table::take
//! [`Verdict`]: verdict::Verdict

#[cfg(feature = "slaac")]
pub(crate) mod advert;
#[cfg(feature = "address-conflicts")]
pub(crate) mod claim;
pub(crate) mod flow;
#[cfg(any(feature = "address-conflicts", feature = "dns"))]
pub(crate) mod notice;
#[cfg(feature = "dns")]
pub(crate) mod reply;
pub(crate) mod rewrite;
pub(crate) mod rules;
pub(crate) mod table;
pub(crate) mod tcb;
pub(crate) mod verdict;
pub(crate) mod wire;
