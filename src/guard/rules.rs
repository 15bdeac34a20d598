//! The rules for segments that arrive: what smoltcp may get of each.
//!
//! smoltcp closes a connection for any RST in its window, drops a SYN without an answer,
//! and accepts an acknowledgement of bytes that were never sent. Each function here
//! implements one requirement, and names the clause that it comes from. It returns a
//! verdict, or `None` if it does not apply. [`judge`] calls the functions that apply in
//! the present phase, in the order of RFC 9293, 3.10.7. None of them changes anything.
//!
//! Two more rules are elsewhere: which options of a SYN go on (`Segment::tailored_options`),
//! and between which addresses segments may be exchanged (`Addresses::are_hosts`).
//!
//! smoltcp sends all answers. In place of a segment that any host could have sent, it gets
//! a pure ACK at RCV.NXT - 1, which it answers once a second at most (RFC 5961, 7). In
//! place of a segment of the peer, it gets the same with an octet of data, which it
//! answers each time. So forged segments do not use up the answers that the peer needs.

use super::tcb::{Known, Phase, Tcb};
use super::verdict::Verdict;
use super::wire::segment::Segment;
use super::wire::seq::{is_before, is_within};
use crate::core::facts::Window;
use crate::sabotage::{Sabotage, is_on};

/// Judges a segment for a connection that sends at most `mss` octets of data in a
/// segment.
pub(crate) fn judge(segment: &Segment<'_>, tcb: &Tcb, mss: u32) -> Verdict {
    let known = &tcb.known;
    let verdict = match tcb.phase() {
        Phase::Synchronised => judge_synchronised(segment, known),
        Phase::SynSent | Phase::SynSeen => answer_must_acknowledge_our_syn(segment, known),
        Phase::SynReceived => wrong_ack_before_the_handshake(segment, known)
            .unwrap_or_else(|| judge_synchronised(segment, known)),
        Phase::Finishing => last_ack_opens_the_window(segment, known),
        Phase::PeerFinished | Phase::Closing => nothing_follows_a_fin(segment, known),
        Phase::TimeWait => syn_ends_time_wait(segment, known)
            .unwrap_or_else(|| nothing_follows_a_fin(segment, known)),
        Phase::Unused | Phase::Over | Phase::Listening | Phase::Opening => Verdict::Drop,
    };
    if !matches!(verdict, Verdict::Acceptable | Verdict::Textless) {
        return verdict;
    }
    duplicate_ack_is_spare(segment, tcb, mss)
        .or_else(|| window_stays_open_for_data(segment, tcb))
        .unwrap_or(verdict)
}

/// Judges a segment for a synchronised connection.
fn judge_synchronised(segment: &Segment<'_>, known: &Known) -> Verdict {
    if segment.is_nonsense() {
        return Verdict::Drop;
    }
    if segment.is_rst() {
        return rst_must_be_exact(segment, known);
    }
    if segment.is_syn() {
        return syn_is_challenged();
    }
    let Some(ack) = segment.ack() else {
        return ack_must_be_there();
    };
    ack_must_be_plausible(ack, known)
        .or_else(|| must_be_near_the_window(segment, known))
        .or_else(|| repetition_is_answered(segment, known))
        .or_else(|| data_must_be_in_the_window(segment, ack, known))
        .or_else(|| fin_must_be_in_the_window(segment, known))
        .or_else(|| gap_before_a_pure_ack(segment, known))
        .or_else(|| overtaken_ack_is_replaced(segment, ack, known))
        .unwrap_or(Verdict::Acceptable)
}

// ---- the handshake ----

