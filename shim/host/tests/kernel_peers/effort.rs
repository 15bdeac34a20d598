//! The processor time and wake-ups of a thread.

use nix::libc::c_long;
use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use std::fmt;
use std::time::Duration;

/// The maximum number of wake-ups in some seconds: there are only a few probes, answers
/// and requests of the kernel.
const MOST_SLEEPS: c_long = 100;

/// What one thread has used.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    processor: Duration,
    /// How often it released the processor to wait.
    sleeps: c_long,
}

impl Effort {
    /// The values of this thread, from its beginning.
    pub fn now() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("every Linux has it");
        let processor = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
        Self {
            processor: processor.expect("every Linux has it").into(),
            sleeps: usage.voluntary_context_switches(),
        }
    }

    /// Asserts that since `self`, during `span`, the thread waited, and neither spun nor
    /// woke at intervals.
    #[track_caller]
    pub fn assert_at_rest_since(self, span: Duration) -> Self {
        let now = Self::now();
        let taken = Self {
            processor: now.processor - self.processor,
            sleeps: now.sleeps - self.sleeps,
        };
        assert!(
            taken.sleeps < MOST_SLEEPS && taken.processor < span / 10,
            "{taken} in {span:?}"
        );
        taken
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, sleeps } = self;
        write!(f, "{processor:?} of processor time, {sleeps} sleeps")
    }
}
