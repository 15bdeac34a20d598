//! The host's clock: monotonic time, and one `ppoll` for everything that a program waits for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant as HostInstant, SystemTime, UNIX_EPOCH};

use lastbyte::{Clock, Instant};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use smallvec::SmallVec;

/// The longest sleep if nothing can wake it, or if the kernel refuses to wait: short
/// enough to respond, long enough not to spin.
const BLIND_SLEEP: Duration = Duration::from_millis(100);

/// The usual number of descriptors: the device, an input, signals, a peer.
const FEW: usize = 4;

/// How long a wait polls before it sleeps, if it is expected to be short: about the time
/// that it takes to put a processor to sleep and wake it.
const LOOK: Duration = Duration::from_micros(50);

/// If a descriptor ends a sleep within this time, polling would have been better.
const SHORT_SLEEP: Duration = Duration::from_micros(100);

/// A [`Clock`] that sleeps in the kernel until a frame arrives.
///
/// During a transfer the answer often arrives before a sleeping processor is awake again.
/// So after a short sleep the next wait polls for up to 50 µs before it sleeps. After a
/// poll that found nothing, and on a machine with one processor, waits sleep at once. An
/// idle connection costs nothing.
///
/// In addition to the device it can watch a few more descriptors, such as standard input
/// and [`Signals`](crate::signals::Signals), so that one loop serves them all: wait, then
/// call [`is_ready`](Self::is_ready) for each.
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use std::io::Write;
/// use lastbyte::Clock;
/// use lastbyte_host::host_clock::HostClock;
///
/// let (mut device, ours) = UnixStream::pair()?;
/// let (mut input, watched) = UnixStream::pair()?;
/// let mut clock = HostClock::watching(&ours)?;
/// let input_watch = clock.watch(&watched)?;
///
/// input.write_all(b"x")?;
/// clock.wait(None);
/// assert!(clock.is_ready(input_watch));
///
/// // What cannot be processed now must not wake us again and again.
/// clock.set_watched(input_watch, false);
/// device.write_all(b"frame")?;
/// clock.wait(None);
/// assert!(!clock.is_ready(input_watch));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct HostClock {
    epoch: HostInstant,
    epoch_wall: Duration,
    fds: Vec<OwnedFd>,
    watches: Vec<WatchState>,
    has_device: bool,
    next_wait: NextWait,
}

/// How the next wait begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextWait {
    /// It polls for a while.
    Looks,
    /// It sleeps; after a short sleep, the next wait polls.
    Sleeps,
    /// It always sleeps: the program that could end the wait needs this processor.
    Yields,
}

/// Identifies a descriptor that a [`HostClock`] watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch(usize);

#[derive(Debug, Clone, Copy)]
struct WatchState {
    is_watched: bool,
    is_ready: bool,
    has_failed: bool,
}

/// The device is the first watched descriptor.
const DEVICE: Watch = Watch(0);

impl HostClock {
    /// A clock that wakes for frames of `device`.
    ///
    /// The descriptor is duplicated: an interface stays in use until the
    /// device *and* its clock are dropped.
    ///
    /// # Errors
    ///
    /// The process can open no more descriptors.
    pub fn watching(device: &impl AsFd) -> io::Result<Self> {
        let mut clock = Self::new();
        clock.watch(device)?;
        clock.has_device = true;
        Ok(clock)
    }

    /// A clock with nothing to watch: it only sleeps.
    #[must_use]
    pub fn new() -> Self {
        Self {
            epoch: HostInstant::now(),
            epoch_wall: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            fds: Vec::new(),
            watches: Vec::new(),
            has_device: false,
            next_wait: match thread::available_parallelism() {
                Ok(processors) if processors.get() > 1 => NextWait::Sleeps,
                _ => NextWait::Yields,
            },
        }
    }

    /// Also wakes when `fd` can be read, has ended, or has an error.
    ///
    /// # Errors
    ///
    /// The process can open no more descriptors.
    pub fn watch(&mut self, fd: &impl AsFd) -> io::Result<Watch> {
        let watch = Watch(self.fds.len());
        self.fds.push(fd.as_fd().try_clone_to_owned()?);
        self.watches.push(WatchState {
            is_watched: true,
            is_ready: false,
            has_failed: false,
        });
        Ok(watch)
    }

    /// Stops (`false`) or resumes watching. A descriptor that is ready and not
    /// served ends every wait at once, so stop watching what cannot be served.
    pub fn set_watched(&mut self, watch: Watch, watched: bool) {
        if let Some(state) = self.watches.get_mut(watch.0) {
            state.is_watched = watched;
        }
    }