/// RFC 9293, 3.10.7.3: in SYN-SENT, a segment that acknowledges anything but our SYN is
/// answered with a RST. A SYN without ACK is not accepted: an off-path attacker could
/// send one to cause a simultaneous open.
fn answer_must_acknowledge_our_syn(segment: &Segment<'_>, known: &Known) -> Verdict {
    match segment.ack() {
        _ if segment.is_nonsense() => Verdict::Drop,
        Some(ack) if ack == known.snd_nxt.get() => match segment.is_rst() || segment.is_syn() {
            true => Verdict::Acceptable,
            false => Verdict::Drop,
        },
        Some(_) if !segment.is_rst() && !is_on(Sabotage::WrongAck) => Verdict::Refuted,
        None if segment.is_syn() && is_on(Sabotage::BareSyn) => Verdict::Acceptable,
        Some(_) | None => Verdict::Drop,
    }
}

/// RFC 9293, 3.10.7.4, step 5: in SYN-RECEIVED, a segment that acknowledges anything but
/// our SYN is answered with a RST.
fn wrong_ack_before_the_handshake(segment: &Segment<'_>, known: &Known) -> Option<Verdict> {
    let is_wrong = segment.ack().is_some_and(|ack| ack != known.snd_nxt.get());
    let is_refused =
        is_wrong && !segment.is_rst() && !segment.is_syn() && !is_on(Sabotage::WrongAck);
    is_refused.then_some(Verdict::Unproven)
}

// ---- an open connection ----

/// RFC 5961, 3.2: a RST must be exactly at RCV.NXT. A RST elsewhere in the window is
/// answered with a challenge ACK, a RST outside is dropped. The data of a RST is removed,
/// because smoltcp would not accept the RST at a closed window (RFC 1122, 4.2.2.12).
fn rst_must_be_exact(segment: &Segment<'_>, known: &Known) -> Verdict {
    let in_window = is_within(segment.seq(), known.rcv_nxt.get(), known.rcv_wnd());
    let is_taken = in_window && is_on(Sabotage::RstRule);
    match segment.seq() == known.rcv_nxt.get() || is_taken {
        true if segment.payload_len() > 0 && !is_on(Sabotage::RstWithText) => Verdict::Textless,
        true => Verdict::Acceptable,
        false if in_window => Verdict::Challenge,
        false => Verdict::Drop,
    }
}

/// RFC 5961, 4.2: a SYN on a synchronised connection is answered with a challenge ACK.
const fn syn_is_challenged() -> Verdict {
    Verdict::Challenge
}

/// RFC 9293, 3.10.7.4, step 5: a segment without ACK is dropped.
const fn ack_must_be_there() -> Verdict {
    Verdict::Drop
}

/// RFC 5961, 5.2: a segment that acknowledges octets that were never sent, or whose ACK
/// number is older than anything in flight could be, is answered with a challenge ACK.
fn ack_must_be_plausible(ack: u32, known: &Known) -> Option<Verdict> {
    let oldest = known.snd_una.get().wrapping_sub(known.most_in_flight.get());
    let is_unsent = is_before(known.snd_nxt.get(), ack) && !is_on(Sabotage::SndNxtRule);
    let is_too_old = is_before(ack, oldest) && !is_on(Sabotage::BlindHeard);
    (is_unsent || is_too_old).then_some(Verdict::Challenge)
}

/// RFC 9293, 3.10.7.4, step 1, and RFC 5961, 5.2: a segment with a sequence number that the
/// peer cannot send is answered with a challenge ACK.
///
/// Data that was already accepted may be retransmitted (its ACK was lost), and the octet
/// before RCV.NXT may be a keep-alive. A FIN may be exactly at the edge of the window,
/// such as a closed one, and what follows the FIN one octet further.
fn must_be_near_the_window(segment: &Segment<'_>, known: &Known) -> Option<Verdict> {
    let before = known.buffer.get().wrapping_add(1);
    let oldest = known.rcv_nxt.get().wrapping_sub(before);
    let len = before.wrapping_add(known.rcv_wnd()).wrapping_add(2);
    match is_within(segment.seq(), oldest, len) {
        true => None,
        false if is_on(Sabotage::BlindHeard) => Some(Verdict::Acceptable),
        false => Some(Verdict::Challenge),
    }
}

