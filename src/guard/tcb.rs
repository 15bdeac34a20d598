//! What the guard knows of one connection, and how each segment that arrives changes it.

mod sent;

use super::flow::{Addresses, Flow};
use super::rules::{
    Known, Verdict, judge, judge_after_fin, judge_after_our_fin, judge_answer, judge_syn_received,
};
use super::wire::segment::Segment;
use super::wire::seq::is_before;
use crate::core::facts::{Sent, Window};
use crate::sabotage::{Sabotage, is_on};
use core::cell::Cell;
use core::num::NonZeroU16;

/// What was seen of one connection since its facts were last taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// The peer was heard, and this is its newest window.
    pub(crate) heard: Option<Window>,
    /// A RST of the peer went on.
    pub(crate) rst: bool,
    /// A FIN of the peer came in order.
    pub(crate) fin: bool,
    /// The peer begins a new connection between the same ends, after TIME-WAIT was
    /// entered.
    pub(crate) reopens: bool,
    /// What left, the latest of the most telling kind.
    pub(crate) sent: Option<Sent>,
    /// How many of the segments that left had been sent before.
    pub(crate) resent: u8,
    /// A RST of ours left.
    pub(crate) has_reset: bool,
    /// An ICMP error came about one of our segments in flight: see [`Table::icmp`].
    ///
    /// [`Table::icmp`]: super::table::Table::icmp
    pub(crate) icmp: bool,
}

/// What the receiving side of a connection took in and can still take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Receipt {
    /// Octets of sequence space that came in order since the last receipt.
    pub(crate) in_order: u32,
    /// Octets of the receive buffer.
    pub(crate) buffer: u32,
    /// Whether more will come.
    pub(crate) peer: Sending,
}

/// Whether the peer may still send data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sending {
    /// The handshake is not complete.
    #[default]
    Unknown,
    Open,
    /// As before, and our FIN is acknowledged.
    Alone,
    /// Its FIN was taken in.
    Finished,
    /// Both FINs are acknowledged, ours first.
    TimeWait,
}

/// How far the two ends have agreed on sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is no connection.
    Nobody,
    /// It has ended, and nothing more is to be said: what comes from its other end is
    /// nobody's. Who its ends were is still known, for the report.
    Over,
    /// Somebody may call at the local port.
    Listening,
    /// Nothing was sent yet: nothing can be judged, or quoted by ICMP.
    Opening,
    /// Our SYN has left: ICMP errors may be about it.
    SynSent,
    /// The peer's answer has come since; whether smoltcp took it is still to be seen. It
    /// has reasons of its own not to: a damaged link header, say.
    SynSeen,
    /// Our answer to the peer's SYN has left.
    SynReceived,
    /// Both SYNs are known (RFC 9293, 3.10.7.4): the rules hold.
    Synchronised,
    /// Our FIN has left as well, and is not acknowledged.
    Finishing,
    /// The peer's FIN was taken in, and ours has not left, or is acknowledged.
    PeerFinished,
    /// The peer's FIN was taken in, and ours has left and is not acknowledged.
    Closing,
    /// Both FINs are acknowledged, ours first.
    TimeWait,
}

/// What the newest segments in both directions said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Newest {
    /// The peer's window, as the field has it.
    window: u16,
    /// By how much the windows that we announce are shifted.
    shift: u8,
    /// By how much the peer's are.
    peer_shift: u8,
    /// Whether the last octet sent is zero.
    ends_in_zero: bool,
    /// How much of what was sent last was sent into a closed window: an octet, and perhaps
    /// a FIN.
    probe: u8,
    /// Whether the peer has said since that it did not take it.
    is_refused: bool,
    /// Whether a keep-alive has left since the newest octet: the answers to it wake a
    /// stopped timer.
    is_prodded: bool,
}

/// What the guard knows of one connection.
#[derive(Debug)]
pub(crate) struct Row {
    /// That of the segments that arrive for it, from the handshake on; after the end,
    /// for the report. While it listens, only our port counts.
    pub(crate) flow: Flow,
    /// Whether the peer has called us.
    pub(crate) is_passive: bool,
    pub(crate) facts: Cell<Facts>,
    pub(crate) phase: Cell<Phase>,
    /// What is known of its sequence numbers, from its SYN on.
    pub(crate) known: Known,
    newest: Cell<Newest>,
    /// The most octets of sequence space that one segment had, as far as seen: the
    /// peer takes so many at once.
    pub(crate) largest: Cell<u16>,
    /// The most octets of data that a segment of ours may have, if it is limited; also of
    /// the connections that this row gets.
    pub(crate) max_segment: Option<NonZeroU16>,
    /// Whether there are facts to collect.
    pub(crate) is_touched: Cell<bool>,
}

