//! Calls on a [`Tracker`] that end a connection or query it. None of them blocks.

use super::ends::{local_end, remote_end};
use super::slot::{Slot, Tenure};
use super::tracker::{ConnectionId, Net, Tracker};
use crate::Instant;
use crate::core::connection::Connection;
use crate::core::error::WriteError;
use crate::core::ledger::Ledger;
use crate::core::report::{Advice, Progress, Report};
use crate::core::state::{Action, State};
use core::fmt;
use smoltcp::iface::SocketSet;
use smoltcp::phy::Device;
use smoltcp::socket::tcp;
use smoltcp::wire::IpEndpoint;

/// The id names no connection of this tracker: its slot was opened again, or the id is
/// another tracker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct UnknownConnection;

impl fmt::Display for UnknownConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this connection was released and its slot is in use by another")
    }
}

impl core::error::Error for UnknownConnection {}

impl embedded_io::Error for UnknownConnection {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::NotConnected
    }
}

impl From<UnknownConnection> for WriteError {
    fn from(_: UnknownConnection) -> Self {
        Self::NotOpen {
            ledger: Ledger::ZERO,
        }
    }
}

impl<const N: usize> Tracker<N> {
    pub(super) fn slot(&self, id: ConnectionId) -> Result<&Slot, UnknownConnection> {
        self.slots
            .get(usize::from(id.slot))
            .filter(|slot| slot.generation == id.generation)
            .ok_or(UnknownConnection)
    }

    pub(crate) fn slot_mut(&mut self, id: ConnectionId) -> Result<&mut Slot, UnknownConnection> {
        self.slots
            .get_mut(usize::from(id.slot))
            .filter(|slot| slot.generation == id.generation)
            .ok_or(UnknownConnection)
    }

    /// The connection that a slot holds, or held last.
    #[cfg(feature = "async")]
    pub(crate) fn id_of(&self, index: usize) -> ConnectionId {
        ConnectionId {
            slot: u16::try_from(index).unwrap_or(u16::MAX),
            generation: self.slots.get(index).map_or(0, |slot| slot.generation),
        }
    }

    // ---- ending ----

