//! How a connection processes the facts that its driver reports.

use super::{CALLER_TIMEOUT_MS, Connection, Handshake, STALL_RETRANSMISSIONS};
use crate::Instant;
use crate::core::facts::{Icmp, Retry, Sent, Window};
use crate::core::fmt::log_event;
use crate::core::report::Note;
use crate::core::state::{Action, Event, Incoming, State};
use crate::core::timers::Question;
use crate::sabotage::{Sabotage, is_on};
use crate::trace;
use core::num::NonZeroU16;

impl Connection {
    /// Processes the start of a handshake (our SYN is due, or a peer's SYN arrived while
    /// listening), which must be complete within the connect timeout.
    pub fn handle_handshake_started(&mut self, now: Instant) {
        if !matches!(self.state, State::Connecting | State::Listening) {
            return;
        }
        let timeout_ms = self.phase_ms();
        if !self.timers.is_phase_running() {
            self.timers.sent_at = now;
            self.set_phase(now, timeout_ms);
        }
    }

    /// How long the handshake with a caller may take.
    pub(super) fn caller_ms(&self) -> u32 {
        match is_on(Sabotage::HalfOpen) {
            true => self.options.connect_ms(),
            false => self.options.connect_ms().min(CALLER_TIMEOUT_MS),
        }
    }

    /// Processes that the peer gave up an incomplete handshake while we listen.
    pub fn handle_handshake_dropped(&mut self) {
        if self.state == State::Listening {
            self.timers.stop_phase();
        }
    }

    /// Processes that the handshake is complete.
    pub fn handle_established(&mut self, now: Instant) -> Action {
        let action = self.apply(Event::Established, now);
        if action == Action::None {
            self.timers.stop_phase();
            self.heard_at = now;
            self.look_soon(now);
        }
        action
    }

    /// Processes that `pending` of the accepted bytes are still in the transmit buffer.
    /// Call it whenever acknowledgements may have shortened the buffer, and never when
    /// something else did.
    pub fn handle_pending(&mut self, pending: u64, now: Instant) {
        self.note_pending(usize::try_from(pending).unwrap_or(usize::MAX), now);
    }

    pub(crate) fn note_pending(&mut self, pending: usize, now: Instant) {
        if self.state.is_established() && self.ledger.settle(pending) > 0 {
            self.note_progress(now);
            trace::report(self, trace::Note::Acknowledged);
        }
    }

    pub(super) fn note_progress(&mut self, now: Instant) {
        self.end_back_off(now);
        self.retransmissions = 0;
        if self.stall.is_raised() {
            // Advice may be due again, earlier than anything else.
            self.look_soon(now);
        }
        self.stall = Note::None;
        self.icmp = Note::None;
        self.timers.progressed_at = now;
        if self.timers.is_answer_due() {
            self.timers.demand_answer(now);
        }
    }

    /// Processes that a segment of the peer arrived, with this window.
    pub fn handle_heard(&mut self, window: Window, now: Instant) {
        if !self.state.is_established() {
            return;
        }
        self.heard_at = now;
        let opens = self.window == Window::Zero && window == Window::Open;
        self.window = window;
        // If nothing is pending, the answer that was due has come. If bytes are pending and
        // the window is open, only an acknowledgement is an answer. If the window is
        // closed, an answer is due once a probe was sent.
        if self.ledger.pending() == 0 || window == Window::Zero {
            self.timers.answer();
            if self.depends_on_an_answer() {
                // The next probe is due earlier than the next try was.
                self.look_soon(now);
            }
        } else if opens || !self.timers.is_answer_due() {
            self.timers.demand_answer(now);
            // The pending bytes were sent before, or are sent at this point.
            self.timers.question = Question::Sent;
            self.look_soon(now);
        }
    }

    /// Processes that a segment of ours was sent.
    pub fn handle_sent(&mut self, sent: Sent, now: Instant) {
        if sent == Sent::Syn {
            self.timers.sent_at = now;
            if self.handshake == Handshake::Unsent {
                self.handshake = Handshake::Sent;
                // However late it is sent, its answer gets its time.
                let answered_by = self.last_try_until(now);
                self.timers.phase_at = self.timers.phase_at.max(answered_by);
            }
            return;
        }
        if !self.state.is_established() || !self.depends_on_an_answer() {
            return;
        }
        if sent == Sent::Retransmission {
            self.note_retransmission(now);
        }
        // New data is not a try for what is already in flight.
        let is_more = self.timers.is_answer_due()
            && self.timers.question == Question::Sent
            && sent == Sent::Demanding
            && self.window == Window::Open;
        if is_more {
            return;
        }
        self.timers.sent_at = now;
        if !self.timers.is_answer_due() {
            self.timers.demand_answer(now);
            self.look_soon(now);
        } else if self.timers.question == Question::Unsent {
            self.note_first_sent(now);
        }
        self.timers.question = Question::Sent;
    }

