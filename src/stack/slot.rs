//! One connection bound to one smoltcp socket: what a poll step did to the
//! socket, told to the connection as facts.

use super::ends::local_end;
use crate::Instant;
use crate::core::connection::Connection;
use crate::core::facts::{Icmp, Sent};
use crate::core::state::{Action, OnReceive, State};
use crate::guard::flow::Flow;
use crate::guard::tcb::{Facts, Receipt, Sending};
use crate::sabotage::{Sabotage, is_on};
use smoltcp::iface::{Interface, SocketHandle};
use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;

/// How long the RST of a connection that ended may wait for its neighbour to be
/// found. After that it is dropped: the stack below would ask for the neighbour
/// every second for ever.
const RST_PATIENCE_MS: u32 = 5_000;

/// Before smoltcp ends TIME-WAIT, after 10 s, and clears the receive buffer.
const TIME_WAIT_MS: u32 = 9_000;

/// When smoltcp should have ended it. It does not while its last ACK cannot leave, and asks
/// for the neighbour every second.
const TIME_WAIT_OVERDUE_MS: u32 = 12_000;

/// Whether somebody still counts on a slot.
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
fn forget(socket: &mut tcp::Socket<'_>) {
    // It forgets that only when it is opened again. The port is not zero and the socket
    // is closed: this is not refused.
    socket.abort();
    let forgotten = socket.listen(1);
    debug_assert!(forgotten.is_ok());
    socket.close();
}

/// Whether the peer has closed its direction.
const fn peer_has_closed(state: tcp::State) -> bool {
    matches!(
        state,
        tcp::State::CloseWait | tcp::State::LastAck | tcp::State::Closing | tcp::State::TimeWait
    )
}

/// Whether our FIN is acknowledged.
const fn is_acknowledged(state: tcp::State) -> bool {
    matches!(state, tcp::State::FinWait2 | tcp::State::TimeWait)
}

/// Whether the handshake is still to be completed.
const fn is_opening(state: tcp::State) -> bool {
    matches!(
        state,
        tcp::State::Listen | tcp::State::SynSent | tcp::State::SynReceived
    )
}

/// What a step did to the state of a socket.
#[derive(Debug, Clone, Copy)]
struct Change {
    before: tcp::State,
    after: tcp::State,
}

impl Change {
    fn is_any(self) -> bool {
        self.before != self.after
    }

    /// Whether the peer's FIN was taken in.
    fn is_peer_closing(self) -> bool {
        peer_has_closed(self.after) && !peer_has_closed(self.before)
    }

    fn is_end(self) -> bool {
        self.is_any() && self.after == tcp::State::Closed
    }
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

