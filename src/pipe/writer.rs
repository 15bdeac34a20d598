//! The writing half of a pipe.

use super::Pipe;
use super::account::Account;
use super::shared::Shared;
use super::waiter::{Half, Wish};
use crate::core::error::WriteError;
use crate::core::ledger::Ledger;
use crate::core::report::{Progress, Report};
use crate::core::state::State;
use core::fmt;
use embedded_io::{ErrorType, WriteReady};

/// The writing half of a [`Pipe`], lent by [`Pipe::split`].
///
/// Its own calls never wait, so an interrupt may make them. [`blocking`](Self::blocking) returns
/// a value whose calls block (`embedded_io::Write`); with the feature `async`, the writer itself
/// is an `embedded_io_async::Write`.
///
/// `Ok` from a write means *accepted*: the bytes are in the pipe and in the ledger. `Ok` from a
/// flush means that the reader has read every accepted byte.
///
/// Dropping an unfinished writer aborts: the reader gets a reset, and unread bytes are
/// undelivered. If it has begun to finish, the reader can still read the bytes.
pub struct PipeWriter<'p, const N: usize> {
    pub(super) pipe: &'p Pipe<N>,
}

/// The error of a call that cannot access the pipe: it may be repeated.
const BUSY: WriteError = WriteError::WouldBlock {
    ledger: Ledger::ZERO,
};

impl<'p, const N: usize> PipeWriter<'p, N> {
    pub(super) const fn new(pipe: &'p Pipe<N>) -> Self {
        Self { pipe }
    }

