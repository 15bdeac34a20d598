//! Opens a connection: route, slot, port, socket.

use super::device::Watch;
use super::ends::{Ends, remote_end};
use super::slot::{Step, Tenure};
use super::time::to_smoltcp;
use super::tracker::{ConnectionId, Net, Tracker};
use crate::Instant;
use crate::core::options::Options;
use crate::core::state::Action;
use crate::guard::wire::layout::Medium;
use crate::sabotage::{Sabotage, is_on};
use crate::trace;
use core::fmt;
use smoltcp::iface::{Interface, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::tcp;
use smoltcp::wire::{IpAddress, IpEndpoint, IpListenEndpoint};

/// The congestion control of each connection. Its first window is smoltcp's 2,048 octets;
/// RFC 5681 allows up to 4 segments. An idle connection keeps its window.
#[cfg(feature = "congestion-control")]
const CONGESTION_CONTROL: tcp::CongestionControl = tcp::CongestionControl::Reno;
/// No congestion control, even if another crate has enabled smoltcp's.
#[cfg(not(feature = "congestion-control"))]
const CONGESTION_CONTROL: tcp::CongestionControl = tcp::CongestionControl::None;

/// How long smoltcp delays an ACK.
const ACK_DELAY_MS: u32 = 10;

/// Why a connection could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpenError {
    /// Every slot holds a connection. Finish, abort or release one; a connection that has
    /// ended also holds its slot.
    NoSlot,
    /// Every local port is in use or in TIME-WAIT.
    NoPort,
    /// The remote port is 0, or the remote address is not the address of a single host.
    InvalidRemote,
    /// The local port to listen at is 0, or the address is not one of our addresses to
    /// which a peer can connect.
    InvalidLocal,
    /// The peer is unreachable at once: we have no suitable address, or no route.
    NoRoute,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSlot => "every slot holds a connection; finish, abort or release one",
            Self::NoPort => "every local port is in use or in TIME-WAIT; wait, or widen the range",
            Self::InvalidRemote => "the remote port is 0 or the remote address is not one host's",
            Self::InvalidLocal => "the port to listen at is 0, or the address is not ours",
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

/// Whether a segment to `remote` can be sent on this interface at all.
fn has_route(interface: &mut Interface, medium: Medium, remote: IpAddress, now: Instant) -> bool {
    #[cfg(feature = "medium-ethernet")]
    if medium == Medium::Ethernet {
        return super::neighbours::next_hop(interface, remote, now).is_some();
    }
    // Without neighbours, every packet is simply sent on the wire.
    let _ = (interface, medium, remote, now);
    true
}

/// Whether this is an address of ours to which another host can connect.
fn can_be_called(interface: &Interface, addr: IpAddress) -> bool {
    let end = IpEndpoint::new(addr, 0);
    let itself = Ends {
        local: end,
        remote: end,
    };
    interface.has_ip_addr(addr)
        && itself
            .arriving()
            .is_some_and(|flow| flow.addresses.is_to_host())
}

impl<const N: usize> Tracker<N> {
    /// Starts connecting to `remote`. The SYN is sent with the next poll.
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
        let peer = Ends {
            local: IpEndpoint::new(local, 0),
            remote,
        };
        self.note_broadcasts(net.interface);
        // The address is not a group's, not ours, and of a version that the guard can read.
        let flow = peer
            .arriving()
            .filter(|flow| self.wire.guard.may_talk(flow));
        if flow.is_none() || net.interface.has_ip_addr(remote.addr) {
            return Err(OpenError::InvalidRemote);
        }
        if !has_route(
            net.interface,
            self.wire.guard.medium(),
            remote.addr,
            net.now,
        ) {
            return Err(OpenError::NoRoute);
        }
        let index = self.vacancy(net.sockets).ok_or(OpenError::NoSlot)?;
        if self.are_neighbours_in_doubt() {
            self.forget_neighbours(net);
        }
        let port = self.allocate_port(index, net.sockets, net.now)?;
        self.send_last_ack(index, net);
        self.vacate(index, net.sockets, net.now);
        let local = IpEndpoint::new(local, port);
        let ends = Ends { local, remote };
        self.wire.guard.limit(index, options.largest_segment());
        self.assign(index, &ends);
        let flow = self.wire.guard.flow(index).ok_or(OpenError::NoRoute)?;
        let number = self.secret.sequence_number(&flow, net.now);
        let Some(slot) = self.slots.get_mut(index) else {
            return Err(OpenError::NoSlot);
        };
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        // Everything for which smoltcp refuses this call was checked above.
        super::isn::connect(socket, ends, number).map_err(|_| OpenError::NoRoute)?;
        let action = slot.connection.handle_connect(options, net.now);
        Ok(self.occupy(index, action, net.sockets, net.now))
    }

    /// The same; the SYN is sent in this call, if the device and the neighbour allow.
    pub(crate) fn connect_at_once<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        remote: IpEndpoint,
        options: Options,
    ) -> Result<ConnectionId, OpenError> {
        let id = self.connect(net, remote, options)?;
        self.send_out(net);
        Ok(id)
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
        // The unspecified address means any of our addresses.
        let addr = local.addr.filter(|addr| !addr.is_unspecified());
        let local = IpListenEndpoint { addr, ..local };
        let is_ours = addr.is_none_or(|addr| can_be_called(net.interface, addr));
        if local.port == 0 || !is_ours && !is_on(Sabotage::DeafBind) {
            return Err(OpenError::InvalidLocal);
        }
        let index = self.vacancy(net.sockets).ok_or(OpenError::NoSlot)?;
        self.send_last_ack(index, net);
        self.vacate(index, net.sockets, net.now);
        let Some(slot) = self.slots.get_mut(index) else {
            return Err(OpenError::NoSlot);
        };
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        socket.listen(local).map_err(|_| OpenError::InvalidLocal)?;
        self.wire.guard.limit(index, options.largest_segment());
        self.wire.guard.listen(index, local.port);
        let action = slot.connection.handle_listen(options, net.now);
        Ok(self.occupy(index, action, net.sockets, net.now))
    }

    /// Whether a connection ended because its peer did not answer, and no other connection
    /// is open: one would have to wait while its neighbour is resolved again.
    fn are_neighbours_in_doubt(&self) -> bool {
        use crate::core::state::{Cause, State};
        let states = || self.slots.iter().map(|slot| slot.connection.state());
        states().any(|state| {
            matches!(
                state,
                State::Closed(Cause::Vanished | Cause::ConnectTimeout)
            )
        }) && !states().any(State::is_established)
    }

    /// The slot that is cheapest to open or to open again.
    fn vacancy(&self, sockets: &SocketSet<'_>) -> Option<usize> {
        (0..N)
            .zip(&self.slots)
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
        let (slots, table) = (&self.slots, &self.wire.guard);
        let is_in_use = |port| {
            slots.iter().enumerate().any(|(other, slot)| {
                let is_held = slot.tenure == Tenure::Held
                    && table
                        .flow(other)
                        .is_some_and(|flow| flow.local_port() == port);
                // A socket that was left in FIN-WAIT-2 or TIME-WAIT keeps its port until
                // the slot is opened again, as it is here.
                let socket = sockets.get::<tcp::Socket<'_>>(slot.handle);
                let lingers =
                    other != index && socket.local_endpoint().is_some_and(|at| at.port == port);
                is_held || lingers
            })
        };
        self.ports
            .allocate(self.secret, now, is_in_use)
            .ok_or(OpenError::NoPort)
    }

    /// Lets the port of a connection rest if TIME-WAIT is required: if we closed first
    /// (RFC 9293, 3.6). This is so if a socket has reached TIME-WAIT (call this after its
    /// state has changed), and if a socket is given up in FIN-WAIT-2 (call this before).
    /// If anything else ended the connection (a refusal, a RST of either side, a timeout,
    /// a FIN of the peer before ours), the port stays free.
    pub(super) fn let_port_rest(&mut self, index: usize, owing: tcp::State, now: Instant) {
        let (slot, flow) = (self.slots.get(index), self.wire.guard.flow(index));
        let (Some(slot), Some(flow)) = (slot, flow) else {
            return;
        };
        if slot.tcp != owing {
            return;
        }
        // A connection in FIN-WAIT-2 ended when our FIN was acknowledged.
        let since = match owing == tcp::State::FinWait2 {
            true => slot.connection.ended_at(),
            false => now,
        };
        self.ports.rest(self.secret, flow.local_port(), since, now);
    }

    /// Sends the ACK of the peer's FIN that a socket in TIME-WAIT still delays, before its slot
    /// is opened again. Otherwise the peer retransmits its FIN, and is reset.
    fn send_last_ack<D: Device + ?Sized>(&mut self, index: usize, net: &mut Net<'_, '_, D>) {
        let is_delayed = self
            .slots
            .get(index)
            .is_some_and(|slot| slot.tcp == tcp::State::TimeWait);
        if is_delayed {
            let later = to_smoltcp(net.now.plus_millis(ACK_DELAY_MS));
            let mut watch = Watch::new(net.device, &self.wire);
            net.interface.poll_egress(later, &mut watch, net.sockets);
            self.after_step(Step::Egress, net.sockets, net.now);
        }
    }

    /// Empties a free slot: nothing of the previous connection is left.
    fn vacate(&mut self, index: usize, sockets: &mut SocketSet<'_>, now: Instant) {
        self.let_port_rest(index, tcp::State::FinWait2, now);
        if let Some(slot) = self.slots.get_mut(index) {
            let action = slot.connection.handle_release(now);
            let socket = sockets.get_mut(slot.handle);
            slot.perform(action, socket, now);
            socket.abort();
            slot.unread = 0;
            #[cfg(feature = "async")]
            slot.waiters.wake_all();
            self.wire.guard.clear(index);
        }
    }

    fn trace_opening(&self, index: usize, sockets: &SocketSet<'_>) {
        let Some(slot) = self.slots.get(index).filter(|_| trace::IS_ON) else {
            return;
        };
        let flow = self.wire.guard.flow(index);
        let listens = sockets
            .get::<tcp::Socket<'_>>(slot.handle)
            .listen_endpoint();
        let note = trace::Note::Opened {
            local_port: flow.map_or(listens.port, |flow| flow.local_port()),
            remote_port: flow.map(|flow| remote_end(&flow).port),
        };
        trace::report(&slot.connection, note);
    }

    /// Gives a slot that was just opened to its new owner.
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
            // smoltcp's own timeout would end healthy connections. The state machine has
            // its own timeouts.
            socket.set_timeout(None);
            // Set for each connection: smoltcp would keep the congestion window of the previous
            // one.
            socket.set_congestion_control(CONGESTION_CONTROL);
            socket.set_keep_alive(None);
        }
        self.perform(index, action, sockets, now);
        self.trace_opening(index, sockets);
        ConnectionId {
            slot: u16::try_from(index).unwrap_or(u16::MAX),
            generation,
        }
    }
}
