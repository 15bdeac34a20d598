//! Calls on a [`Tracker`] that write. None of them blocks.

use super::calls::UnknownConnection;
use super::slot::Slot;
use super::time::to_smoltcp;
use super::tracker::{ConnectionId, FULL_SEGMENT, Net, SMALLEST_SEGMENT, Taken, Tracker};
#[cfg(feature = "async")]
use crate::Instant;
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

/// With a transmit buffer of this many octets, six full segments on Ethernet, a
/// connection keeps sending while less than a full segment is held back. With a smaller
/// buffer, all of it should be in flight, and a peer that received less than two segments
/// may delay its ACK until it gets what we hold back (RFC 9293, 3.8.6.3).
const LARGE_BUFFER: usize = 6 * FULL_SEGMENT;

/// No timer that smoltcp starts when it sends is shorter: a retransmission timeout, a window
/// probe, a neighbour request.
#[cfg(feature = "async")]
pub(crate) const SHORTEST_TIMER_MS: u32 = 1_000;

/// Whether the device has room for a frame to send. An unused token takes no room:
/// smoltcp drops one with each frame that needs no answer.
fn has_room<D: Device + ?Sized>(net: &mut Net<'_, '_, D>) -> bool {
    is_on(Sabotage::FullDevice) || net.device.transmit(to_smoltcp(net.now)).is_some()
}

/// Reports that the first `written` of `bytes` are in the transmit buffer.
fn note_written(connection: &Connection, bytes: &[u8], written: usize) {
    if let Some(bytes) = bytes.get(..written).filter(|bytes| !bytes.is_empty()) {
        trace::report(connection, trace::Note::Written(bytes));
    }
}

/// How many octets the transmit buffer has room for.
fn free(socket: &tcp::Socket<'_>) -> usize {
    socket.send_capacity().saturating_sub(socket.send_queue())
}

/// The result of a write that did not wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) accepted: usize,
    pub(crate) taken: Taken,
}

impl Written {
    /// The result that the application gets.
    fn unless_blocked<const N: usize>(
        self,
        tracker: &Tracker<N>,
        id: ConnectionId,
        bytes: &[u8],
    ) -> Result<usize, WriteError> {
        match self.accepted == 0 && !bytes.is_empty() {
            true => Err(tracker.would_block(id)),
            false => Ok(self.accepted),
        }
    }
}

/// When the bytes of a write are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    /// In this call, as far as the window, Nagle's algorithm and the device allow.
    AtOnce,
    /// Together with what follows: the application has announced more.
    WithMore,
}

