//! The bytes that every run writes, and that its peers send.

use std::sync::OnceLock;

/// The maximum number of bytes that an application can write on one connection.
const LONGEST_CONTENT: usize = 1 << 20;

/// The end that sends the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    Peers,
}

/// The bytes that every run writes and receives, from the first on. No two stretches are
/// the same, so that a lost, duplicated or moved byte is detected. Every fourth byte is
/// zero, because a probe may replace a byte by zero.
fn content(whose: Whose) -> &'static [u8] {
    static OURS: OnceLock<Vec<u8>> = OnceLock::new();
    static PEERS: OnceLock<Vec<u8>> = OnceLock::new();
    let (content, salt) = match whose {
        Whose::Ours => (&OURS, 0x9e37_79b9_7f4a_7c15_u64),
        Whose::Peers => (&PEERS, 0xd1b5_4a32_d192_ed03),
    };
    content.get_or_init(|| {
        let mix = |number: u64| {
            let mixed = number.wrapping_add(1).wrapping_mul(salt);
            match (mixed >> 32) & 3 {
                0 => 0,
                _ => (mixed >> 56) as u8,
            }
        };
        (0..LONGEST_CONTENT as u64).map(mix).collect()
    })
}

/// `len` bytes, from number `from` on.
pub(super) fn content_from(whose: Whose, from: u64, len: usize) -> &'static [u8] {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let rest = content(whose).get(from..).unwrap_or_default();
    rest.get(..len).unwrap_or(rest)
}
