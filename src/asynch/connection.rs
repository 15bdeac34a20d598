//! A connection and its two halves.

use super::buffered::Buffered;
use super::call::Call;
use super::network::AnyShared;
use crate::core::options::Options;
use crate::core::report::{Advice, Progress, Report};
use crate::core::state::{Cause, State};
use crate::stack::smoltcp::wire::IpEndpoint;
use crate::stack::{ConnectionId, Error};
use core::fmt;
use core::task::Poll;

/// A connection of a [`Shared`](super::Shared) network, owned by one task.
///
/// It is `Read + Write` of `embedded_io_async`, with `ReadReady` and `WriteReady`, and has one
/// error for both directions. To read and write in two tasks, split it with
/// [`split`](Self::split) or [`into_split`](Self::into_split).
///
/// Dropping it releases the slot. If the connection is not finished, that resets it.
///
/// The table in the [module](super) shows the effect of a call that is dropped before it has
/// completed.
#[derive(Debug)]
pub struct Connection<'s, S: AnyShared> {
    pub(super) writer: Writer<'s, S>,
    pub(super) reader: Reader<'s, S>,
}

/// The writing half of a [`Connection`]. It owns the connection: dropping it releases the
/// slot, and resets a connection that is not finished. Unread bytes are then discarded.
pub struct Writer<'s, S: AnyShared> {
    shared: &'s S,
    id: ConnectionId,
}

/// The reading half of a [`Connection`], which it does not own: dropping it changes nothing.
///
/// Useful only for connections opened with [`OnReceive::Keep`](crate::OnReceive::Keep).
pub struct Reader<'s, S: AnyShared> {
    shared: &'s S,
    id: ConnectionId,
}

impl<'s, S: AnyShared> Connection<'s, S> {
    /// Takes over the ownership of a connection.
    pub(super) const fn new(shared: &'s S, id: ConnectionId) -> Self {
        Self {
            writer: Writer { shared, id },
            reader: Reader { shared, id },
        }
    }