    /// Accepts as many of `bytes` as there is room for, without waiting. `Ok(0)` if `bytes` is
    /// empty, and only then.
    ///
    /// # Errors
    ///
    /// [`WriteError::WouldBlock`] if there is no room at present. Otherwise why the pipe accepts
    /// no more bytes: [`WriteError::PeerClosed`] after the reader has closed or was dropped,
    /// [`WriteError::Closed`] after the writer has finished or aborted. Nothing of `bytes` was
    /// accepted.
    ///
    /// ```
    /// use lastbyte::WriteError;
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<4>::new();
    /// let (mut writer, _reader) = pipe.split()?;
    /// assert_eq!(writer.try_write(b"beats")?, 4);
    /// assert!(matches!(writer.try_write(b"s"), Err(WriteError::WouldBlock { .. })));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize, WriteError> {
        let write = |shared: &mut Shared<N>| shared.write(bytes);
        self.pipe.act(Half::Writer, || Err(BUSY), write)
    }

    /// Accepts all of `message` or nothing, without waiting: for records that must not be split,
    /// from an interrupt for example.
    ///
    /// # Errors
    ///
    /// [`WriteError::WouldBlock`] while there is no room for all of it;
    /// [`WriteError::MessageTooLong`] if it has more than `N` bytes, so that there never will be.
    /// Otherwise see [`try_write`](Self::try_write). Nothing of `message` was accepted.
    ///
    /// ```
    /// use lastbyte::WriteError;
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<6>::new();
    /// let (mut writer, _reader) = pipe.split()?;
    /// writer.try_write_message(b"beat")?;
    /// let error = writer.try_write_message(b"beat").unwrap_err();
    /// assert!(matches!(error, WriteError::WouldBlock { .. }));
    /// assert_eq!(error.ledger().accepted(), 4);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn try_write_message(&mut self, message: &[u8]) -> Result<(), WriteError> {
        let write = |shared: &mut Shared<N>| shared.write_message(message);
        self.pipe.act(Half::Writer, || Err(BUSY), write)
    }

    /// How many bytes a write would accept at present.
    ///
    /// # Errors
    ///
    /// Why the pipe accepts no more bytes.
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (mut writer, _reader) = pipe.split()?;
    /// writer.try_write(b"beat")?;
    /// assert_eq!(writer.room()?, 4);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn room(&self) -> Result<usize, WriteError> {
        self.pipe.with(|| Err(BUSY), |shared| shared.room())
    }

    /// Whether the reader has read every accepted byte.
    ///
    /// # Errors
    ///
    /// How the pipe ended, if bytes were undelivered then.
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (mut writer, mut reader) = pipe.split()?;
    /// writer.try_write(b"beat")?;
    /// assert!(!writer.is_flushed()?);
    /// reader.try_read(&mut [0; 4])?;
    /// assert!(writer.is_flushed()?);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn is_flushed(&self) -> Result<bool, WriteError> {
        self.pipe.account().is_flushed()
    }

    /// Finishes, without waiting: no more writes; the reader gets what was accepted, and then the
    /// end. [`finished`](Self::finished) returns when. After this call, the writer may be
    /// dropped: only its report is lost.
    ///
    /// It changes nothing after the end.
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (mut writer, mut reader) = pipe.split()?;
    /// writer.try_write(b"beat")?;
    /// writer.begin_finish();
    /// drop(writer);
    /// assert_eq!(reader.try_read(&mut [0; 8])?, Some(4));
    /// assert_eq!(reader.try_read(&mut [0; 8])?, Some(0));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn begin_finish(&mut self) {
        self.pipe.act(Half::Writer, || (), Shared::finish);
    }

    /// How the pipe ended; `None` while it lives. `Ok` if every accepted byte was read, and the
    /// writer has finished. (After the reader has closed, too: then the cause is the reader's.)
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (mut writer, mut reader) = pipe.split()?;
    /// writer.try_write(b"beat")?;
    /// writer.begin_finish();
    /// assert_eq!(writer.finished(), None);
    /// reader.try_read(&mut [0; 8])?;
    /// let report = writer.finished().expect("all was read")?;
    /// assert_eq!(report.ledger.acknowledged(), 4);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn finished(&self) -> Option<Result<Report, WriteError>> {
        self.pipe.account().finished()
    }

    /// Ends the pipe at once: the reader gets a reset, and unread bytes are undelivered. A pipe
    /// that had already ended keeps its cause.
    ///
    /// ```
    /// use lastbyte::Cause;
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (mut writer, mut reader) = pipe.split()?;
    /// writer.try_write(b"beat")?;
    /// let report = writer.abort();
    /// assert_eq!(report.cause, Some(Cause::Aborted));
    /// assert_eq!(report.ledger.undelivered(), 4);
    /// assert!(reader.try_read(&mut [0; 8]).is_err());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn abort(self) -> Report {
        let absent = || Account::NEW.report();
        self.pipe.act(Half::Writer, absent, Shared::abort)
    }

    /// The state of the pipe as a connection: the reader is the peer.
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    /// use lastbyte::{OnPeerFin, State};
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (writer, mut reader) = pipe.split()?;
    /// assert_eq!(writer.state(), State::Open);
    /// reader.close();
    /// assert_eq!(writer.state(), State::PeerFinished(OnPeerFin::Refuse));
    /// # Ok::<(), lastbyte::pipe::PipeInUse>(())
    /// ```
    #[must_use]
    pub fn state(&self) -> State {
        self.pipe.account().state()
    }

    /// State and ledger, and whether the pipe is full: then its window is closed.
    ///
    /// ```
    /// use lastbyte::core::Window;
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<4>::new();
    /// let (mut writer, _reader) = pipe.split()?;
    /// writer.try_write(b"beat")?;
    /// assert_eq!(writer.progress().window, Window::Zero);
    /// assert_eq!(writer.progress().ledger.pending(), 4);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.pipe.progress()
    }

    /// The report so far. [`Report::elapsed`] is zero: a pipe has no clock.
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (mut writer, reader) = pipe.split()?;
    /// writer.try_write(b"beat")?;
    /// drop(reader);
    /// assert!(writer.try_write(b"beat").is_err());
    /// let report = writer.report();
    /// assert_eq!(report.to_string(), "peer_reset: 4 bytes accepted, 0 acknowledged, 4 not known to be delivered");
    /// assert_eq!((report.writes_accepted, report.writes_refused), (1, 1));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn report(&self) -> Report {
        self.pipe.account().report()
    }
}

impl<const N: usize> ErrorType for PipeWriter<'_, N> {
    type Error = WriteError;
}

impl<const N: usize> WriteReady for PipeWriter<'_, N> {
    /// Whether a write would return at once, possibly with an error.
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        let is_ready = |shared: &mut Shared<N>| shared.is_true(Wish::Room(1));
        Ok(self.pipe.with(|| false, is_ready))
    }
}

impl<const N: usize> Drop for PipeWriter<'_, N> {
    fn drop(&mut self) {
        let _forgotten = self.pipe.act(Half::Writer, || None, Shared::drop_writer);
    }
}

impl<const N: usize> fmt::Debug for PipeWriter<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.progress();
        f.debug_tuple("PipeWriter").field(&progress).finish()
    }
}
