//! The bytes that are sent: they depend only on the position in the stream, and
//! neighbouring bytes differ, so that every lost, duplicated or swapped byte is detected.

use xxhash_rust::xxh3::Xxh3;

/// The period of the content: a prime, so that no buffer, frame or write is a multiple of
/// it.
const PERIOD: usize = 65_521;
/// The largest write.
const LONGEST: usize = 1 << 20;

/// The content of a stream.
#[derive(Debug)]
pub struct Content(Vec<u8>);

impl Content {
    pub fn new() -> Self {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let period: Vec<u8> = (0..PERIOD)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        Self(
            period
                .iter()
                .copied()
                .cycle()
                .take(PERIOD + LONGEST)
                .collect(),
        )
    }

    /// `len` bytes of the stream from `position` on.
    pub fn at(&self, position: u64, len: usize) -> &[u8] {
        let from = (position % PERIOD as u64) as usize;
        self.0.get(from..from + len).unwrap_or_default()
    }

    /// The hash of the first `len` bytes of the stream.
    pub fn hash(&self, len: u64) -> u64 {
        let mut hasher = Xxh3::new();
        let mut position = 0;
        while position < len {
            let step = (len - position).min(PERIOD as u64);
            hasher.update(self.at(position, step as usize));
            position += step;
        }
        hasher.digest()
    }
}