    /// Opens a connection, and waits until it is open.
    pub(super) fn open(
        shared: &'s S,
        remote: IpEndpoint,
        options: Options,
    ) -> impl Future<Output = Result<Self, Error>> {
        // Dropping it gives the slot back.
        let mut opened = None;
        Call::new(shared, ConnectionId::NONE, move |_: &S, call, cx| {
            if opened.is_none() {
                match shared.poll_connect(cx, remote, options) {
                    Poll::Ready(Ok(id)) => {
                        call.id = id;
                        opened = Some(Self::new(shared, id));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let Poll::Ready(result) = shared.poll_open(call, cx) else {
                return Poll::Pending;
            };
            let opened = opened.take();
            Poll::Ready(result.and_then(|()| opened.ok_or(Error::Busy)))
        })
    }

    /// Lends both halves, for use at the same time.
    pub const fn split(&mut self) -> (&mut Writer<'s, S>, &mut Reader<'s, S>) {
        (&mut self.writer, &mut self.reader)
    }

    /// Both halves, for two tasks.
    #[must_use]
    pub fn into_split(self) -> (Writer<'s, S>, Reader<'s, S>) {
        (self.writer, self.reader)
    }

    /// The connection with a buffer that the caller supplies, as `BufRead` needs it.
    #[must_use]
    pub const fn buffered(self, buffer: &mut [u8]) -> Buffered<'_, Self> {
        Buffered::new(self, buffer)
    }

    /// Waits until the connection is open, at most for the call timeout. Only one of
    /// [`begin_connect`](super::Shared::begin_connect) may not be open yet; for any other this
    /// returns at once, unless it has ended.
    ///
    /// # Errors
    ///
    /// Why it is not open.
    pub fn wait_open(&mut self) -> impl Future<Output = Result<(), Error>> {
        self.writer.wait_open()
    }

    /// See [`Writer::write_more`].
    ///
    /// # Errors
    ///
    /// As [`Writer::write_more`].
    pub fn write_more(&mut self, bytes: &[u8]) -> impl Future<Output = Result<usize, Error>> {
        self.writer.write_more(bytes)
    }

    /// See [`Writer::write_with`].
    ///
    /// # Errors
    ///
    /// As [`Writer::write_with`].
    pub fn write_with(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> impl Future<Output = Result<usize, Error>> {
        self.writer.write_with(fill)
    }

    /// See [`Writer::write_message`].
    ///
    /// # Errors
    ///
    /// As [`Writer::write_message`].
    pub fn write_message(&mut self, message: &[u8]) -> impl Future<Output = Result<(), Error>> {
        self.writer.write_message(message)
    }

    /// See [`Writer::try_write`].
    ///
    /// # Errors
    ///
    /// See [`Writer::try_write`].
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.writer.try_write(bytes)
    }

    /// See [`Reader::read_with`].
    ///
    /// # Errors
    ///
    /// As [`Reader::read_with`].
    pub fn read_with(
        &mut self,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> impl Future<Output = Result<usize, Error>> {
        self.reader.read_with(take)
    }

    /// See [`Writer::finish_writing`].
    ///
    /// # Errors
    ///
    /// As [`Writer::finish_writing`].
    pub fn finish_writing(&mut self) -> impl Future<Output = Result<(), Error>> {
        self.writer.finish_writing()
    }

    /// See [`Writer::finish`].
    ///
    /// # Errors
    ///
    /// As [`Writer::finish`].
    pub fn finish(&mut self) -> impl Future<Output = Result<Report, Error>> {
        self.writer.finish()
    }

    /// See [`Writer::abort`].
    ///
    /// # Errors
    ///
    /// See [`Writer::abort`].
    pub fn abort(&mut self) -> Result<Report, Error> {
        self.writer.abort()
    }

    /// Waits without bound until the connection has ended, and returns its cause. For a task
    /// that does nothing else with it meanwhile.
    ///
    /// # Errors
    ///
    /// None while the connection is owned.
    pub fn wait_end(&mut self) -> impl Future<Output = Result<Cause, Error>> {
        self.writer.wait_end()
    }

    /// The state of the connection, as of the last poll; [`State::Idle`] while the network is
    /// lent to a closure, or after another connection has taken the slot.
    #[must_use]
    pub fn state(&self) -> State {
        self.writer.state()
    }

    /// The report of the connection so far.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn report(&self) -> Result<Report, Error> {
        self.writer.report()
    }

    /// State and ledger of the connection, and whether the peer reads.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn progress(&self) -> Result<Progress, Error> {
        self.writer.progress()
    }

    /// Returns advice about the connection that was not returned before.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn poll_advice(&mut self) -> Result<Option<Advice>, Error> {
        self.writer.poll_advice()
    }

    /// Our address and port, and the peer's.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn endpoints(&self) -> Result<Option<(IpEndpoint, IpEndpoint)>, Error> {
        self.writer.endpoints()
    }

    /// The id of the connection for the calls of a [`Shared`](super::Shared), with which
    /// another task can watch or abort it.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.writer.id()
    }
}

