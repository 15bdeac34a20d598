//! A stream that keeps its place over reconnects.
//!
//! Each connection begins with eight octets, big-endian: the offset it goes on
//! from. That is what the peer had acknowledged, so nothing is left out. What
//! was on its way when the connection broke is sent again, and the peer, which
//! knows what it has, skips it.
//!
//! Acknowledged means that the peer's TCP had it. A peer whose application
//! crashed before it read everything has to say so itself, in a protocol above:
//! no TCP can tell.

use crate::session::{Connection, Stop};
use crate::settings::Settings;
use crate::{LARGEST_WRITE, Outcome};
use lastbyte::stack::smoltcp::phy::Device;
use lastbyte::{Clock, Ledger};

/// The octets in front of each connection's part of the stream.
const HEADER_LEN: u64 = 8;

/// The octet of the stream at `offset`: the highest of the low half of the
/// offset times 2^32 / golden ratio. It depends on nothing else, so that a
/// stream can go on from anywhere, and neighbours differ, so that a peer sees
/// every octet that is missing or doubled.
///
/// A real device reads its flash or its ring buffer here, and frees it up to
/// the place that was acknowledged.
#[must_use]
pub const fn octet(offset: u64) -> u8 {
    let [.., a, b, c, d] = offset.to_be_bytes();
    let low = u32::from_be_bytes([a, b, c, d]);
    let [highest, ..] = low.wrapping_mul(0x9E37_79B1).to_be_bytes();
    highest
}

/// How far the stream is known to have arrived.
pub(crate) struct Place {
    acknowledged: u64,
    /// The length of the stream.
    len: u64,
    write_len: usize,
}

impl Place {
    pub(crate) fn new(settings: &Settings<'_>) -> Self {
        Self {
            acknowledged: 0,
            len: settings.bytes,
            write_len: settings.write.min(LARGEST_WRITE),
        }
    }

    /// Writes the rest of the stream.
    pub(crate) fn write<D: Device, C: Clock>(
        &mut self,
        connection: &mut Connection<'_, '_, D, C>,
    ) -> Result<(), Stop> {
        let mut offset = self.acknowledged;
        connection.write_all(&offset.to_be_bytes())?;
        let mut chunk = [0; LARGEST_WRITE];
        while offset < self.len {
            let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
            let chunk = chunk
                .get_mut(..self.write_len.min(left))
                .unwrap_or_default();
            for (octet_of_chunk, at) in chunk.iter_mut().zip(offset..) {
                *octet_of_chunk = octet(at);
            }
            // What was not accepted is made again: the chunk is no store.
            let accepted = connection.write(chunk)?;
            offset = offset.saturating_add(u64::try_from(accepted).unwrap_or(0));
        }
        Ok(())
    }

    /// Takes in what a connection has brought about.
    pub(crate) fn after(&mut self, ledger: Ledger) -> Option<Outcome> {
        let arrived = ledger.acknowledged().saturating_sub(HEADER_LEN);
        self.acknowledged = self.acknowledged.saturating_add(arrived).min(self.len);
        defmt::info!("place={} of {}", self.acknowledged, self.len);
        let is_done = self.acknowledged == self.len && ledger.acknowledged() >= HEADER_LEN;
        is_done.then_some(Outcome::Done)
    }
}
