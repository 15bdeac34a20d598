//! What a connection does as time passes: timeouts, tries and advice.

use super::{Connection, Handshake};
use crate::Instant;
use crate::core::facts::{Retry, Window};
use crate::core::fmt::log_event;
use crate::core::options::Options;
use crate::core::state::{Action, Event, State};
use crate::core::timers::{LastTry, Question};
use crate::sabotage::{Sabotage, is_on};

/// The time from the last try to the end of a timeout, if the timeout is long enough.
const LAST_TRY_MS: u32 = 2_000;

/// The longest pause of a TCP stack between two probes of a closed window (60 s, RFC
/// 6298, 2.5), with a margin.
const PROBE_OVERDUE_MS: u32 = 75_000;

/// Tries are no further apart than the running timeout divided by this.
const TRIES: u32 = 4;

/// The shortest retransmission timeout (RFC 6298, 2.4), and the longest (2.5).
const SHORTEST_RTO_MS: u16 = 1_000;
const LONGEST_RTO_MS: u16 = 60_000;

/// The time from the last try to the end of a timeout.
fn last_try_ms(timeout_ms: u32) -> u32 {
    LAST_TRY_MS.min(timeout_ms >> 1)
}

/// The time after which the timers are first evaluated, once something has begun.
pub(super) fn first_look_ms(options: &Options) -> u16 {
    let keep_alive_ms = match options.keep_alive_ms() {
        0 => u32::MAX,
        interval => interval,
    };
    // A user timeout is longer than a second, and its last try is at half of it at the
    // earliest.
    let shortest = options.stall_advice_ms().min(keep_alive_ms);
    let shortest = shortest.min(options.user_timeout_ms() >> 1);
    u16::try_from(shortest)
        .unwrap_or(u16::MAX)
        .min(SHORTEST_RTO_MS)
}

/// The lowest 32 bits.
fn low_half(count: u64) -> u32 {
    u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0)
}

impl Connection {
    /// Processes the time: ends the connection if it has reached a timeout, gives advice,
    /// and demands tries, which [`poll_retry`](Self::poll_retry) returns.
    pub fn handle_timeout(&mut self, now: Instant) -> Action {
        if self.timers.bound() > now {
            return Action::None;
        }
        let mut owed = Action::None;
        if self.state.is_closed() {
            // The driver handles what lingers after the end.
            self.timers.stop_phase();
        } else {
            owed = self.check_timeouts(now);
        }
        if !self.state.is_closed() {
            self.check_stall(now);
            self.check_tries(now);
        }
        self.timers.looked(self.poll_timeout());
        owed
    }

    /// Checks first the timeout that ends first.
    fn check_timeouts(&mut self, now: Instant) -> Action {
        let is_user_first = self.user_at() <= self.timers.phase_at;
        let mut action = Action::None;
        if is_user_first {
            action = self.check_user(now);
        }
        if action == Action::None {
            action = self.check_phase(now);
        }
        if action == Action::None && !is_user_first {
            action = self.check_user(now);
        }
        action
    }

    /// Checks the timeout of the handshake or of finishing.
    fn check_phase(&mut self, now: Instant) -> Action {
        let end = self.timers.phase_at;
        let left = self.last_try_until(now);
        let next = match self.timers.phase_try {
            _ if end == Instant::NEVER => return Action::None,
            LastTry::Due if left >= end => LastTry::Asked,
            // The neighbour may have answered while the stack was not polled, and the SYN that
            // could not leave leaves now.
            LastTry::Asked
                if self.handshake == Handshake::Unsent && self.last_try_until(end) <= now =>
            {
                LastTry::AskedAgain
            }
            LastTry::Due | LastTry::Asked | LastTry::AskedAgain if end <= now => {
                self.timers.stop_phase();
                return self.end_phase(now);
            }
            LastTry::Due | LastTry::Asked | LastTry::AskedAgain => return Action::None,
        };
        self.timers.phase_try = next;
        self.timers.phase_at = end.max(left);
        self.resend(now);
        Action::None
    }