impl<S: AnyShared> Writer<'_, S> {
    /// Waits until the connection is open; see [`Connection::wait_open`].
    ///
    /// # Errors
    ///
    /// Why it is not open.
    pub fn wait_open(&mut self) -> impl Future<Output = Result<(), Error>> {
        Call::new(self.shared, self.id, S::poll_open)
    }

    /// Accepts at least one byte, waiting for room if necessary, at most for the call timeout.
    /// An empty `bytes` never waits. If it is dropped before it has completed, it has accepted
    /// nothing.
    ///
    /// Like each write, it first processes what the device has received: once the peer's FIN
    /// or RST has arrived at the device, the very next write is refused, even if no task has
    /// run since.
    ///
    /// What Nagle's algorithm holds back is sent at the peer's next ACK, with
    /// [`flush`](Self::flush), or as soon as a call on this connection waits.
    ///
    /// # Errors
    ///
    /// Why the connection accepts no more bytes, or that the call timeout was reached. Nothing
    /// of `bytes` was accepted.
    pub fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<usize, Error>> {
        Call::new(self.shared, self.id, move |shared: &S, call, cx| {
            shared.poll_write(call, cx, bytes)
        })
    }

    /// Like [`write`](Self::write), for bytes that are soon followed by more (`MSG_MORE`): it
    /// leaves the sending to the next [`write`](Self::write) or [`flush`](Self::flush), to the
    /// call that fills half of the transmit buffer, or to the runner, once it runs.
    ///
    /// # Errors
    ///
    /// See [`write`](Self::write).
    pub fn write_more(&mut self, bytes: &[u8]) -> impl Future<Output = Result<usize, Error>> {
        Call::new(self.shared, self.id, move |shared: &S, call, cx| {
            shared.poll_write_more(call, cx, bytes)
        })
    }

    /// Like [`write`](Self::write), without a copy: `fill` gets the free part of the transmit
    /// buffer that is in one piece, and returns how many octets it has put at its start. It is
    /// called once there is room, and not at all if this call is dropped before.
    ///
    /// The network is lent while `fill` runs: no other call works inside it.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_with(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> impl Future<Output = Result<usize, Error>> {
        let mut fill = Some(fill);
        Call::new(self.shared, self.id, move |shared: &S, call, cx| {
            shared.poll_write_with(call, cx, &mut fill)
        })
    }

    /// Accepts all of `message` or nothing, waiting for room if necessary, at most for the
    /// call timeout. If it is dropped before it has completed, it has accepted nothing.
    ///
    /// # Errors
    ///
    /// [`WriteError::MessageTooLong`](crate::WriteError::MessageTooLong) if `message` is
    /// longer than the transmit buffer; otherwise see [`write`](Self::write). Nothing of
    /// `message` was accepted.
    pub fn write_message(&mut self, message: &[u8]) -> impl Future<Output = Result<(), Error>> {
        Call::new(self.shared, self.id, move |shared: &S, call, cx| {
            shared.poll_write_message(call, cx, message)
        })
    }

    /// Accepts as many of `bytes` as fit, without waiting.
    ///
    /// # Errors
    ///
    /// [`WriteError::WouldBlock`](crate::WriteError::WouldBlock) while there is no room;
    /// otherwise why the connection accepts no more bytes. Nothing of `bytes` was accepted.
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.shared.try_write(self.id, bytes)
    }

    /// How many bytes a write would accept at present, after processing what the device has
    /// received.
    ///
    /// # Errors
    ///
    /// Why the connection accepts no more bytes.
    pub fn room(&mut self) -> Result<usize, Error> {
        self.shared.room(self.id)
    }

    /// Waits until every accepted byte is acknowledged, at most for the call timeout.
    ///
    /// # Errors
    ///
    /// How the connection ended instead, or that the call timeout was reached.
    pub fn flush(&mut self) -> impl Future<Output = Result<(), Error>> {
        Call::new(self.shared, self.id, S::poll_flush)
    }

    /// Finishes our direction: no more writes; the accepted bytes drain, and a FIN follows
    /// them. Reading goes on until the peer's FIN; then [`finish`](Self::finish). Waits only
    /// while the connection is being opened.
    ///
    /// # Errors
    ///
    /// Why the connection accepts no more bytes.
    pub fn finish_writing(&mut self) -> impl Future<Output = Result<(), Error>> {
        Call::new(self.shared, self.id, S::poll_finish_writing)
    }

    /// Drains what was accepted, sends a FIN and waits until it is acknowledged, at most for
    /// the finish timeout. If it is dropped before it has completed, the finish goes on, and
    /// it can be called again to wait for the outcome. The slot is released when the
    /// connection is dropped, which then resets nothing.
    ///
    /// `Ok` if every accepted byte was acknowledged and the end was a FIN, ours or the peer's;
    /// the report shows which.
    ///
    /// # Errors
    ///
    /// How the connection ended instead, with the ledger.
    pub fn finish(&mut self) -> impl Future<Output = Result<Report, Error>> {
        Call::new(self.shared, self.id, S::poll_finish)
    }

    /// Ends the connection at once with a RST. If the RST cannot be sent at once, the runner
    /// sends it within 5 s. A connection that had already ended keeps its cause.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn abort(&mut self) -> Result<Report, Error> {
        self.shared.abort(self.id)
    }

    /// Waits without bound until the connection has ended, and returns its cause.
    ///
    /// # Errors
    ///
    /// None while the connection is owned.
    pub fn wait_end(&mut self) -> impl Future<Output = Result<Cause, Error>> {
        Call::new(self.shared, self.id, S::poll_end)
    }

    /// Whether a write would return at once, possibly with an error.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn write_ready(&mut self) -> Result<bool, Error> {
        self.shared.write_ready(self.id)
    }

    /// The state of the connection, as of the last poll; [`State::Idle`] while the network is
    /// lent to a closure, or after another connection has taken the slot.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state(self.id).unwrap_or(State::Idle)
    }

    /// The report of the connection so far.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn report(&self) -> Result<Report, Error> {
        self.shared.report(self.id)
    }

    /// State and ledger of the connection, and whether the peer reads.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn progress(&self) -> Result<Progress, Error> {
        self.shared.progress(self.id)
    }

    /// Returns advice about the connection that was not returned before.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn poll_advice(&mut self) -> Result<Option<Advice>, Error> {
        self.shared.poll_advice(self.id)
    }

    /// Our address and port, and the peer's; `None` while no peer has connected.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn endpoints(&self) -> Result<Option<(IpEndpoint, IpEndpoint)>, Error> {
        self.shared.endpoints(self.id)
    }

    /// See [`Connection::id`].
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }
}

