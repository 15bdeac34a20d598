//! The rules for segments that arrive: what the stack below may see.
//!
//! smoltcp closes a connection for any RST in its window, drops a SYN without a
//! word, and takes an acknowledgement of bytes that were never sent. Each rule
//! here puts one of that right, before smoltcp sees the segment:
//!
//! - A RST must be exactly at RCV.NXT (RFC 5961, 3.2). One that is only in the
//!   window is answered with a challenge ACK; one outside is dropped, also if
//!   it carries text that reaches into the window.
//! - A SYN on a synchronised connection is answered with a challenge ACK
//!   (RFC 5961, 4.2), and so is
//! - a segment that acknowledges what was never sent (RFC 9293, 3.10.7.4,
//!   step 5; RFC 5961, 5.2), and
//! - a FIN beyond the window, whose data smoltcp would cut off while taking the
//!   FIN (RFC 9293, 3.10.7.4, step 1).
//! - A bare ACK behind a hole, as a peer sends it whose last window of data was
//!   lost, is put at RCV.NXT. At the edge of the window, where it then stands,
//!   RFC 9293 drops it, and with it the news that our own data has arrived;
//!   others, Linux among them, take it. One octet further, behind a lost FIN that
//!   stood at the edge, it is taken as well.
//! - Data behind the peer's FIN, which smoltcp would take, is left out of its
//!   segment (RFC 9293, 3.10.7.4, step 7).
//! - An ACK of our FIN that leaves the window closed is told as one that opens it.
//!   Where smoltcp was about to probe the window, it would go on in FIN-WAIT-2, with
//!   nothing to send and without a pause. What else the segment carries, the peer
//!   repeats.
//! - Nothing can answer a SYN of ours that has not left yet: no neighbour was
//!   found for it, say. smoltcp would take a SYN for the other half of a
//!   simultaneous open, and panic for want of a window it has announced.
//!
//! The challenge ACK is smoltcp's own, limited to one a second for each
//! connection (RFC 5961, 7): in place of the segment it is given a probe at
//! RCV.NXT - 1, which it answers and otherwise ignores.

use super::segment::Segment;
use super::seq::{is_before, is_within};
use crate::facts::Window;
use crate::sabotage::{Sabotage, is_on};

/// What is known of a synchronised connection when a segment for it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// SND.UNA: the oldest octet that is not acknowledged.
    pub(super) snd_una: u32,
    /// SND.NXT: behind the last octet sent.
    pub(super) snd_nxt: u32,
    /// RCV.NXT: the octet expected next.
    pub(super) rcv_nxt: u32,
    /// RCV.WND: room for octets from RCV.NXT on.
    pub(super) rcv_wnd: u32,
}

impl Known {
    /// Before the first segment.
    pub(super) const UNKNOWN: Self = Self {
        snd_una: 0,
        snd_nxt: 0,
        rcv_nxt: 0,
        rcv_wnd: 0,
    };
}

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on, and proves that the peer is there.
    Acceptable,
    /// It proves that the peer is there, but only its header goes on.
    Textless,
    /// It proves that the peer is there, but only its header goes on, with a window
    /// that is open.
    Opened,
    /// It proves that the peer is there; it is answered with a challenge ACK and
    /// goes no further.
    Answered,
    /// It goes on; the stack below drops it or answers it. It proves nothing:
    /// anybody could have sent it.
    Unproven,
    /// It is answered with a challenge ACK and goes no further.
    Challenge,
    /// It goes no further, and nobody is told.
    Drop,
}

/// The largest window there is (RFC 7323, 2.3): how far behind RCV.NXT or
/// SND.UNA a segment of the past may lie.
const LARGEST_WINDOW: u32 = 1 << 30;

/// Judges a segment for a synchronised connection.
#[inline]
pub(super) fn judge(segment: &Segment<'_>, known: &Known) -> Verdict {
    let in_flight = known.snd_nxt.wrapping_sub(known.snd_una);
    let is_new = |ack| is_within(ack, known.snd_una, in_flight.wrapping_add(1));
    // Nearly all are expected next, and acknowledge something new or nothing.
    match segment.plain_ack().is_some_and(is_new) && segment.seq() == known.rcv_nxt {
        true => Verdict::Acceptable,
        false => judge_rare(segment, known),
    }
}

/// The same, by all the rules.
fn judge_rare(segment: &Segment<'_>, known: &Known) -> Verdict {
    let in_window = is_within(segment.seq(), known.rcv_nxt, known.rcv_wnd);
    if segment.is_rst() {
        let is_taken = in_window && is_on(Sabotage::RstRule);
        return match segment.seq() == known.rcv_nxt || is_taken {
            true => Verdict::Acceptable,
            false if in_window => Verdict::Challenge,
            false => Verdict::Drop,
        };
    }
    if segment.is_syn() {
        return Verdict::Challenge;
    }
    let Some(ack) = segment.ack() else {
        return Verdict::Unproven;
    };
    if is_before(known.snd_nxt, ack) && !is_on(Sabotage::SndNxtRule) {
        return Verdict::Challenge;
    }
    let is_recent_ack = !is_before(ack, known.snd_una.wrapping_sub(LARGEST_WINDOW));
    if !is_recent_ack {
        return Verdict::Unproven;
    }
    judge_place(segment, known)
}

/// Judges a segment whose ACK number is good by where it stands.
fn judge_place(segment: &Segment<'_>, known: &Known) -> Verdict {
    let (seq, end) = (segment.seq(), segment.end());
    // A repetition of octets taken already, or a probe just before RCV.NXT, is the
    // peer's as well (its ACK was lost). A FIN may stand right at the edge, as at a
    // closed window, and what follows that one octet further.
    let oldest = known.rcv_nxt.wrapping_sub(LARGEST_WINDOW);
    let len = LARGEST_WINDOW.wrapping_add(known.rcv_wnd).wrapping_add(2);
    if !is_within(seq, oldest, len) {
        Verdict::Unproven
    } else if segment.is_fin() && !is_within(end, oldest, len) {
        Verdict::Answered
    } else if seq == end && is_before(known.rcv_nxt, seq) {
        Verdict::Textless
    } else {
        Verdict::Acceptable
    }
}

/// Judges a segment for a connection whose peer has sent its FIN: there is no
/// octet behind that.
pub(super) fn judge_behind_fin(segment: &Segment<'_>, known: &Known) -> Verdict {
    let verdict = judge_rare(segment, known);
    if segment.is_rst() || !is_before(known.rcv_nxt, segment.end()) {
        return verdict;
    }
    match verdict {
        Verdict::Acceptable | Verdict::Textless => Verdict::Textless,
        Verdict::Unproven | Verdict::Challenge => Verdict::Challenge,
        Verdict::Opened | Verdict::Answered | Verdict::Drop => verdict,
    }
}

/// Judges a segment for a connection on which our FIN has left, and is not
/// acknowledged; nor has the peer's been taken in.
pub(super) fn judge_behind_our_fin(segment: &Segment<'_>, known: &Known) -> Verdict {
    let verdict = judge_rare(segment, known);
    let is_heard = matches!(verdict, Verdict::Acceptable | Verdict::Textless);
    let is_last = segment.ack() == Some(known.snd_nxt) && segment.window() == Window::Zero;
    // What is old altogether, the stack below drops; a RST it takes otherwise.
    let is_new = segment.seq() == known.rcv_nxt || is_before(known.rcv_nxt, segment.end());
    match is_heard && is_last && is_new && !segment.is_rst() {
        true => Verdict::Opened,
        false => verdict,
    }
}