    /// What is owed because an address of ours is gone.
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
        let is_gone = |address| !interface.has_ip_addr::<IpAddress>(address);
        let is_listening = state == State::Listening;
        let has_lost = flow.is_some_and(|flow| is_gone(local_end(&flow).addr));
        if is_listening && !socket.listen_endpoint().addr.is_some_and(is_gone) {
            if !has_lost {
                return Action::None;
            }
            // Somebody has called at that address; others may call at another.
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

    /// Does to the socket what the state machine asks for.
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

    /// Carries on with finishing, where a FIN is still to be sent. Behind unread
    /// bytes there is none: once ours are acknowledged, a RST tells the peer
    /// that its own are lost (RFC 9293, SHLD-3; RFC 2525, 2.17).
    fn complete_finish(&mut self, socket: &mut tcp::Socket<'_>, now: Instant) {
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

    /// Gives up what has lingered behind the end of a connection for too long: a
    /// RST that could not leave, a peer that never closes its direction.
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

    /// Nobody reads any more: what the peer has sent, or still sends, is lost, and a RST
    /// says so to it (RFC 9293, SHLD-3).
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

    /// Takes in what an ingress step did to the socket and what was seen on the
    /// wire; what the ICMP error says, if it was one. What to tell the guard, where that is
    /// news.
    #[inline]
    pub(super) fn sync_received(
        &mut self,
        facts: Facts,
        icmp: Icmp,
        socket: &mut tcp::Socket<'_>,
        now: Instant,
    ) -> Option<Receipt> {
        let change = Change {
            before: self.tcp,
            after: socket.state(),
        };
        // Most segments acknowledge, and do nothing else.
        let is_plain = !change.is_any()
            && self.connection.state() == State::Open
            && socket.recv_queue() == self.unread
            && !facts.fin
            && !facts.reopens
            && !facts.icmp;
        let in_order = match is_plain {
            true => 0,
            false => self.note_coming(change, socket, now),
        };
        let pending = self.note_heard(facts, socket, now);
        if !is_plain {
            self.note_ending(change, facts, socket, pending, now);
            if facts.icmp {
                let action = self.connection.handle_icmp(icmp, now);
                self.perform(action, socket, now);
            }
        }
        self.note_sent(facts, now);
        (!is_plain).then(|| self.receipt(in_order, socket))
    }

    /// Takes in what came in, and how far the handshake has come. Returns how many
    /// octets of sequence space came in order.
    fn note_coming(&mut self, change: Change, socket: &mut tcp::Socket<'_>, now: Instant) -> u32 {
        self.tcp = change.after;
        let mut in_order = self.take_receipt(socket);
        if change.is_peer_closing() {
            in_order = in_order.saturating_add(1);
        }
        self.drain(socket);
        if change.is_any() {
            self.note_opening(change, socket, now);
        }
        in_order
    }

    /// How many octets came in order since the socket was last looked at.
    fn take_receipt(&mut self, socket: &tcp::Socket<'_>) -> u32 {
        let came = socket.recv_queue().saturating_sub(self.unread);
        self.unread = socket.recv_queue();
        // A window is at most 2^30 octets.
        u32::try_from(came).unwrap_or(u32::MAX)
    }

    /// What to tell the guard, once whatever was to be read is read.
    pub(super) fn receipt(&mut self, in_order: u32, socket: &tcp::Socket<'_>) -> Receipt {
        self.unread = socket.recv_queue();
        Receipt {
            in_order,
            // At most 1 GiB.
            buffer: u32::try_from(socket.recv_capacity()).unwrap_or(u32::MAX),
            peer: match socket.state() {
                tcp::State::TimeWait => Sending::TimeWait,
                state if peer_has_closed(state) => Sending::Finished,
                tcp::State::Closed
                | tcp::State::Listen
                | tcp::State::SynSent
                | tcp::State::SynReceived => Sending::Unknown,
                tcp::State::FinWait2 => Sending::Alone,
                tcp::State::Established
                | tcp::State::FinWait1
                | tcp::State::CloseWait
                | tcp::State::Closing
                | tcp::State::LastAck => Sending::Open,
            },
        }
    }

    /// Drops what was received, if nobody wants it.
    fn drain(&mut self, socket: &mut tcp::Socket<'_>) {
        let is_wanted = self.connection.options().on_receive() != OnReceive::Discard;
        if self.unread == 0 || is_wanted || is_on(Sabotage::Drain) {
            return;
        }
        // The buffer is a ring: at most two pieces.
        for _ in 0..2 {
            let Ok(drained) = socket.recv(|bytes| (bytes.len(), bytes.len())) else {
                return;
            };
            if drained == 0 {
                return;
            }
            let drained = u64::try_from(drained).unwrap_or(u64::MAX);
            self.connection.handle_discarded(drained);
        }
    }

    /// Takes in how far the handshake has come.
    fn note_opening(&mut self, change: Change, socket: &mut tcp::Socket<'_>, now: Instant) {
        use tcp::State::{Closed, Listen, SynReceived};
        let connection = &mut self.connection;
        match (change.before, change.after) {
            (Listen, SynReceived) => connection.handle_handshake_started(now),
            (SynReceived, Listen) => connection.handle_handshake_dropped(),
            _ => {}
        }
        let was_opening = is_opening(change.before) && !is_opening(change.after);
        if was_opening && change.after != Closed {
            let action = self.connection.handle_established(now);
            self.perform(action, socket, now);
        }
    }

    /// Takes in what was acknowledged, and that the peer was heard. Returns how
    /// many octets are not acknowledged.
    fn note_heard(&mut self, facts: Facts, socket: &tcp::Socket<'_>, now: Instant) -> usize {
        let pending = socket.send_queue();
        if let Some(window) = facts.heard {
            if !facts.rst {
                self.connection.note_pending(pending, now);
            } else if is_on(Sabotage::CreditRst) {
                self.connection.note_pending(0, now);
            }
            self.connection.handle_heard(window, now);
        }
        pending
    }

    /// Takes in the end of either direction, and what it leads to.
    fn note_ending(
        &mut self,
        change: Change,
        facts: Facts,
        socket: &mut tcp::Socket<'_>,
        pending: usize,
        now: Instant,
    ) {
        use tcp::State::{FinWait2, LastAck, TimeWait};
        // The guard saw the FIN come in order; if too much data was with it, smoltcp gets
        // it only when the peer repeats it.
        if facts.fin || change.is_peer_closing() {
            let action = self.connection.handle_fin(now);
            self.perform(action, socket, now);
        }
        // From LAST-ACK, both the final ACK and a RST lead to CLOSED; only the
        // ACK empties the queue, also where the RST passed the guard unseen.
        // From TIME-WAIT only time leads there.
        let is_final_ack =
            change.before == LastAck && change.is_end() && !facts.rst && pending == 0;
        if is_final_ack || change.is_any() && is_acknowledged(change.after) {
            let action = self.connection.handle_fin_acknowledged(now);
            self.perform(action, socket, now);
        }
        if change.is_end() && change.before != TimeWait && !is_final_ack {
            let action = self.connection.handle_rst(now);
            self.perform(action, socket, now);
        }
        self.complete_finish(socket, now);
        if change.after == FinWait2 {
            // Our FIN is acknowledged; the peer's may never come.
            let patience_ms = self.connection.options().finish_ms();
            self.connection.linger(now, patience_ms);
        } else if change.after == TimeWait {
            let timeout_ms = match self.has_unread(socket) {
                true => TIME_WAIT_MS,
                false => TIME_WAIT_OVERDUE_MS,
            };
            self.connection.linger(now, timeout_ms);
        }
        self.drop_unread(socket, now);
        if facts.reopens && self.connection.state().is_closed() && socket.recv_queue() == 0 {
            forget(socket);
            self.tcp = socket.state();
        }
    }

    /// Takes in what left.
    // tuning: sent-in-place
    #[inline(always)]
    pub(super) fn note_sent(&mut self, facts: Facts, now: Instant) {
        if let Some(sent) = facts.sent {
            for _ in 0..facts.resent {
                self.connection.handle_sent(Sent::Retransmission, now);
            }
            self.connection.handle_sent(sent, now);
        }
    }
}
