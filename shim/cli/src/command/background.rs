//! A file that a separate thread writes, so that a caller never waits for a full pipe, a
//! stopped terminal, a slow disk or a FIFO without a reader.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The maximum size of one write.
const PIECE: usize = 64 * 1024;
/// How often a wait checks whether to stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// The time before which a wait never stops: a file that accepts anything does so within
/// this time.
const LEAST_WAIT: Duration = Duration::from_millis(200);

/// The queue of what is to be written, and its state. Clones are the same file.
#[derive(Debug, Clone)]
pub(super) struct Background {
    shared: Arc<Shared>,
    most: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_started: bool,
    queue: VecDeque<u8>,
    /// How many bytes the thread has taken from the queue and not yet written.
    in_hand: usize,
    written: u64,
    error: Option<io::ErrorKind>,
    os_error: Option<i32>,
}

impl Background {
    /// A queue for at most this many unwritten bytes.
    pub(super) fn new(most: usize) -> Self {
        Self {
            shared: Arc::default(),
            most,
        }
    }

    /// Starts the thread, once. It opens the file, which may block without bound.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(super) fn start(
        &self,
        open: impl FnOnce() -> io::Result<File> + Send + 'static,
    ) -> io::Result<()> {
        if std::mem::replace(&mut self.shared.lock().is_started, true) {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let run = move || {
            if let Err(error) = open().and_then(|file| shared.hand_on(&file)) {
                shared.fail(&error);
            }
        };
        let started = thread::Builder::new().name("writer".into()).spawn(run);
        if started.is_err() {
            self.shared.lock().is_started = false;
        }
        started.map(drop)
    }

    /// Queues all of `bytes`, or nothing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`]: too much waits to be written. Otherwise why the
    /// file accepts no more.
    pub(super) fn push(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.check()?;
        if bytes.len() > self.most.saturating_sub(state.waiting()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.queue.extend(bytes);
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// How many bytes wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.shared.lock().waiting()
    }

    /// Waits until everything is written, while something is written within each
    /// `patience` and `stop` does not return true.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`], or why the file accepts no more.
    pub(super) fn drain(
        &self,
        patience: Duration,
        mut stop: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let mut state = self.shared.lock();
        let start = Instant::now();
        let mut moved = (state.written, start);
        loop {
            state.check()?;
            if state.waiting() == 0 {
                return Ok(());
            }
            if state.written != moved.0 {
                moved = (state.written, Instant::now());
            }
            let is_enough = start.elapsed() >= LEAST_WAIT && stop();
            if is_enough || moved.1.elapsed() >= patience {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let waited = self.shared.changed.wait_timeout(state, LOOK_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes the queue on the calling thread, if no other can be started.
    ///
    /// # Errors
    ///
    /// As for [`drain`](Self::drain).
    pub(super) fn write_here(&self, file: &File, patience: Duration) -> io::Result<()> {
        let waiting = Vec::from(std::mem::take(&mut self.shared.lock().queue));
        // A pipe with any room accepts so few bytes at once.
        for piece in waiting.chunks(512) {
            let mut piece = piece;
            while !piece.is_empty() {
                if !wait_for_room(file, Some(patience)) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let written = write_some(file, piece)?;
                piece = piece.get(written..).unwrap_or_default();
            }
        }
        Ok(())
    }
}

impl Write for Background {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::other("it was not read fast enough"),
            _ => error,
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shared.lock().check()
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.queue.len() + self.in_hand
    }

    fn check(&self) -> io::Result<()> {
        match (self.os_error, self.error) {
            (Some(code), _) => Err(io::Error::from_raw_os_error(code)),
            (None, Some(kind)) => Err(kind.into()),
            (None, None) => Ok(()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: writes piece after piece, until an error.
    fn hand_on(&self, file: &File) -> io::Result<()> {
        loop {
            let piece = self.take_piece();
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                let written = write_some(file, rest)?;
                if written == 0 {
                    wait_for_room(file, None);
                }
                rest = rest.get(written..).unwrap_or_default();
                let mut state = self.lock();
                state.in_hand = rest.len();
                state.written += written as u64;
                drop(state);
                self.changed.notify_all();
            }
        }
    }

    fn take_piece(&self) -> Vec<u8> {
        let mut state = self.lock();
        while state.queue.is_empty() {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let len = state.queue.len().min(PIECE);
        let piece: Vec<u8> = state.queue.drain(..len).collect();
        state.in_hand = piece.len();
        piece
    }

    fn fail(&self, error: &io::Error) {
        let mut state = self.lock();
        state.error = Some(error.kind());
        state.os_error = error.raw_os_error();
        state.queue = VecDeque::new();
        state.in_hand = 0;
        drop(state);
        self.changed.notify_all();
    }
}

/// One write; 0 if there is no room at present.
fn write_some(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => return Ok(written),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Ok(0),
                _ => return Err(error),
            },
        }
    }
}

/// Waits until the file accepts something. Returns whether that happened within `limit`.
fn wait_for_room(file: &File, limit: Option<Duration>) -> bool {
    let limit = limit.map_or(PollTimeout::NONE, |limit| {
        PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)
    });
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    !matches!(poll(&mut fds, limit), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    const PATIENCE: Duration = Duration::from_millis(50);

    fn pipe() -> (io::PipeReader, File) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, File::from(OwnedFd::from(writer)))
    }

    #[test]
    fn memory_is_bounded_and_no_caller_waits_without_a_reader() {
        let (_reader, file) = pipe();
        let background = Background::new(1_000_000);
        background.start(move || Ok(file)).unwrap();
        let error = loop {
            if let Err(error) = background.push(&[7; 1000]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let error = background.drain(PATIENCE, || false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn bytes_arrive_in_order_and_drain_waits_for_them() {
        for is_non_blocking in [false, true] {
            let (mut reader, file) = pipe();
            if is_non_blocking {
                use nix::fcntl::{FcntlArg, OFlag, fcntl};
                fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
            }
            let background = Background::new(1_000_000);
            let bytes: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
            background.push(&bytes).unwrap();
            background.start(move || Ok(file)).unwrap();
            let expected = bytes.clone();
            let reading = thread::spawn(move || {
                let mut got = vec![0; expected.len()];
                reader.read_exact(&mut got).unwrap();
                assert!(got == expected);
                reader
            });
            background.drain(Duration::from_secs(30), || false).unwrap();
            assert_eq!(background.waiting(), 0);
            drop(reading.join().unwrap());
        }
    }

    #[test]
    fn an_error_is_returned_by_every_later_call() {
        let background = Background::new(1000);
        let open = || File::options().write(true).open("/dev/full");
        background.start(open).unwrap();
        background.push(b"bytes").unwrap();
        for _ in 0..2 {
            let error = background.drain(PATIENCE, || false).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            let error = background.push(b"bytes").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
