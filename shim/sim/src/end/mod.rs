//! Our end of a run: what the applications need of the library, over the blocking stack or
//! the async layer.

#[cfg(feature = "async")]
mod shared;
mod stack;

use std::time::Duration;

use lastbyte::core::Progress;
use lastbyte::stack::{ConnectionId, Error, Network};
use lastbyte::{Instant, Options, Report, State, WriteError};
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

#[cfg(feature = "async")]
pub(super) use shared::{LateClock, Net, Tasks};
pub(super) use stack::RunStack;

/// The layer of the library that a run tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Over {
    /// The blocking calls of [`Stack`](lastbyte::Stack).
    #[default]
    Stack,
    /// `lastbyte::asynch`. Calls are dropped before they have completed, and made again, as the
    /// seed decides.
    #[cfg(feature = "async")]
    Async,
}

impl Over {
    /// The option of `lastbyte sim` that selects it, after a space; empty for the default.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::Stack => "",
            #[cfg(feature = "async")]
            Self::Async => " --over async",
        }
    }
}

/// What one attempt of a write is to do with its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// Accept as many as fit.
    Part,
    /// The same, and more follow soon.
    More,
    /// Accept all of them or none.
    Whole,
}

/// Our end. An id stays valid until its slot is opened again.
pub(super) trait End {
    /// The number of connections.
    const SLOTS: usize;

    fn connect(&mut self, remote: IpEndpoint, options: Options) -> Result<ConnectionId, Error>;

    fn listen(&mut self, local: IpListenEndpoint, options: Options) -> Result<ConnectionId, Error>;

    /// Whether the application still has this connection. One of the async layer is given back
    /// by dropping it, and there are no calls on it any more.
    fn is_owned(&self, id: ConnectionId) -> bool;

    /// Whether a connection can be finished. A listener of the async layer cannot: it is
    /// dropped.
    fn can_finish(&mut self, id: ConnectionId) -> bool;

    fn with_network<R: Default>(&mut self, use_it: impl FnOnce(Network<'_, '_>) -> R) -> R;

    fn set_link(&mut self, is_up: bool);

    /// Does everything that is due. Returns when something is due again.
    fn serve(&mut self) -> Option<Instant>;

    /// Sleeps until something is due, a frame arrives, or `until`, and serves.
    fn wait(&mut self, until: Instant);

    fn state(&self, id: ConnectionId) -> Result<State, Error>;

    fn report(&mut self, id: ConnectionId) -> Result<Report, Error>;

    fn progress(&mut self, id: ConnectionId) -> Result<Progress, Error>;

    /// One attempt. `Ok(0)` if it would have to wait.
    fn try_write(&mut self, id: ConnectionId, bytes: &[u8], way: Way) -> Result<usize, WriteError>;

    fn write_all(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<(), WriteError>;

    fn flush(&mut self, id: ConnectionId) -> Result<(), WriteError>;

    fn finish_writing(&mut self, id: ConnectionId) -> Result<(), WriteError>;

    /// Reads what is there. `None` if there is nothing.
    fn try_read(&mut self, id: ConnectionId, into: &mut [u8]) -> Result<Option<usize>, Error>;

    fn begin_finish(&mut self, id: ConnectionId);

    /// How a connection that is being finished has ended; `None` while it lives.
    fn finished(&mut self, id: ConnectionId) -> Option<Result<Report, WriteError>>;

    /// Finishes, and frees the slot. Over the async layer the application may keep the
    /// connection, to read what is left.
    fn finish(&mut self, id: ConnectionId) -> Result<Report, WriteError>;

    /// Aborts, and frees the slot.
    fn abort(&mut self, id: ConnectionId);

    fn release(&mut self, id: ConnectionId);

    /// Gives back every connection that the applications still have. Returns whether there was
    /// one.
    fn release_all(&mut self) -> bool;

    /// How much later than its timeout the last call may have returned: parts of it were
    /// dropped and made again, and each has the whole timeout.
    fn extension(&self) -> Duration;
}
