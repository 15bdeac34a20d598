//! The writing end of a connection.

use super::calls::UnknownConnection;
use super::driver::{CallTimeout, Stack, Tried};
use super::tracker::ConnectionId;
use super::writing::Departure;
use crate::Clock;
use crate::core::error::WriteError;
use crate::core::report::{Progress, Report};
use crate::core::state::State;
use crate::trace::Note;
use core::ops::{Deref, DerefMut};
use embedded_io::{ErrorType, Write, WriteReady};
use smoltcp::phy::Device;

/// The writing end of a connection, lent by
/// [`Stack::writer`](super::Stack::writer).
///
/// Every write first processes what the device has received. So once the peer's FIN or
/// RST has arrived, the very next write is refused, whichever call polled last.
///
/// `Ok` from a write means *accepted*: the bytes are in the transmit buffer and
/// in the ledger. `Ok` from [`flush`](Write::flush) means that the peer's TCP
/// has acknowledged every accepted byte. Neither proves that the peer's
/// application has read them.
///
/// Dropping a writer does nothing: it is only lent. See [`scoped`](Self::scoped) for a
/// writer that cleans up.
#[derive(Debug)]
pub struct Writer<'s, S> {
    stack: &'s mut S,
    id: ConnectionId,
}

impl<'s, 'a, D: Device, C: Clock, const N: usize> Writer<'s, Stack<'a, D, C, N>> {
    pub(super) const fn new(stack: &'s mut Stack<'a, D, C, N>, id: ConnectionId) -> Self {
        Self { stack, id }
    }

    /// Accepts as many of `bytes` as fit, without waiting, and sends what may be sent of
    /// them. [`Stack::poll`] sends for the other connections. `Ok(0)` if `bytes` is
    /// empty, and only then.
    ///
    /// # Errors
    ///
    /// [`WriteError::WouldBlock`]: there is no room at present, in the buffer or in the device
    /// (which may then hold back a FIN), or the connection is still being opened. Otherwise
    /// the reason why the connection accepts no more bytes. None of `bytes` was accepted.
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize, WriteError> {
        let (tracker, mut net) = self.stack.parts();
        tracker.try_write(&mut net, self.id, bytes)
    }

