//! The calls of an application on a [`Tracker`]: opening, writing, reading,
//! ending. None of them blocks.

use super::slot::{Slot, Tenure};
use super::tracker::{ConnectionId, Net, Taken, Tracker};
use super::watch::Ends;
use crate::Instant;
use crate::connection::Admission;
use crate::error::{ReadError, WriteError};
use crate::ledger::Ledger;
use crate::limits::{Nagle, Options};
use crate::report::{Advice, Progress, Report};
use crate::state::{Action, OnReceive, State};
use core::fmt;
use smoltcp::iface::{Interface, SocketSet};
use smoltcp::phy::{Device, Medium};
use smoltcp::socket::tcp;
use smoltcp::wire::{IpAddress, IpEndpoint, IpListenEndpoint};

/// Why a connection could not even begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum OpenError {
    /// Every slot holds a connection. Finish, abort or release one, also one
    /// that has ended.
    NoSlot,
    /// Every local port is in use or may still be remembered by a peer.
    NoPort,
    /// The remote port is 0, or the remote address is not that of one host.
    InvalidRemote,
    /// The local port to listen at is 0.
    InvalidLocal,
    /// Unreachable at once: no address of ours fits, or no route leads there.
    NoRoute,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSlot => "every slot holds a connection; finish, abort or release one",
            Self::NoPort => "every local port is in use or in TIME-WAIT; wait, or widen the range",
            Self::InvalidRemote => "the remote port is 0 or the remote address is not one host's",
            Self::InvalidLocal => "the port to listen at is 0",
            Self::NoRoute => "unreachable: no address of ours or no route leads to the peer",
        })
    }
}

impl core::error::Error for OpenError {}

impl embedded_io::Error for OpenError {
    fn kind(&self) -> embedded_io::ErrorKind {
        match self {
            Self::NoSlot => embedded_io::ErrorKind::OutOfMemory,
            Self::NoPort => embedded_io::ErrorKind::AddrInUse,
            Self::InvalidRemote | Self::InvalidLocal => embedded_io::ErrorKind::InvalidInput,
            Self::NoRoute => embedded_io::ErrorKind::AddrNotAvailable,
        }
    }
}

/// The id names no connection: its slot has been opened again since.
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

/// Whether a segment to `remote` can leave this interface at all.
fn has_route(interface: &mut Interface, medium: Medium, remote: IpAddress, now: Instant) -> bool {
    #[cfg(feature = "medium-ethernet")]
    if medium == Medium::Ethernet {
        let is_neighbour = interface
            .ip_addrs()
            .iter()
            .any(|cidr| cidr.contains_addr(&remote));
        let at = super::time::to_smoltcp(now);
        let mut is_routed = false;
        interface.routes_mut().update(|routes| {
            is_routed = routes.iter().any(|route| {
                route.cidr.contains_addr(&remote)
                    && route.expires_at.is_none_or(|expires_at| expires_at > at)
            });
        });
        return is_neighbour || is_routed;
    }
    // Without neighbours, every packet just goes down the wire.
    let _ = (interface, medium, remote, now);
    true
}

impl<const N: usize> Tracker<N> {
    fn slot(&self, id: ConnectionId) -> Result<&Slot, UnknownConnection> {
        self.slots
            .get(usize::from(id.slot))
            .filter(|slot| slot.generation == id.generation)
            .ok_or(UnknownConnection)
    }

    fn slot_mut(&mut self, id: ConnectionId) -> Result<&mut Slot, UnknownConnection> {
        self.slots
            .get_mut(usize::from(id.slot))
            .filter(|slot| slot.generation == id.generation)
            .ok_or(UnknownConnection)
    }

    // ---- opening ----

