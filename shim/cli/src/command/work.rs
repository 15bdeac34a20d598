//! The work of a peer's processes, to detect whether they make progress.

use std::fs;
use std::time::Duration;

use procfs::net::{TcpNetEntries, TcpState};
use procfs::process::{Process, all_processes};
use procfs::{FromReadSI, current_system_info, ticks_per_second};

/// Processor time within [`SAMPLE_INTERVAL`] that is more than waking up with nothing to
/// do.
const WORTHWHILE: Duration = Duration::from_millis(20);

/// The time between two compared samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Sums over all processes of the private network, except the command itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes that were read from files and pipes.
    pub read: u64,
    /// Bytes that were written.
    pub written: u64,
    /// Bytes that arrived on their sockets and are not yet read.
    pub unread: u64,
    /// Processor time.
    pub processor: Duration,
}

impl Work {
    /// The work of the processes in the network of the calling thread. `first` is their
    /// process 1, whose work is not counted.
    #[must_use]
    pub fn of_this_network(first: u32) -> Self {
        let mut work = Self {
            unread: unread(),
            ..Self::default()
        };
        let not_theirs = [Some(first), Some(std::process::id())];
        let own = fs::read_link("/proc/thread-self/ns/net");
        let (Ok(own), Ok(processes)) = (own, all_processes()) else {
            return work;
        };
        // A process that ends meanwhile is skipped.
        for process in processes.flatten() {
            let pid = u32::try_from(process.pid()).ok();
            let network = fs::read_link(format!("/proc/{}/ns/net", process.pid()));
            if !not_theirs.contains(&pid) && network.is_ok_and(|network| network == own) {
                work.add(&process);
            }
        }
        work
    }

    fn add(&mut self, process: &Process) {
        if let Ok(io) = process.io() {
            self.read += io.rchar;
            self.written += io.wchar;
        }
        if let Ok(stat) = process.stat() {
            let ticks = stat.utime + stat.stime;
            self.processor += Duration::from_millis(ticks * 1_000 / ticks_per_second().max(1));
        }
    }

    /// Whether anything was done since `before`.
    #[must_use]
    pub fn goes_on_since(&self, before: &Self) -> bool {
        self.takes_in_since(before)
            || self.written > before.written
            || self.processor > before.processor + WORTHWHILE
    }

    /// Whether anything was read since `before`.
    #[must_use]
    pub fn takes_in_since(&self, before: &Self) -> bool {
        self.read > before.read || self.unread < before.unread
    }
}

/// Bytes that wait in the sockets of this network.
fn unread() -> u64 {
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .into_iter()
        .filter_map(|path| TcpNetEntries::from_file(path, current_system_info()).ok())
        .flat_map(|entries| entries.0)
        .filter(|entry| entry.state != TcpState::Listen)
        .map(|entry| u64::from(entry.rx_queue))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wakeup_without_work_is_not_progress() {
        let before = Work {
            read: 10,
            written: 10,
            unread: 10,
            processor: Duration::from_secs(1),
        };
        let with = |change: fn(&mut Work)| {
            let mut work = before;
            change(&mut work);
            (work.goes_on_since(&before), work.takes_in_since(&before))
        };
        assert_eq!(with(|_| ()), (false, false));
        assert_eq!(with(|w| w.processor += WORTHWHILE), (false, false));
        assert_eq!(with(|w| w.processor += 2 * WORTHWHILE), (true, false));
        assert_eq!(with(|w| w.written += 1), (true, false));
        assert_eq!(with(|w| w.read += 1), (true, true));
        assert_eq!(with(|w| w.unread -= 1), (true, true));
        // The numbers of a process that has ended are missing.
        assert_eq!(with(|w| w.read -= 1), (false, false));
    }
}
