//! Between the crate's time and smoltcp's.

use crate::Instant;

/// smoltcp's instants are signed microseconds: the present is far from where the sign
/// would be lost, 292,000 years ahead.
pub(super) const fn to_smoltcp(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros_const(now.as_micros().cast_signed())
}

/// An instant before the epoch, which smoltcp uses for "at once", becomes the
/// epoch.
pub(super) fn from_smoltcp(instant: smoltcp::time::Instant) -> Instant {
    let micros = u64::try_from(instant.total_micros()).unwrap_or(0);
    Instant::from_micros(micros)
}

/// An interval of the crate's options; `None` for zero.
pub(super) fn interval(millis: u32) -> Option<smoltcp::time::Duration> {
    match millis {
        0 => None,
        _ => Some(smoltcp::time::Duration::from_millis(millis.into())),
    }
}