    /// Like [`try_write`](Self::try_write), without a copy: `fill` gets the contiguous
    /// free part of the transmit buffer, and returns how many octets it has written at
    /// its start. It is not called if there is no room.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub fn write_with(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, WriteError> {
        let (tracker, mut net) = self.stack.parts();
        tracker.write_with(&mut net, self.id, fill)
    }

    /// Like [`write`](Write::write), for bytes that will soon be followed by more
    /// (`MSG_MORE`). It processes what the device has received and accepts the bytes as
    /// `write` does, but leaves the sending to the next `write`, [`flush`](Write::flush),
    /// [`Stack::wait`] or [`Stack::poll`], or to the call that fills half of the transmit
    /// buffer.
    ///
    /// # Errors
    ///
    /// As [`write`](Write::write).
    pub fn write_more(&mut self, bytes: &[u8]) -> Result<usize, WriteError> {
        self.write_or_wait(bytes, Departure::WithMore)
    }

    /// Like [`write_more`](Self::write_more), without waiting.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub fn try_write_more(&mut self, bytes: &[u8]) -> Result<usize, WriteError> {
        let (tracker, mut net) = self.stack.parts();
        tracker.try_write_more(&mut net, self.id, bytes)
    }

    /// Accepts all of `message` or nothing, for protocols whose messages an error must not
    /// truncate. Waits for room if necessary, at most for the call timeout.
    ///
    /// # Errors
    ///
    /// [`WriteError::MessageTooLong`] if `message` is longer than the transmit buffer;
    /// otherwise as [`write`](Write::write). None of `message` was accepted.
    pub fn write_message(&mut self, message: &[u8]) -> Result<(), WriteError> {
        let id = self.id;
        self.stack
            .block_on(CallTimeout::Of(id), |tracker, net, taken| {
                tracker.attempt_message(net, id, taken, message)
            })
    }

    /// Like [`write_message`](Self::write_message), without waiting.
    ///
    /// # Errors
    ///
    /// [`WriteError::WouldBlock`] while there is no room for all of `message`; otherwise as
    /// [`write_message`](Self::write_message).
    pub fn try_write_message(&mut self, message: &[u8]) -> Result<(), WriteError> {
        let (tracker, mut net) = self.stack.parts();
        tracker.try_write_message(&mut net, self.id, message)
    }

    /// How many bytes a write would accept at present, after processing what the device has
    /// received.
    ///
    /// # Errors
    ///
    /// The reason why the connection accepts no more bytes.
    pub fn room(&mut self) -> Result<usize, WriteError> {
        let (tracker, mut net) = self.stack.parts();
        tracker.room(&mut net, self.id)
    }

    /// Accepts at least one byte. Waits for the handshake or for room if necessary.
    fn write_or_wait(&mut self, bytes: &[u8], departure: Departure) -> Result<usize, WriteError> {
        let id = self.id;
        // There is usually room: the setup for waiting is done only if there is none.
        let (tracker, mut net) = self.stack.parts();
        let written = tracker.write_at_once(&mut net, id, bytes, departure)?;
        if written.accepted > 0 || bytes.is_empty() {
            return Ok(written.accepted);
        }
        tracker.push_all(net.sockets);
        let tried = Tried {
            at: net.now,
            taken: written.taken,
            next: tracker.send_due(&mut net),
        };
        self.stack
            .block_after(Some(tried), CallTimeout::Of(id), |tracker, net, taken| {
                tracker.attempt_write(net, id, taken, bytes)
            })
    }

    /// Finishes our direction: writes are refused, the accepted bytes drain, a FIN follows
    /// them. The peer reads the end of our bytes, and we can read until the end of its own;
    /// then call [`finish`](Self::finish). Waits only while the connection is being opened,
    /// at most for the call timeout; [`flush`](Write::flush) waits for the drain.
    ///
    /// The finish timeout bounds the drain and our FIN. After that, nothing bounds how long
    /// the peer may send.
    ///
    /// # Errors
    ///
    /// The reason why the connection accepts no more bytes, such as a FIN of the peer after
    /// which writes are refused.
    ///
    /// ```no_run
    /// use embedded_io::{Read, Write};
    /// use lastbyte::stack::smoltcp::phy::Device;
    /// use lastbyte::{Clock, ConnectionId, Error, Report, Stack};
    ///
    /// /// Sends a request and a FIN, and reads up to the end of the answer.
    /// fn request<D: Device, C: Clock>(
    ///     stack: &mut Stack<'_, D, C, 1>,
    ///     id: ConnectionId,
    /// ) -> Result<Report, Error> {
    ///     let mut writer = stack.writer(id)?;
    ///     writer.write_all(b"how warm is it?")?;
    ///     writer.finish_writing()?;
    ///     let mut answer = [0; 64];
    ///     while stack.reader(id)?.read(&mut answer)? > 0 {}
    ///     Ok(stack.writer(id)?.finish()?)
    /// }
    /// ```
    pub fn finish_writing(&mut self) -> Result<(), WriteError> {
        let id = self.id;
        self.stack.block_on(CallTimeout::Of(id), |tracker, net, _| {
            tracker.attempt_finish_writing(net, id)
        })
    }

    /// Starts finishing, without waiting: writes are refused, the accepted bytes drain, a
    /// FIN follows them. The stack completes this while it is polled, within the finish
    /// timeout; [`finished`](Self::finished) returns the result.
    pub fn begin_finish(&mut self) {
        let (tracker, mut net) = self.stack.parts();
        // The id was valid when the writer was lent, and the writer has borrowed the
        // stack since.
        let _: Result<(), UnknownConnection> = tracker.begin_finish(&mut net, self.id);
    }

    /// How the connection ended; `None` while it lives. `Ok` if every accepted byte was
    /// acknowledged and a FIN of either side ended it.
    pub fn finished(&mut self) -> Option<Result<Report, WriteError>> {
        let (tracker, net) = self.stack.parts();
        match tracker.finished(self.id, net.now) {
            Ok(outcome) => outcome,
            Err(unknown) => Some(Err(unknown.into())),
        }
    }

    /// Drains what was accepted, sends a FIN, waits until it is acknowledged,
    /// and frees the slot. Waits for the finish timeout at most.
    ///
    /// `Ok` if every accepted byte was acknowledged and a FIN, ours or the peer's, ended
    /// the connection, or it was never open; the report shows which.
    ///
    /// # Errors
    ///
    /// How else the connection ended, with the ledger. The slot is free in that case too.
    pub fn finish(mut self) -> Result<Report, WriteError> {
        self.begin_finish();
        let id = self.id;
        // The finish timeout ends the connection, so this needs no other timeout.
        let outcome = self.stack.block_on(CallTimeout::None, |tracker, net, _| {
            tracker.attempt_finish(id, net.now)
        });
        self.stack.release(id)?;
        outcome
    }

    /// Ends the connection at once with a RST and frees the slot. The RST is sent at once.
    /// If the device is busy or the neighbour unresolved, this call waits for it, for one
    /// second or the [call timeout](crate::Options::call_timeout), whichever is shorter.
    /// After that the RST leaves while the stack is polled, within 5 s.
    ///
    /// A connection that had already ended keeps its cause.
    ///
    /// # Errors
    ///
    /// [`WriteError::NotOpen`] if the id is stale.
    pub fn abort(self) -> Result<Report, WriteError> {
        Ok(self.stack.abort(self.id)?)
    }

    /// The state of the connection, as of the last poll.
    #[must_use]
    pub fn state(&self) -> State {
        // A stale id was refused when the writer was lent.
        self.stack.state(self.id).unwrap_or(State::Idle)
    }

    /// The progress of the connection: state, ledger, whether the peer reads.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn progress(&mut self) -> Result<Progress, UnknownConnection> {
        let (tracker, net) = self.stack.parts();
        tracker.progress(net.sockets, self.id)
    }

    /// The report of the connection so far.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn report(&mut self) -> Result<Report, UnknownConnection> {
        self.stack.report(self.id)
    }

    /// The connection's id, to borrow a writer or a reader again.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// A writer that releases the connection when it is dropped, and so aborts it if it
    /// is unfinished: no early return leaks a slot.
    #[must_use]
    pub const fn scoped(self) -> Scoped<'s, 'a, D, C, N> {
        Scoped { writer: self }
    }
}

