//! What a half waits for, and whom to wake then.

use core::task::Waker;

/// Which half of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Writer,
    Reader,
}

/// What a half waits for. A half is woken once it has come true, and not before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// A write can take so many bytes, or is refused.
    Room(usize),
    /// Every accepted byte was read, or never will be.
    Flushed,
    /// Why the pipe ends is decided: writes are refused from then on.
    #[cfg(feature = "async")]
    Ended,
    /// The pipe has ended, and the ledger stands still.
    Closed,
    /// There are bytes to read, or none will come.
    Readable,
}

/// A wish that has not come true, and the waker of the task that has it.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) wish: Wish,
    pub(super) waker: Waker,
}
