//! Converts between the crate's time and smoltcp's.

use crate::Instant;

/// smoltcp's instants are signed microseconds, and smoltcp adds to them. No correct clock
/// comes near the overflow; a wrong one starts again at zero there, after 146,000 years.
pub(super) const fn to_smoltcp(now: Instant) -> smoltcp::time::Instant {
    let micros = now.as_micros() & (u64::MAX >> 2);
    smoltcp::time::Instant::from_micros_const(micros.cast_signed())
}

/// An instant before the epoch, which smoltcp uses for "at once", is converted to the
/// epoch.
pub(super) fn from_smoltcp(instant: smoltcp::time::Instant) -> Instant {
    let micros = u64::try_from(instant.total_micros()).unwrap_or(0);
    Instant::from_micros(micros)
}