    /// Starts finishing our direction: writes are refused, the accepted bytes drain, a FIN
    /// follows them. Reading goes on until the peer's FIN. Both FINs and the acknowledgement
    /// of ours end the connection ([`Cause::Finished`](crate::Cause::Finished)), and received
    /// bytes stay readable. [`begin_finish`](Self::begin_finish) ends the connection without
    /// the peer's FIN.
    ///
    /// The finish timeout bounds the drain and our FIN. After that, nothing bounds how long
    /// the peer may send.
    ///
    /// # Errors
    ///
    /// [`WriteError::WouldBlock`] while the connection is being opened. Otherwise the
    /// reason why it accepts no more bytes, such as a FIN of the peer after which writes
    /// are refused.
    pub fn finish_writing<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
    ) -> Result<(), WriteError> {
        self.slot(id)?;
        self.ingest(net);
        let connection = &mut self.slot_mut(id)?.connection;
        let ledger = connection.ledger();
        let action = connection.handle_finish_writing(net.now);
        if let Ok(action) = action {
            self.perform(usize::from(id.slot), action, net.sockets, net.now);
        }
        self.send_after_ingest(net);
        match action {
            Ok(Action::Wait) => Err(WriteError::WouldBlock { ledger }),
            outcome => outcome.map(|_| ()),
        }
    }

    /// Starts finishing: writes are refused, the accepted bytes drain, a FIN follows
    /// them. The connection ends by itself, within the finish timeout;
    /// [`finished`](Self::finished) returns the result.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn begin_finish<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
    ) -> Result<(), UnknownConnection> {
        self.slot(id)?;
        self.ingest(net);
        let now = net.now;
        let action = self.slot_mut(id)?.connection.handle_finish(now);
        self.perform(usize::from(id.slot), action, net.sockets, net.now);
        self.send_after_ingest(net);
        Ok(())
    }

    /// How the connection ended: `Ok` if every accepted byte was acknowledged and a FIN
    /// ended it. `None` while it lives.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn finished(
        &self,
        id: ConnectionId,
        now: Instant,
    ) -> Result<Option<Result<Report, WriteError>>, UnknownConnection> {
        let connection = &self.slot(id)?.connection;
        Ok(connection
            .outcome()
            .map(|outcome| outcome.map(|()| connection.report(now))))
    }

    /// Ends the connection at once, with a RST. The RST is sent in this call if the device
    /// has room and the neighbour is resolved. On an ended connection this changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn abort<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
    ) -> Result<Report, UnknownConnection> {
        let now = net.now;
        self.slot(id)?;
        // The sequence number of the RST depends on what was received.
        self.ingest(net);
        let action = self.slot_mut(id)?.connection.handle_abort(now);
        self.perform(usize::from(id.slot), action, net.sockets, net.now);
        self.send_out(net);
        Ok(self.slot(id)?.connection.report(now))
    }

    /// Frees the slot of a connection, and aborts the connection if it lives. Its id can
    /// be queried until the slot is opened again.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn release<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
    ) -> Result<Report, UnknownConnection> {
        let report = self.abort(net, id)?;
        let slot = self.slot_mut(id)?;
        slot.tenure = Tenure::Free;
        slot.drop_unread(net.sockets.get_mut(slot.handle), net.now);
        let bound = slot.timeout_bound();
        self.look_by(bound);
        Ok(report)
    }

    /// Resets every connection that lives. The RSTs are sent in this call if the device
    /// has room and the neighbours are resolved.
    pub(crate) fn abort_all<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        for index in 0..N {
            let Some(slot) = self.slots.get_mut(index) else {
                return;
            };
            let action = slot.connection.handle_abort(net.now);
            self.perform(index, action, net.sockets, net.now);
        }
        self.send_out(net);
    }

    /// Whether the RST of an aborted connection still waits to be sent.
    pub(super) fn is_rst_due(&self, id: ConnectionId, sockets: &SocketSet<'_>) -> bool {
        self.slot(id)
            .is_ok_and(|slot| Slot::is_rst_due(sockets.get::<tcp::Socket<'_>>(slot.handle)))
    }

    // ---- queries ----

    /// The state of the connection.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn state(&self, id: ConnectionId) -> Result<State, UnknownConnection> {
        Ok(self.slot(id)?.connection.state())
    }

    /// The state machine itself, to read.
    pub(crate) fn connection(&self, id: ConnectionId) -> Result<&Connection, UnknownConnection> {
        Ok(&self.slot(id)?.connection)
    }

    /// The progress of the connection.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn progress(
        &self,
        sockets: &SocketSet<'_>,
        id: ConnectionId,
    ) -> Result<Progress, UnknownConnection> {
        let slot = self.slot(id)?;
        let socket = sockets.get::<tcp::Socket<'_>>(slot.handle);
        let is_receive_full = socket.recv_queue() == socket.recv_capacity();
        Ok(slot.connection.progress(is_receive_full))
    }

    /// The report of the connection, as of `now`.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn report(&self, id: ConnectionId, now: Instant) -> Result<Report, UnknownConnection> {
        Ok(self.slot(id)?.connection.report(now))
    }

    /// Returns advice about the connection that was not returned before.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn poll_advice(&mut self, id: ConnectionId) -> Result<Option<Advice>, UnknownConnection> {
        Ok(self.slot_mut(id)?.connection.poll_advice())
    }

    /// Our end and the peer's; `None` while no peer has connected.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn endpoints(
        &self,
        id: ConnectionId,
    ) -> Result<Option<(IpEndpoint, IpEndpoint)>, UnknownConnection> {
        self.slot(id)?;
        let flow = self.wire.guard.flow(usize::from(id.slot));
        Ok(flow.map(|flow| (local_end(&flow), remote_end(&flow))))
    }

    /// Forgets the hardware addresses of all neighbours. Each is resolved again when the
    /// next segment is sent to it. Call this after the link came up: another machine may
    /// have taken over the address of a peer.
    ///
    /// smoltcp resolves one neighbour a second. For the neighbours of the other
    /// connections the stack itself sends the requests.
    pub fn forget_neighbours<D: ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        // The list of addresses is not changed: smoltcp clears its neighbour cache whenever the
        // list may have changed.
        net.interface.update_ip_addrs(|_| {});
        #[cfg(feature = "medium-ethernet")]
        for index in 0..N {
            self.wire.neighbours.forget(index);
        }
    }

    /// Records that the link went up or down, in the report of every connection that is
    /// open meanwhile. Call [`forget_neighbours`](Self::forget_neighbours) after the link
    /// came up.
    pub fn set_link(&mut self, up: bool) {
        self.link_is_up = up;
        for slot in &mut self.slots {
            slot.connection.handle_link(up);
        }
        // What is in flight is retransmitted at once.
        self.look_by(Instant::ZERO);
    }
}
