//! The attempts of calls that wait. Blocking calls and those of `lastbyte::asynch` make the
//! same attempts, and differ in how they wait between two of them.
//!
//! An attempt returns at once: `Ok(None)` while it can have no result. What the device has
//! received is processed before it, and what is due is sent after it.

use super::calls::UnknownConnection;
use super::tracker::{ConnectionId, Net, Taken, Tracker};
use crate::Instant;
use crate::core::error::{ReadError, WriteError};
use crate::core::report::Report;
use crate::core::state::State;
use crate::trace::{self, Note};
use smoltcp::iface::SocketSet;
use smoltcp::phy::Device;

impl<const N: usize> Tracker<N> {
    /// Until the connection is open.
    ///
    /// # Errors
    ///
    /// Why it was not opened.
    pub(crate) fn attempt_open(&self, id: ConnectionId) -> Result<Option<()>, WriteError> {
        match self.state(id)? {
            State::Connecting | State::Listening => Ok(None),
            State::Open
            | State::PeerFinished(_)
            | State::WriteFinished(_)
            | State::Finishing(_) => Ok(Some(())),
            State::Idle | State::Closed(_) => {
                let connection = self.connection(id)?;
                let ledger = connection.ledger();
                Err(connection.error().unwrap_or(WriteError::NotOpen { ledger }))
            }
        }
    }

    /// Until at least one of `bytes` is accepted.
    ///
    /// # Errors
    ///
    /// Why the connection accepts no more bytes.
    pub(crate) fn attempt_write<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        taken: Taken,
        bytes: &[u8],
    ) -> Result<Option<usize>, WriteError> {
        let accepted = self.write_taken(net, id, taken, bytes)?;
        Ok((accepted > 0).then_some(accepted))
    }

    /// Until all of `message` is accepted.
    ///
    /// # Errors
    ///
    /// Why it never will be.
    pub(crate) fn attempt_message<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        taken: Taken,
        message: &[u8],
    ) -> Result<Option<()>, WriteError> {
        let accepted = self.write_message_taken(net, id, taken, message)?;
        Ok((accepted == message.len()).then_some(()))
    }

    /// Until `fill` has put something into the transmit buffer; it is taken out of the
    /// option when it is called.
    ///
    /// # Errors
    ///
    /// Why the connection accepts no more bytes.
    #[cfg(feature = "async")]
    pub(crate) fn attempt_write_with<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        taken: Taken,
        fill: &mut Option<impl FnOnce(&mut [u8]) -> usize>,
    ) -> Result<Option<usize>, WriteError> {
        let accepted = self.fill_taken(net, id, taken, fill)?;
        Ok(fill.is_none().then_some(accepted))
    }

    /// Until every accepted byte is acknowledged. Nagle's algorithm holds nothing back
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// How the connection ended instead.
    pub(crate) fn attempt_flush(
        &self,
        sockets: &mut SocketSet<'_>,
        id: ConnectionId,
    ) -> Result<Option<()>, WriteError> {
        self.push(sockets, id)?;
        let is_flushed = self.connection(id)?.is_flushed()?;
        Ok(is_flushed.then_some(()))
    }

    /// Until our direction is being finished, which waits only for the handshake.
    ///
    /// # Errors
    ///
    /// Why the connection accepts no more bytes.
    pub(crate) fn attempt_finish_writing<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
    ) -> Result<Option<()>, WriteError> {
        match self.finish_writing(net, id) {
            Err(WriteError::WouldBlock { .. }) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Until a connection that is being finished has ended.
    ///
    /// # Errors
    ///
    /// The connection has ended in another way, or bytes are undelivered.
    pub(crate) fn attempt_finish(
        &self,
        id: ConnectionId,
        now: Instant,
    ) -> Result<Option<Report>, WriteError> {
        self.finished(id, now)?.transpose()
    }

    /// Until there is something to read, or never will be.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub(crate) fn attempt_readable(
        &mut self,
        sockets: &mut SocketSet<'_>,
        id: ConnectionId,
    ) -> Result<Option<()>, ReadError> {
        let found = self.try_peek(sockets, id)?;
        Ok(found.map(|_| ()))
    }

    /// Until `take` has consumed received bytes; it is taken out of the option when it is
    /// called. Zero, without a call, if the peer has finished.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    #[cfg(feature = "async")]
    pub(crate) fn attempt_read_with(
        &mut self,
        sockets: &mut SocketSet<'_>,
        id: ConnectionId,
        take: &mut Option<impl FnOnce(&[u8]) -> usize>,
    ) -> Result<Option<usize>, ReadError> {
        match self.try_peek(sockets, id)? {
            None => Ok(None),
            Some(0) => Ok(Some(0)),
            Some(_) => {
                let bytes = self.peek(sockets, id);
                let count = take.take().map_or(0, |take| take(bytes)).min(bytes.len());
                self.consume(sockets, id, count);
                Ok(Some(count))
            }
        }
    }

    /// When a call that began at `started` reaches the call timeout of its connection.
    ///
    /// # Errors
    ///
    /// The id is stale.
    pub(crate) fn call_deadline(
        &self,
        id: ConnectionId,
        started: Instant,
    ) -> Result<Instant, UnknownConnection> {
        let connection = self.connection(id)?;
        trace::report(connection, Note::Waits { since: started });
        Ok(started.plus_millis(connection.options().call_ms()))
    }

    /// The error of a call that has reached it; the connection lives.
    pub(crate) fn call_timed_out(&self, id: ConnectionId, started: Instant) -> WriteError {
        match self.connection(id) {
            Ok(connection) => connection.call_timed_out(started),
            Err(unknown) => unknown.into(),
        }
    }
}
