//! The reading half of a pipe.

use super::Pipe;
use super::shared::Shared;
use super::waiter::{Half, Wish};
use crate::core::error::ReadError;
use crate::core::ledger::Ledger;
use core::fmt;
use embedded_io::{ErrorType, ReadReady};

/// The reading half of a [`Pipe`], lent by [`Pipe::split`].
///
/// Its own calls never wait, so an interrupt may make them. [`blocking`](Self::blocking) returns
/// a value whose calls block (`embedded_io::Read`); with the feature `async`, the reader itself
/// is an `embedded_io_async::Read`.
///
/// `Ok(0)` means that the writer has finished and everything was read. Any other end is an error:
/// [`ReadError::Ended`] with [`WriteError::PeerClosed`](crate::WriteError::PeerClosed), a reset.
///
/// Dropping a reader closes the pipe. If bytes are unread, they are undelivered, and the writer
/// gets a reset.
pub struct PipeReader<'p, const N: usize> {
    pub(super) pipe: &'p Pipe<N>,
}

impl<'p, const N: usize> PipeReader<'p, N> {
    pub(super) const fn new(pipe: &'p Pipe<N>) -> Self {
        Self { pipe }
    }

    /// Reads as many bytes as there are and fit into `into`, without waiting. `Ok(None)`: there
    /// are none at present. `Ok(Some(0))`: none will come, or `into` is empty.
    ///
    /// Bytes that this has read are acknowledged.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ended`] if the writer has aborted or was dropped unfinished.
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (mut writer, mut reader) = pipe.split()?;
    /// assert_eq!(reader.try_read(&mut [0; 8])?, None);
    /// writer.try_write(b"beat")?;
    /// assert_eq!(reader.try_read(&mut [0; 8])?, Some(4));
    /// drop(writer);
    /// assert!(reader.try_read(&mut [0; 8]).is_err());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn try_read(&mut self, into: &mut [u8]) -> Result<Option<usize>, ReadError> {
        let read = |shared: &mut Shared<N>| shared.read(into);
        self.pipe.act(Half::Reader, || Ok(None), read)
    }

    /// How many bytes can be read at present.
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (mut writer, reader) = pipe.split()?;
    /// writer.try_write(b"beat")?;
    /// assert_eq!(reader.unread(), 4);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn unread(&self) -> usize {
        self.pipe.with(|| 0, |shared| shared.unread())
    }

    /// Closes the pipe for writes: the next one is refused. Bytes accepted before can still be
    /// read, and then the end follows. So nothing is undelivered if the reader reads until the end
    /// and the writer finishes.
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (mut writer, mut reader) = pipe.split()?;
    /// writer.try_write(b"beat")?;
    /// reader.close();
    /// assert!(writer.try_write(b"beat").is_err());
    /// assert_eq!(reader.try_read(&mut [0; 8])?, Some(4));
    /// assert_eq!(reader.try_read(&mut [0; 8])?, Some(0));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn close(&mut self) {
        self.pipe.act(Half::Reader, || (), Shared::close);
    }

    /// How many bytes the writer has written, and how many of them were read.
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    ///
    /// let pipe = Pipe::<8>::new();
    /// let (mut writer, mut reader) = pipe.split()?;
    /// writer.try_write(b"beat")?;
    /// reader.try_read(&mut [0; 3])?;
    /// assert_eq!(reader.ledger().acknowledged(), 3);
    /// assert_eq!(reader.ledger().pending(), 1);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.pipe.account().ledger()
    }
}

impl<const N: usize> ErrorType for PipeReader<'_, N> {
    type Error = ReadError;
}

impl<const N: usize> ReadReady for PipeReader<'_, N> {
    /// Whether a read would return at once, possibly with an error.
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        let is_ready = |shared: &mut Shared<N>| shared.is_true(Wish::Readable);
        Ok(self.pipe.with(|| false, is_ready))
    }
}

impl<const N: usize> Drop for PipeReader<'_, N> {
    fn drop(&mut self) {
        let _forgotten = self.pipe.act(Half::Reader, || None, Shared::drop_reader);
    }
}

impl<const N: usize> fmt::Debug for PipeReader<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.pipe.progress();
        f.debug_tuple("PipeReader").field(&progress).finish()
    }
}
