//! Monotonic time, as the driver supplies it.
//!
//! The core owns no clock: each fact comes with the [`Instant`] at which it became known.

use core::fmt;
use core::time::Duration;

/// A point in monotonic time, in microseconds since an epoch that the driver chooses
/// (usually power-on).
///
/// Arithmetic saturates at the ends of the range. `u64` microseconds are 584,542 years,
/// so no clock reaches [`Instant::NEVER`].
///
/// ```
/// use core::time::Duration;
/// use lastbyte::Instant;
///
/// let start = Instant::from_millis(1_500);
/// let later = start + Duration::from_secs(2);
/// assert_eq!(later.as_micros(), 3_500_000);
/// assert_eq!(later.since(start), Duration::from_secs(2));
/// assert_eq!(format!("{later:?} {:?}", Instant::NEVER), "3.500000s never");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant {
    micros: u64,
}

impl Instant {
    /// The driver's epoch.
    pub const ZERO: Self = Self { micros: 0 };

    /// A point that no clock reaches: a timer set to it does not run.
    pub const NEVER: Self = Self { micros: u64::MAX };

    /// The point `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self { micros }
    }

    /// The point `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self {
            micros: millis.saturating_mul(1_000),
        }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.micros
    }

    /// The time that passed between `earlier` and this point; zero if
    /// `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros.saturating_sub(earlier.micros))
    }

    /// The point `millis` milliseconds before this one, or the epoch.
    // tuning: deadline-once
    #[inline(never)]
    pub(crate) fn minus_millis(self, millis: u32) -> Self {
        let micros = u64::from(millis).wrapping_mul(1_000);
        Self::from_micros(self.micros.saturating_sub(micros))
    }

    /// The point `millis` milliseconds after this one.
    #[must_use]
    // tuning: deadline-once
    #[inline(never)]
    pub(crate) fn plus_millis(self, millis: u32) -> Self {
        // A u32 of milliseconds is at most 4.3e12 µs, so the product does not wrap.
        // Neither does the sum, because no clock comes near the end.
        let micros = u64::from(millis).wrapping_mul(1_000);
        Self {
            micros: self.micros.wrapping_add(micros),
        }
    }
}

/// The point this long after the epoch.
///
/// ```
/// use core::time::Duration;
/// use lastbyte::Instant;
///
/// // Many clocks count the time since power-on.
/// assert_eq!(Instant::from(Duration::from_millis(7)), Instant::from_millis(7));
/// assert_eq!(Duration::from(Instant::from_micros(9)), Duration::from_micros(9));
/// ```
impl From<Duration> for Instant {
    fn from(since_epoch: Duration) -> Self {
        Self::ZERO + since_epoch
    }
}

/// The time since the epoch.
impl From<Instant> for Duration {
    fn from(instant: Instant) -> Self {
        instant.since(Instant::ZERO)
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            micros: self.micros.saturating_add(micros),
        }
    }
}

/// Seconds since the epoch.
impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("never");
        }
        let (secs, micros) = (self.micros / 1_000_000, self.micros % 1_000_000);
        write!(f, "{secs}.{micros:06}s")
    }
}