// What one more connection costs in memory, of what is not free on a small machine.
// `./ci.sh budgets` prints what they add up to; the address families that are in it make
// the difference.
const _: () = assert!(size_of::<Row>() <= 116);

impl Row {
    pub(crate) fn new() -> Self {
        Self {
            flow: Flow::NONE,
            is_passive: false,
            facts: Cell::new(Facts::default()),
            phase: Cell::new(Phase::Nobody),
            known: Known::default(),
            newest: Cell::new(Newest {
                window: 0,
                shift: 0,
                peer_shift: 0,
                ends_in_zero: false,
                probe: 0,
                is_refused: false,
                is_prodded: false,
            }),
            largest: Cell::new(0),
            max_segment: None,
            is_touched: Cell::new(false),
        }
    }

    /// Forgets what was seen, and belongs to these ends from now on.
    pub(crate) fn assign(&mut self, arriving: Flow) {
        let is_passive = self.phase.get() == Phase::Listening;
        let peer_shift = self.newest.get().peer_shift;
        self.reset(arriving, Phase::Opening);
        self.is_passive = is_passive;
        self.note_peer_shift(is_passive.then_some(peer_shift));
    }

    /// Forgets what was seen, and waits for somebody to call at this port.
    pub(crate) fn listen(&mut self, port: u16) {
        let ports = [[0; 2], port.to_be_bytes()];
        self.reset(
            Flow {
                ports,
                ..Flow::NONE
            },
            Phase::Listening,
        );
    }

    /// Forgets what was seen.
    pub(crate) fn reset(&mut self, flow: Flow, phase: Phase) {
        let is_touched = self.is_touched.get();
        *self = Self {
            flow,
            phase: Cell::new(phase),
            max_segment: self.max_segment,
            is_touched: Cell::new(is_touched),
            ..Self::new()
        };
    }

    /// Whether segments of this flow are for it.
    pub(crate) fn is_for(&self, arriving: Flow) -> bool {
        let is_none = |phase| matches!(phase, Phase::Nobody | Phase::Over | Phase::Listening);
        self.flow.ports == arriving.ports
            && self.flow.addresses == arriving.addresses
            && !is_none(self.phase.get())
    }

    /// Both ends, if it has any.
    pub(crate) fn flow(&self) -> Option<Flow> {
        match self.phase.get() {
            Phase::Nobody | Phase::Listening => None,
            Phase::Over
            | Phase::Opening
            | Phase::SynSent
            | Phase::SynSeen
            | Phase::SynReceived
            | Phase::Synchronised
            | Phase::Finishing
            | Phase::PeerFinished
            | Phase::Closing
            | Phase::TimeWait => Some(self.flow),
        }
    }

    /// Whether a caller at this port is to be answered, or waits for an answer.
    pub(crate) fn serves(&self, port: [u8; 2]) -> bool {
        let [_, ours] = self.flow.ports;
        let is_live = !matches!(self.phase.get(), Phase::Nobody | Phase::Over);
        is_live && ours == port && (self.is_passive || self.phase.get() == Phase::Listening)
    }

    /// So many octets more wait to be sent, or are sent already.
    #[inline]
    pub(crate) fn note_queued(&self, octets: u32) {
        let queued = self.known.queued.get().wrapping_add(octets);
        self.known.queued.set(queued);
    }

