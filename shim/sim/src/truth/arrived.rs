//! Updates the truth with segments of the peer.

use lastbyte::Instant;

use super::header::{Header, is_before, later};
use super::{HANDSHAKE, Opening, PeerEnd, Truth};

/// The largest window there is (RFC 7323, 2.3).
const LARGEST_WINDOW: u32 = 1 << 30;

impl Truth {
    /// Records an intact segment that arrives from the peer's port.
    pub(super) fn note_arrival(&mut self, now: Instant, segment: &Header) {
        let is_call = segment.syn && segment.ack.is_none() && !segment.rst;
        if is_call && self.listens_at == Some(segment.dst_port) {
            self.take_call(now, segment);
        }
        if self.local_port != Some(segment.dst_port) {
            return;
        }
        match self.opening {
            Opening::Unsent | Opening::Refused => {}
            Opening::SynSent => self.take_answer(now, segment),
            Opening::SynReceived if segment.rst => self.take_back(segment),
            Opening::SynReceived => {
                let served = now.min(self.neglected_since);
                self.is_blurred |= served >= self.began_at + self.patience;
                self.take(now, segment);
            }
            Opening::Synchronised => self.take(now, segment),
        }
    }

    /// A SYN for our listener: it has to be answered, unless our end may be busy with
    /// another caller, or may still have a connection with this one.
    fn take_call(&mut self, now: Instant, syn: &Header) {
        self.call = Some(syn.end());
        self.called_at.get_or_insert(now);
        let is_handshaking =
            self.opening == Opening::SynReceived && now < self.greeted_at + HANDSHAKE;
        let is_new = self.before.is_none_or(|rcv| is_before(rcv, syn.seq));
        let is_free = matches!(self.opening, Opening::Unsent | Opening::SynReceived);
        if is_free && is_new && !is_handshaking && now >= self.busy_until {
            self.owed.owe_greeting();
        }
    }

    /// RFC 9293, 3.10.7.3. A SYN without ACK belongs to no known connection.
    fn take_answer(&mut self, now: Instant, segment: &Header) {
        if segment.ack != Some(self.snd_nxt) {
            return;
        }
        if segment.rst {
            self.opening = Opening::Refused;
        } else if segment.syn {
            self.hear(now);
            // The windows of our end are known once it announces them.
            self.expect(segment.seq.wrapping_add(1), 0);
            self.window.open(segment.seq, self.snd_nxt, segment.window);
            self.open(now);
        }
    }

    fn open(&mut self, now: Instant) {
        self.opening = Opening::Synchronised;
        self.opened_at = now;
        self.progress_at = now;
        self.certain_progress_at = now;
        self.owed.forget_rst();
    }

    /// A RST before the handshake is complete: our end listens again.
    fn take_back(&mut self, segment: &Header) {
        if segment.seq == self.rcv_nxt {
            self.local_port = None;
            self.opening = Opening::Unsent;
        }
    }

    fn hear(&mut self, now: Instant) {
        self.heard_at = now;
        self.asked_at = None;
    }