impl<'s, S: AnyShared> Reader<'s, S> {
    /// Waits until at least one byte was received, at most for the call timeout, and reads as
    /// many as fit into `into`. `Ok(0)` if the peer has finished and everything was read. If
    /// it is dropped before it has completed, it has read nothing.
    ///
    /// # Errors
    ///
    /// [`ReadError`](crate::ReadError).
    pub fn read(&mut self, into: &mut [u8]) -> impl Future<Output = Result<usize, Error>> {
        Call::new(self.shared, self.id, move |shared: &S, call, cx| {
            shared.poll_read(call, cx, into)
        })
    }

    /// Like [`read`](Self::read), without a copy: `take` gets the received bytes that are in
    /// one piece, and returns how many of them it has consumed. It is called once there is
    /// something to read. `Ok(0)` without a call if the peer has finished.
    ///
    /// The network is lent while `take` runs: no other call works inside it.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_with(
        &mut self,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> impl Future<Output = Result<usize, Error>> {
        let mut take = Some(take);
        Call::new(self.shared, self.id, move |shared: &S, call, cx| {
            shared.poll_read_with(call, cx, &mut take)
        })
    }

    /// Waits without bound until the connection has ended, and returns its cause.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] if the [`Writer`] was dropped and the slot is used by another
    /// connection.
    pub fn wait_end(&mut self) -> impl Future<Output = Result<Cause, Error>> {
        Call::new(self.shared, self.id, S::poll_end_reading)
    }

    /// Whether a read would return at once, possibly with an error.
    ///
    /// # Errors
    ///
    /// [`ReadError::Discarding`](crate::ReadError::Discarding), or [`Error::Busy`].
    pub fn read_ready(&mut self) -> Result<bool, Error> {
        self.shared.read_ready(self.id)
    }

    /// The half with a buffer that the caller supplies, as `BufRead` needs it.
    #[must_use]
    pub const fn buffered(self, buffer: &mut [u8]) -> Buffered<'_, Self> {
        Buffered::new(self, buffer)
    }

    /// See [`Connection::id`].
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }
}

impl<S: AnyShared> Drop for Writer<'_, S> {
    fn drop(&mut self) {
        self.shared.release(self.id);
    }
}

impl<S: AnyShared> fmt::Debug for Writer<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<S: AnyShared> fmt::Debug for Reader<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
