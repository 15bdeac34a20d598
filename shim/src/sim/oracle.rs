//! The rules a run is held to.

use std::fmt;
use std::time::Duration;

use lastbyte::{Cause, Instant, Ledger, OnPeerFin, Options, Report, State, WriteError};

use super::truth::{Neighbour, Opening, PeerEnd, Truth};

/// A promise that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// `accepted == acknowledged + pending`, and neither ever shrinks.
    Ledger,
    /// `acknowledged` is no more than the peer's TCP took in and acknowledged.
    Acknowledged,
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
    /// Nothing fills the receive buffer of an application that never reads.
    Discarded,
    /// Our end does not run when there is nothing to do.
    Busy,
    /// Nothing of an ended connection is left: no timer, slot or port.
    Leak,
    /// Nothing panics.
    Panic,
}

impl Rule {
    /// What it says, in one line.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ledger => "accepted == acknowledged + pending, and neither shrinks",
            Self::Acknowledged => "acknowledged is no more than the peer took in",
            Self::Content => "the peer receives exactly what was accepted",
            Self::FirstWrite => "the first write after the peer's end is refused",
            Self::Latched => "the first cause stays",
            Self::Account => "every error carries the ledger",
            Self::Delivered => "flush and finish succeed only if all is acknowledged",
            Self::Bounded => "every call and connection ends within its limits",
            Self::Cause => "the cause is what really happened",
            Self::Stalled => "with bytes pending, something is under way",
            Self::Discarded => "what nobody reads is discarded",
            Self::Busy => "no work without a reason",
            Self::Leak => "nothing is left of an ended connection",
            Self::Panic => "nothing panics",
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

/// How long our end may say nothing while bytes are pending: the longest pause
/// between probes, and some.
const LONGEST_PAUSE: Duration = Duration::from_secs(130);

/// What the application did that may end a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    pub(super) finish_at: Option<Instant>,
    pub(super) aborted: bool,
    pub(super) address_lost: bool,
    /// A router has complained about our SYN.
    pub(super) complained: bool,
}

/// Watches one connection from its opening to its end.
#[derive(Debug)]
pub(super) struct Oracle {
    options: Options,
    opened_at: Instant,
    /// The account when it was last looked at.
    last: Ledger,
    /// What the writes have returned, summed up.
    pub(super) accepted: u64,
    /// When a write last took something, or nobody had served our end before.
    pub(super) stirred_at: Instant,
    ended: Option<Cause>,
    pub(super) done: Done,
    pub(super) findings: Vec<Finding>,
}

impl Oracle {
    pub(super) fn new(options: Options, now: Instant) -> Self {
        Self {
            options,
            opened_at: now,
            last: Ledger::ZERO,
            accepted: 0,
            stirred_at: now,
            ended: None,
            done: Done::default(),
            findings: Vec::new(),
        }
    }

    /// The same oracle for another connection.
    pub(super) fn begin(&mut self, now: Instant) {
        let findings = std::mem::take(&mut self.findings);
        *self = Self {
            findings,
            ..Self::new(self.options, now)
        };
    }

    pub(super) fn find(&mut self, rule: Rule, at: Instant, detail: String) {
        self.findings.push(Finding { rule, at, detail });
    }

    /// Looks at the connection, whatever it is doing.
    pub(super) fn look(&mut self, state: State, report: &Report, truth: &Truth, now: Instant) {
        self.look_at_ledger(report.ledger, truth, now);
        if self.ended.is_some() && report.cause != self.ended {
            let detail = format!("{:?} became {:?}", self.ended, report.cause);
            self.find(Rule::Latched, now, detail);
        }
        if let (None, Some(cause)) = (self.ended, report.cause) {
            self.ended = Some(cause);
            if let Err(why) = self.judge(cause, truth, now) {
                self.find(Rule::Cause, now, format!("{cause:?}, but {why}"));
            }
        }
        if self.ended.is_none() {
            self.look_at_life(state, report.ledger, truth, now);
        }
    }

    fn look_at_ledger(&mut self, ledger: Ledger, truth: &Truth, now: Instant) {
        let (accepted, acknowledged) = (ledger.accepted(), ledger.acknowledged());
        let is_sound = accepted == acknowledged + ledger.pending()
            && ledger.pending() == ledger.undelivered()
            && accepted == self.accepted
            && acknowledged >= self.last.acknowledged();
        if !is_sound {
            let detail = format!(
                "{ledger:?} after {:?}, {} written",
                self.last, self.accepted
            );
            self.find(Rule::Ledger, now, detail);
        }
        if acknowledged > truth.acknowledged() {
            let detail = format!("{ledger:?}, but the wire said {}", truth.acknowledged());
            self.find(Rule::Acknowledged, now, detail);
        }
        self.last = ledger;
    }