    /// Whether this descriptor was ready at the end of the last wait.
    #[must_use]
    pub fn is_ready(&self, watch: Watch) -> bool {
        self.watches.get(watch.0).is_some_and(|s| s.is_ready)
    }

    /// Whether the device had a frame, or has failed, at the end of the last wait.
    #[must_use]
    pub fn is_device_ready(&self) -> bool {
        self.has_device && self.is_ready(DEVICE)
    }

    /// Whether any descriptor other than the device was ready at the end of the last wait, or
    /// the device has failed in it.
    #[must_use]
    pub fn is_other_ready(&self) -> bool {
        let others = usize::from(self.has_device);
        let mut others = self.watches.iter().skip(others);
        let has_failed = self.is_device_ready() && self.has_device_failed();
        has_failed || others.any(|state| state.is_ready)
    }

    /// Whether the device has failed for good (a TAP whose interface was
    /// removed). Then waits do not watch it.
    #[must_use]
    pub fn has_device_failed(&self) -> bool {
        self.has_device && self.watches.get(DEVICE.0).is_some_and(|s| s.has_failed)
    }

    /// The time of day at [`Instant::ZERO`], since 1970, to convert this clock's instants
    /// to dates.
    #[must_use]
    pub fn epoch_since_1970(&self) -> Duration {
        self.epoch_wall
    }

    /// The time until `until`, by this clock.
    fn remaining(&self, until: Instant) -> Duration {
        until.since(self.elapsed())
    }

