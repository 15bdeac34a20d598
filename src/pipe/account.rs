//! The state of a pipe and its ledger, which determine the result of every call of either half.
//!
//! The state changes only by the table of `core/transition.rs`. To the writer, the reader is the
//! peer: a byte that was read is acknowledged, a reader that closes sends a FIN, and one that is
//! dropped with unread bytes sends a RST, like a TCP that is closed with unread bytes (RFC 2525,
//! 2.17). A pipe is opened in one step, and has neither timers nor a wire.

use crate::core::error::{How, ReadError, Timeout, WriteError};
use crate::core::facts::Window;
use crate::core::ledger::Ledger;
use crate::core::outcome;
use crate::core::report::{Progress, Report};
use crate::core::state::{Action, Event, State};
use crate::core::transition::transition;
use core::time::Duration;

/// State, ledger, and the number of writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    state: State,
    ledger: Ledger,
    writes_accepted: u64,
    writes_refused: u64,
}

impl Account {
    /// The account of a pipe that is not open.
    pub(super) const NEW: Self = Self {
        state: State::Idle,
        ledger: Ledger::ZERO,
        writes_accepted: 0,
        writes_refused: 0,
    };

    /// Applies an event by the table: the only place that changes the state.
    pub(super) fn apply(&mut self, event: Event) -> Action {
        let cell = transition(self.state, event);
        if cell.next != self.state {
            self.state = cell.next;
        }
        cell.action
    }

    /// Applies a fact that requires no action.
    fn note(&mut self, fact: Event) {
        let owed = self.apply(fact);
        debug_assert!(matches!(owed, Action::None | Action::Ignore), "{owed:?}");
    }

    /// Opens, with a new ledger. Returns false unless the previous pipe was released.
    pub(super) fn open(&mut self) -> bool {
        if self.apply(Event::Connect) != Action::StartConnect {
            return false;
        }
        let state = self.state;
        *self = Self { state, ..Self::NEW };
        self.note(Event::Established);
        true
    }

    /// The most bytes that a write may accept. A refusal is counted.
    pub(super) fn admit(&mut self) -> Result<usize, WriteError> {
        let ledger = self.ledger;
        if transition(self.state, Event::Write).action != Action::Accept {
            self.writes_refused = self.writes_refused.saturating_add(1);
            return Err(self.error().unwrap_or(WriteError::NotOpen { ledger }));
        }
        match ledger.room() {
            0 => Err(WriteError::LedgerFull { ledger }),
            room => Ok(usize::try_from(room).unwrap_or(usize::MAX)),
        }
    }

    /// Counts accepted bytes.
    pub(super) const fn note_accepted(&mut self, bytes: usize) {
        self.ledger.accept(bytes);
        // No machine runs long enough for 2^64 writes.
        self.writes_accepted = self.writes_accepted.wrapping_add(1);
    }

    /// Counts all but `unread` bytes as read. If all were read, a FIN is acknowledged.
    pub(super) fn note_unread(&mut self, unread: usize) {
        self.ledger.settle(unread);
        if unread == 0 {
            self.note(Event::FinAcknowledged);
        }
    }

    /// Whether the ledger can count no more bytes.
    pub(super) const fn is_full(&self) -> bool {
        self.ledger.room() == 0
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    pub(super) const fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// The error of a state that refuses writes.
    pub(super) const fn error(&self) -> Option<WriteError> {
        WriteError::of_state(self.state, self.ledger)
    }

    pub(super) const fn would_block(&self) -> WriteError {
        let ledger = self.ledger;
        WriteError::WouldBlock { ledger }
    }

    pub(super) const fn is_flushed(&self) -> Result<bool, WriteError> {
        outcome::is_flushed(self.state, self.ledger)
    }

    /// How it ended, and the report; `None` while it lives.
    pub(super) fn finished(&self) -> Option<Result<Report, WriteError>> {
        let outcome = outcome::of_end(self.state, self.ledger)?;
        Some(outcome.map(|()| self.report()))
    }

    /// The error of a write or flush that waited too long, with the number of bytes that had
    /// been read when it began.
    pub(super) const fn call_timed_out(&self, read_before: u64) -> WriteError {
        let why = match self.ledger.acknowledged() == read_before {
            true => Timeout::NotReading,
            false => Timeout::Call,
        };
        let ledger = self.ledger;
        WriteError::TimedOut { why, ledger }
    }

    /// What a reader gets if no bytes are left: nothing at present (`None`), the end, or the
    /// reset.
    pub(super) const fn end_of_reading(&self) -> Result<Option<usize>, ReadError> {
        let how = How::Reset;
        let ledger = self.ledger;
        let reset = ReadError::Ended(WriteError::PeerClosed { how, ledger });
        match self.state {
            State::Connecting | State::Listening | State::Open => Ok(None),
            // Whether the writer or the reader has closed: no byte follows.
            State::PeerFinished(_) | State::WriteFinished(_) | State::Finishing(_) => Ok(Some(0)),
            State::Idle | State::Closed(_) => match outcome::of_end(self.state, ledger) {
                Some(Ok(())) => Ok(Some(0)),
                Some(Err(_)) | None => Err(reset),
            },
        }
    }

    pub(super) const fn progress(&self, window: Window) -> Progress {
        Progress {
            state: self.state,
            ledger: self.ledger,
            window,
            is_stalled: false,
            is_receive_full: false,
        }
    }

    pub(super) const fn report(&self) -> Report {
        Report {
            cause: self.state.cause(),
            ledger: self.ledger,
            discarded: 0,
            writes_accepted: self.writes_accepted,
            writes_refused: self.writes_refused,
            link_was_down: false,
            path_mtu: None,
            elapsed: Duration::ZERO,
        }
    }
}