impl<const N: usize> Tracker<N> {
    /// Processes what the device has received, then accepts as much of `bytes` as the
    /// transmit buffer has room for, and sends what may be sent of it. [`poll`](Self::poll)
    /// sends for the other connections. While several connections share a full device, all
    /// sending is left to `poll`, so that each may write before one takes the room.
    ///
    /// `Ok(0)` if `bytes` is empty, and only then.
    ///
    /// # Errors
    ///
    /// [`WriteError::WouldBlock`]: there is no room at present, in the buffer or in the device
    /// (which may then hold back a FIN), or the connection is still being opened. Otherwise
    /// the reason why the connection accepts no more bytes. None of `bytes` was accepted.
    pub fn try_write<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        bytes: &[u8],
    ) -> Result<usize, WriteError> {
        self.write_at_once(net, id, bytes, Departure::AtOnce)?
            .unless_blocked(self, id, bytes)
    }

    /// Like [`try_write`](Self::try_write), for bytes that will soon be followed by more
    /// (`MSG_MORE`): sending is left to the next [`try_write`](Self::try_write) or
    /// [`poll`](Self::poll), or to the call that fills half of the transmit buffer. An answer
    /// that is due to the peer is left to the first call more than 10 ms after the last one
    /// that sent.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub fn try_write_more<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        bytes: &[u8],
    ) -> Result<usize, WriteError> {
        self.write_at_once(net, id, bytes, Departure::WithMore)?
            .unless_blocked(self, id, bytes)
    }

    /// Like [`try_write`](Self::try_write), but accepts all of `message` or nothing.
    ///
    /// # Errors
    ///
    /// [`WriteError::WouldBlock`] while there is no room for all of it;
    /// [`WriteError::MessageTooLong`] if there never will be. Otherwise as
    /// [`try_write`](Self::try_write).
    pub fn try_write_message<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        message: &[u8],
    ) -> Result<(), WriteError> {
        let taken = self.take_in_for_write(net);
        let accepted = self.write_message_taken(net, id, taken, message);
        let accepted = self.send_written(net, id, taken, accepted, Departure::AtOnce)?;
        Written { accepted, taken }
            .unless_blocked(self, id, message)
            .map(|_| ())
    }

    /// Processes what the device has received and returns how many bytes a write would
    /// accept at present.
    ///
    /// # Errors
    ///
    /// The reason why the connection accepts no more bytes.
    pub fn room<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
    ) -> Result<usize, WriteError> {
        let taken = self.take_in_for_write(net);
        let slot = self.slot(id)?;
        if let Some(error) = slot.connection.error() {
            self.send_after_ingest(net);
            return Err(error);
        }
        let is_opening = matches!(
            slot.connection.state(),
            State::Connecting | State::Listening
        );
        let socket = net.sockets.get::<tcp::Socket<'_>>(slot.handle);
        match is_opening || taken == Taken::Full {
            true => Ok(0),
            false => Ok(free(socket)),
        }
    }

    /// A write that does not wait. Also returns what the receive step processed.
    pub(crate) fn write_at_once<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        bytes: &[u8],
        departure: Departure,
    ) -> Result<Written, WriteError> {
        let taken = self.take_in_for_write(net);
        let accepted = self.write_taken(net, id, taken, bytes);
        let accepted = self.send_written(net, id, taken, accepted, departure)?;
        Ok(Written { accepted, taken })
    }

    /// Whether something except timers of smoltcp may be due before `until` because of a write
    /// that has processed no frame: a timer of the connection, or unsent bytes.
    #[cfg(feature = "async")]
    pub(crate) fn may_be_due(&self, until: Instant, departure: Departure) -> bool {
        departure == Departure::WithMore || self.wire.room.is_short() || self.next_timer < until
    }

    /// The first part of a write.
    pub(super) fn take_in_for_write<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
    ) -> Taken {
        if is_on(Sabotage::FirstWrite) {
            return Taken::All;
        }
        self.take_in_all(net)
    }

    /// Processes what the device has received. Returns [`Taken::Full`] if it is unknown
    /// whether that is all.
    pub(crate) fn take_in_all<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) -> Taken {
        let taken = self.ingest(net);
        if matches!(taken, Taken::Nothing | Taken::All) && !has_room(net) {
            return Taken::Full;
        }
        taken
    }

    /// The last part of a write.
    fn send_written<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        taken: Taken,
        accepted: Result<usize, WriteError>,
        departure: Departure,
    ) -> Result<usize, WriteError> {
        // If the first connection that writes also sent, it would get all the room of the
        // device, and the others could not write for lack of room. So each may write
        // before anything is sent.
        let is_scarce = N > 1 && self.wire.room.is_short();
        match &accepted {
            Ok(0) if is_scarce && taken != Taken::Full => self.send_after_ingest(net),
            Ok(0) => {}
            Ok(_) if is_scarce => {}
            // Received segments may have to be answered, but not within milliseconds of the
            // last answers: more calls follow soon.
            Ok(_)
                if departure == Departure::WithMore
                    && (taken == Taken::Nothing || net.now < self.rests_until)
                    && !self.is_burst(id, net.sockets) =>
            {
                if taken != Taken::Nothing {
                    // The call that runs the timers sends, even if nothing more arrives.
                    self.look_by(self.rests_until);
                }
            }
            Ok(_) => self.send_accepted(net, id, taken),
            // Received segments may have to be answered.
            Err(_) => self.send_after_ingest(net),
        }
        accepted
    }

    /// Whether enough data waits to be sent: half of the transmit buffer, so that the
    /// other half can be filled while this is in flight.
    fn is_burst(&self, id: ConnectionId, sockets: &SocketSet<'_>) -> bool {
        self.slot(id).is_ok_and(|slot| {
            let socket = sockets.get::<tcp::Socket<'_>>(slot.handle);
            let in_flight = self.wire.guard.in_flight(usize::from(id.slot));
            let unsent = socket.send_queue().saturating_sub(in_flight);
            unsent >= socket.send_capacity() >> 1
        })
    }

    /// The middle part of a write, between receiving and sending. Returns zero if nothing
    /// can be accepted at present.
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

    /// The middle part of writing a message: accepts all of it or, while there is no room,
    /// nothing.
    pub(super) fn write_message_taken<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        taken: Taken,
        message: &[u8],
    ) -> Result<usize, WriteError> {
        let slot = self.slot(id)?;
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        // A state that refuses writes takes precedence.
        if slot.connection.error().is_none() {
            if message.len() > socket.send_capacity() {
                return Err(WriteError::MessageTooLong {
                    // At most 1 GiB.
                    capacity: u32::try_from(socket.send_capacity()).unwrap_or(u32::MAX),
                    ledger: slot.connection.ledger(),
                });
            }
            if message.len() > free(socket) {
                // The buffer has no room for this message.
                socket.set_nagle_enabled(false);
                return Ok(0);
            }
        }
        self.write_taken(net, id, taken, message)
    }

    /// Like [`try_write`](Self::try_write), without a copy: `fill` gets the contiguous
    /// free part of the transmit buffer, and returns how many octets it has written at
    /// its start. It is not called if there is no room.
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
        let mut fill = Some(fill);
        let taken = self.take_in_for_write(net);
        let accepted = self.fill_taken(net, id, taken, &mut fill);
        let accepted = self.send_written(net, id, taken, accepted, Departure::AtOnce)?;
        match fill {
            Some(_) => Err(self.would_block(id)),
            None => Ok(accepted),
        }
    }

    /// The middle of [`write_with`](Self::write_with). `fill` is taken out of the option when
    /// it is called.
    pub(super) fn fill_taken<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        taken: Taken,
        fill: &mut Option<impl FnOnce(&mut [u8]) -> usize>,
    ) -> Result<usize, WriteError> {
        self.write(net, id, taken, |connection, socket, room| {
            if !socket.can_send() {
                return 0;
            }
            let filled = socket.send(|free| {
                let len = free.len().min(room);
                let written = match (free.get_mut(..len), fill.take()) {
                    (Some(free), Some(fill)) => fill(free).min(len),
                    (None, _) | (_, None) => 0,
                };
                note_written(connection, free, written);
                (written, written)
            });
            filled.unwrap_or(0)
        })
    }

    /// The error of a call that does not wait.
    fn would_block(&self, id: ConnectionId) -> WriteError {
        match self.slot(id) {
            Ok(slot) => WriteError::WouldBlock {
                ledger: slot.connection.ledger(),
            },
            Err(unknown) => unknown.into(),
        }
    }

    /// Processes what the device has received, and returns whether a write would return
    /// at once, with success or an error.
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
            // The device may hold a FIN: nothing is accepted before its frames are processed.
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
            self.wire.guard.note_queued(usize::from(id.slot), accepted);
        } else if !socket.can_send() && socket.send_capacity() < LARGE_BUFFER {
            let queued = slot.connection.ledger().queued();
            let in_flight = self.wire.guard.in_flight(usize::from(id.slot));
            if queued.saturating_sub(in_flight) < FULL_SEGMENT {
                // The buffer is full, and all of it except this is in flight. To wait
                // gains nothing, and the peer may delay its ACK. If more is left, the
                // congestion window or the peer's window holds it back, and only full
                // segments are sent (RFC 9293, 3.8.6.2.1).
                socket.set_nagle_enabled(false);
            }
        }
        Ok(accepted)
    }

    /// Called if no write follows soon: turns Nagle's algorithm off, because there is no
    /// more data to wait for.
    pub(super) fn push(
        &self,
        sockets: &mut SocketSet<'_>,
        id: ConnectionId,
    ) -> Result<(), UnknownConnection> {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.slot(id)?.handle);
        socket.set_nagle_enabled(false);
        Ok(())
    }

    /// Does the same for all connections, before the program sleeps. With a large buffer,
    /// full segments are still sent as such, and only a rest that fills no segment is
    /// pushed.
    pub(super) fn push_all(&self, sockets: &mut SocketSet<'_>) {
        for (index, slot) in self.slots.iter().enumerate() {
            self.push_rest(index, slot, sockets);
        }
    }

    fn push_rest(&self, index: usize, slot: &Slot, sockets: &mut SocketSet<'_>) {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        let unsent = socket
            .send_queue()
            .saturating_sub(self.wire.guard.in_flight(index));
        let is_rest = unsent < SMALLEST_SEGMENT.max(self.wire.guard.largest(index).into());
        if is_rest || socket.send_capacity() < LARGE_BUFFER {
            socket.set_nagle_enabled(false);
        }
    }

    /// Records that no write on this connection follows soon: the task that uses it waits.
    #[cfg(feature = "async")]
    pub(crate) fn push_one(&self, sockets: &mut SocketSet<'_>, id: ConnectionId) {
        if let Ok(slot) = self.slot(id) {
            self.push_rest(usize::from(id.slot), slot, sockets);
        }
    }
}
