//! What a half waits for, and whom to wake then.

use core::task::Waker;

/// Which half of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Writer,
    Reader,
}

impl Half {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Writer => Self::Reader,
            Self::Reader => Self::Writer,
        }
    }
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

/// What a half waits for, if it waits, and the waker of its task.
#[derive(Debug)]
pub(super) struct Waiter {
    wish: Wish,
    waker: Option<Waker>,
}

impl Waiter {
    /// It waits for nothing. All zeros, so that a pipe that is a `static` takes no flash.
    pub(super) const NONE: Self = Self {
        wish: Wish::Room(0),
        waker: None,
    };

    pub(super) const fn new(wish: Wish, waker: Waker) -> Self {
        Self {
            wish,
            waker: Some(waker),
        }
    }

    /// What it waits for.
    pub(super) const fn wish(&self) -> Option<Wish> {
        match self.waker {
            Some(_) => Some(self.wish),
            None => None,
        }
    }

    /// It waits no more.
    pub(super) const fn take(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}
