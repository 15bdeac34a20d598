//! What a handle needs from its network.

use crate::Instant;
use crate::core::options::Options;
use crate::core::report::{Advice, Progress, Report};
use crate::core::state::{Cause, State};
use crate::stack::smoltcp::wire::{IpEndpoint, IpListenEndpoint};
use crate::stack::{ConnectionId, Error, Half, Wish};
use core::task::{Context, Poll};

/// How long a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// For the call timeout of its connection.
    Call,
    /// Until it has a result: something else bounds it, or no bound is needed.
    None,
}

/// What a call waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) half: Half,
    pub(super) wish: Wish,
    pub(super) limit: Limit,
}

impl Wait {
    pub(super) const fn new(half: Half, wish: Wish, limit: Limit) -> Self {
        Self { half, wish, limit }
    }
}

/// The progress of a call that may have to wait.
#[derive(Debug)]
pub struct Waiting {
    pub(super) id: ConnectionId,
    /// The half for which this call has a waker in the slot.
    pub(super) registered: Option<Half>,
    /// The time of the first attempt without a result; [`Instant::NEVER`] before that.
    pub(super) started: Instant,
}

impl Waiting {
    pub(super) const fn new(id: ConnectionId) -> Self {
        Self {
            id,
            registered: None,
            started: Instant::NEVER,
        }
    }

    /// Whether no attempt was made yet.
    pub(super) fn is_first(&self) -> bool {
        self.started == Instant::NEVER
    }
}

/// Any [`Shared`](super::Shared), whatever its device, its clock, its lock and its number of
/// connections. Functions that take a [`Connection`](super::Connection) of any network are
/// generic over it:
///
/// ```
/// use embedded_io_async::Write;
/// use lastbyte::Error;
/// use lastbyte::asynch::{AnyShared, Connection};
///
/// async fn beat(connection: &mut Connection<'_, impl AnyShared>) -> Result<(), Error> {
///     connection.write_all(b"beat\n").await
/// }
/// ```
///
/// No other type implements it.
pub trait AnyShared: Calls {}

/// The calls of the handles. A `poll_*` makes one attempt, and registers the task if there is
/// no result yet.
pub trait Calls {
    fn poll_connect(
        &self,
        cx: &mut Context<'_>,
        remote: IpEndpoint,
        options: Options,
    ) -> Poll<Result<ConnectionId, Error>>;

    fn poll_open(&self, call: &mut Waiting, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    fn poll_write(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>>;

    fn poll_write_more(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>>;

    /// `fill` is taken out of the option when it is called.
    fn poll_write_with<F: FnOnce(&mut [u8]) -> usize>(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        fill: &mut Option<F>,
    ) -> Poll<Result<usize, Error>>;

    fn poll_write_message(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        message: &[u8],
    ) -> Poll<Result<(), Error>>;

    fn poll_flush(&self, call: &mut Waiting, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    fn poll_finish_writing(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>>;

    fn poll_finish(&self, call: &mut Waiting, cx: &mut Context<'_>) -> Poll<Result<Report, Error>>;

    fn poll_end(&self, call: &mut Waiting, cx: &mut Context<'_>) -> Poll<Result<Cause, Error>>;

    /// The same for the task that reads.
    fn poll_end_reading(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Cause, Error>>;

    fn poll_read(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<Result<usize, Error>>;

    /// `take` is taken out of the option when it is called.
    fn poll_read_with<F: FnOnce(&[u8]) -> usize>(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        take: &mut Option<F>,
    ) -> Poll<Result<usize, Error>>;

    // ---- what does not wait ----

    fn try_write(&self, id: ConnectionId, bytes: &[u8]) -> Result<usize, Error>;

    fn write_ready(&self, id: ConnectionId) -> Result<bool, Error>;

    fn read_ready(&self, id: ConnectionId) -> Result<bool, Error>;

    fn room(&self, id: ConnectionId) -> Result<usize, Error>;

    fn listen(&self, local: IpListenEndpoint, options: Options) -> Result<ConnectionId, Error>;

    fn abort(&self, id: ConnectionId) -> Result<Report, Error>;

    fn state(&self, id: ConnectionId) -> Result<State, Error>;

    fn report(&self, id: ConnectionId) -> Result<Report, Error>;

    fn progress(&self, id: ConnectionId) -> Result<Progress, Error>;

    fn poll_advice(&self, id: ConnectionId) -> Result<Option<Advice>, Error>;

    fn endpoints(&self, id: ConnectionId) -> Result<Option<(IpEndpoint, IpEndpoint)>, Error>;

    /// Releases the slot at once, or as soon as the network is not lent.
    fn release(&self, id: ConnectionId);

    /// Removes the waker of a call that was dropped.
    fn withdraw(&self, call: &Waiting);
}
