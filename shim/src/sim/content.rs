//! What every run writes.

use std::sync::OnceLock;

/// The most an application can write on one connection.
const LONGEST_CONTENT: usize = 1 << 20;

/// The bytes that every run writes, from the first on. No two stretches look
/// alike, so that a lost, doubled or moved byte shows.
fn content() -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    CONTENT.get_or_init(|| {
        let mix = |number: u64| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        (0..LONGEST_CONTENT as u64).map(mix).collect()
    })
}

/// The `len` bytes from number `from` on.
pub(super) fn content_from(from: u64, len: usize) -> &'static [u8] {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let behind = content().get(from..).unwrap_or_default();
    behind.get(..len).unwrap_or(behind)
}
