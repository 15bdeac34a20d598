//! What a session needs of a network, so that the same session runs over the blocking
//! [`Stack`](lastbyte::stack::Stack) and over the async layer.
//!
//! A session is one task. What it waits for is a future: a call of its connection, or
//! `Over::wait`, which ends the sleep of the thread. Over the stack, a call that would wait
//! is pending without a waker, and `wait` blocks the thread: the session runs in one poll.
//! Over the async layer each call registers the task, and the thread sleeps in the executor.
//! The session drops a call when something else happens first, and makes it again.

mod begin;
mod shared;
mod stack;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use lastbyte::core::Progress;
use lastbyte::stack::smoltcp::wire::IpEndpoint;
use lastbyte::stack::{Conflict, Network, OpenError};
use lastbyte::{Error, Instant, Options, Report};
use lastbyte_host::host_clock::HostClock;

use super::connect::HostDevice;

pub(super) use begin::{Begin, BeginShared};
pub(super) use shared::{HostTime, on_shared};
pub(super) use stack::on_stack;

/// The layer of the library that a connection is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The blocking calls.
    Stack,
    /// Tasks.
    Async,
}

impl ValueEnum for Layer {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Stack, Self::Async]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Stack => PossibleValue::new("stack").help("the blocking calls"),
            Self::Async => PossibleValue::new("async").help("tasks on an executor of this thread"),
        })
    }
}

/// What runs over a network.
pub(super) trait Program {
    type Output;

    async fn run(self, over: impl Over) -> Self::Output;
}

/// A network that a session runs over.
pub(super) trait Over: Copy {
    type Connection: Connection;

    /// Lends the clock for the length of a closure.
    fn with_clock<R>(self, use_it: impl FnOnce(&mut HostClock) -> R) -> R;

    /// Lends the device for the length of a closure.
    fn with_device<R: Default>(self, use_it: impl FnOnce(&mut HostDevice) -> R) -> R;

    /// Lends the interface and the sockets for the length of a closure.
    fn with_network<R: Default>(self, use_it: impl FnOnce(Network<'_, '_>) -> R) -> R;

    /// Records whether the link is up.
    fn set_link(self, is_up: bool);

    /// Starts connecting, without waiting.
    fn connect(self, remote: SocketAddr, options: Options) -> Result<Self::Connection, OpenError>;

    /// Does what is due, if no other task does that. Returns when to do so again.
    fn serve(self) -> Instant;

    /// Sleeps until this time, or until a watched descriptor is ready. It looks at the
    /// descriptors even if the time has passed.
    async fn wait(self, until: Instant);

    /// The present time.
    fn now(self) -> Instant;

    /// The newest conflict about an address of ours, and whether there is a lease.
    fn addressing(self) -> (Option<Conflict>, bool);
}

/// A connection of a session. A call that is dropped before it has completed has done nothing.
pub(super) trait Connection {
    /// Accepts at least one byte, once there is room.
    ///
    /// # Errors
    ///
    /// The connection accepts no more bytes.
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error>;

    /// The same for what `fill` puts into the transmit buffer; it is called once there is
    /// room.
    ///
    /// # Errors
    ///
    /// The connection accepts no more bytes.
    async fn write_with(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<usize, Error>;

    /// Completes when the connection is open, or has ended.
    async fn opened(&mut self);

    /// Completes when the end of the connection is known.
    async fn ended(&mut self);

    /// Starts finishing, without waiting.
    fn begin_finish(&mut self);

    /// Completes when a connection that is being finished has ended.
    async fn finished(&mut self);

    /// Ends the connection at once, and waits a bounded time for the RST to leave.
    async fn abort(&mut self) -> Result<Report, Error>;

    fn progress(&mut self) -> Result<Progress, Error>;

    fn report(&mut self) -> Result<Report, Error>;

    fn endpoints(&self) -> Result<Option<(IpEndpoint, IpEndpoint)>, Error>;
}

/// What `call` returns; `None` if `other` completes before. The other is polled only while the
/// call waits.
pub(super) async fn before<T>(
    call: impl Future<Output = T>,
    other: impl Future<Output = ()>,
) -> Option<T> {
    let (mut call, mut other) = (pin!(call), pin!(other));
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => other.as_mut().poll(cx).map(|()| None),
    })
    .await
}
