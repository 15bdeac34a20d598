//! Reads received bytes. Nothing here blocks.

use super::slot::Slot;
use super::tracker::{ConnectionId, Net, Tracker};
use crate::core::error::{ReadError, WriteError};
use crate::core::state::{Cause, Incoming, OnReceive, State};
use crate::trace;
use smoltcp::iface::SocketSet;
use smoltcp::phy::Device;
use smoltcp::socket::tcp;

impl<const N: usize> Tracker<N> {
    /// Reads received bytes: up to two pieces of the receive buffer's ring. `Ok(None)`:
    /// there are none at present. `Ok(Some(0))`: the peer has finished and no more will
    /// arrive (or `into` is empty).
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn try_read(
        &mut self,
        sockets: &mut SocketSet<'_>,
        id: ConnectionId,
        into: &mut [u8],
    ) -> Result<Option<usize>, ReadError> {
        if into.is_empty() {
            return Ok(Some(0));
        }
        let slot = self.readable(id)?;
        let socket = sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        let read = match socket.recv_slice(into) {
            Ok(0) => Ok(None),
            Ok(read) => {
                let bytes = into.get(..read).unwrap_or(into);
                trace::report(&slot.connection, trace::Note::Read(bytes));
                Ok(Some(read))
            }
            Err(error) => return slot.end_of_reading(error),
        };
        self.note_read(id, socket);
        read
    }

    /// Reports to the guard that the receive buffer has more room.
    fn note_read(&mut self, id: ConnectionId, socket: &tcp::Socket<'_>) {
        if let Ok(slot) = self.slot_mut(id) {
            let receipt = slot.receipt(0, socket);
            self.wire.guard.advance(usize::from(id.slot), receipt);
        }
    }

    /// Whether [`peek`](Self::peek) has bytes to lend, or the peer has finished:
    /// `Ok(None)` while neither is true.
    pub(super) fn try_peek(
        &mut self,
        sockets: &mut SocketSet<'_>,
        id: ConnectionId,
    ) -> Result<Option<usize>, ReadError> {
        let slot = self.readable(id)?;
        let socket = sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        match socket.peek(usize::MAX).map(<[u8]>::len) {
            Ok(0) => Ok(None),
            Ok(len) => Ok(Some(len)),
            Err(error) => slot.end_of_reading(error),
        }
    }

    /// Processes what the device has received and returns whether a read would return at
    /// once, possibly with an error.
    pub(crate) fn read_ready<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
    ) -> Result<bool, ReadError> {
        self.poll(net);
        match self.try_peek(net.sockets, id) {
            Ok(found) => Ok(found.is_some()),
            Err(ReadError::Ended(_)) => Ok(true),
            Err(ReadError::Discarding) => Err(ReadError::Discarding),
        }
    }

    /// The contiguous part of the received bytes, which stay in the buffer.
    pub(super) fn peek<'s>(&self, sockets: &'s mut SocketSet<'_>, id: ConnectionId) -> &'s [u8] {
        match self.readable(id) {
            Ok(slot) => sockets
                .get_mut::<tcp::Socket<'_>>(slot.handle)
                .peek(usize::MAX)
                .unwrap_or(&[]),
            Err(_) => &[],
        }
    }

    /// Removes `count` received bytes, or as many as are contiguous.
    pub(super) fn consume(&mut self, sockets: &mut SocketSet<'_>, id: ConnectionId, count: usize) {
        if let Ok(slot) = self.readable(id) {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
            // An error means that there is nothing to remove.
            let _ = socket.recv(|bytes| {
                let count = count.min(bytes.len());
                let taken = bytes.get(..count).unwrap_or(bytes);
                trace::report(&slot.connection, trace::Note::Read(taken));
                (count, ())
            });
            self.note_read(id, socket);
        }
    }

    fn readable(&self, id: ConnectionId) -> Result<&Slot, ReadError> {
        let slot = self
            .slot(id)
            .map_err(|unknown| ReadError::Ended(unknown.into()))?;
        match slot.connection.options().on_receive() {
            OnReceive::Keep => Ok(slot),
            OnReceive::Discard => Err(ReadError::Discarding),
        }
    }
}

impl Slot {
    /// The result of a read from a socket that has no more bytes.
    fn end_of_reading(&self, error: tcp::RecvError) -> Result<Option<usize>, ReadError> {
        match (error, self.connection.state()) {
            (tcp::RecvError::Finished, _) => Ok(Some(0)),
            (tcp::RecvError::InvalidState, State::Connecting | State::Listening) => Ok(None),
            // At the end of TIME-WAIT smoltcp forgets that the peer has finished.
            (tcp::RecvError::InvalidState, State::Closed(Cause::Finished))
                if self.unread == 0 && self.connection.incoming() == Incoming::Ended =>
            {
                Ok(Some(0))
            }
            (tcp::RecvError::InvalidState, _) => {
                let ledger = self.connection.ledger();
                let error = self.connection.error();
                Err(ReadError::Ended(
                    error.unwrap_or(WriteError::NotOpen { ledger }),
                ))
            }
        }
    }
}
