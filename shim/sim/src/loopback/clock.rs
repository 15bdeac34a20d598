//! The virtual clock of our end.

use lastbyte::{Clock, Instant};

use super::World;

/// The [`Clock`] of our end: its waits drive the world.
///
/// [`wait`](Clock::wait) jumps from event to event (a frame arrives, a timer of the peer
/// expires, a scheduled action is due) and returns as soon as the device has received a
/// frame (or has room again, after it refused one), or at `until`.
///
/// # Panics
///
/// `wait` panics if the run is hopeless; see [`World`].
#[derive(Debug, Clone)]
pub struct LoopClock {
    world: World,
}

impl LoopClock {
    pub(super) fn new(world: World) -> Self {
        Self { world }
    }
}

impl Clock for LoopClock {
    fn now(&mut self) -> Instant {
        self.world.now()
    }

    fn wait(&mut self, until: Option<Instant>) {
        self.world.wait(until);
    }
}