    /// RFC 9293, 3.10.7.4, as far as is certain.
    fn take(&mut self, now: Instant, segment: &Header) {
        if segment.rst {
            self.take_rst(now, segment);
            return;
        }
        let Some(ack) = segment.ack else { return };
        let distance = segment.seq.wrapping_sub(self.rcv_nxt) as i32;
        let is_far = distance.unsigned_abs() > LARGEST_WINDOW;
        // It may also do so for what is older than a whole window of its own.
        let oldest = self.acked.wrapping_sub(self.largest_window).wrapping_sub(1);
        let is_far = is_far || is_before(segment.seq, oldest);
        // A FIN may be exactly at the edge. The window that our end announces in answer
        // to the previous segment already counts.
        let edge = self.rcv_edge.wrapping_add(self.largest_window);
        let is_beyond = is_before(edge.wrapping_add(1), segment.seq);
        // A receiver may treat as forged what is older than anything that was in flight.
        let is_too_old = is_before(ack, self.snd_una.wrapping_sub(self.largest_flight));
        let is_odd = is_before(self.snd_nxt, ack) || is_too_old;
        if segment.syn || is_odd || is_far || is_beyond {
            self.owed.note_question(now);
            return;
        }
        if self.opening == Opening::SynReceived {
            if ack != self.snd_nxt {
                return;
            }
            self.window.open(segment.seq, ack, segment.window);
            self.open(now);
        }
        self.note_debt(now, segment);
        if !is_before(self.rcv_edge.wrapping_add(1), segment.seq) {
            self.hear(now);
        }
        let newly = is_before(self.snd_una, ack);
        let rcv_nxt = self.rcv_nxt;
        self.credit(now, ack);
        let is_certain = self.take_text(segment, ack);
        // A complete retransmission, and a keep-alive, are answered and not accepted.
        let is_next = segment.len() == 0 && segment.seq == rcv_nxt;
        let is_acceptable = is_certain && (is_next || is_before(rcv_nxt, segment.end()));
        let was_open = self.is_window_open();
        // The window of a segment counts only together with its ACK number.
        let is_certain = is_certain && !is_before(ack, self.snd_una);
        self.window
            .take(segment.seq, ack, segment.window, is_certain);
        if !(was_open && self.is_window_open()) || segment.window == 0 {
            self.progress_at = now;
        }
        if is_acceptable && (newly || !self.is_window_open()) {
            self.certain_progress_at = now;
        }
        if is_acceptable && is_before(self.certain_una, ack) {
            self.certain_una = ack;
        }
    }

    /// A RST counts at RCV.NXT (RFC 5961, 3.2), and acknowledges nothing.
    fn take_rst(&mut self, now: Instant, segment: &Header) {
        let is_possible =
            !is_before(segment.seq, self.rcv_nxt) && !is_before(self.reach.end, segment.seq);
        if !is_possible {
            return;
        }
        self.saw_rst.get_or_insert(now);
        self.hear(now);
        if self.rcv_nxt == self.reach.end && !self.is_blurred {
            self.peer_end = PeerEnd::Rst;
        }
    }

    /// A segment before RCV.NXT demands an ACK: it is a probe, or a segment of ours was
    /// lost.
    fn note_debt(&mut self, now: Instant, segment: &Header) {
        let is_probe = segment.seq == self.acked.wrapping_sub(1) && segment.text <= 1;
        let is_repeated = segment.len() > 0 && !is_before(self.acked, segment.end());
        let lives = self.is_certain() && self.peer_end != PeerEnd::Rst && !self.has_reset;
        if lives && self.rcv_nxt == self.reach.end && (is_probe || is_repeated) {
            self.owed.owe_ack(now);
        } else if is_before(self.rcv_edge, segment.end()) {
            self.owed.note_question(now);
        }
    }

    fn credit(&mut self, now: Instant, ack: u32) {
        if is_before(self.snd_una, ack) {
            self.snd_una = ack;
            self.progress_at = now;
        }
    }

    /// Records data and FIN. Returns whether our end must also accept the segment. Its
    /// ACK number may be old (RFC 9293, 3.10.7.4, step 5), within the limits of RFC 5961,
    /// 5.2.
    fn take_text(&mut self, segment: &Header, ack: u32) -> bool {
        let text_end = segment.text_end();
        let is_after_fin = self.peer_end != PeerEnd::Open;
        if !is_after_fin {
            self.reach.add(segment.seq, segment.end());
            if segment.fin && self.fin.is_none_or(|fin| is_before(text_end, fin)) {
                self.fin = Some(text_end);
            }
        }
        let is_in_order =
            !is_before(self.rcv_nxt, segment.seq) && !is_before(text_end, self.rcv_nxt);
        let fits = !is_before(self.rcv_edge, text_end);
        let is_recent = !is_before(ack, self.snd_una.wrapping_sub(self.largest_flight));
        if !is_in_order || !fits || !is_recent || self.is_blurred {
            return false;
        }
        if !is_after_fin {
            // If the ACK number of a segment is old, our end may keep a part of the data, so
            // that the peer has to retransmit the rest: its own ACK shows how much.
            if segment.text == 0 || !is_before(ack, self.snd_una) {
                self.rcv_nxt = later(self.rcv_nxt, segment.end());
            }
            if segment.fin {
                self.peer_end = PeerEnd::Fin;
            }
        }
        true
    }
}
