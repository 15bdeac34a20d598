//! The rules that every run must keep, and findings that break them.

use std::fmt;

use lastbyte::Instant;

/// A rule that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// `accepted == acknowledged + pending`, and neither ever shrinks.
    Ledger,
    /// `acknowledged` is at most what the peer's TCP received and acknowledged.
    Acknowledged,
    /// The reader gets exactly what the peer sent, and before the end everything that was
    /// acknowledged to the peer.
    Read,
    /// The peer received exactly the bytes that were accepted, from the first.
    Content,
    /// The first write after the peer's end is refused and accepts nothing.
    FirstWrite,
    /// After the end every write is refused for the same first cause.
    Latched,
    /// Every error carries the present ledger.
    Account,
    /// `flush` and `finish` succeed only if everything is acknowledged.
    Delivered,
    /// Every call and every connection ends within its timeouts.
    Bounded,
    /// The cause is what really happened.
    Cause,
    /// With bytes pending and the connection open, something is always in progress.
    Stalled,
    /// An outage that is shorter than every timeout ends no connection, and everything is
    /// delivered, the first of it soon after.
    Survives,
    /// A segment is answered as RFC 9293 requires, and nothing else is sent.
    Answers,
    /// A listener answers every caller, and resets none.
    Listens,
    /// The receive buffer of an application that never reads never fills.
    Discarded,
    /// Our end does not run when there is nothing to do.
    Busy,
    /// Nothing is left of an ended connection: no timer, slot or port.
    Leak,
    /// Nothing panics.
    Panic,
    /// The assertions of a trial about an application hold.
    Trial,
}

impl Rule {
    /// The text of the rule, in one line.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ledger => "accepted == acknowledged + pending, and neither shrinks",
            Self::Acknowledged => "acknowledged is no more than the peer received",
            Self::Read => "the reader gets what the peer sent, everything that was acknowledged",
            Self::Content => "the peer receives exactly what was accepted",
            Self::FirstWrite => "the first write after the peer's end is refused",
            Self::Latched => "the first cause stays",
            Self::Account => "every error carries the ledger",
            Self::Delivered => "flush and finish succeed only if everything is acknowledged",
            Self::Bounded => "every call and connection ends within its timeouts",
            Self::Cause => "the cause is what really happened",
            Self::Stalled => "with bytes pending, something is in progress",
            Self::Survives => "a short outage ends no connection and delays little",
            Self::Answers => "segments are answered as RFC 9293 requires",
            Self::Listens => "a listener answers, and resets no caller",
            Self::Discarded => "bytes that are not read are discarded",
            Self::Busy => "no work without a reason",
            Self::Leak => "nothing is left of an ended connection",
            Self::Panic => "nothing panics",
            Self::Trial => "the assertions of the trial hold",
        }
    }
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// When it was seen, in virtual time.
    pub at: Instant,
    /// The details.
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
