//! The calls of an application on a [`Tracker`] that end a connection or query it.
//! None of them blocks.

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

/// The id names no connection of this tracker: its slot has been opened again since, or
/// it is the id of another tracker.
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

    pub(super) fn slot_mut(&mut self, id: ConnectionId) -> Result<&mut Slot, UnknownConnection> {
        self.slots
            .get_mut(usize::from(id.slot))
            .filter(|slot| slot.generation == id.generation)
            .ok_or(UnknownConnection)
    }

    // ---- ending ----

    /// Starts finishing our direction: no more writes, the accepted bytes drain, a FIN follows
    /// them. Reading goes on until the peer's FIN. Both FINs and the acknowledgement of ours
    /// end the connection ([`Cause::Finished`](crate::Cause::Finished)), and what was received
    /// stays readable; [`begin_finish`](Self::begin_finish) ends it without the peer's.
    ///
    /// The drain and our FIN have the finish timeout. After that, nothing bounds how long the
    /// peer may send.
    ///
    /// # Errors
    ///
    /// [`WriteError::WouldBlock`] while the connection is being opened. Otherwise why it
    /// accepts no more bytes: after a FIN of the peer that refuses writes, for instance.
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

    /// Starts finishing: no more writes, the accepted bytes drain, a FIN
    /// follows them. The connection ends by itself, within the finish timeout;
    /// [`finished`](Self::finished) returns when and how.
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

    /// How the connection ended: `Ok` if every accepted byte was acknowledged
    /// and the end was a FIN. `None` while it lives.
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

    /// Ends the connection at once, with a RST that leaves in this call if the
    /// device and the neighbour allow. On an ended connection it changes
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
        // What the peer has said decides where the RST has to stand.
        self.ingest(net);
        let action = self.slot_mut(id)?.connection.handle_abort(now);
        self.perform(usize::from(id.slot), action, net.sockets, net.now);
        self.send_out(net);
        Ok(self.slot(id)?.connection.report(now))
    }

    /// Gives the slot of a connection back, aborting it if it lives. Its id
    /// stays good for questions until the slot is opened again.
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

    /// Resets every connection that lives; the RSTs leave in this call, where
    /// the device and the neighbours allow.
    pub(super) fn abort_all<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        for index in 0..N {
            let Some(slot) = self.slots.get_mut(index) else {
                return;
            };
            let action = slot.connection.handle_abort(net.now);
            self.perform(index, action, net.sockets, net.now);
        }
        self.send_out(net);
    }

    /// Whether the RST of an aborted connection still waits to leave.
    pub(super) fn is_rst_due(&self, id: ConnectionId, sockets: &SocketSet<'_>) -> bool {
        self.slot(id)
            .is_ok_and(|slot| Slot::is_rst_due(sockets.get::<tcp::Socket<'_>>(slot.handle)))
    }

    // ---- questions ----

    /// Where the connection stands.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn state(&self, id: ConnectionId) -> Result<State, UnknownConnection> {
        Ok(self.slot(id)?.connection.state())
    }

    /// The state machine itself, to be read.
    pub(super) fn connection(&self, id: ConnectionId) -> Result<&Connection, UnknownConnection> {
        Ok(&self.slot(id)?.connection)
    }

    /// The connection at a glance.
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

    /// The account of the connection, as of `now`.
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

    /// Forgets the hardware addresses of all neighbours. Each is resolved again when a
    /// segment is next sent to it. Call this after the link came up: another machine may
    /// have the address of a peer that does not answer.
    ///
    /// smoltcp resolves one neighbour a second. The stack sends the requests for the
    /// neighbours of the other connections itself.
    pub fn forget_neighbours<D: ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        // The list stays as it is; smoltcp clears the cache with each change of it.
        net.interface.update_ip_addrs(|_| {});
        #[cfg(feature = "medium-ethernet")]
        for index in 0..N {
            self.wire.neighbours.forget(index);
        }
    }

    /// Records that the link went up or down, beside the cause of every
    /// connection that lives through it. Call
    /// [`forget_neighbours`](Self::forget_neighbours) after it came up.
    pub fn set_link(&mut self, up: bool) {
        self.link_is_up = up;
        for slot in &mut self.slots {
            slot.connection.handle_link(up);
        }
        // What is in flight is sent again at once.
        self.look_by(Instant::ZERO);
    }
}
