//! Since when one connection waits, and for what.
//!
//! Segments only move instants. What follows from them, and when, is worked out when the
//! time has come that [`Timers::bound`] names: that is rare, segments are not.

use crate::Instant;

/// Whether the last try before the end of a limit was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum LastTry {
    Due,
    Asked,
}

/// Whether a segment has left since an answer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Question {
    /// Nothing has left: there may be no way to the neighbour yet.
    Unsent,
    Sent,
}

/// The instants that limits, tries and advice are counted from.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Timers {
    /// When the handshake or the finish ends; after the end of the connection, when what
    /// is left of it is given up. [`Instant::NEVER`]: none of these.
    pub(crate) phase_at: Instant,
    /// Since when an answer or progress is due; [`Instant::NEVER`]: none is.
    pub(crate) due_since: Instant,
    /// When bytes were last acknowledged, or the first of them accepted.
    pub(crate) progressed_at: Instant,
    /// When the oldest segment that demands an answer last left, or was asked for.
    pub(crate) sent_at: Instant,
    /// Not later than anything that is due.
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

    /// Starts, or starts again, the limit of the handshake, of the finish, or of what
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

    /// From `now` on, an answer or progress is due.
    pub(crate) fn demand_answer(&mut self, now: Instant) {
        if self.due_since == Instant::NEVER {
            self.question = Question::Unsent;
        }
        self.due_since = now;
        self.user_try = LastTry::Due;
    }

    /// Nothing is due.
    pub(crate) const fn answer(&mut self) {
        self.due_since = Instant::NEVER;
    }

    pub(crate) fn is_answer_due(&self) -> bool {
        self.due_since != Instant::NEVER
    }

    /// What is due is to be worked out by this time.
    pub(crate) fn look_by(&mut self, at: Instant) {
        self.bound = self.bound.min(at);
    }

    /// All that is due was worked out; the next is due at `next`.
    pub(crate) const fn looked(&mut self, next: Instant) {
        self.bound = next;
    }

    /// Not later than anything that is due, and known without working that out.
    pub(crate) const fn bound(&self) -> Instant {
        self.bound
    }
}