    /// How long a last try of the handshake or of finishing, made at `from`, waits for its
    /// answer.
    // tuning: last-try-once
    #[inline(never)]
    pub(super) fn last_try_until(&self, from: Instant) -> Instant {
        from.plus_millis(last_try_ms(self.phase_ms()))
    }

    fn end_phase(&mut self, now: Instant) -> Action {
        match (self.state, self.handshake) {
            (State::WriteFinished(_) | State::Finishing(_), _) => {
                self.apply(Event::FinishTimeout, now)
            }
            (State::Connecting, Handshake::Unsent) => self.handle_unreachable(now),
            (State::Connecting, Handshake::Unreachable) if !is_on(Sabotage::Complaints) => {
                self.handle_unreachable(now)
            }
            _ => self.apply(Event::ConnectTimeout, now),
        }
    }

    /// Checks the user timeout: for silence, and for segments that nothing acknowledges.
    fn check_user(&mut self, now: Instant) -> Action {
        let end = self.user_at();
        let last_ms = last_try_ms(self.options.user_timeout_ms());
        let left = now.plus_millis(last_ms);
        if end == Instant::NEVER {
            Action::None
        } else if self.timers.user_try == LastTry::Due && left >= end {
            self.timers.user_try = LastTry::Asked;
            if left > end {
                self.end_user_at(left);
            }
            if self.is_blocked() {
                self.timers.question = Question::Unsent;
                self.retry = Retry::Probe;
            } else {
                self.resend(now);
            }
            Action::None
        } else if end > now {
            Action::None
        } else if self.waits_for_a_probe(now) {
            self.end_user_at(left);
            Action::None
        } else {
            self.end_user(now)
        }
    }

    fn end_user(&mut self, now: Instant) -> Action {
        let is_heard = self.heard_at > self.timers.due_since;
        match is_heard && self.ledger.pending() > 0 {
            true => self.apply(Event::ProgressTimeout, now),
            false => self.apply(Event::UserTimeout, now),
        }
    }

    /// Whether the last probe of a closed window is still to be sent: only the TCP stack
    /// knows when.
    fn waits_for_a_probe(&self, now: Instant) -> bool {
        let overdue = self.timers.sent_at.plus_millis(PROBE_OVERDUE_MS);
        self.is_blocked() && self.timers.question == Question::Unsent && now < overdue
    }

    /// Called for the first segment that is sent since an answer is due, or since the
    /// last try was demanded: the full time for its answer starts here.
    pub(super) fn note_first_sent(&mut self, now: Instant) {
        match self.timers.user_try {
            LastTry::Due => self.timers.demand_answer(now),
            LastTry::Asked | LastTry::AskedAgain => {
                let last_ms = last_try_ms(self.options.user_timeout_ms());
                self.end_user_at(now.plus_millis(last_ms));
            }
        }
    }

    /// Whether bytes are pending that the peer's closed window holds back.
    pub(crate) fn is_blocked(&self) -> bool {
        self.window == Window::Zero && self.ledger.pending() > 0
    }

    /// Whether a segment was sent whose answer is due.
    #[cfg(all(feature = "smoltcp", feature = "medium-ethernet"))]
    pub(crate) fn is_unanswered(&self) -> bool {
        match self.state == State::Connecting {
            true => self.handshake != Handshake::Unsent,
            false => self.timers.is_answer_due() && self.timers.question == Question::Sent,
        }
    }

    /// Retransmissions of the oldest segment since the last progress.
    #[cfg(all(feature = "smoltcp", feature = "medium-ethernet"))]
    pub(crate) const fn retransmissions(&self) -> u8 {
        self.retransmissions
    }

    /// When the user timeout ends; [`Instant::NEVER`] if no answer is due.
    fn user_at(&self) -> Instant {
        match self.timers.is_answer_due() {
            true => self
                .timers
                .due_since
                .plus_millis(self.options.user_timeout_ms()),
            false => Instant::NEVER,
        }
    }

