//! The calls of an application on a [`Tracker`] that write. None of them blocks.

use super::calls::UnknownConnection;
use super::time::to_smoltcp;
use super::tracker::{ConnectionId, FULL_SEGMENT, Net, SMALLEST_SEGMENT, Taken, Tracker};
use crate::core::connection::Connection;
use crate::core::error::WriteError;
use crate::core::facts::Admission;
use crate::core::options::Nagle;
use crate::core::state::State;
use crate::sabotage::{Sabotage, is_on};
use crate::trace;
use smoltcp::iface::SocketSet;
use smoltcp::phy::Device;
use smoltcp::socket::tcp;

/// A full buffer of this many octets, six full segments on Ethernet, keeps a
/// connection going while less than one of them is held back to be a full one. Of
/// a smaller one, all of it is wanted in flight; and a peer that got less than two
/// segments may wait with its ACK for what we hold back (RFC 9293, 3.8.6.3).
const LARGE_BUFFER: usize = 6 * FULL_SEGMENT;

/// Whether the device takes a frame to send. A token that is not used takes nothing:
/// smoltcp drops one with each frame that needs no answer.
fn has_room<D: Device + ?Sized>(net: &mut Net<'_, '_, D>) -> bool {
    is_on(Sabotage::FullDevice) || net.device.transmit(to_smoltcp(net.now)).is_some()
}

/// The first so many of `bytes` are in the transmit buffer.
fn note_written(connection: &Connection, bytes: &[u8], written: usize) {
    if let Some(bytes) = bytes.get(..written).filter(|bytes| !bytes.is_empty()) {
        trace::tell(connection, trace::Note::Written(bytes));
    }
}

