//! What the peer of a run is and does.

use std::time::Duration;

use lastbyte::Instant;

/// What the peer is and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerModel {
    /// Reads everything, and closes after our FIN.
    ReadsAll,
    /// Reads everything and never closes its direction.
    StaysOpen,
    /// Reads so many bytes, then pauses.
    ReadsSlowly {
        /// Bytes read at once.
        bytes: usize,
        /// Pause after each read.
        every: Duration,
    },
    /// Does not read before that time; [`Instant::NEVER`]: never.
    ReadsFrom(Instant),
    /// Half-closes after so many bytes and keeps reading.
    HalfCloses(u64),
    /// Exits after so many bytes; what arrives later is answered with a RST.
    Exits(u64),
    /// Sends a RST after so many bytes.
    Resets(u64),
    /// Sends a RST at that time.
    ResetsAt(Instant),
    /// It has no listener.
    Refuses,
    /// Its machine answers neighbour discovery, but never TCP.
    NeverAnswers,
    /// Its machine is not there.
    Absent,
    /// It falls silent at one time and is back at the other.
    Vanishes(Instant, Instant),
    /// Its machine reboots at that time, with this seed.
    Reboots(Instant, u64),
    /// Sends so many bytes as fast as it may, and never closes.
    Floods(usize),
    /// Answers with this, half-closes, and keeps reading.
    Answers(usize),
    /// A TCP of its own that bends the rules: see [`Rogue`].
    Rogue(Rogue),
}

/// A scripted peer that misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rogue {
    /// Its window grows and shrinks at will, zero included.
    ShrinksWindow,
    /// Takes a part of each segment.
    TakesParts,
    /// Says everything twice, old ACKs included.
    RepeatsItself,
    /// Sends FINs after gaps before the right one, after so many bytes.
    FinsEarly(u64),
    /// Its window is never larger than one octet.
    Narrow,
    /// Takes our FIN only when it comes a second time, and says everything four
    /// times until then.
    Duplicates,
    /// Sends data again, in other portions and with a larger window than it has.
    StaleWindows,
    /// Sends data, and a FIN after so many bytes, with the ACK number of the
    /// segment before: as when two segments have swapped places.
    OldAcks(u64),
    /// Fills our window; then sends what does not fit, ending like this.
    Overruns(Overrun),
    /// Repeats an old octet that often, to see whether we are there.
    KeepsAlive(Duration),
    /// Loses its state, and answers what comes then as some TCP does.
    Restarts(Restart),
}

/// How a segment ends that reaches beyond our window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overrun {
    /// With a FIN.
    Fin,
    /// It is a RST exactly at RCV.NXT, with data.
    Rst,
}

/// When and how a peer loses its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// When.
    pub when: Lost,
    /// How it answers then.
    pub like: Relic,
}

/// When a peer loses its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// After so many bytes: what would make them more is thrown away.
    After(u64),
    /// When our FIN comes.
    AtFin,
    /// After its own FIN, which it sends after so many bytes.
    BehindItsFin(u64),
}

/// How a TCP without a connection answers a segment that acknowledges something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relic {
    /// As lwIP: RST at SEG.ACK that acknowledges all there is in the segment,
    /// which it has thrown away.
    Lwip,
    /// As uIP: the same, and one octet more.
    Uip,
    /// As Linux and FreeBSD: RST at SEG.ACK that acknowledges nothing.
    Linux,
}
