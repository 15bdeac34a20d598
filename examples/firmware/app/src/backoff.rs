//! How long to wait before connecting again.

use core::time::Duration;

/// Doubles from the first pause to the longest. Each pause is shortened by up
/// to a quarter, by a number that differs from device to device: after a power
/// cut a thousand devices must not connect in the same instant.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Self {
            first: first.min(most),
            most,
            next: first.min(most),
            // xorshift stays at zero for ever.
            random: seed | 1,
        }
    }

    /// The peer was there: the next pause is the first again.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.most);
        let quarter = pause.checked_div(4).unwrap_or_default();
        // 0 to 255 of 256 parts of the quarter.
        let parts = u32::from(self.random_octet());
        let less = quarter
            .checked_div(256)
            .unwrap_or_default()
            .saturating_mul(parts);
        pause.saturating_sub(less)
    }

    /// xorshift64: no random number worth the name, and enough for a jitter.
    const fn random_octet(&mut self) -> u8 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let [.., octet] = self.random.to_le_bytes();
        octet
    }
}