/// RFC 9293, 3.10.7.4, step 1: a segment with nothing after RCV.NXT (a retransmission, a
/// keep-alive) is answered with an ACK. A pure ACK that was overtaken needs no answer.
fn repetition_is_answered(segment: &Segment<'_>, known: &Known) -> Option<Verdict> {
    let (seq, end, rcv_nxt) = (segment.seq(), segment.end(), known.rcv_nxt.get());
    if !is_before(seq, rcv_nxt) || is_before(rcv_nxt, end) {
        return None;
    }
    match seq == end && seq != rcv_nxt.wrapping_sub(1) {
        true => Some(Verdict::Taken),
        false => Some(Verdict::Answered),
    }
}

/// RFC 9293, 3.10.7.4, step 1: data with neither end within the window, such as a closed one,
/// is not acceptable: smoltcp answers it, and accepts none of it. But a valid ACK counts. If
/// the data probes our window, it is retransmitted and answered then.
fn data_must_be_in_the_window(segment: &Segment<'_>, ack: u32, known: &Known) -> Option<Verdict> {
    let (seq, edge) = (segment.seq(), known.edge());
    let text_end = seq.wrapping_add(segment.payload_len());
    let is_around = is_before(seq, known.rcv_nxt.get()) && is_before(edge, text_end);
    let is_beyond = !is_before(seq, edge);
    let is_out = match (segment.payload_len() > 0, known.rcv_wnd() == 0) {
        (true, is_closed) => is_closed || is_beyond || is_around,
        // A FIN with a gap before it.
        (false, is_closed) => segment.is_fin() && is_beyond && !is_closed,
    };
    match is_before(known.snd_una.get(), ack) {
        _ if !is_out => None,
        true => Some(Verdict::Textless),
        false => Some(Verdict::Answered),
    }
}

/// RFC 9293, 3.10.7.4, step 1: if a FIN is beyond the announced window, smoltcp would
/// truncate the data and accept the FIN. It is answered with an ACK.
fn fin_must_be_in_the_window(segment: &Segment<'_>, known: &Known) -> Option<Verdict> {
    let is_beyond = segment.is_fin() && is_before(known.edge(), segment.end().wrapping_sub(1));
    (is_beyond && !is_on(Sabotage::CutText)).then_some(Verdict::Answered)
}

/// RFC 9293, 3.10.7.4, step 5: if the peer's last window of data was lost, its pure ACKs
/// carry a sequence number above RCV.NXT. smoltcp gets them at RCV.NXT, so that it accepts
/// the acknowledgement.
fn gap_before_a_pure_ack(segment: &Segment<'_>, known: &Known) -> Option<Verdict> {
    let is_pure = segment.seq() == segment.end();
    (is_pure && is_before(known.rcv_nxt.get(), segment.seq())).then_some(Verdict::Textless)
}

/// RFC 9293, 3.10.7.4, step 5: an ACK number that a newer one has overtaken is ignored, and
/// the rest of the segment counts. smoltcp would drop the whole segment, so it gets the newer
/// number.
fn overtaken_ack_is_replaced(segment: &Segment<'_>, ack: u32, known: &Known) -> Option<Verdict> {
    let is_empty = segment.seq() == segment.end();
    match !is_empty && known.is_overtaken(ack) {
        true if is_on(Sabotage::OldAck) => Some(Verdict::Taken),
        true => Some(Verdict::Overtaken),
        false => None,
    }
}

// ---- the end of either direction ----

/// RFC 9293, 3.10.7.4, step 7: there is no octet after the peer's FIN. Data there is
/// removed from its segment.
///
/// A FIN may stand right at the edge of the window. smoltcp accepts no segment at all until it
/// has acknowledged that FIN, not even an ACK at RCV.NXT. So it is made to acknowledge at
/// once, and the peer repeats its segment.
fn nothing_follows_a_fin(segment: &Segment<'_>, known: &Known) -> Verdict {
    let verdict = judge_synchronised(segment, known);
    if verdict.acknowledges() && known.has_passed_the_window() {
        return Verdict::Answered;
    }
    if segment.is_rst() || !is_before(known.rcv_nxt.get(), segment.end()) {
        return verdict;
    }
    match verdict {
        Verdict::Acceptable | Verdict::Textless | Verdict::Overtaken => Verdict::Textless,
        Verdict::Opened
        | Verdict::Answered
        | Verdict::Taken
        | Verdict::Spare
        | Verdict::Unproven
        | Verdict::Refuted
        | Verdict::Challenge
        | Verdict::Reopens
        | Verdict::Drop => verdict,
    }
}

