//! A pipe in memory: the same contract between two tasks, or between an interrupt and a task.
//!
//! A [`Pipe`] holds at most `N` bytes. It can be a `static`, and [`Pipe::split`] lends its two
//! halves, a [`PipeWriter`] and a [`PipeReader`]. States, errors and ledger are those of a TCP
//! connection, and the reader is the peer:
//!
//! - A write after the reader has closed, or was dropped, is [`WriteError::PeerClosed`]: the very
//!   first one, and it accepts nothing.
//! - A byte is *acknowledged* once the reader has taken it. So for a pipe the ledger is exact:
//!   what is undelivered was never read.
//! - A flush waits until every accepted byte was read. If the pipe ends before, it fails, with the
//!   ledger.
//! - A reader gets all that was written before the writer finished, and then the end (`Ok(0)`).
//!   If the writer aborts, or is dropped unfinished, the reader gets the reset instead, and what
//!   it has not read is undelivered.
//! - The first [`Cause`] of an end is latched.
//!
//! ```
//! use lastbyte::pipe::Pipe;
//! use lastbyte::{Cause, WriteError};
//!
//! static PIPE: Pipe<16> = Pipe::new();
//!
//! let (mut writer, mut reader) = PIPE.split()?;
//! assert_eq!(writer.try_write(b"every byte counted")?, 16);
//!
//! let mut bytes = [0; 10];
//! assert_eq!(reader.try_read(&mut bytes)?, Some(10));
//! drop(reader);
//!
//! let error = writer.try_write(b"one more").unwrap_err();
//! assert!(matches!(error, WriteError::PeerClosed { .. }));
//! assert_eq!(error.ledger().accepted(), 16);
//! assert_eq!(error.ledger().acknowledged(), 10);
//! assert_eq!(error.ledger().undelivered(), 6);
//! assert_eq!(error.cause(), Some(Cause::PeerReset));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Three ways to call
//!
//! | who calls | how |
//! |---|---|
//! | an interrupt, or a loop that never waits | the `try_` calls of both halves |
//! | a task that blocks | [`PipeWriter::blocking`] and [`PipeReader::blocking`]: `embedded_io` traits, each call bounded by a [`Clock`](crate::Clock) |
//! | an async task | the `embedded_io_async` traits of both halves, with the feature `async` |
//!
//! Each half may be called in a different way.
//!
//! # Ends
//!
//! | what happens | the writer gets | the reader gets |
//! |---|---|---|
//! | [`PipeReader::close`] | `PeerClosed` (FIN); accepted bytes drain | the accepted bytes, then the end |
//! | reader dropped, all was read | `PeerClosed` (FIN) | |
//! | reader dropped, bytes unread | `PeerClosed` (RST), the bytes undelivered | |
//! | [`PipeWriter::begin_finish`], or a `finish` | the report once all was read | the accepted bytes, then the end |
//! | [`PipeWriter::abort`], or the writer is dropped unfinished | [`Cause::Aborted`] | the reset, at once |
//! | the finish timeout of [`Blocking::finish`] | [`Cause::FinishTimeout`] | the reset, at once |
//!
//! A writer may be dropped once it has begun to finish: the reader can still read the rest. Once
//! both halves are dropped, the pipe can be split again, with a new ledger.
//!
//! # Where it is weaker than a connection
//!
//! | clause | in a pipe |
//! |---|---|
//! | every call is bounded | An async call has no timeout of its own: a pipe has no timer. It ends when the other half acts or is dropped. Every call is cancel-safe, so a timeout of the executor can bound it. |
//! | silence ends a connection | A reader that does not read is slow, not silent. Only the call times out, as [`Timeout::NotReading`](crate::Timeout::NotReading) if nothing was read meanwhile. |
//! | the report has the elapsed time | [`Report::elapsed`](crate::Report::elapsed) is zero: a pipe has no clock. |
//!
//! # Locks and wakers
//!
//! Both halves share their state in a critical section (the crate `critical-section`, for which a
//! board supplies the implementation). It lasts for one copy of at most `N` bytes; an
//! application that needs shorter ones writes and reads less in one call. No waker and no other
//! code of an application runs inside it. There is no `BufRead`, because lending bytes
//! would keep interrupts off for as long as they are lent.
//!
//! A half wakes the other when what that one waits for has come true (room, bytes, everything
//! read, the end), and never needlessly.
//!
//! [`Cause`]: crate::Cause
//! [`Cause::Aborted`]: crate::Cause::Aborted
//! [`Cause::FinishTimeout`]: crate::Cause::FinishTimeout
//! [`WriteError::PeerClosed`]: crate::WriteError::PeerClosed

mod account;
#[cfg(feature = "async")]
mod asynch;
mod blocking;
mod reader;
mod ring;
mod shared;
mod waiter;
mod writer;

pub use blocking::Blocking;
pub use reader::PipeReader;
pub use writer::PipeWriter;

use crate::core::facts::Window;
use crate::core::report::Progress;
use account::Account;
use core::cell::RefCell;
use core::fmt;
use core::task::Waker;
use critical_section::Mutex;
use embedded_io::ErrorKind;
use shared::Shared;
use waiter::{Half, Wish};

