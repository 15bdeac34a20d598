//! The rules for segments that arrive: what smoltcp may see of each.
//!
//! smoltcp closes a connection for any RST in its window, drops a SYN without an
//! answer, and takes an acknowledgement of bytes that were never sent. Each rule here
//! puts one of that right, before smoltcp sees the segment:
//!
//! - A client takes no SYN without ACK: a simultaneous open is what an attacker off the
//!   path would ask for. What acknowledges anything but our SYN gets a RST (RFC 9293,
//!   3.10.7.3). Nothing can answer a SYN of ours that has not left yet.
//! - Of the options of a SYN only those go on that smoltcp heeds, well-formed, with the size
//!   that our segments are to have (RFC 9293, 3.7.1): smoltcp drops a SYN with a malformed
//!   option (MUST-7).
//! - A RST must be exactly at RCV.NXT (RFC 5961, 3.2). One that is only in the window is
//!   answered with a challenge ACK, one outside is dropped. Its data is left out, for
//!   smoltcp would not take the RST at a closed window (RFC 1122, 4.2.2.12).
//! - A SYN on a synchronised connection is answered with a challenge ACK (RFC 5961, 4.2),
//!   and so is a segment that acknowledges what was never sent, or what is older than
//!   anything in flight (RFC 5961, 5.2), and one that stands where the peer cannot send.
//! - If the ACK number of a segment was overtaken by a newer one, smoltcp would drop the
//!   segment. It is given the newer number, so that data and FIN count (RFC 9293,
//!   3.10.7.4, step 5).
//! - A repeated segment, a keep-alive, and a FIN beyond the announced window, whose data
//!   smoltcp would cut off while taking the FIN, are answered with an ACK.
//! - If the peer's last window of data was lost, its pure ACKs carry a sequence number
//!   above RCV.NXT. smoltcp gets them at RCV.NXT, so that it takes the acknowledgement.
//! - Data after the peer's FIN is left out of its segment (RFC 9293, 3.10.7.4, step 7).
//! - While only our FIN is in flight, duplicate ACKs go no further: after three of them
//!   smoltcp would never repeat the FIN. Nor while more data waits, less than a
//!   segment is in flight, and the window is narrower than one: smoltcp would repeat a
//!   whole segment, with data that does not fit into the window. And an ACK of our FIN that leaves the window
//!   closed is passed on as one that opens it, for smoltcp would probe that window in
//!   FIN-WAIT-2 without a pause.
//!
//! Both kinds of answers are smoltcp's own. In place of a segment that anybody could have
//! sent it gets a pure ACK at RCV.NXT - 1, which it answers once a second at most
//! (RFC 5961, 7). In place of one that is the peer's it gets the same with an octet of
//! data, which it answers each time. So forged segments do not use up the answers that the
//! peer needs.

use super::wire::segment::Segment;
use super::wire::seq::{is_before, is_within};
use crate::core::facts::Window;
use crate::sabotage::{Sabotage, is_on};
use core::cell::Cell;

/// What is known of a synchronised connection when a segment for it arrives. Each number
/// is in a cell of its own: most segments read and change few of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// SND.UNA: the oldest octet that is not acknowledged.
    pub(crate) snd_una: Cell<u32>,
    /// SND.NXT: the next octet to send.
    pub(crate) snd_nxt: Cell<u32>,
    /// The octet after all that was queued for sending.
    pub(crate) queued: Cell<u32>,
    /// RCV.NXT: the octet expected next.
    pub(crate) rcv_nxt: Cell<u32>,
    /// The octet after all that has arrived in order. It is ahead of RCV.NXT if smoltcp
    /// could not be given all of that.
    pub(crate) arrived: Cell<u32>,
    /// RCV.WND: octets from RCV.NXT on that the peer was told it may send.
    pub(crate) rcv_wnd: Cell<u32>,
    /// The most octets that were in flight at any time.
    pub(crate) most_in_flight: Cell<u32>,
    /// Octets of the receive buffer.
    pub(crate) buffer: Cell<u32>,
}

