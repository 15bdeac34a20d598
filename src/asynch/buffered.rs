//! `BufRead`, with a buffer that the caller supplies.

use core::fmt;
use embedded_io_async::{BufRead, ErrorType, Read, ReadReady, Write, WriteReady};

/// A reader with a buffer: `BufRead`, and every trait of the reader.
///
/// The receive buffer of a connection is shared by all tasks, so it cannot be lent from one
/// poll to the next. [`read_with`](super::Reader::read_with) lends it to a closure; this
/// type copies the received bytes into a buffer of its own.
///
/// Bytes in the buffer are already removed from the connection. Dropping a call changes
/// nothing: `fill_buf` has then read nothing, and earlier bytes stay in the buffer.
///
/// ```
/// use embedded_io_async::{BufRead, Write};
/// use lastbyte::Error;
/// use lastbyte::asynch::{AnyShared, Connection};
///
/// /// The first line that the peer sends, as far as it fits into one piece.
/// async fn greeting(connection: Connection<'_, impl AnyShared>) -> Result<usize, Error> {
///     let mut buffer = [0; 128];
///     let mut connection = connection.buffered(&mut buffer);
///     connection.write_all(b"hello?\n").await?;
///     let line = connection.fill_buf().await?;
///     let len = line.iter().position(|&byte| byte == b'\n').map_or(line.len(), |at| at + 1);
///     connection.consume(len);
///     Ok(len)
/// }
/// ```
pub struct Buffered<'b, T> {
    inner: T,
    buffer: &'b mut [u8],
    /// The bytes that were read and not consumed: from here,
    start: usize,
    /// to here.
    end: usize,
}

impl<'b, T> Buffered<'b, T> {
    /// A reader with `buffer`, which should have at least a few dozen octets. With an empty
    /// one, every stream seems to have ended.
    pub const fn new(inner: T, buffer: &'b mut [u8]) -> Self {
        Self {
            inner,
            buffer,
            start: 0,
            end: 0,
        }
    }

    /// The reader below.
    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// The inner reader. Bytes in the buffer precede those that it reads.
    pub const fn inner_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// The inner reader, and the bytes that were read and not consumed.
    pub fn into_parts(self) -> (T, &'b [u8]) {
        let Self {
            inner,
            buffer,
            start,
            end,
        } = self;
        (inner, buffer.get(start..end).unwrap_or(&[]))
    }

    fn ahead(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or(&[])
    }
}

impl<T: ErrorType> ErrorType for Buffered<'_, T> {
    type Error = T::Error;
}

impl<T: Read> BufRead for Buffered<'_, T> {
    async fn fill_buf(&mut self) -> Result<&[u8], Self::Error> {
        if self.start >= self.end {
            let read = self.inner.read(self.buffer).await?;
            (self.start, self.end) = (0, read);
        }
        Ok(self.ahead())
    }

    fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }
}

impl<T: Read> Read for Buffered<'_, T> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        let ahead = self.ahead();
        let count = ahead.len().min(into.len());
        if count == 0 {
            return self.inner.read(into).await;
        }
        if let (Some(into), Some(ahead)) = (into.get_mut(..count), ahead.get(..count)) {
            into.copy_from_slice(ahead);
        }
        self.consume(count);
        Ok(count)
    }
}

impl<T: ReadReady> ReadReady for Buffered<'_, T> {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(self.start < self.end || self.inner.read_ready()?)
    }
}

impl<T: Write> Write for Buffered<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<usize, Self::Error>> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> impl Future<Output = Result<(), Self::Error>> {
        self.inner.flush()
    }
}

impl<T: WriteReady> WriteReady for Buffered<'_, T> {
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        self.inner.write_ready()
    }
}

impl<T: fmt::Debug> fmt::Debug for Buffered<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffered")
            .field("inner", &self.inner)
            .field("ahead", &self.ahead().len())
            .finish_non_exhaustive()
    }
}
