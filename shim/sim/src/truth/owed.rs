//! The answers of our end that RFC 9293 requires, and when they are due.

use std::time::Duration;

use lastbyte::Instant;

/// How long an answer may take: an ACK may be delayed, but not by another second.
const AT_ONCE: Duration = Duration::from_millis(250);

/// How many SYNs in a row may have no answer: the first may only remove what was left of
/// a connection between the same ends, and others may arrive while another caller does
/// not complete its handshake.
const CALLS: u8 = 4;

/// An answer that is due.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Debt {
    /// The time since which it is due.
    since: Option<Instant>,
    /// Whether it was sent late.
    was_late: bool,
}

impl Debt {
    fn owe(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    fn pay(&mut self, now: Instant, tolerance: Duration) {
        let took = self.since.take().map(|since| now.since(since));
        self.was_late |= took.is_some_and(|took| took > tolerance);
    }

    fn is_late(&self, now: Instant, tolerance: Duration) -> bool {
        let waits = self.since.map(|since| now.since(since));
        self.was_late || waits.is_some_and(|waits| waits > tolerance)
    }

    fn excuse(&mut self, now: Instant) {
        self.since = self.since.map(|since| since.max(now));
    }
}

/// The answers that are due on one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Owed {
    /// An ACK for a probe, or for what the peer retransmits.
    ack: Debt,
    /// When the peer last demanded one.
    asked_at: Option<Instant>,
    /// A RST at this number.
    rst: Debt,
    rst_at: u32,
    /// How many SYNs have arrived since a SYN|ACK was due.
    calls: u8,
    /// The time until which nothing can be sent.
    stuck_until: Instant,
    /// The time until which an answer may be dropped because the neighbour is not resolved.
    resolves_until: Instant,
}

impl Owed {
    /// Records that the peer demands an ACK. Such answers may be limited to one a second
    /// (RFC 5961, 7).
    pub(super) fn owe_ack(&mut self, now: Instant) {
        let is_new = self
            .asked_at
            .is_none_or(|at| now.since(at) > Duration::from_secs(1));
        if is_new && now >= self.resolves_until {
            self.asked_at = Some(now);
            self.ack.owe(now.max(self.stuck_until));
        }
    }

    /// Records that the peer has sent what has to be answered, but not at once.
    pub(super) fn note_question(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    pub(super) fn pay_ack(&mut self, now: Instant) {
        self.ack.pay(now, AT_ONCE);
    }

    /// Records that a segment with this ACK number has to be answered with a RST at that
    /// number.
    pub(super) fn owe_rst(&mut self, now: Instant, at: u32) {
        if now < self.resolves_until {
            return;
        }
        self.rst_at = at;
        self.rst.owe(now.max(self.stuck_until));
    }

    pub(super) fn pay_rst(&mut self, now: Instant, at: u32) {
        if at == self.rst_at {
            self.rst.pay(now, AT_ONCE);
        }
    }

    /// Records that the handshake is over: nothing is refused any more.
    pub(super) fn forget_rst(&mut self) {
        self.rst = Debt::default();
    }

    pub(super) fn owe_greeting(&mut self) {
        self.calls = self.calls.saturating_add(1);
    }

    pub(super) fn forget_greeting(&mut self) {
        self.calls = 0;
    }

    /// Records that nothing can be sent until then.
    pub(crate) fn note_stuck(&mut self, until: Instant) {
        self.stuck_until = until;
        self.excuse(until);
    }

    /// Records that our end sends a request for the neighbour, as smoltcp does once a second.
    /// Meanwhile it drops immediate answers, including a SYN|ACK, and the peer has to
    /// retransmit.
    pub(super) fn note_neighbour_asked(&mut self, now: Instant) {
        self.resolves_until = now + Duration::from_secs(1);
        self.excuse(now);
        for debt in [&mut self.ack, &mut self.rst] {
            debt.since = None;
        }
    }

    /// Records that what is due could not be done until now.
    pub(crate) fn excuse(&mut self, now: Instant) {
        self.calls = 0;
        for debt in [&mut self.ack, &mut self.rst] {
            debt.excuse(now);
        }
    }

    /// Returns what was not answered in time, if anything.
    pub(crate) fn late(&self, now: Instant) -> Option<&'static str> {
        if self.ack.is_late(now, AT_ONCE) {
            Some("a probe or a retransmission of the peer is not acknowledged at once")
        } else if self.rst.is_late(now, AT_ONCE) {
            Some("a wrong ACK before the handshake is not answered with a RST at its number")
        } else {
            None
        }
    }

    /// Whether a caller has waited too long.
    pub(crate) const fn is_deaf(&self) -> bool {
        self.calls > CALLS
    }
}