impl<const N: usize> Tracker<N> {
    /// Takes in what the device has received, then as much of `bytes` as fits
    /// into the transmit buffer, and sends what may be sent of it. What others
    /// have to send is for [`poll`](Self::poll). `Ok(0)`: no room at present, in the
    /// buffer or in the device (which may hold back a FIN then), or the connection is
    /// still being opened. While several connections share a device that is full, sending
    /// is left to `poll` too, so that each may write before one takes the room.
    ///
    /// # Errors
    ///
    /// Why the connection takes no more bytes, with the ledger. Nothing of
    /// `bytes` was accepted then.
    pub fn try_write<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        bytes: &[u8],
    ) -> Result<usize, WriteError> {
        self.write_at_once(net, id, bytes)
            .map(|(accepted, _)| accepted)
    }

    /// As [`try_write`](Self::try_write); says beside it what was taken in.
    pub(super) fn write_at_once<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        bytes: &[u8],
    ) -> Result<(usize, Taken), WriteError> {
        let taken = self.take_in_for_write(net);
        let accepted = self.write_taken(net, id, taken, bytes);
        let accepted = self.send_written(net, id, taken, accepted)?;
        Ok((accepted, taken))
    }

    /// What a write does first.
    pub(super) fn take_in_for_write<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
    ) -> Taken {
        if is_on(Sabotage::FirstWrite) {
            return Taken::All;
        }
        self.take_in_all(net)
    }

    /// Takes in what the device has received; [`Taken::Full`] where it cannot be known
    /// whether that is all.
    pub(super) fn take_in_all<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) -> Taken {
        let taken = self.ingest(net);
        if matches!(taken, Taken::Nothing | Taken::All) && !has_room(net) {
            return Taken::Full;
        }
        taken
    }

    /// What a write does last.
    fn send_written<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        taken: Taken,
        accepted: Result<usize, WriteError>,
    ) -> Result<usize, WriteError> {
        // The room that the device has at last would go to the first that writes, and the
        // others could not write for want of room: each may, before anything is sent.
        let is_scarce = N > 1 && self.table.room.is_short();
        match &accepted {
            Ok(0) if is_scarce && taken != Taken::Full => self.send_behind(net),
            Ok(0) => {}
            Ok(_) if is_scarce => {}
            Ok(_) => self.send_accepted(net, id, taken),
            // What was taken in may have to be answered.
            Err(_) => self.send_behind(net),
        }
        accepted
    }

    /// The middle of [`try_write`](Self::try_write), between taking in and
    /// sending.
    pub(super) fn write_taken<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        taken: Taken,
        bytes: &[u8],
    ) -> Result<usize, WriteError> {
        self.write(net, id, taken, |connection, socket, room| {
            let bytes = bytes.get(..room).unwrap_or(bytes);
            let written = socket.send_slice(bytes).unwrap_or(0);
            note_written(connection, bytes, written);
            written
        })
    }

    /// As [`try_write`](Self::try_write), without a copy: `fill` gets the free
    /// part of the transmit buffer that is in one piece, and returns how many
    /// octets it has put at its start. It is not called where there is no room.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub fn write_with<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, WriteError> {
        let taken = self.take_in_for_write(net);
        let written = self.write(net, id, taken, |connection, socket, room| {
            if !socket.can_send() {
                return 0;
            }
            let filled = socket.send(|free| {
                let len = free.len().min(room);
                let written = free.get_mut(..len).map_or(0, fill).min(len);
                note_written(connection, free, written);
                (written, written)
            });
            filled.unwrap_or(0)
        });
        self.send_written(net, id, taken, written)
    }

    /// Takes in what the device has received and says whether a write would
    /// return at once, be it with an error.
    ///
    /// # Errors
    ///
    /// [`WriteError::NotOpen`] for an unknown connection.
    pub fn write_ready<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
    ) -> Result<bool, WriteError> {
        self.poll(net);
        let slot = self.slot(id)?;
        let accepts = !matches!(
            slot.connection.state(),
            State::Connecting | State::Listening
        );
        let is_refused = slot.connection.error().is_some();
        let socket = net.sockets.get::<tcp::Socket<'_>>(slot.handle);
        Ok(is_refused || accepts && socket.can_send())
    }

    fn write<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        taken: Taken,
        enqueue: impl FnOnce(&Connection, &mut tcp::Socket<'_>, usize) -> usize,
    ) -> Result<usize, WriteError> {
        let slot = self.slot_mut(id)?;
        let room = match slot.connection.handle_write()? {
            // In the device there may be a FIN: nothing is accepted before it hands out frames.
            Admission::Accept(_) if taken == Taken::Full => return Ok(0),
            Admission::Accept(room) => usize::try_from(room).unwrap_or(usize::MAX),
            Admission::Wait => return Ok(0),
        };
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        let accepted = enqueue(&slot.connection, socket, room);
        if accepted > 0 {
            let are_timers_new = slot.connection.note_accepted(accepted, net.now);
            socket.set_nagle_enabled(slot.connection.options().nagle() == Nagle::On);
            if are_timers_new {
                let bound = slot.timeout_bound();
                self.look_by(bound);
            }
            self.table.note_queued(usize::from(id.slot), accepted);
        } else if !socket.can_send() && socket.send_capacity() < LARGE_BUFFER {
            let queued = slot.connection.ledger().queued();
            let in_flight = self.table.in_flight(usize::from(id.slot));
            if queued.saturating_sub(in_flight) < FULL_SEGMENT {
                // The buffer is full, and all of it but this is in flight. Waiting
                // gains nothing; the peer may wait with its ACK. If more is left, the
                // congestion window or the peer's holds it back, and only full
                // segments leave (RFC 9293, 3.8.6.2.1).
                socket.set_nagle_enabled(false);
            }
        }
        Ok(accepted)
    }

    /// Says that no write follows soon: nothing is gained by waiting for more to
    /// send with what is left.
    pub(super) fn push(
        &self,
        sockets: &mut SocketSet<'_>,
        id: ConnectionId,
    ) -> Result<(), UnknownConnection> {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.slot(id)?.handle);
        socket.set_nagle_enabled(false);
        Ok(())
    }

    /// Says of all connections that no write follows soon: the program is about to sleep.
    /// Of a large buffer, full segments go on leaving as such, and only what makes no full
    /// one is pushed.
    pub(super) fn push_all(&self, sockets: &mut SocketSet<'_>) {
        for (index, slot) in self.slots.iter().enumerate() {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
            let unsent = socket
                .send_queue()
                .saturating_sub(self.table.in_flight(index));
            let is_rest = unsent < SMALLEST_SEGMENT.max(self.table.largest(index).into());
            if is_rest || socket.send_capacity() < LARGE_BUFFER {
                socket.set_nagle_enabled(false);
            }
        }
    }
}
