//! One connection bound to one smoltcp socket: performs the actions of the connection on
//! the socket, and cleans up after its end.

use super::ends::local_end;
#[cfg(feature = "async")]
use super::waiting::Waiters;
use crate::Instant;
use crate::core::connection::Connection;
use crate::core::state::{Action, State};
use crate::guard::flow::Flow;
use crate::sabotage::{Sabotage, is_on};
use smoltcp::iface::{Interface, SocketHandle};
use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;

/// How long the RST of a connection that ended may wait for its neighbour to be resolved.
/// After that it is dropped: otherwise smoltcp would send a request for the neighbour
/// every second without bound.
const RST_PATIENCE_MS: u32 = 5_000;

/// Whether the application still uses a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tenure {
    /// The slot may be opened again.
    Free,
    /// The slot was opened, and neither finished, aborted nor released.
    Held,
}

/// The half of a poll that has just run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Step {
    /// One frame was taken from the device.
    Ingress,
    /// Frames were passed to the device.
    Egress,
}

/// A connection, its socket, and the state of the socket at the last check.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(super) connection: Connection,
    pub(crate) handle: SocketHandle,
    pub(super) tenure: Tenure,
    /// Counts how often the slot was opened: an id with an earlier number is stale.
    pub(super) generation: u32,
    /// The socket's state at the last check.
    pub(super) tcp: tcp::State,
    /// How many received octets were unread at the last check.
    pub(super) unread: usize,
    /// The tasks that wait for the connection.
    #[cfg(feature = "async")]
    pub(crate) waiters: Waiters,
}

/// Closes a socket without sending a segment, and removes the remote endpoint from it.
pub(super) fn forget(socket: &mut tcp::Socket<'_>) {
    // A socket forgets its remote endpoint only when it is opened again. The port is not
    // zero and the socket is closed, so this is not refused.
    socket.abort();
    let forgotten = socket.listen(1);
    debug_assert!(forgotten.is_ok());
    socket.close();
}

/// Whether our FIN is acknowledged.
const fn is_acknowledged(state: tcp::State) -> bool {
    matches!(state, tcp::State::FinWait2 | tcp::State::TimeWait)
}

impl Slot {
    pub(super) fn new(tag: u16, generation: u32, handle: SocketHandle) -> Self {
        Self {
            connection: Connection::new(tag),
            handle,
            tenure: Tenure::Free,
            generation,
            tcp: tcp::State::Closed,
            unread: 0,
            #[cfg(feature = "async")]
            waiters: Waiters::NONE,
        }
    }

    /// Returns the action to perform if the local address was removed.
    pub(super) fn note_addresses(
        &mut self,
        flow: Option<Flow>,
        socket: &tcp::Socket<'_>,
        interface: &Interface,
        now: Instant,
    ) -> Action {
        let state = self.connection.state();
        if matches!(state, State::Idle | State::Closed(_)) {
            return Action::None;
        }
        let is_removed = |address| !interface.has_ip_addr::<IpAddress>(address);
        let is_listening = state == State::Listening;
        let has_lost = flow.is_some_and(|flow| is_removed(local_end(&flow).addr));
        if is_listening && !socket.listen_endpoint().addr.is_some_and(is_removed) {
            if !has_lost {
                return Action::None;
            }
            // A caller used the removed address. Others may connect to another address.
            self.connection.handle_handshake_dropped();
            return Action::Relisten;
        }
        match has_lost || is_listening {
            true => self.connection.handle_address_lost(now),
            false => Action::None,
        }
    }

    /// The cost of opening this slot again: nothing while the socket is closed, more if
    /// TIME-WAIT is cut short, most if FIN-WAIT-2 is cut short or a RST is not sent.
    pub(super) fn reuse_cost(&self, socket: &tcp::Socket<'_>) -> u8 {
        match socket.state() {
            tcp::State::Closed if socket.remote_endpoint().is_none() => 0,
            tcp::State::TimeWait => 1,
            tcp::State::Closed
            | tcp::State::Listen
            | tcp::State::SynSent
            | tcp::State::SynReceived
            | tcp::State::Established
            | tcp::State::FinWait1
            | tcp::State::FinWait2
            | tcp::State::CloseWait
            | tcp::State::Closing
            | tcp::State::LastAck => 2,
        }
    }

