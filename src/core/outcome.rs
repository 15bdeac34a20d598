//! What a state and its ledger mean for a call that waits for acknowledgements or for the end.
//!
//! They need no timer and no wire, so a connection and the pipe share them.

use crate::core::error::WriteError;
use crate::core::ledger::Ledger;
use crate::core::state::{Cause, State};

/// Whether every accepted byte is acknowledged; the error of the end, if it never will be.
pub(crate) const fn is_flushed(state: State, ledger: Ledger) -> Result<bool, WriteError> {
    if ledger.pending() == 0 {
        return Ok(true);
    }
    match state {
        State::Closed(cause) => Err(WriteError::of_cause(cause, ledger)),
        State::Idle => Err(WriteError::NotOpen { ledger }),
        State::Connecting
        | State::Listening
        | State::Open
        | State::PeerFinished(_)
        | State::WriteFinished(_)
        | State::Finishing(_) => Ok(false),
    }
}

/// How it ended: `Ok` if every accepted byte was acknowledged and the end was a FIN of either
/// side. `None` while it lives, or if it was never opened.
pub(crate) const fn of_end(state: State, ledger: Ledger) -> Option<Result<(), WriteError>> {
    match state {
        State::Closed(Cause::Finished) => Some(Ok(())),
        State::Closed(Cause::PeerFinished) if ledger.pending() == 0 => Some(Ok(())),
        State::Closed(cause) => Some(Err(WriteError::of_cause(cause, ledger))),
        State::Idle
        | State::Connecting
        | State::Listening
        | State::Open
        | State::PeerFinished(_)
        | State::WriteFinished(_)
        | State::Finishing(_) => None,
    }
}