    fn elapsed(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    fn poll(&mut self, until: Option<Instant>) {
        let until = until.filter(|until| *until != Instant::NEVER);
        // On the stack, because this runs whenever there is nothing to do.
        let (watched, mut fds): (SmallVec<[usize; FEW]>, SmallVec<[PollFd<'_>; FEW]>) = self
            .fds
            .iter()
            .enumerate()
            .filter(|(i, _)| self.watches.get(*i).is_some_and(WatchState::is_polled))
            .map(|(i, fd)| (i, PollFd::new(fd.as_fd(), PollFlags::POLLIN)))
            .unzip();
        if fds.is_empty() {
            thread::sleep(until.map_or(BLIND_SLEEP, |until| self.remaining(until)));
            return;
        }
        let Ok(next_wait) = self.wait_for(&mut fds, until) else {
            let limit = until.map_or(BLIND_SLEEP, |until| self.remaining(until));
            thread::sleep(limit.min(BLIND_SLEEP));
            return;
        };
        for (i, fd) in watched.into_iter().zip(&fds) {
            let seen = fd.revents().unwrap_or(PollFlags::POLLIN);
            if let Some(state) = self.watches.get_mut(i) {
                state.is_ready = !seen.is_empty();
                // A TAP without its interface always has an error. (A pipe that has ended
                // is POLLHUP: its reader must get that.)
                let failed = PollFlags::POLLERR | PollFlags::POLLNVAL;
                state.has_failed = i == DEVICE.0 && self.has_device && seen.intersects(failed);
            }
        }
        self.next_wait = next_wait;
    }

    /// Waits until one of `fds` is ready. Returns how to wait the next time.
    fn wait_for(&self, fds: &mut [PollFd<'_>], until: Option<Instant>) -> Result<NextWait, Errno> {
        let started = HostInstant::now();
        if self.next_wait == NextWait::Looks {
            let limit = until.map_or(LOOK, |until| self.remaining(until).min(LOOK));
            loop {
                if poll_for(fds, || Some(Duration::ZERO))? > 0 {
                    return Ok(NextWait::Looks);
                }
                if started.elapsed() >= limit {
                    break;
                }
            }
        }
        let ready = poll_for(fds, || until.map(|until| self.remaining(until)))?;
        Ok(self.next_wait.after_a_sleep(started.elapsed(), ready > 0))
    }
}

impl NextWait {
    /// How to wait after a sleep of this length, depending on whether a descriptor ended it.
    fn after_a_sleep(self, slept: Duration, is_ready: bool) -> Self {
        match self {
            Self::Yields => Self::Yields,
            Self::Sleeps if is_ready && slept < SHORT_SLEEP => Self::Looks,
            // It slept although it had polled.
            Self::Sleeps | Self::Looks => Self::Sleeps,
        }
    }
}

/// One `ppoll`, repeated if a signal handler interrupts it. Its timeout is in nanoseconds
/// and rounded up, so that it does not end a fraction before the deadline, with the rest
/// spent in a tight loop.
fn poll_for(fds: &mut [PollFd<'_>], timeout: impl Fn() -> Option<Duration>) -> Result<i32, Errno> {
    loop {
        match ppoll(fds, timeout().map(TimeSpec::from_duration), None) {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

impl WatchState {
    fn is_polled(&self) -> bool {
        self.is_watched && !self.has_failed
    }
}

impl Default for HostClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for HostClock {
    fn now(&mut self) -> Instant {
        self.elapsed()
    }

    fn wait(&mut self, until: Option<Instant>) {
        for state in &mut self.watches {
            state.is_ready = false;
        }
        // The descriptors are checked even if the deadline has passed: a busy connection
        // must not hide a signal.
        self.poll(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn millis(clock: &mut HostClock) -> u64 {
        clock.now().as_micros() / 1_000
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_earlier() {
        let (_device, ours) = UnixStream::pair().unwrap();
        let mut clock = HostClock::watching(&ours).unwrap();
        for wait in [0, 1, 999, 1_001, 20_000] {
            let until = clock.now() + Duration::from_micros(wait);
            clock.wait(Some(until));
            assert!(clock.now() >= until, "{wait} us");
        }
        assert!(millis(&mut clock) < 2_000);
    }

    #[test]
    fn a_frame_ends_a_wait_without_a_deadline() {
        let (mut device, ours) = UnixStream::pair().unwrap();
        let mut clock = HostClock::watching(&ours).unwrap();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            device.write_all(b"frame").unwrap();
            device
        });
        clock.wait(None);
        assert!(clock.is_device_ready() && !clock.is_other_ready());
        let _device = thread.join().unwrap();
    }

    #[test]
    fn a_wait_with_a_past_deadline_still_checks_the_descriptors() {
        let (mut input, watched) = UnixStream::pair().unwrap();
        let mut clock = HostClock::new();
        let watch = clock.watch(&watched).unwrap();
        clock.wait(Some(Instant::ZERO));
        assert!(!clock.is_ready(watch));
        input.write_all(b"x").unwrap();
        clock.wait(Some(Instant::ZERO));
        assert!(clock.is_ready(watch));
        assert!(clock.is_other_ready() && !clock.is_device_ready());
    }

    #[test]
    fn the_end_of_an_input_counts_as_ready() {
        let (input, watched) = UnixStream::pair().unwrap();
        let mut clock = HostClock::new();
        let watch = clock.watch(&watched).unwrap();
        drop(input);
        clock.wait(None);
        assert!(clock.is_ready(watch));
        assert!(!clock.has_device_failed());
    }

    #[test]
    fn a_wait_that_polls_first_ends_at_its_deadline_and_the_next_one_sleeps() {
        let (_device, ours) = UnixStream::pair().unwrap();
        let mut clock = HostClock::watching(&ours).unwrap();
        for wait in [0, 1, 20, 49, 51, 2_000] {
            clock.next_wait = NextWait::Looks;
            let until = clock.now() + Duration::from_micros(wait);
            clock.wait(Some(until));
            assert!(clock.now() >= until, "{wait} us");
            assert_eq!(clock.next_wait, NextWait::Sleeps);
        }
        assert!(millis(&mut clock) < 2_000);
    }

    #[test]
    fn a_wait_that_polls_first_detects_a_frame_and_the_next_one_polls_too() {
        let (mut device, ours) = UnixStream::pair().unwrap();
        let mut clock = HostClock::watching(&ours).unwrap();
        clock.next_wait = NextWait::Looks;
        device.write_all(b"frame").unwrap();
        clock.wait(None);
        assert!(clock.is_ready(DEVICE));
        assert_eq!(clock.next_wait, NextWait::Looks);
    }

    #[test]
    fn only_after_a_short_sleep_that_a_frame_ended_does_the_next_wait_poll() {
        let (short, long) = (SHORT_SLEEP / 2, SHORT_SLEEP);
        let sleeps = NextWait::Sleeps;
        assert_eq!(sleeps.after_a_sleep(short, true), NextWait::Looks);
        assert_eq!(sleeps.after_a_sleep(short, false), NextWait::Sleeps);
        assert_eq!(sleeps.after_a_sleep(long, true), NextWait::Sleeps);
        // The poll found nothing.
        let looks = NextWait::Looks;
        assert_eq!(looks.after_a_sleep(short, true), NextWait::Sleeps);
        let yields = NextWait::Yields;
        assert_eq!(yields.after_a_sleep(short, true), NextWait::Yields);
    }

    #[test]
    fn with_nothing_to_watch_a_wait_is_a_sleep() {
        let mut clock = HostClock::new();
        clock.wait(None);
        assert!(millis(&mut clock) >= 100);
        clock.wait(Some(Instant::from_millis(120)));
        assert!(millis(&mut clock) >= 120);
    }
}
