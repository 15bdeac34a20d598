//! Checks the rules for one connection, from its opening to its end.

use std::time::Duration;

use lastbyte::{Cause, Instant, Ledger, OnPeerFin, Options, Report, State, WriteError};

use super::rule::{Finding, Rule};
use super::truth::{Fault, Neighbour, PeerEnd, Truth};

/// The longest pause between two probes of a closed window: only smoltcp knows when it
/// sends the next one.
const PERSISTENCE: Duration = Duration::from_secs(60);

/// How late a try may be, beyond a quarter of the user timeout.
const SLACK: Duration = Duration::from_secs(3);

/// How late an end may be: the last try has two seconds for its answer.
const LAST_CHANCE: Duration = Duration::from_secs(4);

/// What may end a connection: the calls of the application, and more.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    pub(super) finish_at: Option<Instant>,
    pub(super) finished_writing_at: Option<Instant>,
    pub(super) aborted: bool,
    pub(super) address_lost: bool,
    /// The stack was not served for a while, so that what was due was late.
    pub(super) was_neglected: bool,
    pub(super) link_is_down: bool,
    /// The link came up, so that the neighbours are forgotten.
    pub(super) link_came_up: bool,
    /// What has arrived may still wait in the device.
    pub(super) device_is_full: bool,
    /// A router reported that our SYN can never be delivered.
    pub(super) has_hard_error: bool,
    /// A router reported that our SYN is not delivered, or is prohibited.
    pub(super) has_soft_error: bool,
}

