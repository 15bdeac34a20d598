//! What really happened on the wire, as seen from outside both ends.
//!
//! The oracle's own bookkeeping: it records which of our segments were sent and which of
//! the peer's arrived, and draws its conclusions only from RFC 9293 and RFC 5961, not
//! from the code that it judges. Where it cannot be sure (segments out of order, which a
//! receiver may keep or drop), it claims nothing.
//!
//! It does not use the ACK number of a RST: some TCPs acknowledge in it what they
//! discarded.
//!
//! - `header`: the numbers of a segment.
//! - `sent`, `arrived`: what a segment of ours, and of the peer's, changes.
//! - `reach`: which of the peer's octets our end may have.
//! - `window`: how far our end may send.
//! - `owed`: the answers that are due.
//! - `wire`: the connection that a frame belongs to.

mod arrived;
mod header;
mod owed;
mod reach;
mod sent;
mod window;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Duration;

use lastbyte::Instant;

use owed::Owed;
use reach::Reach;
use window::SendWindow;
pub(super) use wire::{Neighbour, Wire};

/// How long a listener may be busy with one caller.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);

/// How far the opening of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// No SYN was sent.
    Unsent,
    /// Our SYN was sent.
    SynSent,
    /// A RST that acknowledges our SYN has arrived.
    Refused,
    /// The peer's SYN arrived at our listener, and was answered.
    SynReceived,
    /// Both SYNs are known at our end.
    Synchronised,
}

/// How the peer's direction ended, as our end must have detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerEnd {
    /// It has not ended, as far as the wire shows.
    Open,
    /// A FIN in order has arrived.
    Fin,
    /// A RST exactly at RCV.NXT has arrived, with or without a FIN before.
    Rst,
}

/// What our end must never send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A segment of ours comes from an address that is not ours.
    ForeignSource,
    /// Our end, which connects, has accepted a SYN without ACK.
    SimultaneousOpen,
    /// The RST of an abort is not at SND.NXT.
    RstElsewhere,
    /// Something was sent for a connection that was given up before it was open.
    AfterSilentAbort,
    /// A caller was reset while our end listened.
    CallerReset,
    /// Our end acknowledges what never arrived.
    NeverArrived,
    /// New data was sent beyond the peer's window.
    BeyondWindow,
}

impl Fault {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::ForeignSource => "a segment came from an address that is not ours",
            Self::SimultaneousOpen => "a SYN|ACK answered a SYN without ACK while connecting",
            Self::RstElsewhere => "the RST of an abort was not at SND.NXT",
            Self::AfterSilentAbort => "a segment was sent after an abort before the handshake",
            Self::CallerReset => "a caller was reset while our end listened",
            Self::NeverArrived => "our end acknowledged what never arrived from the peer",
            Self::BeyondWindow => "new data was sent beyond the peer's window",
        }
    }
}

/// When an octet of ours was last sent.
#[derive(Debug, Clone, Copy)]
struct Tries {
    number: u32,
    last: Instant,
}

