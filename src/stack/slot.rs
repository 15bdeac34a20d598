//! One connection bound to one smoltcp socket: what the connection owes to the socket, and
//! what is left of it after its end.

use super::ends::local_end;
use crate::Instant;
use crate::core::connection::Connection;
use crate::core::state::{Action, State};
use crate::guard::flow::Flow;
use crate::sabotage::{Sabotage, is_on};
use smoltcp::iface::{Interface, SocketHandle};
use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;

/// How long the RST of a connection that ended may wait for its neighbour to be
/// resolved. After that it is dropped: the stack below would send a request for the
/// neighbour every second without bound.
const RST_PATIENCE_MS: u32 = 5_000;

/// Whether the application still uses a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tenure {
    /// May be opened again.
    Free,
    /// Opened, and neither finished, aborted nor released.
    Held,
}

/// Which half of a poll has just run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Step {
    /// One frame was taken from the device.
    Ingress,
    /// Frames were given to the device.
    Egress,
}

/// A connection, its socket, and what was last seen of it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) connection: Connection,
    pub(super) handle: SocketHandle,
    pub(super) tenure: Tenure,
    /// Counts how often the slot was opened: an id of an earlier time is stale.
    pub(super) generation: u32,
    /// The socket's state when it was last looked at.
    pub(super) tcp: tcp::State,
    /// How many received octets were unread when it was last looked at.
    pub(super) unread: usize,
}

/// Closes a socket without a segment, and with nothing left in it of the other end.
pub(super) fn forget(socket: &mut tcp::Socket<'_>) {
    // It forgets that only when it is opened again. The port is not zero and the socket
    // is closed: this is not refused.
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
        }
    }

    /// Returns the action to perform if an address of ours was removed.
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
            // A caller used the address that was removed; others may call at another.
            self.connection.handle_handshake_dropped();
            return Action::Relisten;
        }
        match has_lost || is_listening {
            true => self.connection.handle_address_lost(now),
            false => Action::None,
        }
    }

    /// How much is lost by opening this slot again: nothing while the socket is
    /// closed, then the courtesy of TIME-WAIT, then that of FIN-WAIT-2 or of a
    /// RST that has not left.
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
            // The peer has seen no more than a SYN: there is nothing to reset (RFC 9293,
            // 3.10.5), and nothing that keeps the port.
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
            // Opening is done where the endpoints are known; the rest owes
            // nothing to the socket.
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

    /// Carries on with finishing, if a FIN is still to be sent. If received bytes were not
    /// read, no FIN is sent: once our bytes are acknowledged, a RST informs the peer that
    /// its own were dropped (RFC 9293, SHLD-3; RFC 2525, 2.17).
    pub(super) fn complete_finish(&mut self, socket: &mut tcp::Socket<'_>, now: Instant) {
        let pending = self.connection.ledger().pending();
        let state = self.connection.state();
        // After `finish_writing`, the FIN may be acknowledged before all is finished.
        let is_acknowledged =
            matches!(state, State::Finishing(_)) && is_acknowledged(socket.state());
        let is_due = matches!(state, State::WriteFinished(_) | State::Finishing(_))
            && (socket.may_send() || is_acknowledged);
        // What is unread is lost only by finishing.
        let is_read = matches!(state, State::WriteFinished(_)) || socket.recv_queue() == 0;
        // In LAST-ACK, smoltcp drops an ACK that acknowledges nothing new, and with it the
        // news that the window is open again: the FIN waits for that.
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

    /// Whether a RST still waits to leave.
    pub(super) fn is_rst_due(socket: &tcp::Socket<'_>) -> bool {
        socket.state() == tcp::State::Closed && socket.remote_endpoint().is_some()
    }

    /// Drops what has lingered after the end of a connection for too long: a RST that could
    /// not leave, a peer that never closes its direction.
    ///
    /// To forget the other end is to lose what was received from it. While the owner of the
    /// slot may read that, a RST goes on waiting, and so does a peer; and a socket leaves
    /// TIME-WAIT, at whose end smoltcp clears its buffers, with a RST.
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

    /// Whether bytes of the peer wait for a reader.
    pub(super) fn has_unread(&self, socket: &tcp::Socket<'_>) -> bool {
        socket.recv_queue() > 0
    }

    /// The application reads no more. What the peer has sent, or still sends, is dropped, and
    /// a RST informs the peer (RFC 9293, SHLD-3).
    pub(super) fn drop_unread(&mut self, socket: &mut tcp::Socket<'_>, now: Instant) {
        let is_owed = !matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait);
        if is_owed && self.tenure == Tenure::Free && self.has_unread(socket) {
            socket.abort();
            self.tcp = socket.state();
            self.connection.linger(now, RST_PATIENCE_MS);
        }
    }

    /// When the driver has to look at this slot at the latest. It may find that
    /// nothing is due yet.
    #[inline]
    pub(super) fn timeout_bound(&self) -> Instant {
        self.connection.timeout_bound()
    }

    /// Whether there is nothing more to say.
    pub(super) fn is_over(socket: &tcp::Socket<'_>) -> bool {
        socket.state() == tcp::State::Closed && !Self::is_rst_due(socket)
    }
}
