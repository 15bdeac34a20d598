//! Updates the TCB with segments that are sent.

use super::{Event, Newest, Phase, Tcb};
use crate::core::facts::Sent;
use crate::guard::wire::segment::Segment;
use crate::guard::wire::seq::is_before;
use crate::sabotage::{Sabotage, is_on};

impl Tcb {
    /// Records a segment that is sent, with `len` octets of sequence space. Returns the
    /// sequence number that it must have instead, if it must have another.
    #[inline]
    pub(crate) fn note_sent(&self, segment: &Segment<'_>, len: u32) -> Option<u32> {
        if segment.is_syn() {
            self.note_syn_sent(segment);
            return None;
        }
        let known = &self.known;
        let end = segment.seq().wrapping_add(len);
        if len > 0 && !is_before(known.snd_nxt.get(), end) {
            return self.note_old_sent(segment);
        }
        self.note_announced(segment);
        if len == 0 {
            return None;
        }
        let mut newest = self.newest.get();
        let is_repeated = is_before(segment.seq(), known.snd_nxt.get());
        known.snd_nxt.set(end);
        let most = known.most_in_flight.get().max(known.in_flight());
        known.most_in_flight.set(most);
        newest.ends_in_zero = segment.ends_in_zero() && !segment.is_fin();
        newest.probe = match newest.window == 0 && segment.payload_len() == 1 {
            true => 1_u8.wrapping_add(segment.is_fin().into()),
            false => 0,
        };
        newest.is_refused = false;
        newest.is_prodded = false;
        self.newest.set(newest);
        // A packet has fewer than 2^16 octets.
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        self.largest.set(self.largest.get().max(len));
        if segment.is_fin() {
            self.note(Event::FinLeaves);
        }
        if is_repeated {
            // New octets follow those that are retransmitted.
            self.note_resent(segment, known.snd_una.get());
        } else {
            self.note_demanding();
        }
        None
    }

    /// Records the window that a segment announces.
    #[inline]
    fn note_announced(&self, segment: &Segment<'_>) {
        if let Some(ack) = segment.ack() {
            let known = &self.known;
            let shift = self.newest.get().shift;
            let window = u32::from(segment.window_len()).wrapping_shl(shift.into());
            let ahead = ack.wrapping_sub(known.rcv_nxt.get());
            known.announced.set(ahead.wrapping_add(window));
        }
    }

    /// Records a segment that is sent and contains nothing new. The window that a
    /// keep-alive announces is not recorded, because smoltcp forgets it at once.
    fn note_old_sent(&self, segment: &Segment<'_>) -> Option<u32> {
        let snd_una = self.known.snd_una.get();
        let newest = self.newest.get();
        let after = self.known.snd_nxt.get().wrapping_sub(segment.end());
        let is_known_zero = after == 0 && newest.ends_in_zero && !is_on(Sabotage::ZeroOctet);
        // The sequence number of a keep-alive is just below smoltcp's SND.NXT, which does not
        // include a window probe.
        let is_at_end = after == 0 || after == u32::from(newest.probe);
        if is_before(segment.seq(), snd_una) {
            // A keep-alive probe, which retransmits an old octet (RFC 9293, 3.8.4).
            self.note_keep_alive();
            None
        } else if segment.is_keep_alive() && is_at_end && !is_known_zero {
            // The octet that it retransmits is not acknowledged: a peer that did not
            // receive that octet would accept this one, which has an arbitrary value, as
            // ours.
            self.note_keep_alive();
            Some(snd_una.wrapping_sub(1))
        } else {
            self.note_announced(segment);
            self.note_resent(segment, snd_una);
            None
        }
    }

    /// Counts retransmissions of the oldest octet in flight, each by a timeout or as a fast
    /// retransmission.
    fn note_resent(&self, segment: &Segment<'_>, snd_una: u32) {
        let mut facts = self.facts.get();
        facts.resent = facts
            .resent
            .saturating_add((segment.seq() == snd_una).into());
        facts.sent = facts.sent.or(Some(Sent::Demanding));
        self.facts.set(facts);
    }

    fn note_keep_alive(&self) {
        self.newest.set(Newest {
            is_prodded: true,
            ..self.newest.get()
        });
        self.note_demanding();
    }

    /// Records a RST that is sent. Returns the sequence number that it must have instead,
    /// if it must have another. The RST of an abort must have SND.NXT (RFC 9293, 3.10.5),
    /// which smoltcp sets back at a retransmission timeout. A RST that answers an ACK has
    /// that ACK number as its sequence number, and no ACK number itself.
    pub(crate) fn note_rst_sent(&self, segment: &Segment<'_>) -> Option<u32> {
        let mut facts = self.facts.get();
        facts.has_reset = true;
        self.facts.set(facts);
        let known = &self.known;
        // What the closed window refused does not count as sent for the peer.
        let newest = self.newest.get();
        let refused = match newest.is_refused && known.in_flight() > 0 {
            true => newest.probe.into(),
            false => 0,
        };
        let next = known.snd_nxt.get().wrapping_sub(refused);
        let is_abort = segment.ack().is_some()
            && self.phase.get() != Phase::Opening
            && !is_on(Sabotage::RstAtUna);
        (is_abort && segment.seq() != next).then_some(next)
    }

    fn note_demanding(&self) {
        let mut facts = self.facts.get();
        facts.sent = Some(Sent::Demanding);
        self.facts.set(facts);
    }

    fn note_syn_sent(&self, segment: &Segment<'_>) {
        let known = &self.known;
        if let Some(ack) = segment.ack() {
            // The peer's SYN arrived at a listener, and was unknown until here.
            known.rcv_nxt.set(ack);
            known.arrived.set(ack);
            self.note(Event::AnswerLeaves);
        } else {
            self.note(Event::SynLeaves);
        }
        // Nothing after the SYN is acknowledged or sent yet.
        known.snd_una.set(segment.end());
        known.snd_nxt.set(segment.end());
        known.queued.set(segment.end());
        // The window of a SYN is not scaled.
        known.announced.set(segment.window_len().into());
        self.newest.set(Newest {
            shift: segment.syn_options().shift.unwrap_or(0),
            ..self.newest.get()
        });
        let mut facts = self.facts.get();
        facts.sent = Some(Sent::Syn);
        self.facts.set(facts);
    }
}
