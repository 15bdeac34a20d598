//! The getters of a connection.

use super::Connection;
use crate::Instant;
use crate::core::error::{Timeout, WriteError};
use crate::core::facts::Window;
use crate::core::ledger::Ledger;
use crate::core::options::Options;
use crate::core::outcome;
use crate::core::report::{Progress, Report};
use crate::core::state::{Incoming, State};
use crate::trace;
use core::num::NonZeroU16;

impl Connection {
    /// Identifies the connection among others: its slot, if the stack layer has made it.
    #[cfg(feature = "trace")]
    #[must_use]
    pub const fn tag(&self) -> u16 {
        self.tag
    }

    /// The state of the connection.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// When the connection ended, if it has.
    #[cfg(feature = "smoltcp")]
    pub(crate) const fn ended_at(&self) -> Instant {
        self.heard_at
    }

    /// Whether the peer's FIN was processed, with no byte before it lost.
    #[must_use]
    pub const fn incoming(&self) -> Incoming {
        self.incoming
    }

    /// The ledger of the connection.
    #[must_use]
    pub const fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// The timeouts and policies that the connection was opened with.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Whether every accepted byte is acknowledged.
    ///
    /// # Errors
    ///
    /// The error of the state, if the connection ended with bytes pending, even after its
    /// release.
    pub fn is_flushed(&self) -> Result<bool, WriteError> {
        outcome::is_flushed(self.state, self.ledger)
    }

    /// The error of a call in the present state, unless the state accepts writes.
    #[must_use]
    pub const fn error(&self) -> Option<WriteError> {
        WriteError::of_state(self.state, self.ledger)
    }

    /// The error of a call that began at `started` and reached its timeout. The
    /// connection lives.
    #[must_use]
    pub fn call_timed_out(&self, started: Instant) -> WriteError {
        // The answered probes of a closed window may be a minute apart. A probe without an
        // answer proves nothing.
        let is_closed = self.window == Window::Zero;
        let is_there = self.heard_at > started || !self.timers.is_answer_due();
        let why = match self.state.is_established() && is_closed && is_there {
            true => Timeout::NotReading,
            false => Timeout::Call,
        };
        let error = WriteError::TimedOut {
            why,
            ledger: self.ledger,
        };
        trace::report(self, trace::Note::Failed(error));
        error
    }

    /// How the connection ended: `Ok` if every accepted byte was acknowledged and a FIN
    /// of either side ended it. `None` while it lives, or if it was never opened.
    #[must_use]
    pub const fn outcome(&self) -> Option<Result<(), WriteError>> {
        outcome::of_end(self.state, self.ledger)
    }

    /// A snapshot for status displays. The driver supplies whether the receive buffer is
    /// full.
    #[must_use]
    pub fn progress(&self, is_receive_full: bool) -> Progress {
        Progress {
            state: self.state,
            ledger: self.ledger,
            window: self.window,
            is_stalled: self.stall.is_raised(),
            is_receive_full,
        }
    }

    /// The report of the whole connection as of `now`.
    #[must_use]
    pub fn report(&self, now: Instant) -> Report {
        let until = match self.state {
            State::Closed(_) | State::Idle => self.heard_at.min(now),
            State::Connecting
            | State::Listening
            | State::Open
            | State::PeerFinished(_)
            | State::WriteFinished(_)
            | State::Finishing(_) => now,
        };
        Report {
            cause: self.state.cause(),
            ledger: self.ledger,
            discarded: self.discarded,
            writes_accepted: self.writes_accepted,
            writes_refused: self.writes_refused,
            link_was_down: self.link.was_down(),
            path_mtu: self.path_mtu.map(NonZeroU16::get),
            elapsed: until.since(self.opened_at),
        }
    }
}
