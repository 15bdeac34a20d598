//! The loopback with a bare smoltcp socket at our end.

mod faults;
mod marks;
mod peers;
mod raw;
mod serving;
mod speed;
mod transfers;

use super::Bare;

/// Bytes in which a lost, repeated or moved piece is detected.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8 ^ (n >> 8) as u8).collect()
}