impl Known {
    /// How many octets of sequence space are sent and not acknowledged.
    pub(crate) fn in_flight(&self) -> u32 {
        self.snd_nxt.get().wrapping_sub(self.snd_una.get())
    }

    /// The number after the window that was announced to the peer.
    pub(crate) fn edge(&self) -> u32 {
        self.rcv_nxt.get().wrapping_add(self.rcv_wnd.get())
    }

    /// Whether the peer has acknowledged more than this before.
    pub(crate) fn is_overtaken(&self, ack: u32) -> bool {
        is_before(ack, self.snd_una.get())
    }
}

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the peer's, and goes on.
    Acceptable,
    /// It is the peer's, and goes on without its data.
    Textless,
    /// It is the peer's, and goes on with the newest ACK number in place of its own.
    Overtaken,
    /// It is the peer's, and goes on without its data and with a window that is open.
    Opened,
    /// It is the peer's; it is answered with an ACK and goes no further.
    Answered,
    /// It is the peer's, and goes no further.
    Taken,
    /// It proves nothing, and goes on: smoltcp answers it with a RST.
    Unproven,
    /// It proves nothing; smoltcp gets a pure ACK with its numbers, and answers that with
    /// a RST.
    Refuted,
    /// It proves nothing; it is answered with a challenge ACK and goes no further.
    Challenge,
    /// It proves nothing, and goes no further.
    Drop,
}

impl Verdict {
    /// Whether the segment is the peer's, as far as an attacker off the path could tell.
    pub(crate) const fn is_heard(self) -> bool {
        matches!(
            self,
            Self::Acceptable
                | Self::Textless
                | Self::Overtaken
                | Self::Opened
                | Self::Answered
                | Self::Taken
        )
    }
}

/// Judges a segment for a synchronised connection.
pub(crate) fn judge(segment: &Segment<'_>, known: &Known) -> Verdict {
    if segment.is_nonsense() {
        return Verdict::Drop;
    }
    if segment.is_rst() {
        return judge_rst(segment, known);
    }
    if segment.is_syn() {
        return Verdict::Challenge;
    }
    let Some(ack) = segment.ack() else {
        return Verdict::Drop;
    };
    let oldest = known.snd_una.get().wrapping_sub(known.most_in_flight.get());
    let is_unsent = is_before(known.snd_nxt.get(), ack) && !is_on(Sabotage::SndNxtRule);
    let is_too_old = is_before(ack, oldest) && !is_on(Sabotage::BlindHeard);
    match is_unsent || is_too_old {
        true => Verdict::Challenge,
        false => judge_place(segment, ack, known),
    }
}

fn judge_rst(segment: &Segment<'_>, known: &Known) -> Verdict {
    let in_window = is_within(segment.seq(), known.rcv_nxt.get(), known.rcv_wnd.get());
    let is_taken = in_window && is_on(Sabotage::RstRule);
    match segment.seq() == known.rcv_nxt.get() || is_taken {
        true if segment.payload_len() > 0 && !is_on(Sabotage::RstWithText) => Verdict::Textless,
        true => Verdict::Acceptable,
        false if in_window => Verdict::Challenge,
        false => Verdict::Drop,
    }
}

