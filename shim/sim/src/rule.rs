//! The rules a run is held to, and what breaks them.

use std::fmt;

use lastbyte::Instant;

/// A promise that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// `accepted == acknowledged + pending`, and neither ever shrinks.
    Ledger,
    /// `acknowledged` is no more than the peer's TCP took in and acknowledged.
    Acknowledged,
    /// The reader gets exactly what the peer sent, and before the end all that was
    /// acknowledged to the peer.
    Read,
    /// The peer received exactly the bytes that were accepted, from the first.
    Content,
    /// The first write after the peer's end is refused and takes nothing.
    FirstWrite,
    /// After the end every write is refused for the same first cause.
    Latched,
    /// Every error carries the ledger as it stands.
    Account,
    /// `flush` and `finish` succeed only if everything is acknowledged.
    Delivered,
    /// Every call and every connection ends within its limits.
    Bounded,
    /// The cause is what the world really did.
    Cause,
    /// With bytes pending and the connection open, something is always under
    /// way.
    Stalled,
    /// An outage that is shorter than every limit ends nothing, and everything is delivered,
    /// the first of it soon after.
    Survives,
    /// A segment is answered as RFC 9293 says, and nothing else leaves.
    Answers,
    /// A listener always answers a caller, and resets none.
    Listens,
    /// Nothing fills the receive buffer of an application that never reads.
    Discarded,
    /// Our end does not run when there is nothing to do.
    Busy,
    /// Nothing of an ended connection is left: no timer, slot or port.
    Leak,
    /// Nothing panics.
    Panic,
    /// What a trial asserts about an application holds.
    Trial,
}

impl Rule {
    /// What it says, in one line.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ledger => "accepted == acknowledged + pending, and neither shrinks",
            Self::Acknowledged => "acknowledged is no more than the peer took in",
            Self::Read => "the reader gets what the peer sent, all that was acknowledged",
            Self::Content => "the peer receives exactly what was accepted",
            Self::FirstWrite => "the first write after the peer's end is refused",
            Self::Latched => "the first cause stays",
            Self::Account => "every error carries the ledger",
            Self::Delivered => "flush and finish succeed only if all is acknowledged",
            Self::Bounded => "every call and connection ends within its limits",
            Self::Cause => "the cause is what really happened",
            Self::Stalled => "with bytes pending, something is under way",
            Self::Survives => "a short outage ends nothing and delays little",
            Self::Answers => "segments are answered as RFC 9293 says",
            Self::Listens => "a listener answers, and resets no caller",
            Self::Discarded => "bytes that are not read are discarded",
            Self::Busy => "no work without a reason",
            Self::Leak => "nothing is left of an ended connection",
            Self::Panic => "nothing panics",
            Self::Trial => "what the trial asserts holds",
        }
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// When it was seen, in virtual time.
    pub at: Instant,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.since(Instant::ZERO);
        write!(
            f,
            "{:?} at {at:?}: {} ({})",
            self.rule,
            self.detail,
            self.rule.text()
        )
    }
}
