//! The timers of one connection.
//!
//! Segments only change instants. What is due is computed from them at the time of
//! [`Timers::bound`]: that is rare, segments are not.

use crate::Instant;

/// Whether the last try before the end of a timeout was demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum LastTry {
    Due,
    Asked,
    /// The stack was not polled when the limit ended, and the try had not left: it was asked for again.
    AskedAgain,
}

/// Whether a segment was sent since an answer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Question {
    /// None was sent: the neighbour may not be resolved yet.
    Unsent,
    Sent,
}

/// The instants from which timeouts, tries and advice are computed.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Timers {
    /// The end of the connect or finish timeout. After the end of the connection, the
    /// time when what is left of it is given up. [`Instant::NEVER`]: none of these.
    pub(crate) phase_at: Instant,
    /// The time since which an answer or progress is due; [`Instant::NEVER`]: none is.
    pub(crate) due_since: Instant,
    /// When bytes were last acknowledged, or the first pending byte was accepted.
    pub(crate) progressed_at: Instant,
    /// When the oldest segment that demands an answer was last sent or demanded.
    pub(crate) sent_at: Instant,
    /// A time not later than anything that is due.
    bound: Instant,
    pub(crate) question: Question,
    pub(crate) phase_try: LastTry,
    pub(crate) user_try: LastTry,
}

impl Timers {
    pub(crate) const OFF: Self = Self {
        phase_at: Instant::NEVER,
        due_since: Instant::NEVER,
        progressed_at: Instant::ZERO,
        sent_at: Instant::ZERO,
        bound: Instant::NEVER,
        question: Question::Unsent,
        phase_try: LastTry::Due,
        user_try: LastTry::Due,
    };

    /// Starts, or restarts, the timeout of the handshake, of finishing, or of what
    /// lingers.
    pub(crate) fn set_phase(&mut self, now: Instant, timeout_ms: u32) {
        self.phase_at = now.plus_millis(timeout_ms);
        self.phase_try = LastTry::Due;
    }

    pub(crate) const fn stop_phase(&mut self) {
        self.phase_at = Instant::NEVER;
    }

    pub(crate) fn is_phase_running(&self) -> bool {
        self.phase_at != Instant::NEVER
    }

    /// Makes an answer or progress due from `now` on.
    pub(crate) fn demand_answer(&mut self, now: Instant) {
        if self.due_since == Instant::NEVER {
            self.question = Question::Unsent;
        }
        self.due_since = now;
        self.user_try = LastTry::Due;
    }

    /// Records that nothing is due.
    pub(crate) const fn answer(&mut self) {
        self.due_since = Instant::NEVER;
    }

    pub(crate) fn is_answer_due(&self) -> bool {
        self.due_since != Instant::NEVER
    }

    /// Makes the timers be evaluated by this time.
    pub(crate) fn look_by(&mut self, at: Instant) {
        self.bound = self.bound.min(at);
    }

    /// Records that the timers were evaluated, and that they are due again at `next`.
    pub(crate) const fn looked(&mut self, next: Instant) {
        self.bound = next;
    }

    /// A time not later than anything that is due, known without evaluating the timers.
    pub(crate) const fn bound(&self) -> Instant {
        self.bound
    }
}
