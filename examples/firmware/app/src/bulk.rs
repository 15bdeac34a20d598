//! A stream that resumes after a reconnect.
//!
//! Each connection begins with eight octets, big-endian: the offset at which it resumes.
//! The peer had acknowledged everything before it, so nothing is missing. What was in
//! flight when the connection ended is sent again, and the peer skips what it already
//! has.
//!
//! Acknowledged means that the peer's TCP had received it. If the peer's application
//! crashes before it has read everything, only a protocol above TCP can report that.

use crate::session::{Connection, Stop};
use crate::settings::Settings;
use crate::{LARGEST_WRITE, Outcome};
use lastbyte::stack::smoltcp::phy::Device;
use lastbyte::{Clock, Ledger};

/// The number of octets in front of each connection's part of the stream.
const HEADER_LEN: u64 = 8;

/// The octet of the stream at `offset`: the top octet of the low half of the offset times
/// 2^32 / golden ratio. It depends on nothing else, so that a stream can resume anywhere,
/// and neighbours differ, so that a peer detects every missing or duplicated octet.
///
/// A real device reads its flash or its ring buffer here, and frees it up to the
/// acknowledged offset.
#[must_use]
pub const fn octet(offset: u64) -> u8 {
    let [.., a, b, c, d] = offset.to_be_bytes();
    let low = u32::from_be_bytes([a, b, c, d]);
    let [highest, ..] = low.wrapping_mul(0x9E37_79B1).to_be_bytes();
    highest
}

/// The offset up to which the stream was acknowledged.
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
            // What was not accepted is generated again: the chunk does not store it.
            let accepted = connection.write(chunk)?;
            offset = offset.saturating_add(u64::try_from(accepted).unwrap_or(0));
        }
        Ok(())
    }

    /// Processes the result of a connection.
    pub(crate) fn after(&mut self, ledger: Ledger) -> Option<Outcome> {
        let arrived = ledger.acknowledged().saturating_sub(HEADER_LEN);
        self.acknowledged = self.acknowledged.saturating_add(arrived).min(self.len);
        defmt::info!("place={} of {}", self.acknowledged, self.len);
        let is_done = self.acknowledged == self.len && ledger.acknowledged() >= HEADER_LEN;
        is_done.then_some(Outcome::Done)
    }
}
