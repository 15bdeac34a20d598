//! The account of every byte: the only arithmetic on byte counts.

/// How many bytes were accepted from the application, and how many of them
/// the peer's TCP has acknowledged.
///
/// `accepted == acknowledged + pending` holds always, since the third is
/// computed from the first two and neither of those can overtake the other.
///
/// *Acknowledged* is a lower bound of what the peer's TCP received. It proves
/// nothing about the peer's application, which may not have read a byte of it.
///
/// ```
/// use lastbyte::Ledger;
///
/// let ledger = Ledger::default();
/// assert_eq!(ledger.accepted(), ledger.acknowledged() + ledger.pending());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ledger {
    accepted: u64,
    /// Never above `accepted`.
    acknowledged: u64,
}

impl Ledger {
    /// Nothing accepted yet.
    pub const ZERO: Self = Self {
        accepted: 0,
        acknowledged: 0,
    };

    /// Bytes for which a write returned `Ok(n)`, since the connection was
    /// opened.
    #[must_use]
    pub const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Accepted bytes that the peer's TCP has acknowledged.
    #[must_use]
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Accepted bytes that are not acknowledged yet.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        // `acknowledged` never exceeds `accepted`, so nothing wraps.
        self.accepted.wrapping_sub(self.acknowledged)
    }

    /// [`pending`](Self::pending), as it is called once the connection has
    /// ended: bytes not known to be delivered.
    #[must_use]
    pub const fn undelivered(&self) -> u64 {
        self.pending()
    }

    /// How many more bytes can be counted: `u64::MAX` less those accepted.
    pub(crate) const fn room(&self) -> u64 {
        u64::MAX.saturating_sub(self.accepted)
    }

    /// Counts `bytes` as accepted; the caller has kept them within
    /// [`room`](Self::room), else what exceeds it is reported back.
    pub(crate) const fn accept(&mut self, bytes: u64) -> Result<(), Overflow> {
        match self.accepted.checked_add(bytes) {
            Some(accepted) => {
                self.accepted = accepted;
                Ok(())
            }
            None => Err(Overflow),
        }
    }

    /// Takes in that `pending` of the accepted bytes are still unacknowledged,
    /// and returns how many became acknowledged by that. A number of pending
    /// bytes above the present one takes nothing back.
    pub(crate) const fn settle(&mut self, pending: u64) -> u64 {
        let newly = self.pending().saturating_sub(pending);
        self.acknowledged = self.acknowledged.wrapping_add(newly);
        newly
    }
}

/// The ledger cannot count that many bytes; it is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_holds_through_accepting_and_settling() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.accept(1_000), Ok(()));
        assert_eq!(ledger.settle(400), 600);
        assert_eq!((ledger.acknowledged(), ledger.pending()), (600, 400));
        assert_eq!(ledger.settle(400), 0);
        assert_eq!(ledger.accept(50), Ok(()));
        assert_eq!(ledger.pending(), 450);
        assert_eq!(ledger.accepted(), ledger.acknowledged() + ledger.pending());
    }

    #[test]
    fn acknowledged_is_never_taken_back() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.accept(10), Ok(()));
        assert_eq!(ledger.settle(0), 10);
        assert_eq!(ledger.settle(10), 0);
        assert_eq!((ledger.acknowledged(), ledger.pending()), (10, 0));
    }

    #[test]
    fn overflow_is_refused_and_changes_nothing() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.accept(u64::MAX - 1), Ok(()));
        assert_eq!(ledger.room(), 1);
        assert_eq!(ledger.accept(2), Err(Overflow));
        assert_eq!(ledger.accepted(), u64::MAX - 1);
        assert_eq!(ledger.accept(1), Ok(()));
        assert_eq!(ledger.room(), 0);
    }
}
