//! What our end owes the wire: answers that RFC 9293 demands, and when.

use std::time::Duration;

use lastbyte::Instant;

/// How long an answer may take: an ACK may be delayed, and must not wait for
/// another second.
const AT_ONCE: Duration = Duration::from_millis(250);

/// How many calls in a row may go without an answer: the first may only clear away what
/// was left of a connection between the same ends, and others come while another caller
/// does not complete a handshake.
const CALLS: u8 = 4;

/// An answer that is due.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Debt {
    /// Since when.
    since: Option<Instant>,
    /// It was paid late.
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

/// What is owed on one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Owed {
    /// An ACK for a probe, or for what the peer repeats.
    ack: Debt,
    /// When the peer last asked for one.
    asked_at: Option<Instant>,
    /// A RST at this number.
    rst: Debt,
    rst_at: u32,
    /// How many SYNs have come since a SYN|ACK was due.
    calls: u8,
    /// Until when nothing can leave.
    stuck_until: Instant,
    /// Until when an answer may be dropped for want of a neighbour.
    resolves_until: Instant,
}

impl Owed {
    /// The peer demands an ACK. Such answers may be limited to one a second
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

    /// The peer has sent what has to be answered, but not at once.
    pub(super) fn note_question(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    pub(super) fn pay_ack(&mut self, now: Instant) {
        self.ack.pay(now, AT_ONCE);
    }

    /// A segment with this ACK number has to be answered with a RST there.
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

    /// Nothing is refused any more: the handshake is over.
    pub(super) fn forget_rst(&mut self) {
        self.rst = Debt::default();
    }

    pub(super) fn owe_greeting(&mut self) {
        self.calls = self.calls.saturating_add(1);
    }

    pub(super) fn forget_greeting(&mut self) {
        self.calls = 0;
    }

    /// Nothing can leave until then.
    pub(crate) fn note_stuck(&mut self, until: Instant) {
        self.stuck_until = until;
        self.excuse(until);
    }

    /// Our end sends a request for the neighbour, which smoltcp does once a second. Meanwhile
    /// it drops immediate answers, a SYN|ACK too, and the peer has to send again.
    pub(super) fn note_neighbour_asked(&mut self, now: Instant) {
        self.resolves_until = now + Duration::from_secs(1);
        self.excuse(now);
        for debt in [&mut self.ack, &mut self.rst] {
            debt.since = None;
        }
    }

    /// Whatever is due could not be done before now.
    pub(crate) fn excuse(&mut self, now: Instant) {
        self.calls = 0;
        for debt in [&mut self.ack, &mut self.rst] {
            debt.excuse(now);
        }
    }

    /// What was not answered in time, if anything.
    pub(crate) fn late(&self, now: Instant) -> Option<&'static str> {
        if self.ack.is_late(now, AT_ONCE) {
            Some("a probe of the peer, or what it repeats, is not acknowledged at once")
        } else if self.rst.is_late(now, AT_ONCE) {
            Some("a wrong ACK before the handshake is not answered with a RST at its number")
        } else {
            None
        }
    }

    /// Whether a caller waits for too long.
    pub(crate) const fn is_deaf(&self) -> bool {
        self.calls > CALLS
    }
}
