//! Updates the TCB with segments that arrive, and with ICMP errors that quote one of
//! ours.

use super::{Event, Newest, Phase, Seen, Tcb};
use crate::core::facts::Window;
use crate::guard::verdict::Verdict;
use crate::guard::wire::segment::Segment;
use crate::guard::wire::seq::is_before;

impl Tcb {
    /// Processes a segment that is expected next, acknowledges something new and carries
    /// nothing else but data, as nearly all segments do. Returns whether it is such a
    /// segment, which is then acceptable.
    pub(crate) fn take_plain(&self, segment: &Segment<'_>) -> bool {
        let (known, newest) = (&self.known, self.newest.get());
        let Some(ack) = segment.plain_ack() else {
            return false;
        };
        let newly = ack.wrapping_sub(known.snd_una.get());
        let is_expected = self.phase.get() == Phase::Synchronised
            && segment.seq() == known.rcv_nxt.get()
            && newly.wrapping_sub(1) < known.in_flight()
            && segment.payload_len() <= known.announced.get()
            && newest.probe == 0
            && segment.window_len() > 0;
        if is_expected {
            known.snd_una.set(ack);
            if segment.payload_len() > 0 {
                known.arrived.set(segment.end());
            }
            self.newest.set(Newest {
                window: segment.window_len(),
                ..newest
            });
            let mut facts = self.facts.get();
            facts.heard = Some(segment.window());
            facts.seen = Seen::Nothing;
            self.facts.set(facts);
        }
        is_expected
    }

    /// Processes any other segment, after its verdict.
    pub(crate) fn note_received(&self, segment: &Segment<'_>, verdict: Verdict) {
        let is_answer = matches!(self.phase.get(), Phase::SynSent | Phase::SynSeen)
            && verdict == Verdict::Acceptable
            && !segment.is_rst();
        if is_answer {
            self.note_answer(segment);
        }
        if verdict == Verdict::Reopens {
            let mut facts = self.facts.get();
            facts.seen = Seen::NewSyn;
            self.facts.set(facts);
        }
        if verdict.is_heard() {
            self.note_heard(segment, verdict);
        }
    }

    /// Processes the peer's SYN that answers ours.
    fn note_answer(&self, segment: &Segment<'_>) {
        let next = segment.seq().wrapping_add(1);
        self.known.rcv_nxt.set(next);
        self.known.arrived.set(next);
        self.note(Event::AnswerArrives);
        let shift = segment.syn_options().shift;
        self.note_peer_shift(shift);
        if shift.is_none() {
            self.newest.set(Newest {
                shift: 0,
                ..self.newest.get()
            });
        }
    }

    /// Records the window scale of the peer's SYN (RFC 7323, 2.2 and 2.3).
    pub(crate) fn note_peer_shift(&self, scale: Option<u8>) {
        self.newest.set(Newest {
            peer_shift: scale.unwrap_or(0).min(14),
            ..self.newest.get()
        });
    }

    /// Processes a segment of the peer. The ACK number of a RST does not count: some
    /// stacks acknowledge in it what they discarded.
    fn note_heard(&self, segment: &Segment<'_>, verdict: Verdict) {
        let known = &self.known;
        let mut newest = self.newest.get();
        let mut facts = self.facts.get();
        let mut is_last_ack = false;
        let mut is_fin = false;
        if let Some(ack) = segment.ack()
            && verdict.acknowledges()
            && !segment.is_rst()
            && !known.is_overtaken(ack)
        {
            if !is_before(known.snd_nxt.get(), ack) {
                known.snd_una.set(ack);
            }
            // The TCP stack may have refused an earlier ACK of our FIN.
            let has_finished = matches!(
                self.phase.get(),
                Phase::Finishing | Phase::Closing | Phase::PeerFinished
            );
            is_last_ack = has_finished && ack == known.snd_nxt.get();
            newest.window = segment.window_len();
            newest.is_refused = newest.probe > 0 && known.in_flight() > 0;
            self.newest.set(newest);
        }
        let arrived = known.arrived.get();
        if verdict.delivers()
            && !segment.is_rst()
            && segment.len() > 0
            && !segment.is_syn()
            && !is_before(arrived, segment.seq())
        {
            is_fin = segment.is_fin();
            let end = segment.seq().wrapping_add(segment.payload_len());
            let edge = known.edge();
            let end = if is_before(edge, end) { edge } else { end };
            if is_before(arrived, end) {
                known.arrived.set(end);
            }
        }
        facts.seen = match (is_fin, is_last_ack) {
            _ if segment.is_rst() => Seen::Rst,
            (false, false) => Seen::Nothing,
            (true, false) => Seen::Fin,
            (false, true) => Seen::AckOfFin,
            (true, true) => Seen::BothFins,
        };
        facts.heard = Some(match newest.window {
            0 => Window::Zero,
            _ => Window::Open,
        });
        self.facts.set(facts);
    }

    /// Processes an ICMP error about a segment with this sequence number. It is ignored if no
    /// such segment is in flight (RFC 5927, 4.1). Returns whether it was processed.
    pub(crate) fn note_icmp(&self, seq: u32) -> bool {
        let snd_una = self.known.snd_una.get();
        let oldest = match self.phase.get() {
            Phase::Unused | Phase::Over | Phase::Listening | Phase::Opening => return false,
            // The SYN itself, which counts as acknowledged elsewhere.
            Phase::SynSent | Phase::SynSeen | Phase::SynReceived => snd_una.wrapping_sub(1),
            Phase::Synchronised
            | Phase::Finishing
            | Phase::PeerFinished
            | Phase::Closing
            | Phase::TimeWait => snd_una,
        };
        if is_before(seq, oldest) || !is_before(seq, self.known.snd_nxt.get()) {
            return false;
        }
        let mut facts = self.facts.get();
        facts.icmp = true;
        self.facts.set(facts);
        true
    }
}
