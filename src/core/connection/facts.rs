//! What a connection makes of the facts that its driver reports.

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
    /// A handshake has begun (our SYN is due, or a peer's SYN came in while
    /// listening): it must be complete within the connect timeout.
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

    /// The peer gave up a half-done handshake while we listen.
    pub fn handle_handshake_dropped(&mut self) {
        if self.state == State::Listening {
            self.timers.stop_phase();
        }
    }

    /// The handshake is complete.
    pub fn handle_established(&mut self, now: Instant) -> Action {
        let action = self.apply(Event::Established, now);
        if action == Action::None {
            self.timers.stop_phase();
            self.heard_at = now;
            self.look_soon(now);
        }
        action
    }

    /// Of the accepted bytes, `pending` are still in the transmit buffer. Report it
    /// whenever acknowledgements may have shortened the buffer, and never when
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

    /// A segment of the peer arrived, with this window.
    pub fn handle_heard(&mut self, window: Window, now: Instant) {
        if !self.state.is_established() {
            return;
        }
        self.heard_at = now;
        let opens = self.window == Window::Zero && window == Window::Open;
        self.window = window;
        // With nothing pending, what was due is answered. With bytes pending and room for
        // them, only an acknowledgement answers. At a closed window an answer is due when a
        // probe has left.
        if self.ledger.pending() == 0 || window == Window::Zero {
            self.timers.answer();
            if self.depends_on_an_answer() {
                // The next probe is due earlier than the next try was.
                self.look_soon(now);
            }
        } else if opens || !self.timers.is_answer_due() {
            self.timers.demand_answer(now);
            // What is pending has left before, or does so now.
            self.timers.question = Question::Sent;
            self.look_soon(now);
        }
    }

    /// A segment of ours left.
    pub fn handle_sent(&mut self, sent: Sent, now: Instant) {
        if sent == Sent::Syn {
            self.timers.sent_at = now;
            if self.handshake == Handshake::Unsent {
                self.handshake = Handshake::Sent;
            }
            return;
        }
        if !self.state.is_established() || !self.depends_on_an_answer() {
            return;
        }
        if sent == Sent::Retransmission {
            self.note_retransmission(now);
        }
        // New data is no try for what is in flight already.
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

    /// Whether it matters that the peer answers. A probe may leave although it does not: the
    /// stack below may have one more in store. An idle connection must not end because of it.
    pub(super) fn depends_on_an_answer(&self) -> bool {
        self.ledger.pending() > 0 || self.awaits_fin_ack() || self.options.keep_alive().is_some()
    }

    /// Whether our FIN has left, or has to leave, and is not acknowledged.
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

    /// The peer's FIN was processed.
    pub fn handle_fin(&mut self, now: Instant) -> Action {
        if self.state.is_established() {
            self.incoming = Incoming::Ended;
        }
        self.apply(Event::PeerFin(self.options.on_peer_fin()), now)
    }

    /// The stack below has dropped received bytes before they were read: the end of what the
    /// peer sent cannot be reached.
    #[cfg(feature = "smoltcp")]
    pub(crate) const fn note_unread_lost(&mut self) {
        self.incoming = Incoming::Open;
    }

    /// An acceptable RST of the peer was processed.
    pub fn handle_rst(&mut self, now: Instant) -> Action {
        self.apply(Event::PeerRst, now)
    }

    /// The peer acknowledged our FIN.
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

    /// While finishing, every byte is acknowledged, and bytes of the peer were
    /// left unread: [`Action::Reset`] informs the peer (RFC 2525, 2.17).
    pub fn handle_drained_unread(&mut self, now: Instant) -> Action {
        self.apply(Event::DrainedUnread, now)
    }

    /// There is no way to the peer.
    pub fn handle_unreachable(&mut self, now: Instant) -> Action {
        self.apply(Event::Unreachable, now)
    }

    /// An ICMP error about one of our segments arrived. A hard one ends a
    /// connection that is still being opened (RFC 9293, SHLD-26); else it is
    /// advice.
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

    /// Our own address was removed: that of the connection, or the one that we listen at.
    pub fn handle_address_lost(&mut self, now: Instant) -> Action {
        self.apply(Event::AddressLost, now)
    }

    /// The link went up or down. Recorded, never an end: a cable comes back, and then what
    /// is in flight is sent again at once.
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

    /// Received bytes were drained and dropped.
    pub const fn handle_discarded(&mut self, bytes: u64) {
        if !self.state.is_closed() {
            self.discarded = self.discarded.saturating_add(bytes);
        }
    }
}
