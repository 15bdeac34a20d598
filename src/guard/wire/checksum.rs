//! The Internet checksum (RFC 1071).

/// Adds a word to a sum of the Internet checksum (RFC 1071), in the byte order of this
/// machine. No carry is folded yet: the whole word is added if a register has twice its
/// size, otherwise its two halves. A packet has fewer than 2^16 of either.
pub(crate) fn add(sum: usize, word: [u8; 4]) -> usize {
    // There is no machine with smaller registers.
    let word = usize::try_from(u32::from_ne_bytes(word)).unwrap_or(0);
    match usize::BITS {
        64 => sum.wrapping_add(word),
        _ => sum.wrapping_add(word & 0xffff).wrapping_add(word >> 16),
    }
}

/// Adds the fixed part of an IPv4 or TCP header to a sum. Most checksums cover little else,
/// so this has no loop.
pub(crate) fn sum_header(seed: usize, header: &[u8; 20]) -> usize {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *header;
    let sum = add(add(seed, [a, b, c, d]), [e, f, g, h]);
    add(add(add(sum, [i, j, k, l]), [m, n, o, p]), [q, r, s, t])
}

/// Adds any octets to a sum.
pub(crate) fn sum(seed: usize, octets: &[u8]) -> usize {
    match octets {
        [] => seed,
        _ => sum_some(seed, octets),
    }
}

fn sum_some(seed: usize, octets: &[u8]) -> usize {
    let (words, rest) = octets.as_chunks::<4>();
    let sum = words.iter().fold(seed, |sum, word| add(sum, *word));
    match *rest {
        [a, b, c] => add(sum, [a, b, c, 0]),
        [a, b] => add(sum, [a, b, 0, 0]),
        [a] => add(sum, [a, 0, 0, 0]),
        _ => sum,
    }
}

/// Folds the carries of a sum, to 16 bits. If a number is added to itself with its halves
/// swapped, the upper half of the result is the sum of both halves and of the carry.
fn folded(sum: usize) -> u16 {
    let sum = u64::try_from(sum).unwrap_or(0);
    let word = match usize::BITS {
        64 => sum.wrapping_add(sum.rotate_right(32)) >> 32,
        _ => sum,
    };
    folded_word(u32::try_from(word).unwrap_or(0))
}

fn folded_word(sum: u32) -> u16 {
    let sum = sum.wrapping_add(sum.rotate_right(16)) >> 16;
    u16::try_from(sum).unwrap_or(0)
}

/// Whether a sum that includes the checksum is all ones.
pub(crate) fn is_complete(sum: usize) -> bool {
    folded(sum) == 0xffff
}

/// The checksum of a sum, as in a header.
pub(crate) fn checksum(sum: usize) -> [u8; 2] {
    (!folded(sum)).to_ne_bytes()
}

/// A checksum after the words `old` and 0 were replaced by 0 and `new` (RFC 1624, equation 3).
#[cfg(feature = "proto-ipv4")]
pub(crate) fn replaced(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    let word = |word: [u8; 2]| u32::from(u16::from_ne_bytes(word));
    let complements = (word(checksum) ^ 0xffff).wrapping_add(word(old) ^ 0xffff);
    (!folded_word(complements.wrapping_add(word(new)))).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071, 1: add all words, then fold the carries until there are none.
    fn carried(mut sum: usize) -> usize {
        while sum > 0xffff {
            sum = (sum & 0xffff).wrapping_add(sum >> 16);
        }
        sum
    }

    #[test]
    fn carries_are_folded_for_every_sum() {
        let mut state = 1_u64;
        for _ in 0..100_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // The largest sum that the words of a packet can have.
            let sum = usize::try_from(state >> 16 & u64::from(u32::MAX)).expect("32 bits");
            for sum in [sum, sum.wrapping_mul(7) >> 1, sum >> 14] {
                assert_eq!(usize::from(folded(sum)), carried(sum), "{sum:#x}");
            }
        }
        for sum in [
            0,
            1,
            0xffff,
            0x1_0000,
            0x1_fffe,
            0x1_ffff,
            0xffff_0000,
            0xffff_ffff,
        ] {
            assert_eq!(usize::from(folded(sum)), carried(sum), "{sum:#x}");
        }
    }
}