/// Watches one connection from its opening to its end.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) options: Options,
    pub(super) opened_at: Instant,
    /// The ledger at the last check.
    last: Ledger,
    /// The sum of what the writes have returned.
    pub(super) accepted: u64,
    /// When a write last accepted something, or our end was served again after a pause.
    pub(super) stirred_at: Instant,
    /// When the peer's window was last closed, as far as our end may know.
    blocked_at: Instant,
    /// When the ledger last showed that more was acknowledged.
    advanced_at: Instant,
    /// The time since which our end is served without a pause.
    pub(super) served_at: Instant,
    pub(super) ended: Option<Cause>,
    /// Whether a fault on the wire was reported.
    has_reported: bool,
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
            blocked_at: Instant::ZERO,
            advanced_at: now,
            served_at: now,
            ended: None,
            has_reported: false,
            done: Done::default(),
            findings: Vec::new(),
        }
    }

    /// Resets the oracle for another connection.
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

    /// Checks the connection, in any state.
    pub(super) fn look(
        &mut self,
        state: State,
        report: &Report,
        truth: &Truth,
        neighbour: Neighbour,
        now: Instant,
    ) {
        self.look_at_ledger(report.ledger, truth.acknowledged(), now);
        if self.ended.is_some() && report.cause != self.ended {
            let detail = format!("{:?} became {:?}", self.ended, report.cause);
            self.find(Rule::Latched, now, detail);
        }
        if let (None, Some(cause)) = (self.ended, report.cause) {
            self.ended = Some(cause);
            // The application may check late.
            let ended_at = self.opened_at + report.elapsed;
            if let Err(why) = self.judge(cause, truth, neighbour, ended_at) {
                self.find(Rule::Cause, now, format!("{cause:?}, but {why}"));
            }
        }
        if self.ended.is_none() {
            self.look_at_life(state, now);
            self.look_at_progress(state, report.ledger, truth, now);
        }
        self.look_at_wire(state, truth, now);
    }

    /// Checks for segments that should not have left our end, and for missing ones.
    fn look_at_wire(&mut self, state: State, truth: &Truth, now: Instant) {
        if self.has_reported {
            return;
        }
        let before = self.findings.len();
        if let Some(fault) = truth.fault {
            let rule = match fault {
                Fault::CallerReset => Rule::Listens,
                Fault::NeverArrived => Rule::Read,
                _ => Rule::Answers,
            };
            self.find(rule, now, fault.text().to_owned());
        }
        if self.ended.is_none() && !self.done.address_lost {
            if let Some(late) = truth.owed.late(now) {
                self.find(Rule::Answers, now, late.to_owned());
            }
            if state == State::Listening && truth.owed.is_deaf() {
                let detail = "a caller gets no answer".to_owned();
                self.find(Rule::Listens, now, detail);
            }
        }
        self.has_reported = self.findings.len() > before;
    }

    /// Checks the ledger. On the wire, this many octets were acknowledged.
    pub(super) fn look_at_ledger(&mut self, ledger: Ledger, on_wire: u64, now: Instant) {
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
        if acknowledged > on_wire {
            let detail = format!("{ledger:?}, but {on_wire} on the wire");
            self.find(Rule::Acknowledged, now, detail);
        }
        if acknowledged > self.last.acknowledged() {
            self.advanced_at = now;
        }
        self.last = ledger;
    }

    /// Checks that with bytes pending or a FIN in flight, tries are no further apart than
    /// a quarter of the user timeout, and end with it.
    fn look_at_progress(&mut self, state: State, ledger: Ledger, truth: &Truth, now: Instant) {
        let is_open = state.is_established() || matches!(state, State::Finishing(_));
        if !is_open || self.done.address_lost || self.done.link_is_down {
            return;
        }
        let patience = self.options.user_timeout();
        let is_blocked = !truth.is_window_surely_open();
        if is_blocked {
            self.blocked_at = now;
        }
        let pause = match is_blocked {
            true => PERSISTENCE + SLACK,
            false => (patience / 4).max(SLACK) + SLACK,
        };
        let active_at = truth.sent_at.max(truth.heard_at).max(self.stirred_at);
        let is_quiet = ledger.pending() > 0 && now.since(active_at) > pause;
        let last_try = truth
            .last_try()
            .map(|at| now.since(at.max(self.stirred_at).max(self.blocked_at)));
        if is_quiet || last_try.is_some_and(|since| since > pause) {
            let quiet = now.since(active_at);
            let detail = format!(
                "{ledger:?}: nothing on the wire for {quiet:?}, the oldest octet left {last_try:?} ago"
            );
            self.find(Rule::Stalled, now, detail);
            // One report is enough.
            self.stirred_at = now;
        }
        self.look_at_patience(ledger, truth, is_blocked, now);
    }

    fn look_at_patience(&mut self, ledger: Ledger, truth: &Truth, is_blocked: bool, now: Instant) {
        // Our end may have slept when its time was over.
        if now.since(self.served_at) <= LAST_CHANCE {
            return;
        }
        let longest = self.options.user_timeout() + LAST_CHANCE;
        // If the window is closed, the last try is the next probe, if that can be sent at all.
        let silent = match is_blocked {
            true => longest + PERSISTENCE + SLACK * 5,
            false => longest,
        };
        let asked = truth.waits_since().map(|at| now.since(at));
        if asked.is_some_and(|asked| asked > silent) {
            let detail = format!("nothing acceptable was heard for {asked:?}");
            self.find(Rule::Bounded, now, detail);
            self.served_at = now;
        }
        let stands = truth
            .stands_since()
            .map(|at| at.max(self.served_at).max(self.advanced_at))
            .map(|at| now.since(at.max(self.blocked_at)));
        if ledger.pending() > 0 && stands.is_some_and(|stands| stands > longest) {
            let detail = format!("{ledger:?}: nothing was acknowledged for {stands:?}");
            self.find(Rule::Bounded, now, detail);
            self.served_at = now;
        }
    }

    fn look_at_life(&mut self, state: State, now: Instant) {
        let is_awake = now.since(self.served_at) > LAST_CHANCE;
        let is_late = |limit: Duration, since: Instant| {
            is_awake && now.since(since) > limit + Duration::from_secs(1)
        };
        // A SYN that leaves late has the time for its answer.
        let connect_timeout = self.options.connect_timeout();
        let connecting = connect_timeout + Duration::from_secs(2).min(connect_timeout / 2);
        if state == State::Connecting && is_late(connecting, self.opened_at) {
            self.find(Rule::Bounded, now, "it still connects".to_owned());
        }
        if let Some(at) = self.done.finish_at
            && is_late(self.options.finish_timeout(), at)
        {
            self.find(Rule::Bounded, now, "it still finishes".to_owned());
        }
    }

    /// Whether the next write must be refused, as far as that is certain.
    pub(super) fn must_refuse(&self, truth: &Truth) -> Option<PeerEnd> {
        if self.done.address_lost {
            // What arrives for a removed address belongs to no connection.
            return None;
        }
        if !truth.is_certain() {
            return None;
        }
        match (truth.peer_end, self.options.on_peer_fin()) {
            (PeerEnd::Open, _) | (PeerEnd::Fin, OnPeerFin::HalfClose) => None,
            (end, _) => Some(end),
        }
    }

    /// Checks what a write returned. `must` is the required result.
    pub(super) fn look_at_write(
        &mut self,
        must: Option<PeerEnd>,
        before: u64,
        result: Result<(), WriteError>,
        is_device_full: bool,
        now: Instant,
    ) {
        let took = self.accepted - before;
        if took > 0 {
            self.stirred_at = now;
        }
        if let (Some(end), true) = (must, took > 0) {
            let detail = format!("{took} bytes were accepted after {end:?}");
            self.find(Rule::FirstWrite, now, detail);
        }
        if let (Some(cause), true) = (self.ended, took > 0) {
            self.find(
                Rule::Latched,
                now,
                format!("{took} bytes were accepted after {cause:?}"),
            );
        }
        if let Err(error) = result {
            self.look_at_error(error, now);
            if self.ended.is_some() && error.cause().is_none() {
                let detail = format!("{error:?} after {:?}", self.ended);
                self.find(Rule::Latched, now, detail);
            }
        } else if must.is_some() && took == 0 && !is_device_full {
            let detail = format!("a write was delayed after {must:?}");
            self.find(Rule::FirstWrite, now, detail);
        }
    }

    /// Checks that every error contains the ledger, and after the end the cause.
    pub(super) fn look_at_error(&mut self, error: WriteError, now: Instant) {
        if error.ledger().accepted() != self.accepted {
            let detail = format!("{error:?}, but {} were written", self.accepted);
            self.find(Rule::Account, now, detail);
        }
        // The error of a call that only waited too long has no cause.
        let cause = error.cause();
        if cause.is_some() && self.ended.is_some() && cause != self.ended {
            let detail = format!("{error:?} after {:?}", self.ended);
            self.find(Rule::Latched, now, detail);
        }
    }
}
