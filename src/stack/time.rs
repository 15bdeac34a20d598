//! Between the crate's time and smoltcp's.

use crate::Instant;

/// smoltcp's instants are signed microseconds, and it adds to them. No clock comes near
/// where that overflows; one that is wrong begins again there, 146,000 years ahead.
pub(super) const fn to_smoltcp(now: Instant) -> smoltcp::time::Instant {
    let micros = now.as_micros() & (u64::MAX >> 2);
    smoltcp::time::Instant::from_micros_const(micros.cast_signed())
}

/// An instant before the epoch, which smoltcp uses for "at once", becomes the
/// epoch.
pub(super) fn from_smoltcp(instant: smoltcp::time::Instant) -> Instant {
    let micros = u64::try_from(instant.total_micros()).unwrap_or(0);
    Instant::from_micros(micros)
}
