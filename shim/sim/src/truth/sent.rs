//! Updates the truth with segments of ours.

use lastbyte::Instant;
use smoltcp::wire::IpAddress;

use super::header::{Header, is_before, later};
use super::{Fault, HANDSHAKE, Opening, Reach, SendWindow, Tries, Truth};
use crate::loopback::OUR_ADDRESSES;

/// Whether this is one of our end's addresses.
pub(super) fn is_ours(address: IpAddress) -> bool {
    OUR_ADDRESSES.iter().any(|own| own.address() == address)
}

impl Truth {
    /// Records that our end sends a request for the neighbour, so that its answers have to
    /// wait.
    pub(super) fn note_question(&mut self, now: Instant) {
        self.sent_at = now;
        self.excuse(now);
    }

    /// Records a segment of ours to the peer's port.
    pub(super) fn note_sent(&mut self, now: Instant, segment: &Header) {
        if !is_ours(segment.src) {
            self.fault.get_or_insert(Fault::ForeignSource);
            return;
        }
        if segment.rst {
            self.note_rst_sent(now, segment);
            return;
        }
        let is_ours = self.local_port == Some(segment.src_port);
        if segment.syn && !(is_ours && self.iss == segment.seq) {
            self.begin_handshake(now, segment);
        }
        if self.local_port != Some(segment.src_port) {
            return;
        }
        self.sent_at = now;
        if now >= self.outage_ends {
            self.outage_ends = Instant::NEVER;
            self.resumed_at = self.in_flight().map(|_| now);
        }
        // A SYN that was due at the same instant may have been sent before the abort.
        if now > self.given_up_at || now == self.given_up_at && !segment.syn {
            self.fault.get_or_insert(Fault::AfterSilentAbort);
        }
        if segment.syn {
            self.note_syn_sent(now, segment);
        } else {
            self.note_place(now, segment);
        }
        if let (Some(ack), false) = (segment.ack, segment.syn) {
            self.note_ack_sent(now, ack, segment.window);
        }
    }

    fn begin_handshake(&mut self, now: Instant, segment: &Header) {
        if segment.ack.is_some() && self.listens_at != Some(segment.src_port) {
            return;
        }
        self.local_port = Some(segment.src_port);
        self.iss = segment.seq;
        self.snd_nxt = segment.end();
        self.snd_una = segment.end();
        self.certain_una = segment.end();
        self.window = SendWindow::new(segment.end());
        self.largest_flight = 0;
        let called_at = self.called_at.take().filter(|_| segment.ack.is_some());
        self.began_at = called_at.unwrap_or(now);
        self.is_blurred = false;
        self.opening = Opening::SynSent;
    }

    fn note_syn_sent(&mut self, now: Instant, segment: &Header) {
        let Some(ack) = segment.ack else {
            self.demand_answer(now);
            return;
        };
        if self.listens_at.is_none() {
            self.fault.get_or_insert(Fault::SimultaneousOpen);
            return;
        }
        // Our answer to the peer's SYN.
        self.owed.forget_greeting();
        self.greeted_at = now;
        self.demand_answer(now);
        if self.opening == Opening::SynSent {
            self.expect(ack, segment.window);
            self.opening = Opening::SynReceived;
            self.caller = Some(segment.dst_port);
        }
    }

    /// Records the number of the peer's first octet.
    pub(super) fn expect(&mut self, first: u32, window: u16) {
        self.first = first;
        self.rcv_nxt = first;
        self.reach = Reach::new(first);
        self.fin = None;
        self.acked = first;
        self.rcv_edge = first.wrapping_add(u32::from(window));
        self.largest_window = u32::from(window);
    }

    /// Records data, a FIN or a probe of ours.
    fn note_place(&mut self, now: Instant, segment: &Header) {
        let (end, len) = (segment.end(), segment.len());
        let is_old_octet = is_before(segment.seq, self.snd_una);
        if len == 0 && !is_old_octet {
            return;
        }
        // What is retransmitted is retransmitted whole.
        let is_new = segment.text > 0 && !is_before(segment.seq, self.snd_nxt);
        // A closed window is probed, wherever SND.NXT is.
        let is_probe = segment.text == 1;
        let may_probe = is_probe && !self.is_window_open();
        let fits = may_probe || self.window.allows(segment.text_end(), is_probe);
        if is_new && self.is_certain() && !fits {
            self.fault.get_or_insert(Fault::BeyondWindow);
        }
        if is_before(self.snd_nxt, end) {
            let is_within = self.window.is_surely_open(segment.seq);
            self.probe = (is_probe && !is_within).then_some(segment.seq);
            if !self.has_in_flight() {
                self.progress_at = now;
            }
            self.snd_nxt = end;
            let flight = self.snd_nxt.wrapping_sub(self.snd_una);
            self.largest_flight = self.largest_flight.max(flight);
        }
        let covers_oldest = !is_before(self.snd_una, segment.seq) && is_before(self.snd_una, end);
        if covers_oldest {
            self.tries = Tries {
                number: self.snd_una,
                last: now,
            };
        }
        self.has_finished |= segment.fin;
        self.demand_answer(now);
    }

    fn demand_answer(&mut self, now: Instant) {
        self.asked_at.get_or_insert(now);
    }

    fn note_ack_sent(&mut self, now: Instant, ack: u32, window: u16) {
        self.owed.pay_ack(now);
        if self.opening != Opening::Synchronised {
            return;
        }
        if is_before(self.reach.end, ack) {
            self.fault.get_or_insert(Fault::NeverArrived);
            return;
        }
        self.acked = later(self.acked, ack);
        self.rcv_nxt = later(self.rcv_nxt, ack);
        let edge = ack.wrapping_add(u32::from(window));
        self.rcv_edge = later(self.rcv_edge, edge);
        let window = self.rcv_edge.wrapping_sub(self.acked);
        self.largest_window = self.largest_window.max(window);
    }

    /// Whether our end, which was last observed while listening, still listens or is
    /// connected: it may have ended since without being observed.
    fn may_serve(&self, now: Instant) -> bool {
        let is_lively = self.saw_rst.is_none() && now < self.heard_at + HANDSHAKE;
        self.opening != Opening::Synchronised || is_lively
    }

    fn note_rst_sent(&mut self, now: Instant, segment: &Header) {
        self.owed.pay_rst(now, segment.seq);
        // A RST in answer to a SYN is at 0. The RST of a handshake in progress is not.
        let answers_call = segment.seq == 0 && segment.ack.is_some() && segment.ack == self.call;
        if answers_call && self.listens_at == Some(segment.src_port) && self.may_serve(now) {
            self.fault.get_or_insert(Fault::CallerReset);
        }
        if self.local_port != Some(segment.src_port) {
            return;
        }
        self.sent_at = now;
        // An answer to a segment for no connection acknowledges nothing, or is at 0.
        let is_abort = segment.ack.is_some() && segment.seq != 0 && !self.has_reset;
        if now >= self.given_up_at && is_abort {
            self.fault.get_or_insert(Fault::AfterSilentAbort);
        }
        // A window probe that the peer has not accepted is beyond its window.
        let is_probe = self.probe == Some(segment.seq);
        if is_abort && self.is_certain() && segment.seq != self.snd_nxt && !is_probe {
            self.fault.get_or_insert(Fault::RstElsewhere);
        }
        self.has_reset = true;
        self.has_aborted |= is_abort;
    }
}