    /// Sets the end of the user timeout.
    fn end_user_at(&mut self, end: Instant) {
        self.timers.due_since = end.minus_millis(self.options.user_timeout_ms());
    }

    fn check_stall(&mut self, now: Instant) {
        if self.stall_at() <= now {
            self.note_stall();
        }
    }

    fn stall_at(&self) -> Instant {
        let is_due = self.ledger.pending() > 0 && !self.stall.is_raised();
        let advice_ms = self.options.stall_advice_ms();
        match is_due && self.state.is_established() {
            true => self.timers.progressed_at.plus_millis(advice_ms),
            false => Instant::NEVER,
        }
    }

    fn check_tries(&mut self, now: Instant) {
        if self.resend_at() <= now {
            if self.state.is_established() && !self.timers.is_answer_due() {
                // A keep-alive probe that cannot be sent is not answered either.
                self.timers.demand_answer(now);
            }
            self.resend(now);
        }
    }

    /// Demands a try at once.
    fn resend(&mut self, now: Instant) {
        self.timers.sent_at = now;
        self.retry = Retry::Resend;
    }

    /// The latest time at which something that demands an answer must be sent.
    fn resend_at(&self) -> Instant {
        let timers = &self.timers;
        if !self.state.is_established() {
            return match timers.is_phase_running() {
                true => timers.sent_at.plus_millis(self.quarter_ms()),
                false => Instant::NEVER,
            };
        }
        if timers.is_answer_due() {
            let since = timers.sent_at.max(timers.due_since);
            return match self.is_blocked() {
                // Only the TCP stack knows when it probes.
                true => Instant::NEVER,
                false => since.plus_millis(self.try_ms()),
            };
        }
        if self.ledger.pending() > 0 {
            // A probe that was not sent by then cannot be sent.
            return self.crossed_at().plus_millis(PROBE_OVERDUE_MS);
        }
        if self.awaits_fin_ack() {
            // Our FIN is retransmitted, whatever else the peer sends.
            return timers.sent_at.plus_millis(self.try_ms());
        }
        match self.options.keep_alive_ms() {
            0 => Instant::NEVER,
            interval => timers.sent_at.max(self.heard_at).plus_millis(interval),
        }
    }

    /// When a segment was last sent or received, or the first byte was accepted.
    fn crossed_at(&self) -> Instant {
        let crossed_at = self.timers.sent_at.max(self.heard_at);
        crossed_at.max(self.timers.progressed_at)
    }

    /// The timeout of the handshake, or of finishing.
    pub(super) fn phase_ms(&self) -> u32 {
        match self.state {
            State::WriteFinished(_) | State::Finishing(_) => self.options.finish_ms(),
            State::Listening => self.caller_ms(),
            State::Idle
            | State::Connecting
            | State::Open
            | State::PeerFinished(_)
            | State::Closed(_) => self.options.connect_ms(),
        }
    }

    /// The longest pause between two tries.
    fn quarter_ms(&self) -> u32 {
        let timeout_ms = match self.state.is_established() {
            true => self.options.user_timeout_ms(),
            false => u32::MAX,
        };
        let timeout_ms = match self.timers.is_phase_running() {
            true => timeout_ms.min(self.phase_ms()),
            false => timeout_ms,
        };
        (timeout_ms / TRIES).max(SHORTEST_RTO_MS.into())
    }

    /// The pause before the next try.
    fn try_ms(&self) -> u32 {
        let quarter_ms = self.quarter_ms();
        match self.rto_ms {
            0 => quarter_ms,
            rto_ms => {
                let repeated = self.retransmissions.saturating_sub(1);
                let backed_off = u32::from(rto_ms) << self.timeouts.saturating_add(repeated).min(6);
                quarter_ms.min(backed_off)
            }
        }
    }

