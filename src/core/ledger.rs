//! The ledger of every byte: the only arithmetic on byte counts.

use core::fmt;

/// How many bytes were accepted from the application, and how many of them
/// the peer's TCP has acknowledged.
///
/// `accepted == acknowledged + pending` always holds, because the first is computed from
/// the other two, and a byte only moves from pending to acknowledged.
///
/// *Acknowledged* is a lower bound of what the peer's TCP received: an acceptable segment
/// of the peer, other than a RST, has acknowledged these bytes. (Some stacks acknowledge
/// in a RST what they discarded.) It proves nothing about the peer's application, which
/// may not have read any of them.
///
/// ```
/// use lastbyte::Ledger;
///
/// let ledger = Ledger::default();
/// assert_eq!(ledger.accepted(), ledger.acknowledged() + ledger.pending());
/// assert_eq!(
///     ledger.to_string(),
///     "0 bytes accepted, 0 acknowledged, 0 not known to be delivered"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ledger {
    acknowledged: u64,
    /// Accepted and not acknowledged: at most the size of a buffer.
    pending: usize,
}

impl Ledger {
    /// Nothing accepted yet.
    pub const ZERO: Self = Self {
        acknowledged: 0,
        pending: 0,
    };

    /// Bytes for which a write returned `Ok(n)`, since the connection was
    /// opened.
    #[must_use]
    pub const fn accepted(&self) -> u64 {
        // The number of accepted bytes never exceeds 64 bits, so nothing wraps.
        self.acknowledged.wrapping_add(self.pending())
    }

    /// Accepted bytes that the peer's TCP has acknowledged.
    #[must_use]
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Accepted bytes that are not acknowledged yet.
    #[must_use]
    #[allow(
        clippy::as_conversions,
        reason = "const fn; no machine has more than 64 bits"
    )]
    pub const fn pending(&self) -> u64 {
        self.pending as u64
    }

    /// [`pending`](Self::pending), as a length in the transmit buffer.
    #[cfg(feature = "smoltcp")]
    pub(crate) const fn queued(&self) -> usize {
        self.pending
    }

    /// [`pending`](Self::pending), by the name for it after the end of the connection:
    /// bytes not known to be delivered.
    #[must_use]
    pub const fn undelivered(&self) -> u64 {
        self.pending()
    }

    /// How many more bytes can be counted: `u64::MAX` minus the accepted bytes.
    pub(crate) const fn room(&self) -> u64 {
        u64::MAX.saturating_sub(self.accepted())
    }

    /// Counts `bytes` as accepted. The caller must keep them within [`room`](Self::room).
    pub(crate) const fn accept(&mut self, bytes: usize) {
        self.pending = self.pending.wrapping_add(bytes);
    }

    /// Records that `pending` of the accepted bytes are still unacknowledged, and returns
    /// how many more are acknowledged. A number of pending bytes above the present one
    /// changes nothing.
    #[allow(
        clippy::as_conversions,
        reason = "const fn; no machine has more than 64 bits"
    )]
    pub(crate) const fn settle(&mut self, pending: usize) -> usize {
        let newly = self.pending.saturating_sub(pending);
        self.pending = self.pending.wrapping_sub(newly);
        self.acknowledged = self.acknowledged.wrapping_add(newly as u64);
        newly
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes accepted, {} acknowledged, {} not known to be delivered",
            self.accepted(),
            self.acknowledged(),
            self.undelivered()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(acknowledged: u64, pending: usize) -> Ledger {
        Ledger {
            acknowledged,
            pending,
        }
    }

    #[test]
    fn accepted_is_the_sum_of_acknowledged_and_pending() {
        let mut ledger = Ledger::ZERO;
        ledger.accept(1_000);
        assert_eq!(ledger.settle(400), 600);
        assert_eq!((ledger.acknowledged(), ledger.pending()), (600, 400));
        ledger.accept(50);
        assert_eq!((ledger.accepted(), ledger.pending()), (1_050, 450));
        assert_eq!(ledger.undelivered(), 450);
    }

    #[test]
    fn a_byte_is_acknowledged_once() {
        let mut ledger = ledger(7, 10);
        assert_eq!(ledger.settle(4), 6);
        assert_eq!(ledger.settle(4), 0);
        assert_eq!((ledger.acknowledged(), ledger.pending()), (13, 4));
    }

    #[test]
    fn a_larger_number_of_pending_bytes_changes_nothing() {
        let mut ledger = ledger(10, 3);
        assert_eq!(ledger.settle(5), 0);
        assert_eq!((ledger.acknowledged(), ledger.pending()), (10, 3));
        assert_eq!(ledger.settle(usize::MAX), 0);
        assert_eq!(ledger.accepted(), 13);
    }

    #[test]
    fn the_room_is_what_64_bits_can_still_count() {
        assert_eq!(Ledger::ZERO.room(), u64::MAX);
        let mut ledger = ledger(u64::MAX - 10, 9);
        assert_eq!(ledger.room(), 1);
        ledger.accept(1);
        assert_eq!((ledger.room(), ledger.accepted()), (0, u64::MAX));
        assert_eq!(ledger.settle(0), 10);
        assert_eq!((ledger.room(), ledger.acknowledged()), (0, u64::MAX));
    }

    #[test]
    fn the_identity_holds_across_32_bits() {
        let mut ledger = ledger(u64::from(u32::MAX) - 1, 0);
        for step in 1..=4_u64 {
            ledger.accept(3);
            ledger.settle(1);
            assert_eq!(ledger.accepted(), u64::from(u32::MAX) - 1 + 3 * step);
            assert_eq!(ledger.accepted(), ledger.acknowledged() + ledger.pending());
        }
    }
}