    /// Starts connecting to `remote`. The SYN leaves with the next poll.
    ///
    /// # Errors
    ///
    /// [`OpenError`], with nothing begun.
    pub fn connect<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        remote: IpEndpoint,
        options: Options,
    ) -> Result<ConnectionId, OpenError> {
        if remote.port == 0 || !remote.addr.is_unicast() {
            return Err(OpenError::InvalidRemote);
        }
        let local = net
            .interface
            .get_source_address(&remote.addr)
            .filter(|&source| net.interface.has_ip_addr(source))
            .ok_or(OpenError::NoRoute)?;
        if !has_route(net.interface, self.table.medium(), remote.addr, net.now) {
            return Err(OpenError::NoRoute);
        }
        let index = self.vacancy(net.sockets).ok_or(OpenError::NoSlot)?;
        let port = self.allocate_port(index, net.sockets, net.now)?;
        self.vacate(index, net.sockets, net.now);
        let Some(slot) = self.slots.get_mut(index) else {
            return Err(OpenError::NoSlot);
        };
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        // Everything that smoltcp refuses here was checked above.
        socket
            .connect(net.interface.context(), remote, (local, port))
            .map_err(|_| OpenError::NoRoute)?;
        slot.ends = Some(Ends {
            local: IpEndpoint::new(local, port),
            remote,
        });
        self.table.assign(index, slot.ends);
        let action = slot.connection.handle_connect(options, net.now);
        Ok(self.occupy(index, action, net.sockets, net.now))
    }

    /// Starts waiting for a peer to connect to `local`.
    ///
    /// # Errors
    ///
    /// [`OpenError`], with nothing begun.
    pub fn listen<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        local: IpListenEndpoint,
        options: Options,
    ) -> Result<ConnectionId, OpenError> {
        if local.port == 0 {
            return Err(OpenError::InvalidLocal);
        }
        let index = self.vacancy(net.sockets).ok_or(OpenError::NoSlot)?;
        self.vacate(index, net.sockets, net.now);
        let Some(slot) = self.slots.get_mut(index) else {
            return Err(OpenError::NoSlot);
        };
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        socket.listen(local).map_err(|_| OpenError::InvalidLocal)?;
        slot.listen_at = local;
        slot.ends = None;
        self.table.assign(index, None);
        let action = slot.connection.handle_listen(options, net.now);
        Ok(self.occupy(index, action, net.sockets, net.now))
    }

    /// The slot that is cheapest to open (again).
    fn vacancy(&self, sockets: &SocketSet<'_>) -> Option<usize> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.tenure == Tenure::Free)
            .min_by_key(|(_, slot)| slot.reuse_cost(sockets.get(slot.handle)))
            .map(|(index, _)| index)
    }

    /// A port for the connection that is about to take slot `index`.
    fn allocate_port(
        &mut self,
        index: usize,
        sockets: &SocketSet<'_>,
        now: Instant,
    ) -> Result<u16, OpenError> {
        let slots = &self.slots;
        let is_in_use = |port| {
            slots.iter().enumerate().any(|(other, slot)| {
                let is_held = slot.tenure == Tenure::Held
                    && slot.ends.is_some_and(|ends| ends.local.port == port);
                // A socket that was left in FIN-WAIT-2 or TIME-WAIT: its port is
                // taken until the slot is opened again, which is now.
                let socket = sockets.get::<tcp::Socket<'_>>(slot.handle);
                let lingers =
                    other != index && socket.local_endpoint().is_some_and(|at| at.port == port);
                is_held || lingers
            })
        };
        self.ports.allocate(now, is_in_use).ok_or(OpenError::NoPort)
    }

    /// Empties a free slot: nothing of the connection before is left.
    fn vacate(&mut self, index: usize, sockets: &mut SocketSet<'_>, now: Instant) {
        if let Some(slot) = self.slots.get_mut(index) {
            sockets.get_mut::<tcp::Socket<'_>>(slot.handle).abort();
            slot.connection.handle_release(now);
            slot.rst_until = Instant::NEVER;
        }
    }

    /// Hands a slot that was just opened to its new owner.
    fn occupy(
        &mut self,
        index: usize,
        action: Action,
        sockets: &mut SocketSet<'_>,
        now: Instant,
    ) -> ConnectionId {
        let mut generation = 0;
        if let Some(slot) = self.slots.get_mut(index) {
            slot.tenure = Tenure::Held;
            slot.generation = slot.generation.wrapping_add(1);
            generation = slot.generation;
            slot.connection.handle_link(self.link_is_up);
            let socket = sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
            let nagle = slot.connection.options().nagle() == Nagle::On;
            socket.set_nagle_enabled(nagle);
            // smoltcp's own timeout would end healthy connections; the limits
            // are kept by the state machine.
            socket.set_timeout(None);
            // Before the handshake: set afterwards, smoltcp makes a probe of the
            // very ACK that should complete it, which no peer takes for one.
            let keep_alive = slot.connection.options().keep_alive();
            socket.set_keep_alive(keep_alive.map(super::time::duration));
        }
        self.perform(index, action, sockets, now);
        ConnectionId {
            slot: u16::try_from(index).unwrap_or(u16::MAX),
            generation,
        }
    }

    // ---- writing ----

    /// Takes in what the device has received, then as much of `bytes` as fits
    /// into the transmit buffer, and sends what may be sent. `Ok(0)`: no room
    /// at present, or the connection is still being opened.
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
        let taken = self.ingest(net);
        let accepted = self.write_taken(net, id, taken, bytes)?;
        if accepted > 0 {
            self.send_out(net);
        }
        Ok(accepted)
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
        self.write(net, id, taken, |socket, room| {
            let bytes = bytes.get(..room).unwrap_or(bytes);
            socket.send_slice(bytes).unwrap_or(0)
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
        let taken = self.ingest(net);
        let accepted = self.write(net, id, taken, |socket, room| {
            if !socket.can_send() {
                return 0;
            }
            let filled = socket.send(|free| {
                let len = free.len().min(room);
                let written = free.get_mut(..len).map_or(0, fill).min(len);
                (written, written)
            });
            filled.unwrap_or(0)
        })?;
        if accepted > 0 {
            self.send_out(net);
        }
        Ok(accepted)
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
        enqueue: impl FnOnce(&mut tcp::Socket<'_>, usize) -> usize,
    ) -> Result<usize, WriteError> {
        let slot = self.slot_mut(id)?;
        let room = match slot.connection.handle_write(net.now)? {
            // Behind the burst there may be a FIN: nothing is accepted before
            // the device is empty.
            Admission::Accept(_) if taken == Taken::More => return Ok(0),
            Admission::Accept(room) => usize::try_from(room).unwrap_or(usize::MAX),
            Admission::Wait => return Ok(0),
        };
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        let accepted = enqueue(socket, room);
        if accepted > 0 {
            let counted = u64::try_from(accepted).unwrap_or(u64::MAX);
            slot.connection.handle_accepted(counted, net.now)?;
            let index = usize::from(id.slot);
            self.perform(index, Action::None, net.sockets, net.now);
        }
        Ok(accepted)
    }

    // ---- ending ----

    /// Starts finishing: no more writes, the accepted bytes drain, a FIN
    /// follows them. The connection ends by itself, within the finish limit;
    /// [`finished`](Self::finished) tells when and how.
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
        self.send_out(net);
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
        if slot.tenure == Tenure::Held {
            slot.tenure = Tenure::Free;
            if let Some(ends) = slot.ends {
                self.ports.give_back(ends.local.port, net.now);
            }
        }
        Ok(report)
    }

    /// Resets every connection that lives; the RSTs leave in this call, where
    /// the device and the neighbours allow.
    pub(super) fn abort_all<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        for index in 0..self.slots.len() {
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

    // ---- reading ----

    /// Takes received bytes: up to two pieces of the receive buffer's ring.
    /// `Ok(None)`: none at present. `Ok(Some(0))`: none will come, the peer has
    /// finished (or `into` is empty).
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
        match socket.recv_slice(into) {
            Ok(0) => Ok(None),
            Ok(read) => Ok(Some(read)),
            Err(error) => slot.end_of_reading(error),
        }
    }

    /// Whether [`peek`](Self::peek) has something to show, or the peer has
    /// finished: `Ok(None)` while neither is so.
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

    /// The received bytes that are in one piece, without taking them.
    pub(super) fn peek<'s>(&self, sockets: &'s mut SocketSet<'_>, id: ConnectionId) -> &'s [u8] {
        match self.readable(id) {
            Ok(slot) => sockets
                .get_mut::<tcp::Socket<'_>>(slot.handle)
                .peek(usize::MAX)
                .unwrap_or(&[]),
            Err(_) => &[],
        }
    }

    /// Takes `count` received bytes, or as many as are in one piece.
    pub(super) fn consume(&self, sockets: &mut SocketSet<'_>, id: ConnectionId, count: usize) {
        if let Ok(slot) = self.readable(id) {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
            // An error means that there is nothing to take.
            let _ = socket.recv(|bytes| (count.min(bytes.len()), ()));
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
    pub(super) fn connection(
        &self,
        id: ConnectionId,
    ) -> Result<&crate::Connection, UnknownConnection> {
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

    /// Advice about the connection that was not told yet.
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
        Ok(self.slot(id)?.ends.map(|ends| (ends.local, ends.remote)))
    }

    /// Records that the link went up or down, beside the cause of every
    /// connection that lives through it.
    pub fn set_link(&mut self, up: bool) {
        self.link_is_up = up;
        for slot in &mut self.slots {
            slot.connection.handle_link(up);
        }
    }
}

impl Slot {
    /// What a socket that gives no more bytes means for the reader.
    fn end_of_reading(&self, error: tcp::RecvError) -> Result<Option<usize>, ReadError> {
        match (error, self.connection.state()) {
            (tcp::RecvError::Finished, _) => Ok(Some(0)),
            (tcp::RecvError::InvalidState, State::Connecting | State::Listening) => Ok(None),
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
