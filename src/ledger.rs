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
    acknowledged: u64,
    /// Accepted and not acknowledged: no more than a buffer holds.
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
        // What is accepted never exceeds 64 bits, so nothing wraps.
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

    /// [`pending`](Self::pending), as a number of octets in memory.
    pub(crate) const fn in_memory(&self) -> usize {
        self.pending
    }

    /// [`pending`](Self::pending), as it is called once the connection has
    /// ended: bytes not known to be delivered.
    #[must_use]
    pub const fn undelivered(&self) -> u64 {
        self.pending()
    }

    /// How many more bytes can be counted: `u64::MAX` less those accepted.
    pub(crate) const fn room(&self) -> u64 {
        u64::MAX.saturating_sub(self.accepted())
    }

    /// Counts `bytes` as accepted; the caller has kept them within
    /// [`room`](Self::room).
    pub(crate) const fn accept(&mut self, bytes: usize) {
        self.pending = self.pending.wrapping_add(bytes);
    }

    /// Takes in that `pending` of the accepted bytes are still unacknowledged,
    /// and returns how many became acknowledged by that. A number of pending
    /// bytes above the present one takes nothing back.
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