/// RFC 9293, 3.8.6.1: only data is sent into a closed window. After an ACK of our FIN that
/// leaves the window closed, smoltcp would probe the window in FIN-WAIT-2 without a pause. So
/// it gets an ACK that opens the window.
fn last_ack_opens_the_window(segment: &Segment<'_>, known: &Known) -> Verdict {
    let verdict = judge_synchronised(segment, known);
    let is_taken = matches!(verdict, Verdict::Acceptable | Verdict::Textless);
    let is_last = segment.ack() == Some(known.snd_nxt.get()) && segment.window() == Window::Zero;
    match is_taken && is_last && !segment.is_rst() {
        true => Verdict::Opened,
        false => verdict,
    }
}

/// RFC 9293, 3.6.1, and RFC 1122, 4.2.2.13: a SYN beyond everything that was received
/// begins a new connection. It is dropped, so that the peer retransmits it once the old
/// connection is removed.
fn syn_ends_time_wait(segment: &Segment<'_>, known: &Known) -> Option<Verdict> {
    let begins = segment.is_syn() && segment.ack().is_none() && !segment.is_rst();
    let is_new = begins && is_before(known.rcv_nxt.get(), segment.seq());
    (is_new && !is_on(Sabotage::StaleRow)).then_some(Verdict::Reopens)
}

// ---- acceptable segments that smoltcp would handle wrongly ----

/// RFC 5681, 2: three duplicate ACKs cause a fast retransmission. smoltcp then sends a
/// full segment, filled up with new data, however narrow the window is, and never
/// retransmits a lone FIN. So in these cases it gets no duplicate ACK.
fn duplicate_ack_is_spare(segment: &Segment<'_>, tcb: &Tcb, mss: u32) -> Option<Verdict> {
    let (known, newest) = (&tcb.known, tcb.newest());
    let in_flight = known.in_flight();
    if segment.plain_ack() != Some(known.snd_una.get())
        || segment.payload_len() > 0
        || in_flight == 0
    {
        return None;
    }
    let has_finished = matches!(tcb.phase(), Phase::Finishing | Phase::Closing);
    let is_fin = in_flight == 1 && has_finished && !is_on(Sabotage::FinDuplicates);
    let window = u32::from(newest.window).wrapping_shl(newest.peer_shift.into());
    let is_narrow = segment.window_len() == newest.window
        && newest.probe == 0
        && !newest.is_prodded
        && in_flight.max(window) < mss
        && is_before(known.snd_nxt.get(), known.queued.get())
        && !is_on(Sabotage::NarrowWindow);
    (is_fin || is_narrow).then_some(Verdict::Spare)
}

/// RFC 9293, 3.8.6.1: after an ACK that closes the window while data is in flight, smoltcp
/// neither retransmits the data nor probes. So it gets the smallest window, and its
/// retransmission is the probe. After the peer's FIN this also applies while data waits to
/// be sent, because in LAST-ACK smoltcp ignores window updates.
fn window_stays_open_for_data(segment: &Segment<'_>, tcb: &Tcb) -> Option<Verdict> {
    let known = &tcb.known;
    let left = known.snd_nxt.get().wrapping_sub(segment.plain_ack()?);
    let has_more = is_before(known.snd_nxt.get(), known.queued.get());
    let is_sending =
        left > tcb.newest().probe.into() || has_more && tcb.phase() == Phase::PeerFinished;
    let closes = segment.window_len() == 0 && segment.payload_len() == 0 && is_sending;
    closes.then_some(Verdict::Opened)
}