    /// Takes in what the socket took in.
    pub(crate) fn advance(&self, receipt: Receipt) {
        let known = &self.known;
        let rcv_nxt = known.rcv_nxt.get().wrapping_add(receipt.in_order);
        known.rcv_nxt.set(rcv_nxt);
        let rcv_wnd = known.rcv_wnd.get().saturating_sub(receipt.in_order);
        known.rcv_wnd.set(rcv_wnd);
        known.buffer.set(receipt.buffer);
        if is_before(known.arrived.get(), rcv_nxt) {
            known.arrived.set(rcv_nxt);
        }
        let has_fin_in_flight =
            matches!(self.phase.get(), Phase::Finishing | Phase::Closing) && known.in_flight() > 0;
        self.phase.set(match (receipt.peer, self.phase.get()) {
            (Sending::Unknown, phase) => phase,
            (Sending::Open, Phase::SynSeen | Phase::SynReceived) | (Sending::Alone, _) => {
                Phase::Synchronised
            }
            (Sending::Open, phase) => phase,
            (Sending::Finished, _) if has_fin_in_flight => Phase::Closing,
            (Sending::Finished, _) => Phase::PeerFinished,
            (Sending::TimeWait, _) => Phase::TimeWait,
        });
    }

    /// Takes in a segment that is expected next, acknowledges something new and has data at
    /// most, as nearly all do. Whether it is one.
    pub(crate) fn take_plain(&self, segment: &Segment<'_>) -> bool {
        let (known, newest) = (&self.known, self.newest.get());
        let Some(ack) = segment.plain_ack() else {
            return false;
        };
        let newly = ack.wrapping_sub(known.snd_una.get());
        let is_expected = self.phase.get() == Phase::Synchronised
            && segment.seq() == known.rcv_nxt.get()
            && newly.wrapping_sub(1) < known.in_flight()
            && segment.payload_len() <= known.rcv_wnd.get()
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
            facts.rst = false;
            self.facts.set(facts);
        }
        is_expected
    }

    /// Judges any other segment, and notes what it says. A segment of ours has `mss` octets
    /// of data at most.
    pub(crate) fn judge(&self, segment: &Segment<'_>, mss: u32) -> Verdict {
        let known = &self.known;
        let verdict = match self.phase.get() {
            Phase::Synchronised => judge(segment, known),
            Phase::SynSent | Phase::SynSeen => self.judge_answer(segment),
            Phase::SynReceived => judge_syn_received(segment, known),
            Phase::Finishing => judge_after_our_fin(segment, known),
            Phase::PeerFinished | Phase::Closing => judge_after_fin(segment, known),
            Phase::TimeWait => self.judge_in_time_wait(segment),
            Phase::Nobody | Phase::Over | Phase::Listening | Phase::Opening => Verdict::Drop,
        };
        let is_spare = verdict == Verdict::Acceptable && self.is_spare_duplicate(segment, mss);
        let is_closing = verdict == Verdict::Acceptable && self.closes_on_data(segment);
        let verdict = if is_closing { Verdict::Opened } else { verdict };
        if verdict.is_heard() {
            self.note_heard(segment, verdict);
        }
        if is_spare { Verdict::Taken } else { verdict }
    }

    /// Whether an acceptable segment is a duplicate ACK (RFC 5681, 2) of which three must
    /// not lead smoltcp to a fast retransmission. It repeats a whole segment, filled up
    /// with new data, however narrow the window is; and it never repeats a lone FIN.
    fn is_spare_duplicate(&self, segment: &Segment<'_>, mss: u32) -> bool {
        let (known, newest) = (&self.known, self.newest.get());
        let in_flight = known.in_flight();
        if segment.plain_ack() != Some(known.snd_una.get())
            || segment.payload_len() > 0
            || in_flight == 0
        {
            return false;
        }
        let has_finished = matches!(self.phase.get(), Phase::Finishing | Phase::Closing);
        let is_fin = in_flight == 1 && has_finished && !is_on(Sabotage::FinDuplicates);
        let window = u32::from(newest.window).wrapping_shl(newest.peer_shift.into());
        let is_narrow = segment.window_len() == newest.window
            && newest.probe == 0
            && !newest.is_prodded
            && in_flight.max(window) < mss
            && is_before(known.snd_nxt.get(), known.queued.get())
            && !is_on(Sabotage::NarrowWindow);
        is_fin || is_narrow
    }

    /// Whether an acceptable ACK closes the window although data is still in flight. If
    /// smoltcp gets that, it neither repeats the data nor probes. So it gets the smallest
    /// window, and what it repeats is the probe (RFC 9293, 3.8.6.1). After the peer's FIN it
    /// gets that with data that waits as well: in LAST-ACK it takes no news of the window.
    fn closes_on_data(&self, segment: &Segment<'_>) -> bool {
        let Some(ack) = segment.plain_ack() else {
            return false;
        };
        let left = self.known.snd_nxt.get().wrapping_sub(ack);
        let has_more = is_before(self.known.snd_nxt.get(), self.known.queued.get());
        let is_sending = left > self.newest.get().probe.into()
            || has_more && self.phase.get() == Phase::PeerFinished;
        segment.window_len() == 0 && segment.payload_len() == 0 && is_sending
    }

    /// Takes in the window scale of the peer's SYN (RFC 7323, 2.2 and 2.3).
    pub(crate) fn note_peer_shift(&self, scale: Option<u8>) {
        self.newest.set(Newest {
            peer_shift: scale.unwrap_or(0).min(14),
            ..self.newest.get()
        });
    }

    fn judge_answer(&self, segment: &Segment<'_>) -> Verdict {
        let verdict = judge_answer(segment, &self.known);
        if verdict == Verdict::Acceptable && segment.is_syn() && !segment.is_rst() {
            let next = segment.seq().wrapping_add(1);
            self.known.rcv_nxt.set(next);
            self.known.arrived.set(next);
            self.phase.set(Phase::SynSeen);
            let shift = segment.syn_options().shift;
            self.note_peer_shift(shift);
            if shift.is_none() {
                self.newest.set(Newest {
                    shift: 0,
                    ..self.newest.get()
                });
            }
        }
        verdict
    }

    /// A SYN beyond all that was received begins a new connection (RFC 9293, 3.6.1;
    /// RFC 1122, 4.2.2.13). It is dropped, and so repeated when the old one is away.
    fn judge_in_time_wait(&self, segment: &Segment<'_>) -> Verdict {
        let begins = segment.is_syn() && segment.ack().is_none() && !segment.is_rst();
        if begins
            && is_before(self.known.rcv_nxt.get(), segment.seq())
            && !is_on(Sabotage::StaleRow)
        {
            let mut facts = self.facts.get();
            facts.reopens = true;
            self.facts.set(facts);
            return Verdict::Drop;
        }
        judge_after_fin(segment, &self.known)
    }

    /// Takes in a segment that is the peer's. The ACK number of a RST counts for
    /// nothing: some stacks acknowledge in it what they threw away.
    fn note_heard(&self, segment: &Segment<'_>, verdict: Verdict) {
        let known = &self.known;
        let mut newest = self.newest.get();
        let mut facts = self.facts.get();
        facts.rst = segment.is_rst();
        let goes_on = matches!(
            verdict,
            Verdict::Acceptable | Verdict::Textless | Verdict::Opened
        );
        if let Some(ack) = segment.ack()
            && goes_on
            && !segment.is_rst()
            && !known.is_overtaken(ack)
        {
            if !is_before(known.snd_nxt.get(), ack) {
                known.snd_una.set(ack);
            }
            newest.window = segment.window_len();
            newest.is_refused = newest.probe > 0 && known.in_flight() > 0;
            self.newest.set(newest);
        }
        let is_taken =
            matches!(verdict, Verdict::Acceptable | Verdict::Overtaken) && !segment.is_rst();
        let arrived = known.arrived.get();
        if is_taken && segment.len() > 0 && !segment.is_syn() && !is_before(arrived, segment.seq())
        {
            facts.fin |= segment.is_fin();
            let end = segment.seq().wrapping_add(segment.payload_len());
            let edge = known.edge();
            let end = if is_before(edge, end) { edge } else { end };
            if is_before(arrived, end) {
                known.arrived.set(end);
            }
        }
        facts.heard = Some(match newest.window {
            0 => Window::Zero,
            _ => Window::Open,
        });
        self.facts.set(facts);
    }

    /// The newest window of the peer, as the field has it.
    pub(crate) fn window(&self) -> u16 {
        self.newest.get().window
    }

    /// Takes in an ICMP error about a segment with this sequence number. It is not
    /// believed if none such is in flight (RFC 5927, 4.1). Returns whether it was.
    pub(crate) fn note_icmp(&self, seq: u32) -> bool {
        let snd_una = self.known.snd_una.get();
        let oldest = match self.phase.get() {
            Phase::Nobody | Phase::Over | Phase::Listening | Phase::Opening => return false,
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

/// Whether any segment may go between these ends.
pub(crate) fn may_talk(addresses: &Addresses) -> bool {
    addresses.are_hosts() || is_on(Sabotage::GroupSyn)
}