    pub(super) fn note_retransmission(&mut self, now: Instant) {
        self.note_back_off(now);
        self.look_soon(now);
        self.retransmissions = self.retransmissions.saturating_add(1);
        if self.retransmissions == STALL_RETRANSMISSIONS {
            self.note_stall();
        }
    }

    /// Whether an answer of the peer matters. A probe may be sent when it does not, because
    /// the TCP stack may have scheduled one more. An idle connection must not end because
    /// that is not answered.
    pub(super) fn depends_on_an_answer(&self) -> bool {
        self.ledger.pending() > 0 || self.awaits_fin_ack() || self.options.keep_alive().is_some()
    }

    /// Whether our FIN was sent, or is due, and is not acknowledged.
    pub(super) fn awaits_fin_ack(&self) -> bool {
        match self.state {
            State::Finishing(_) => true,
            // Until then the finish timeout runs.
            State::WriteFinished(_) => self.timers.is_phase_running(),
            State::Idle
            | State::Connecting
            | State::Listening
            | State::Open
            | State::PeerFinished(_)
            | State::Closed(_) => false,
        }
    }

    /// Processes the peer's FIN.
    pub fn handle_fin(&mut self, now: Instant) -> Action {
        if self.state.is_established() {
            self.incoming = Incoming::Ended;
        }
        self.apply(Event::PeerFin(self.options.on_peer_fin()), now)
    }

    /// Records that the TCP stack has dropped received bytes before they were read: the end
    /// of the peer's bytes cannot be reached.
    #[cfg(feature = "smoltcp")]
    pub(crate) const fn note_unread_lost(&mut self) {
        self.incoming = Incoming::Open;
    }

    /// Processes an acceptable RST of the peer.
    pub fn handle_rst(&mut self, now: Instant) -> Action {
        self.apply(Event::PeerRst, now)
    }

    /// Processes the acknowledgement of our FIN.
    pub fn handle_fin_acknowledged(&mut self, now: Instant) -> Action {
        if matches!(self.state, State::WriteFinished(_) | State::Finishing(_)) {
            self.note_pending(0, now);
        }
        let action = self.apply(Event::FinAcknowledged, now);
        if matches!(self.state, State::WriteFinished(_)) {
            // Nothing is due before the application finishes.
            self.timers.stop_phase();
            self.timers.answer();
            self.look_soon(now);
        }
        action
    }

    /// Processes that, while finishing, every byte is acknowledged and bytes of the peer
    /// were left unread: [`Action::Reset`] informs the peer (RFC 2525, 2.17).
    pub fn handle_drained_unread(&mut self, now: Instant) -> Action {
        self.apply(Event::DrainedUnread, now)
    }

    /// Processes that the peer is unreachable.
    pub fn handle_unreachable(&mut self, now: Instant) -> Action {
        self.apply(Event::Unreachable, now)
    }

    /// Processes an ICMP error about one of our segments. A hard error ends a connection
    /// that is still being opened (RFC 9293, SHLD-26); otherwise it is advice.
    pub fn handle_icmp(&mut self, icmp: Icmp, now: Instant) -> Action {
        if self.state.is_closed() {
            return Action::Ignore;
        }
        if let Icmp::PacketTooBig { mtu } = icmp {
            self.note_path_mtu(mtu);
            return Action::None;
        }
        self.icmp.raise();
        match icmp {
            Icmp::Hard => self.handle_unreachable(now),
            Icmp::Unreachable => {
                self.handshake = Handshake::Unreachable;
                Action::None
            }
            Icmp::Soft | Icmp::PacketTooBig { .. } => Action::None,
        }
    }

    pub(super) fn note_path_mtu(&mut self, mtu: u16) {
        let known = self.path_mtu.map_or(u16::MAX, NonZeroU16::get);
        if mtu < known {
            self.path_mtu = NonZeroU16::new(mtu);
            self.narrow_path = Note::Due;
            log_event!(warn, "connection {}: the path's MTU is {}", self.tag, mtu);
        }
    }

    /// Processes that our own address was removed: the local address of the connection, or the
    /// address that we listen at.
    pub fn handle_address_lost(&mut self, now: Instant) -> Action {
        self.apply(Event::AddressLost, now)
    }

    /// Records that the link went up or down. This never ends the connection: a cable may
    /// be plugged in again, and then what is in flight is retransmitted at once.
    pub fn handle_link(&mut self, up: bool) {
        if self.state.is_closed() {
            return;
        }
        let was_down = self.link.is_down();
        self.link = self.link.changed(up);
        if up {
            self.link_down = Note::None;
        } else {
            self.link_down.raise();
        }
        if up && was_down {
            self.retry = Retry::Resend;
        }
    }

    /// Counts received bytes that were discarded.
    pub const fn handle_discarded(&mut self, bytes: u64) {
        if !self.state.is_closed() {
            self.discarded = self.discarded.saturating_add(bytes);
        }
    }
}
