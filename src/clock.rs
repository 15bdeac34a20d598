//! The clock that a port supplies: one of the two things that a new board needs.

use crate::Instant;

/// Monotonic time and a way to wait.
///
/// A port implements this and the network device, and nothing else.
///
/// ```
/// use lastbyte::{Clock, Instant};
///
/// /// A clock for a board with a 1 kHz tick and a wake-up on interrupts.
/// struct Ticks {
///     millis: u64,
/// }
///
/// impl Clock for Ticks {
///     fn now(&mut self) -> Instant {
///         Instant::from_millis(self.millis)
///     }
///
///     fn wait(&mut self, _until: Option<Instant>) {
///         // On a Cortex-M: `wfi`. The tick or the network interrupt ends it.
///         self.millis += 1;
///     }
/// }
///
/// let mut clock = Ticks { millis: 0 };
/// clock.wait(None);
/// assert_eq!(clock.now(), Instant::from_millis(1));
/// ```
pub trait Clock {
    /// The present point in time. Never goes back.
    fn now(&mut self) -> Instant;

    /// Sleeps until `until`, or until the device may have received a frame or may have
    /// room to send one. `None` waits for the device alone.
    ///
    /// May return early for any reason, so an implementation that is woken
    /// by every interrupt is correct. It must return at `until` at the latest, within the
    /// clock's resolution: timeouts depend on it.
    fn wait(&mut self, until: Option<Instant>);
}
