//! The clock of a network whose calls do not block, in two halves: every call reads the time
//! ([`Now`]), and one task sleeps ([`Alarm`]).
//!
//! | where time comes from | [`Now`] and [`Alarm`] | feature |
//! |---|---|---|
//! | embassy-time 0.5 | [`EmbassyTime`] | `embassy-time-v0.5` |
//! | embedded-hal-async 1 (`DelayNs`), and any function that reads the time | [`Delay`] | `embedded-hal-async-v1` |
//! | rtic-time 3 (the monotonics of RTIC 2) | [`RticTime`] | `rtic-time-v3` |
//! | tokio 1 | `lastbyte_host::TokioTime` | |

use crate::Instant;
use core::future::Future;

/// Monotonic time.
pub trait Now {
    /// The present point in time. Never goes back.
    fn now(&self) -> Instant;
}

impl<T: Now + ?Sized> Now for &T {
    fn now(&self) -> Instant {
        T::now(self)
    }
}

/// The sleep of the runner of a network.
pub trait Alarm {
    /// Completes at `until`, or as soon as the device may have a received frame or room for
    /// one to send, if the device does not report that by a waker (see
    /// [`Shared::wake_by`](super::Shared::wake_by)). `None` waits for the device alone.
    ///
    /// It may complete early for any reason, and must complete at `until` at the latest
    /// (within the clock's resolution). It is dropped before it completes if something else
    /// ends the sleep.
    fn wait(&mut self, until: Option<Instant>) -> impl Future<Output = ()>;
}

/// Time and timers of [embassy-time](https://docs.rs/embassy-time/0.5).
#[cfg(feature = "embassy-time-v0.5")]
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EmbassyTime;

#[cfg(feature = "embassy-time-v0.5")]
impl Now for EmbassyTime {
    fn now(&self) -> Instant {
        Instant::from_micros(embassy_time::Instant::now().as_micros())
    }
}

#[cfg(feature = "embassy-time-v0.5")]
impl Alarm for EmbassyTime {
    async fn wait(&mut self, until: Option<Instant>) {
        match until {
            Some(until) => {
                // A time beyond the range of the ticks counts as none.
                match embassy_time::Instant::try_from_micros(until.as_micros()) {
                    Some(until) => embassy_time::Timer::at(until).await,
                    None => core::future::pending().await,
                }
            }
            None => core::future::pending().await,
        }
    }
}

/// A [`DelayNs`](embedded_hal_async::delay::DelayNs), and the function that reads the time.
///
/// ```
/// use embedded_hal_async::delay::DelayNs;
/// use lastbyte::Instant;
/// use lastbyte::asynch::{Alarm, Delay};
///
/// fn alarm(timer: impl DelayNs) -> impl Alarm {
///     Delay::new(timer, || Instant::from_micros(0 /* of a counter that runs */))
/// }
/// ```
#[cfg(feature = "embedded-hal-async-v1")]
#[derive(Debug, Clone, Copy)]
pub struct Delay<T, N> {
    timer: T,
    now: N,
}

#[cfg(feature = "embedded-hal-async-v1")]
impl<T, N: Fn() -> Instant> Delay<T, N> {
    /// A delay that ends at the time that `now` returns.
    pub const fn new(timer: T, now: N) -> Self {
        Self { timer, now }
    }
}

#[cfg(feature = "embedded-hal-async-v1")]
impl<T, N: Fn() -> Instant> Now for Delay<T, N> {
    fn now(&self) -> Instant {
        (self.now)()
    }
}

#[cfg(feature = "embedded-hal-async-v1")]
impl<T: embedded_hal_async::delay::DelayNs, N: Fn() -> Instant> Alarm for Delay<T, N> {
    async fn wait(&mut self, until: Option<Instant>) {
        let Some(until) = until else {
            return core::future::pending().await;
        };
        let micros = until.since((self.now)()).as_micros();
        // At most 71 minutes: the runner checks, and sleeps again.
        self.timer
            .delay_us(u32::try_from(micros).unwrap_or(u32::MAX))
            .await;
    }
}

/// A monotonic of RTIC with ticks of 64 bits, such as those of `rtic-monotonics`. (One of 32
/// bits overflows within days.)
///
/// ```
/// use lastbyte::asynch::{Alarm, Now, RticTime};
/// use rtic_time::{Timebase, fugit::MonotonicTimerInstant};
///
/// fn clock_of<M, const HZ: u64>() -> impl Now + Alarm
/// where
///     M: Timebase<Instant = MonotonicTimerInstant<u64, HZ>>,
/// {
///     RticTime::<M>::new()
/// }
/// ```
#[cfg(feature = "rtic-time-v3")]
#[derive(Debug)]
pub struct RticTime<M>(core::marker::PhantomData<fn() -> M>);

#[cfg(feature = "rtic-time-v3")]
mod rtic {
    use super::{Alarm, Now, RticTime};
    use crate::Instant;
    use core::marker::PhantomData;
    use rtic_time::Timebase;
    use rtic_time::fugit::MonotonicTimerInstant;

    const MICROS: u64 = 1_000_000;

    /// Converts `parts`, at `from` parts a second, to parts at `to` a second, rounded down.
    fn convert(parts: u64, from: u64, to: u64) -> u64 {
        let secs = parts.checked_div(from).unwrap_or(0);
        let rest = parts.checked_rem(from).unwrap_or(0);
        let rest = rest.saturating_mul(to).checked_div(from).unwrap_or(0);
        secs.saturating_mul(to).saturating_add(rest)
    }

    impl<M> RticTime<M> {
        /// The clock of the type `M`.
        #[must_use]
        pub const fn new() -> Self {
            Self(PhantomData)
        }
    }

    impl<M> Default for RticTime<M> {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<M> Clone for RticTime<M> {
        fn clone(&self) -> Self {
            *self
        }
    }

    impl<M> Copy for RticTime<M> {}

    impl<M, const HZ: u64> Now for RticTime<M>
    where
        M: Timebase<Instant = MonotonicTimerInstant<u64, HZ>>,
    {
        fn now(&self) -> Instant {
            Instant::from_micros(convert(M::now().as_ticks(), HZ, MICROS))
        }
    }

    impl<M, const HZ: u64> Alarm for RticTime<M>
    where
        M: Timebase<Instant = MonotonicTimerInstant<u64, HZ>>,
    {
        async fn wait(&mut self, until: Option<Instant>) {
            match until {
                Some(until) => {
                    // One tick more, so that the sleep does not end too early.
                    let ticks = convert(until.as_micros(), MICROS, HZ).saturating_add(1);
                    M::delay_until(MonotonicTimerInstant::<u64, HZ>::from_ticks(ticks)).await;
                }
                None => core::future::pending().await,
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn times_are_converted_without_overflow() {
            assert_eq!(convert(32_768 * 3 + 16_384, 32_768, MICROS), 3_500_000);
            assert_eq!(convert(3_500_000, MICROS, 32_768), 32_768 * 3 + 16_384);
            let century = 100 * 366 * 86_400 * MICROS;
            assert_eq!(convert(century, MICROS, 1_000), century / 1_000);
            assert_eq!(convert(u64::MAX, MICROS, 1_000_000_000), u64::MAX);
        }
    }
}