    /// Called when the oldest segment was retransmitted: the TCP stack backs off until it
    /// has measured a new round trip (RFC 6298, 5.5 and 5.7).
    pub(super) fn note_back_off(&mut self, now: Instant) {
        let since = self.timers.sent_at.max(self.timers.progressed_at);
        let is_timeout = self.heard_at <= since;
        if self.rto_ms == 0 && self.retransmissions == 0 && is_timeout {
            // In units of 1,024 us, which need no division.
            let observed = now.as_micros().saturating_sub(since.as_micros()) >> 10;
            let observed = u16::try_from(observed).unwrap_or(u16::MAX);
            self.rto_ms = observed.clamp(SHORTEST_RTO_MS, LONGEST_RTO_MS);
        }
        if self.retransmissions == 0 {
            self.timeouts = self.timeouts.saturating_add(1);
        }
        self.recover = low_half(self.ledger.accepted());
    }

    /// Called when bytes were acknowledged: if they were sent only once, and after
    /// everything that was retransmitted, the TCP stack has measured a round trip.
    pub(super) fn end_back_off(&mut self, now: Instant) {
        if self.rto_ms == 0 {
            return;
        }
        // The next try is due earlier than the previous one was.
        self.look_soon(now);
        let beyond = low_half(self.ledger.acknowledged()).wrapping_sub(self.recover);
        if self.retransmissions == 0 && beyond.cast_signed() > 0 {
            self.rto_ms = 0;
        }
        // While more is in flight, the round trip may be longer than expected, and what was
        // retransmitted may be in a queue (RFC 6298, 5.5).
        if self.rto_ms == 0 || self.ledger.pending() == 0 {
            self.timeouts = 0;
        }
    }

    pub(super) fn note_stall(&mut self) {
        if !self.stall.is_raised() {
            self.stall.raise();
            log_event!(
                warn,
                "connection {}: stalled, {} bytes pending, {} retransmissions",
                self.tag,
                self.ledger.pending(),
                self.retransmissions
            );
        }
    }

    /// What has to be sent again, if anything. Each try is returned once.
    pub const fn poll_retry(&mut self) -> Retry {
        let retry = self.retry;
        self.retry = Retry::None;
        retry
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; [`Instant::NEVER`] if
    /// no timer runs.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        if self.state.is_closed() {
            return self.timers.phase_at;
        }
        self.timeouts_at()
            .min(self.stall_at())
            .min(self.resend_at())
    }

    /// When a timeout ends, or its last try is due.
    fn timeouts_at(&self) -> Instant {
        let at = |end: Instant, timeout_ms, last_try| match last_try {
            LastTry::Due if end != Instant::NEVER => end.minus_millis(last_try_ms(timeout_ms)),
            LastTry::Due | LastTry::Asked | LastTry::AskedAgain => end,
        };
        let timers = &self.timers;
        at(timers.phase_at, self.phase_ms(), timers.phase_try).min(at(
            self.user_at(),
            self.options.user_timeout_ms(),
            timers.user_try,
        ))
    }

    /// A lower bound of [`poll_timeout`](Self::poll_timeout) that is cheaper to compute.
    #[cfg(feature = "smoltcp")]
    pub(crate) const fn timeout_bound(&self) -> Instant {
        self.timers.bound()
    }

    /// Starts a timer after the end, so that what is left of the connection in the TCP stack
    /// does not linger without bound.
    #[cfg(feature = "smoltcp")]
    pub(crate) fn linger(&mut self, now: Instant, timeout_ms: u32) {
        if self.state.is_closed() {
            self.timers.phase_at = now.plus_millis(timeout_ms);
            self.timers.look_by(self.timers.phase_at);
        }
    }

    /// Whether the timer of [`linger`](Self::linger) has expired. Call it before
    /// [`handle_timeout`](Self::handle_timeout).
    #[cfg(feature = "smoltcp")]
    pub(crate) fn has_lingered(&self, now: Instant) -> bool {
        self.state.is_closed() && self.timers.bound() <= now
    }
}
