//! Arithmetic on sequence numbers, modulo 2^32 (RFC 9293, 3.4).

/// Whether `a` comes before `b`, if they are less than half of the sequence space apart.
pub(crate) const fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// Whether `number` is one of the `len` numbers from `start` on.
pub(crate) const fn is_within(number: u32, start: u32, len: u32) -> bool {
    number.wrapping_sub(start) < len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_wraps_around() {
        assert!(is_before(u32::MAX, 0));
        assert!(!is_before(0, u32::MAX));
        assert!(!is_before(7, 7));
        assert!(is_within(2, u32::MAX - 1, 5));
        assert!(!is_within(3, u32::MAX - 1, 5));
        assert!(!is_within(7, 7, 0));
    }
}