/// A pipe that holds at most `N` bytes; `N` is at least one.
///
/// It is `Sync`, so it can be a `static`, and its halves `Send`. On a 32-bit machine it takes `N`
/// octets of memory and some hundred more, and as a `static` no flash.
///
/// A pipe of zero bytes does not compile.
///
/// ```
/// use lastbyte::pipe::Pipe;
///
/// static PIPE: Pipe<256> = Pipe::new();
///
/// let (mut writer, mut reader) = PIPE.split()?;
/// writer.try_write(b"beat")?;
/// writer.begin_finish();
/// let mut bytes = [0; 8];
/// assert_eq!(reader.try_read(&mut bytes)?, Some(4));
/// assert_eq!(reader.try_read(&mut bytes)?, Some(0), "the writer has finished");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// ```compile_fail
/// static PIPE: lastbyte::pipe::Pipe<0> = lastbyte::pipe::Pipe::new();
/// ```
pub struct Pipe<const N: usize> {
    shared: Mutex<RefCell<Shared<N>>>,
}

impl<const N: usize> Pipe<N> {
    /// A pipe without halves and without bytes.
    ///
    /// ```
    /// static PIPE: lastbyte::pipe::Pipe<64> = lastbyte::pipe::Pipe::new();
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(N > 0, "a pipe holds at least one byte") };
        Self {
            shared: Mutex::new(RefCell::new(Shared::new())),
        }
    }

    /// Opens the pipe and lends its two halves, with a ledger that begins at zero. There is one
    /// writer and one reader at a time; the pipe can be split again once both are dropped.
    ///
    /// # Errors
    ///
    /// [`PipeInUse`] while there is a half: nothing has changed.
    ///
    /// ```
    /// use lastbyte::pipe::{Pipe, PipeInUse};
    ///
    /// static PIPE: Pipe<64> = Pipe::new();
    ///
    /// let (writer, reader) = PIPE.split()?;
    /// assert_eq!(PIPE.split().unwrap_err(), PipeInUse);
    /// drop((writer, reader));
    /// assert!(PIPE.split().is_ok());
    /// # Ok::<(), PipeInUse>(())
    /// ```
    pub fn split(&self) -> Result<(PipeWriter<'_, N>, PipeReader<'_, N>), PipeInUse> {
        match self.with(|| false, Shared::open) {
            true => Ok((PipeWriter::new(self), PipeReader::new(self))),
            false => Err(PipeInUse),
        }
    }

    /// Calls `call` with what both halves share.
    ///
    /// Within another call of the same thread it returns `absent` instead. There are none, because
    /// no `call` runs code that is not ours.
    fn with<T>(&self, absent: impl FnOnce() -> T, call: impl FnOnce(&mut Shared<N>) -> T) -> T {
        critical_section::with(|token| match self.shared.borrow(token).try_borrow_mut() {
            Ok(mut shared) => call(&mut shared),
            Err(_) => absent(),
        })
    }

    /// Like [`with`](Self::with), for a call of `half` that changes something: if the other half
    /// has what it waits for, it is woken, after the critical section.
    fn act<T>(
        &self,
        half: Half,
        absent: impl FnOnce() -> T,
        call: impl FnOnce(&mut Shared<N>) -> T,
    ) -> T {
        // Beside the outcome, not in one value with it: that would be moved through three frames.
        let mut due = None;
        let outcome = self.with(absent, |shared| {
            let outcome = call(shared);
            due = shared.take_due(half.other());
            outcome
        });
        if let Some(waker) = due {
            waker.wake();
        }
        outcome
    }

    /// The account as it is at present.
    fn account(&self) -> Account {
        self.with(|| Account::NEW, |shared| shared.account)
    }

    /// State and ledger, and whether there is room.
    fn progress(&self) -> Progress {
        let absent = || Account::NEW.progress(Window::Zero);
        self.with(absent, |shared| shared.progress())
    }

    /// Records what `half` waits for. If that has already come true, returns true, and the half
    /// waits for nothing.
    fn wait(&self, half: Half, wish: Wish, waker: &Waker) -> bool {
        // To clone or drop a waker may run code of an executor: not in the critical section.
        let waker = waker.clone();
        let absent = || (false, [None, None]);
        let (is_true, _replaced) = self.with(absent, |shared| shared.wait(half, wish, waker));
        is_true
    }

    /// The half stops waiting.
    fn withdraw(&self, half: Half) {
        let _withdrawn = self.with(|| None, |shared| shared.withdraw(half));
    }
}

impl<const N: usize> Default for Pipe<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for Pipe<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pipe").field(&self.progress()).finish()
    }
}

/// The pipe has a writer or a reader: both must be dropped before it can be split again.
///
/// ```
/// use embedded_io::{Error, ErrorKind};
/// use lastbyte::pipe::PipeInUse;
///
/// assert_eq!(PipeInUse.kind(), ErrorKind::AddrInUse);
/// assert_eq!(PipeInUse.to_string(), "the pipe is in use; drop both of its halves first");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PipeInUse;

impl fmt::Display for PipeInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pipe is in use; drop both of its halves first")
    }
}

impl core::error::Error for PipeInUse {}

impl embedded_io::Error for PipeInUse {
    fn kind(&self) -> ErrorKind {
        ErrorKind::AddrInUse
    }
}