impl<D: Device, C: Clock, const N: usize> ErrorType for Writer<'_, Stack<'_, D, C, N>> {
    type Error = WriteError;
}

impl<D: Device, C: Clock, const N: usize> Write for Writer<'_, Stack<'_, D, C, N>> {
    /// Accepts at least one byte. Waits for the handshake or for room if necessary, for
    /// the call timeout at most. With an empty `bytes` it never waits.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.write_or_wait(bytes, Departure::AtOnce)
    }

    /// Waits until every accepted byte is acknowledged, at most for the call timeout.
    /// Meanwhile Nagle's algorithm holds nothing back.
    fn flush(&mut self) -> Result<(), Self::Error> {
        let id = self.id;
        self.stack.trace(id, Note::Flush);
        let flushed = self.stack.block_on(CallTimeout::Of(id), |tracker, net, _| {
            tracker.attempt_flush(net.sockets, id)
        });
        self.stack.trace(id, Note::Flushed(flushed));
        flushed
    }
}

impl<D: Device, C: Clock, const N: usize> WriteReady for Writer<'_, Stack<'_, D, C, N>> {
    /// Whether a write would return at once, with success or an error.
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        let (tracker, mut net) = self.stack.parts();
        tracker.write_ready(&mut net, self.id)
    }
}

/// A [`Writer`] that owns its connection: dropping it frees the slot and, if the
/// connection is unfinished, resets it.
///
/// Made by [`Writer::scoped`].
#[derive(Debug)]
pub struct Scoped<'s, 'a, D: Device, C: Clock, const N: usize> {
    writer: Writer<'s, Stack<'a, D, C, N>>,
}

impl<D: Device, C: Clock, const N: usize> Scoped<'_, '_, D, C, N> {
    /// As [`Writer::finish`].
    ///
    /// # Errors
    ///
    /// As [`Writer::finish`].
    pub fn finish(self) -> Result<Report, WriteError> {
        // When `self` is dropped afterwards, the connection has ended and its slot is free.
        Writer::new(&mut *self.writer.stack, self.writer.id).finish()
    }

    /// As [`Writer::abort`].
    ///
    /// # Errors
    ///
    /// As [`Writer::abort`].
    pub fn abort(self) -> Result<Report, WriteError> {
        Writer::new(&mut *self.writer.stack, self.writer.id).abort()
    }
}

impl<'s, 'a, D: Device, C: Clock, const N: usize> Deref for Scoped<'s, 'a, D, C, N> {
    type Target = Writer<'s, Stack<'a, D, C, N>>;

    fn deref(&self) -> &Self::Target {
        &self.writer
    }
}

impl<D: Device, C: Clock, const N: usize> DerefMut for Scoped<'_, '_, D, C, N> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.writer
    }
}

impl<D: Device, C: Clock, const N: usize> Drop for Scoped<'_, '_, D, C, N> {
    fn drop(&mut self) {
        // A stale id has nothing left to release.
        let _: Result<Report, UnknownConnection> = self.writer.stack.release(self.writer.id);
    }
}