/// The wire of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truth {
    /// Our port, while our end listens there.
    pub(super) listens_at: Option<u16>,
    /// Our port, from our SYN or SYN|ACK on.
    pub(super) local_port: Option<u16>,
    pub(super) opening: Opening,
    pub(super) peer_end: PeerEnd,
    /// Whether our end may have given up before it detected that it was connected.
    is_blurred: bool,

    iss: u32,
    snd_nxt: u32,
    /// The highest acceptable ACK that arrived, not counting RSTs.
    snd_una: u32,
    /// The highest ACK of a segment that our end must have accepted.
    certain_una: u32,
    window: SendWindow,
    /// The oldest octet in flight.
    tries: Tries,
    /// The largest number of octets that were in flight.
    largest_flight: u32,
    /// When something was acknowledged, the window was closed, or something was sent with
    /// nothing in flight.
    progress_at: Instant,
    /// The same, by a segment that our end must have accepted.
    certain_progress_at: Instant,
    /// The last octet before SND.NXT, if it is a probe of a closed window.
    probe: Option<u32>,
    /// Whether a RST of ours was sent.
    has_reset: bool,
    /// Whether a FIN of ours was sent.
    pub(super) has_finished: bool,
    /// Whether the RST of an abort was sent.
    pub(super) has_aborted: bool,

    /// The number of the peer's first octet.
    first: u32,
    /// The minimum of RCV.NXT: from arrivals in order, and from what our end
    /// acknowledged.
    rcv_nxt: u32,
    /// The maximum of RCV.NXT.
    reach: Reach,
    /// The number of the peer's FIN, if one has arrived, in order or not.
    fin: Option<u32>,
    /// The edge of the window that our end announced.
    rcv_edge: u32,
    /// The largest of these windows.
    largest_window: u32,
    /// The highest number that our end has acknowledged.
    acked: u32,
    /// RCV.NXT of the previous connection between the same ends.
    before: Option<u32>,

    /// When our SYN was first sent, or the peer's SYN arrived: our answer may have waited for
    /// the neighbour.
    began_at: Instant,
    /// When the first SYN arrived that our end has not yet answered.
    called_at: Option<Instant>,
    /// When our SYN|ACK was last sent.
    greeted_at: Instant,
    /// When both SYNs were known at our end.
    pub(super) opened_at: Instant,
    /// How long a handshake may take.
    patience: Duration,
    /// The time since which our end is not served; never, while it is served. It does not
    /// end a connection before it is served.
    pub(super) neglected_since: Instant,
    /// Whether a RST has arrived that our end may have accepted.
    pub(super) saw_rst: Option<Instant>,
    /// When an acceptable segment of the peer's last arrived.
    pub(super) heard_at: Instant,
    /// When the first segment after that was sent that demands an answer.
    asked_at: Option<Instant>,
    /// When our end last sent a neighbour request.
    neighbour_asked_at: Instant,
    /// When a segment of ours was last sent, or a neighbour request that has to be
    /// answered first.
    pub(super) sent_at: Instant,
    pub(super) owed: Owed,
    pub(super) fault: Option<Fault>,
    /// When an outage ends.
    pub(super) outage_ends: Instant,
    /// When a segment of ours was first sent after the outage, if one was in flight.
    pub(super) resumed_at: Option<Instant>,
    /// The time until which our end may be busy with a stranger.
    busy_until: Instant,
    /// The number after the SYN of a caller.
    call: Option<u32>,
    /// The port of the caller that our end has answered.
    pub(super) caller: Option<u16>,
    /// When it was given up before the handshake: no segment may be sent for that.
    given_up_at: Instant,
}

impl Truth {
    fn new(patience: Duration) -> Self {
        Self {
            listens_at: None,
            local_port: None,
            opening: Opening::Unsent,
            peer_end: PeerEnd::Open,
            is_blurred: false,
            iss: 0,
            snd_nxt: 0,
            snd_una: 0,
            certain_una: 0,
            window: SendWindow::new(0),
            tries: Tries {
                number: 0,
                last: Instant::ZERO,
            },
            largest_flight: 0,
            progress_at: Instant::ZERO,
            certain_progress_at: Instant::ZERO,
            probe: None,
            has_reset: false,
            has_finished: false,
            has_aborted: false,
            first: 0,
            rcv_nxt: 0,
            reach: Reach::new(0),
            fin: None,
            rcv_edge: 0,
            largest_window: 0,
            acked: 0,
            before: None,
            began_at: Instant::ZERO,
            called_at: None,
            greeted_at: Instant::ZERO,
            opened_at: Instant::ZERO,
            patience: patience.min(HANDSHAKE),
            neglected_since: Instant::NEVER,
            saw_rst: None,
            heard_at: Instant::ZERO,
            asked_at: None,
            neighbour_asked_at: Instant::ZERO,
            sent_at: Instant::ZERO,
            owed: Owed::default(),
            fault: None,
            outage_ends: Instant::NEVER,
            resumed_at: None,
            busy_until: Instant::ZERO,
            call: None,
            caller: None,
            given_up_at: Instant::NEVER,
        }
    }

    /// Begins another connection, which listens at this port or connects.
    pub(super) fn begin(&mut self, now: Instant, listens_at: Option<u16>) {
        let was_known = matches!(self.opening, Opening::Synchronised);
        *self = Self {
            listens_at,
            heard_at: now,
            sent_at: now,
            progress_at: now,
            certain_progress_at: now,
            patience: self.patience,
            fault: self.fault,
            busy_until: self.busy_until,
            before: match was_known {
                true => Some(self.reach.end),
                false => self.before,
            },
            ..Self::new(self.patience)
        };
    }

    // ---- for the forger ----

    /// The maximum of RCV.NXT.
    pub(super) fn rcv_max(&self) -> u32 {
        self.reach.end
    }

    pub(super) fn snd_nxt(&self) -> u32 {
        self.snd_nxt
    }

    /// The number of an octet of ours that is in flight, if one is.
    pub(super) fn in_flight(&self) -> Option<u32> {
        match self.opening {
            Opening::Unsent | Opening::Refused => None,
            Opening::SynSent | Opening::SynReceived => Some(self.iss),
            Opening::Synchronised => Some(self.snd_una).filter(|_| self.has_in_flight()),
        }
    }

    // ---- for the oracle ----

