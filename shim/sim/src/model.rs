//! The models of the peer in a run.

use std::time::Duration;

use lastbyte::Instant;

/// The model of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerModel {
    /// Reads everything, and closes after our FIN.
    ReadsAll,
    /// Reads everything and never closes its direction.
    StaysOpen,
    /// Reads this many bytes, then pauses.
    ReadsSlowly {
        /// Bytes read at once.
        bytes: usize,
        /// Pause after each read.
        every: Duration,
    },
    /// Does not read before this time; [`Instant::NEVER`]: never.
    ReadsFrom(Instant),
    /// Half-closes after this many bytes and keeps reading.
    HalfCloses(u64),
    /// Exits after this many bytes; what arrives later is answered with a RST.
    Exits(u64),
    /// Sends a RST after this many bytes.
    Resets(u64),
    /// Sends a RST at this time.
    ResetsAt(Instant),
    /// It has no listener.
    Refuses,
    /// Its machine answers neighbour discovery, but never TCP.
    NeverAnswers,
    /// Its machine is off.
    Absent,
    /// It falls silent at the first time and responds again at the second.
    Vanishes(Instant, Instant),
    /// Its machine reboots at this time, with this seed.
    Reboots(Instant, u64),
    /// Sends this many bytes as fast as it may, and never closes.
    Floods(usize),
    /// Answers with this many bytes, half-closes, and keeps reading.
    Answers(usize),
    /// A TCP that violates the rules: see [`Rogue`].
    Rogue(Rogue),
}

/// A scripted peer that misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rogue {
    /// Its window grows and shrinks arbitrarily, down to zero.
    ShrinksWindow,
    /// Accepts a part of each segment.
    TakesParts,
    /// Sends everything twice, including old ACKs.
    RepeatsItself,
    /// Sends FINs with gaps before them, and the right one after this many bytes.
    FinsEarly(u64),
    /// Its window is never larger than one octet.
    Narrow,
    /// Accepts our FIN only when it is retransmitted, and sends everything four times
    /// until then.
    Duplicates,
    /// Retransmits data, in other portions and with a larger window than it has.
    StaleWindows,
    /// Sends data, and a FIN after this many bytes, with the ACK number of the previous
    /// segment, as if two segments had been reordered.
    OldAcks(u64),
    /// Fills our window, then sends a segment that does not fit and ends like this.
    Overruns(Overrun),
    /// Sends an old octet at this interval, to probe whether we respond.
    KeepsAlive(Duration),
    /// Loses its state, and answers later segments like a certain TCP.
    Restarts(Restart),
}

/// The end of a segment that reaches beyond our window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overrun {
    /// With a FIN.
    Fin,
    /// The segment is a RST at RCV.NXT, with data.
    Rst,
}

/// When and how a peer loses its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// When.
    pub when: Lost,
    /// How it answers after that.
    pub like: Relic,
}

/// When a peer loses its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// After this many bytes: further bytes are discarded.
    After(u64),
    /// When our FIN arrives.
    AtFin,
    /// After its own FIN, which it sends after this many bytes.
    BehindItsFin(u64),
}

/// How a TCP without a connection answers a segment with an ACK number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relic {
    /// Like lwIP: a RST at SEG.ACK that acknowledges the whole segment, which it has
    /// discarded.
    Lwip,
    /// Like uIP: the same, and one octet more.
    Uip,
    /// Like Linux and FreeBSD: a RST at SEG.ACK that acknowledges nothing.
    Linux,
}