/// Judges a segment whose ACK number is good by where it stands.
fn judge_place(segment: &Segment<'_>, ack: u32, known: &Known) -> Verdict {
    let (seq, end) = (segment.seq(), segment.end());
    // Data that was taken already may be repeated (its ACK was lost), and the octet before
    // RCV.NXT may be a keep-alive. A FIN may stand right at the edge of the window, as at a
    // closed one, and what follows that one octet further.
    let before = known.buffer.get().wrapping_add(1);
    let oldest = known.rcv_nxt.get().wrapping_sub(before);
    let len = before.wrapping_add(known.rcv_wnd.get()).wrapping_add(2);
    let edge = known.edge();
    if !is_within(seq, oldest, len) {
        return match is_on(Sabotage::BlindHeard) {
            true => Verdict::Acceptable,
            false => Verdict::Challenge,
        };
    }
    if is_before(seq, known.rcv_nxt.get()) && !is_before(known.rcv_nxt.get(), end) {
        return match seq == end && seq != known.rcv_nxt.get().wrapping_sub(1) {
            // A pure ACK that was overtaken.
            true => Verdict::Taken,
            false => Verdict::Answered,
        };
    }
    // Data of which neither end is within the window, as at a closed one, is not acceptable
    // (RFC 9293, 3.10.7.4, step 1): smoltcp answers it, and takes nothing of it. But a valid
    // ACK counts; what probes our window is repeated, and answered then.
    let text_end = seq.wrapping_add(segment.payload_len());
    let is_around = is_before(seq, known.rcv_nxt.get()) && is_before(edge, text_end);
    let is_beyond = !is_before(seq, edge);
    let is_out = match (segment.payload_len() > 0, known.rcv_wnd.get() == 0) {
        (true, is_closed) => is_closed || is_beyond || is_around,
        // A FIN with a gap before it.
        (false, is_closed) => segment.is_fin() && is_beyond && !is_closed,
    };
    if is_out {
        return match is_before(known.snd_una.get(), ack) {
            true => Verdict::Textless,
            false => Verdict::Answered,
        };
    }
    if segment.is_fin() && is_before(edge, end.wrapping_sub(1)) && !is_on(Sabotage::CutText) {
        Verdict::Answered
    } else if seq == end && is_before(known.rcv_nxt.get(), seq) {
        Verdict::Textless
    } else if seq != end && known.is_overtaken(ack) {
        match is_on(Sabotage::OldAck) {
            true => Verdict::Taken,
            false => Verdict::Overtaken,
        }
    } else {
        Verdict::Acceptable
    }
}

/// Judges a segment in SYN-SENT (RFC 9293, 3.10.7.3).
pub(crate) fn judge_answer(segment: &Segment<'_>, known: &Known) -> Verdict {
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

/// Judges a segment in SYN-RECEIVED: what acknowledges anything but our SYN gets a RST
/// (RFC 9293, 3.10.7.4, step 5).
pub(crate) fn judge_syn_received(segment: &Segment<'_>, known: &Known) -> Verdict {
    let is_wrong = segment.ack().is_some_and(|ack| ack != known.snd_nxt.get());
    match is_wrong && !segment.is_rst() && !segment.is_syn() && !is_on(Sabotage::WrongAck) {
        true => Verdict::Unproven,
        false => judge(segment, known),
    }
}

/// Judges a segment for a connection whose peer has sent its FIN: there is no octet after
/// that.
pub(crate) fn judge_after_fin(segment: &Segment<'_>, known: &Known) -> Verdict {
    let verdict = judge(segment, known);
    if segment.is_rst() || !is_before(known.rcv_nxt.get(), segment.end()) {
        return verdict;
    }
    match verdict {
        Verdict::Acceptable | Verdict::Textless | Verdict::Overtaken => Verdict::Textless,
        Verdict::Opened
        | Verdict::Answered
        | Verdict::Taken
        | Verdict::Unproven
        | Verdict::Refuted
        | Verdict::Challenge
        | Verdict::Drop => verdict,
    }
}

/// Judges a segment for a connection on which our FIN has left and is not acknowledged,
/// and the peer's was not taken.
pub(crate) fn judge_after_our_fin(segment: &Segment<'_>, known: &Known) -> Verdict {
    let verdict = judge(segment, known);
    let is_taken = matches!(verdict, Verdict::Acceptable | Verdict::Textless);
    let is_last = segment.ack() == Some(known.snd_nxt.get()) && segment.window() == Window::Zero;
    match is_taken && is_last && !segment.is_rst() {
        true => Verdict::Opened,
        false => verdict,
    }
}