    fn look_at_life(&mut self, state: State, ledger: Ledger, truth: &Truth, now: Instant) {
        let waits = state.is_established() && ledger.pending() > 0;
        let quiet = now.since(truth.sent_at.max(truth.heard_at).max(self.stirred_at));
        if waits && quiet > LONGEST_PAUSE {
            let detail = format!("{ledger:?}, and nothing on the wire for {quiet:?}");
            self.find(Rule::Stalled, now, detail);
        }
        let is_late =
            |limit: Duration, since: Instant| now.since(since) > limit + Duration::from_secs(1);
        if state == State::Connecting && is_late(self.options.connect_limit(), self.opened_at) {
            self.find(Rule::Bounded, now, "it still connects".to_owned());
        }
        if let Some(at) = self.done.finish_at
            && is_late(self.options.finish_limit(), at)
        {
            self.find(Rule::Bounded, now, "it still finishes".to_owned());
        }
    }

    /// Whether the next write must be refused, for all that is certain.
    pub(super) fn must_refuse(&self, truth: &Truth) -> Option<PeerEnd> {
        if self.done.address_lost {
            // What arrives for a lost address concerns nobody.
            return None;
        }
        match (truth.peer_end, self.options.on_peer_fin()) {
            (PeerEnd::Open, _) | (PeerEnd::Fin, OnPeerFin::HalfClose) => None,
            (end, _) => Some(end),
        }
    }

    /// Looks at what a write returned. `must` is what had to come of it.
    pub(super) fn look_at_write(
        &mut self,
        must: Option<PeerEnd>,
        before: u64,
        result: Result<(), WriteError>,
        now: Instant,
    ) {
        let took = self.accepted - before;
        if took > 0 {
            self.stirred_at = now;
        }
        if let (Some(end), true) = (must, took > 0) {
            let detail = format!("{took} bytes were taken after {end:?}");
            self.find(Rule::FirstWrite, now, detail);
        }
        if let (Some(cause), true) = (self.ended, took > 0) {
            self.find(
                Rule::Latched,
                now,
                format!("{took} bytes were taken after {cause:?}"),
            );
        }
        if let Err(error) = result {
            self.look_at_error(error, now);
            if self.ended.is_some() && error.cause().is_none() {
                let detail = format!("{error:?} after {:?}", self.ended);
                self.find(Rule::Latched, now, detail);
            }
        } else if must.is_some() && took == 0 {
            let detail = format!("a write was put off after {must:?}");
            self.find(Rule::FirstWrite, now, detail);
        }
    }

    /// Every error tells the account, and after the end the cause.
    pub(super) fn look_at_error(&mut self, error: WriteError, now: Instant) {
        if error.ledger().accepted() != self.accepted {
            let detail = format!("{error:?}, but {} were written", self.accepted);
            self.find(Rule::Account, now, detail);
        }
        // A call that only waited too long has no cause.
        let cause = error.cause();
        if cause.is_some() && self.ended.is_some() && cause != self.ended {
            let detail = format!("{error:?} after {:?}", self.ended);
            self.find(Rule::Latched, now, detail);
        }
    }

    /// Whether the world gave reason for this cause.
    fn judge(&self, cause: Cause, truth: &Truth, now: Instant) -> Result<(), String> {
        let options = &self.options;
        let holds = |is_so: bool, why: &str| is_so.then_some(()).ok_or_else(|| why.to_owned());
        let lasted = |limit: Duration, since: Instant| now.since(since) >= limit;
        match cause {
            Cause::PeerFinished => holds(truth.saw_fin.is_some(), "no FIN has arrived"),
            Cause::PeerReset => holds(truth.saw_rst.is_some(), "no RST has arrived"),
            Cause::Refused => holds(truth.opening == Opening::Refused, "nothing refused the SYN"),
            Cause::Unreachable => {
                let is_known =
                    matches!(truth.neighbour, Neighbour::Answered(at) if at >= self.opened_at);
                // The answer may have come while nobody served our end.
                let is_unsent = truth.opening == Opening::Unsent;
                if self.done.complained {
                    return Ok(());
                }
                holds(!is_known || is_unsent, "the neighbour has answered")?;
                holds(
                    lasted(options.connect_limit(), self.opened_at),
                    "it is early",
                )
            }
            Cause::ConnectTimeout => {
                let is_known = matches!(truth.neighbour, Neighbour::Answered(_));
                holds(is_known, "the neighbour has never answered")?;
                holds(
                    truth.opening != Opening::Synchronised,
                    "the SYN was answered",
                )?;
                holds(
                    lasted(options.connect_limit(), self.opened_at),
                    "it is early",
                )
            }
            Cause::Vanished => {
                let silence = now.since(truth.heard_at);
                holds(
                    silence >= options.silence_limit(),
                    &format!("the peer was heard {silence:?} ago"),
                )
            }
            Cause::FinishTimeout => {
                let begun = self.done.finish_at;
                holds(begun.is_some(), "nobody finished")?;
                let since = begun.unwrap_or(now);
                holds(lasted(options.finish_limit(), since), "it is early")
            }
            Cause::AddressLost => holds(self.done.address_lost, "the address is there"),
            Cause::Finished => {
                holds(self.done.finish_at.is_some(), "nobody finished")?;
                let acknowledged = truth.acknowledged();
                holds(acknowledged >= self.accepted, "not all was acknowledged")
            }
            Cause::Aborted => holds(self.done.aborted, "nobody aborted"),
        }
    }
}
