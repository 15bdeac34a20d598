//! The Internet checksum (RFC 1071).

/// Adds a word to a sum of the Internet checksum (RFC 1071), in the order of this
/// machine. Nothing is carried around yet: the word is added whole where two of them
/// fit into a register, else its halves. A packet has fewer than 2^16 of either.
pub(super) fn add(sum: usize, word: [u8; 4]) -> usize {
    // There is no machine with smaller registers.
    let word = usize::try_from(u32::from_ne_bytes(word)).unwrap_or(0);
    match usize::BITS {
        64 => sum.wrapping_add(word),
        _ => sum.wrapping_add(word & 0xffff).wrapping_add(word >> 16),
    }
}

/// The fixed part of a header, of IPv4 or of TCP, added to a sum: most of what is
/// summed up, so it is spared the loop.
pub(super) fn sum_header(seed: usize, header: &[u8; 20]) -> usize {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *header;
    let sum = add(add(seed, [a, b, c, d]), [e, f, g, h]);
    add(add(add(sum, [i, j, k, l]), [m, n, o, p]), [q, r, s, t])
}

/// Any octets added to a sum.
pub(super) fn sum(seed: usize, octets: &[u8]) -> usize {
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

/// A sum with its carries added: 16 bits.
// tuning: fold-once
#[inline(never)]
const fn folded(mut sum: usize) -> usize {
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    sum
}

/// Whether a sum with the checksum in it is all ones.
pub(super) const fn is_complete(sum: usize) -> bool {
    folded(sum) == 0xffff
}

/// The checksum of what was summed up, as it stands in a header.
pub(super) fn checksum(sum: usize) -> [u8; 2] {
    let sum = u16::try_from(folded(sum)).unwrap_or(u16::MAX);
    (!sum).to_ne_bytes()
}