    /// How many octets of ours were acknowledged by arrived segments; our FIN may be one
    /// of them.
    pub(super) fn acknowledged(&self) -> u64 {
        let first = self.iss.wrapping_add(1);
        match self.local_port {
            Some(_) => u64::from(self.snd_una.wrapping_sub(first)),
            None => 0,
        }
    }

    /// How many octets of the peer our end has acknowledged, and so has.
    pub(super) fn acknowledged_to_peer(&self) -> u64 {
        let all = self.acked.wrapping_sub(self.first);
        let fin = self
            .fin
            .is_some_and(|fin| self.acked == fin.wrapping_add(1));
        match self.opening {
            Opening::Synchronised => u64::from(all - u32::from(fin && all > 0)),
            _ => 0,
        }
    }

    /// How many octets the peer sent before its FIN, if our end may have accepted the FIN.
    pub(super) fn sent_before_fin(&self) -> Option<u64> {
        let fin = self.fin.filter(|_| self.may_have_fin())?;
        Some(u64::from(fin.wrapping_sub(self.first)))
    }

    /// Whether our end is certainly connected.
    pub(super) fn is_certain(&self) -> bool {
        self.opening == Opening::Synchronised && !self.is_blurred
    }

    /// Whether our end may have accepted a FIN.
    pub(super) fn may_have_fin(&self) -> bool {
        self.fin
            .is_some_and(|fin| !header::is_before(self.reach.end, fin.wrapping_add(1)))
    }

    fn has_in_flight(&self) -> bool {
        self.snd_una != self.snd_nxt
    }

    /// Whether the peer's window is open, as far as our end knows.
    pub(super) fn is_window_open(&self) -> bool {
        header::is_before(self.snd_una, self.window.edge)
    }

    /// When something was last acknowledged, or the window was closed, by a segment that
    /// our end must have accepted.
    pub(super) fn progressed_at(&self) -> Instant {
        self.certain_progress_at
    }

    /// Whether the peer's window is open, and our end must know it.
    pub(super) fn is_window_surely_open(&self) -> bool {
        self.window.is_surely_open(self.snd_una)
    }

    /// Whether everything of ours, including our FIN, was acknowledged by segments that our
    /// end must have accepted.
    pub(super) fn is_surely_finished(&self) -> bool {
        let is_certain = self.certain_una == self.snd_nxt;
        self.has_finished && !self.has_in_flight() && is_certain
    }

    /// Whether a segment of ours that demands an answer, or a neighbour request, was sent
    /// since the peer was heard.
    pub(super) fn has_asked(&self) -> bool {
        self.asked_at.is_some() || self.neighbour_asked_at >= self.heard_at
    }

    /// The time since which our end has had no answer, if octets are in flight.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let is_due = self.opening == Opening::Synchronised && self.has_in_flight();
        // An earlier probe that was not needed may have had no answer.
        let asked_at = self.asked_at.map(|at| at.max(self.progress_at));
        asked_at.filter(|_| is_due)
    }

    /// When the oldest octet in flight was last sent, if the window is open.
    pub(super) fn last_try(&self) -> Option<Instant> {
        let is_due = self.opening == Opening::Synchronised
            && self.has_in_flight()
            && self.is_window_surely_open()
            && self.tries.number == self.snd_una;
        is_due.then_some(self.tries.last)
    }

    /// The time since which nothing was acknowledged, if octets are in flight and the window is
    /// open.
    pub(super) fn stands_since(&self) -> Option<Instant> {
        let is_due = self.opening == Opening::Synchronised && self.has_in_flight();
        (is_due && self.is_window_surely_open()).then_some(self.progress_at)
    }

    // ---- events that are not on the wire ----

    /// Records that our end could not be served until now.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.owed.excuse(now);
        self.tries.last = self.tries.last.max(now);
    }

    /// Records that our end does not listen, or does not any more.
    pub(super) fn stop_listening(&mut self) {
        if self.listens_at.take().is_some() {
            self.owed.forget_greeting();
        }
    }

    /// Records that our end has aborted or released the connection.
    pub(super) fn note_abort(&mut self, now: Instant) {
        self.given_up_at = match self.opening == Opening::SynSent {
            true => self.given_up_at.min(now),
            false => Instant::NEVER,
        };
    }

    /// Records the SYN of a stranger.
    pub(super) fn note_stranger(&mut self, now: Instant) {
        self.busy_until = now + HANDSHAKE + Duration::from_millis(500);
        self.owed.forget_greeting();
    }

    /// Records a segment that wrongly acknowledges `ack` before the handshake is
    /// complete.
    pub(super) fn note_wrong_ack(&mut self, now: Instant, ack: u32) {
        if matches!(self.opening, Opening::SynSent | Opening::SynReceived) {
            self.owed.owe_rst(now, ack);
        }
    }
}