    /// Performs an action of the state machine on the socket.
    pub(super) fn perform(&mut self, action: Action, socket: &mut tcp::Socket<'_>, now: Instant) {
        match action {
            Action::SendFin => return self.complete_finish(socket, now),
            // The peer has received at most a SYN: there is nothing to reset (RFC 9293,
            // 3.10.5), and nothing keeps the port in use.
            Action::Reset
                if socket.state() == tcp::State::SynSent && !is_on(Sabotage::LoudAbort) =>
            {
                forget(socket);
            }
            Action::Reset => {
                socket.abort();
                self.connection.linger(now, RST_PATIENCE_MS);
            }
            Action::Relisten => {
                let listened_at = socket.listen_endpoint();
                socket.abort();
                // The port is not zero and the socket is closed, so this is
                // not refused.
                let relisten = socket.listen(listened_at);
                debug_assert!(relisten.is_ok());
            }
            // Sockets are opened where the endpoints are known. The other actions need
            // nothing from the socket.
            Action::StartConnect
            | Action::StartListen
            | Action::None
            | Action::Ignore
            | Action::Misuse
            | Action::Accept
            | Action::Wait
            | Action::Refuse => {}
        }
        self.tcp = socket.state();
    }

    /// Continues to finish, if a FIN is still to be sent. If received bytes were not read,
    /// no FIN is sent: once our bytes are acknowledged, a RST informs the peer that its
    /// bytes were dropped (RFC 9293, SHLD-3; RFC 2525, 2.17).
    pub(super) fn complete_finish(&mut self, socket: &mut tcp::Socket<'_>, now: Instant) {
        let pending = self.connection.ledger().pending();
        let state = self.connection.state();
        // After `finish_writing`, the FIN may be acknowledged before all is finished.
        let is_acknowledged =
            matches!(state, State::Finishing(_)) && is_acknowledged(socket.state());
        let is_due = matches!(state, State::WriteFinished(_) | State::Finishing(_))
            && (socket.may_send() || is_acknowledged);
        // Unread bytes are lost only when the connection is finished.
        let is_read = matches!(state, State::WriteFinished(_)) || socket.recv_queue() == 0;
        // In LAST-ACK, smoltcp drops an ACK that acknowledges nothing new, and with it an
        // update that opens the window. So the FIN waits for the window to open.
        let is_stuck = socket.state() == tcp::State::CloseWait && self.connection.is_blocked();
        if is_due && is_read {
            if is_acknowledged {
                let action = self.connection.handle_fin_acknowledged(now);
                self.perform(action, socket, now);
                self.connection
                    .linger(now, self.connection.options().finish_ms());
            } else if !is_stuck {
                socket.close();
            }
        } else if is_due && pending == 0 {
            let action = self.connection.handle_drained_unread(now);
            self.perform(action, socket, now);
        }
        self.tcp = socket.state();
    }

    /// Whether a RST still waits to be sent.
    pub(super) fn is_rst_due(socket: &tcp::Socket<'_>) -> bool {
        socket.state() == tcp::State::Closed && socket.remote_endpoint().is_some()
    }

    /// Drops what has lingered too long after the end of a connection: a RST that could not
    /// be sent, or a socket whose peer never closes its direction.
    ///
    /// To forget the remote endpoint is to lose the bytes received from it. While the owner
    /// of the slot may read them, a RST goes on waiting, and so does a socket whose peer
    /// has not closed. A socket leaves TIME-WAIT with a RST, because smoltcp clears its
    /// buffers at the end of TIME-WAIT.
    pub(super) fn give_up(&mut self, socket: &mut tcp::Socket<'_>, now: Instant) {
        let has_unread = self.has_unread(socket) && !is_on(Sabotage::Unread);
        let lingers = Self::is_rst_due(socket)
            || matches!(socket.state(), tcp::State::FinWait2 | tcp::State::TimeWait);
        if has_unread && socket.state() == tcp::State::TimeWait {
            socket.abort();
            self.connection.linger(now, RST_PATIENCE_MS);
        } else if has_unread && lingers && self.tenure == Tenure::Held {
            self.connection.linger(now, RST_PATIENCE_MS);
        } else if lingers {
            forget(socket);
        }
        self.tcp = socket.state();
    }

    /// Whether there are received bytes that were not read.
    pub(super) fn has_unread(&self, socket: &tcp::Socket<'_>) -> bool {
        socket.recv_queue() > 0
    }

    /// Called when the application does not read any more. Drops what the peer has sent or
    /// still sends; a RST informs the peer (RFC 9293, SHLD-3).
    pub(super) fn drop_unread(&mut self, socket: &mut tcp::Socket<'_>, now: Instant) {
        let is_owed = !matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait);
        if is_owed && self.tenure == Tenure::Free && self.has_unread(socket) {
            socket.abort();
            self.tcp = socket.state();
            self.connection.linger(now, RST_PATIENCE_MS);
        }
    }

    /// When the driver has to check this slot at the latest. It may find that nothing is
    /// due yet.
    #[inline]
    pub(super) fn timeout_bound(&self) -> Instant {
        let bound = self.connection.timeout_bound();
        #[cfg(feature = "async")]
        let bound = bound.min(self.waiters.bound());
        bound
    }

    /// Whether the socket has nothing more to send.
    pub(super) fn is_over(socket: &tcp::Socket<'_>) -> bool {
        socket.state() == tcp::State::Closed && !Self::is_rst_due(socket)
    }
}
