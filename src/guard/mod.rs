//! The guard: what a received frame may do, and what was seen of each connection.
//!
//! A TCP stack acts on segments that anybody could forge, and does not report when a peer was
//! heard, whether its window is closed, whether a segment left, or what ICMP said. All of
//! that is on the wire. So the guard reads every frame between the device and the stack. It
//! does no I/O, knows no time and names no stack: octets go in, and it says what goes on of
//! them, and what it has seen.
//!
//! # What goes in, and what comes out
//!
//! | in | out |
//! |---|---|
//! | a frame that arrived ([`Table::inspect`]) | what the stack gets: the frame, nothing, or another segment in its place ([`Onward`]) |
//! | a frame that leaves ([`Table::inspect_sent`]) | the same frame, changed where a rule demands it, and whose it is |
//! | what the stack took in ([`Receipt`], [`Table::advance`]) | - |
//! | that a connection is opened, listens, or is over ([`Table::assign`], [`Table::listen`], [`Table::take_off`], [`Table::clear`]) | - |
//! | after each step: which connections were touched ([`Table::take_touched`]) | what was seen of each ([`Facts`], [`Table::take`]) |
//!
//! # The way of a frame
//!
//! 1. [`wire`] reads it in place. What is damaged, or hides a segment from this reader (a
//!    fragment, an IP version that lastbyte was built without), goes no further.
//! 2. [`table`] finds the connection by its [`Flow`], or decides about a segment of none.
//! 3. [`tcb`] takes the segment that is expected next, which nearly all are. [`rules`] judges
//!    any other: one function a requirement, each with its clause. The [`Verdict`] changes
//!    nothing by itself.
//! 4. [`tcb`] notes what the segment says, as far as the verdict lets it count.
//! 5. [`table`] performs the verdict, and [`rewrite`] makes the segment that goes on in place
//!    of another.
//!
//! # The phases of a connection
//!
//! The [`Phase`] says which rules hold. A connection that we open goes from `Opening` (nothing
//! has left, so nothing can be an answer) over `SynSent` and `SynSeen` (an answer came; the
//! stack has yet to take it) to `Synchronised`. One that a peer opens goes from `Listening`
//! over `Opening` and `SynReceived`. Then comes the end: `Finishing` (our FIN is out),
//! `PeerFinished` (the stack took the peer's), `Closing` (both, ours not acknowledged),
//! `TimeWait`, `Over`.
//!
//! Frames move it up to our FIN; what the peer has closed, and whether the handshake is
//! complete, moves it by the receipt of the stack, which may refuse a segment for reasons of
//! its own. Every transition is in `Phase::after` (`tcb.rs`).
//!
//! # What it takes for true
//!
//! SND.NXT and SND.UNA come from the wire. RCV.NXT is counted from what the stack accepted,
//! and `arrived` is what came in order: a FIN counts at once, even if the stack gets it only
//! when the peer repeats it. The ACK number of a RST changes nothing, since some stacks
//! acknowledge in it what they threw away. Only a segment with acceptable numbers counts as
//! hearing the peer.
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

pub(crate) mod flow;
pub(crate) mod rewrite;
pub(crate) mod rules;
pub(crate) mod table;
pub(crate) mod tcb;
pub(crate) mod verdict;
pub(crate) mod wire;
