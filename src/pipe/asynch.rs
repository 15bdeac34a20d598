//! The halves as async values: each call waits for a wish of its half.
//!
//! Every call may be dropped while it waits: it has accepted or taken nothing then, and its waker
//! is withdrawn. A finish goes on, and can be awaited again.

use super::waiter::{Half, Wish};
use super::{Pipe, PipeReader, PipeWriter};
use crate::core::error::{ReadError, WriteError};
use crate::core::report::Report;
use crate::core::state::Cause;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use embedded_io_async::{Read, Write};

/// Waits until a wish has come true; returns early if it is polled without having been woken. So
/// who awaits it looks again, and the critical section is not entered twice for that.
struct Granted<'c, const N: usize> {
    pipe: &'c Pipe<N>,
    half: Half,
    wish: Wish,
    /// Whether a waker has been left in the pipe.
    waits: bool,
}

impl<const N: usize> Future for Granted<'_, N> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.waits {
            self.waits = false;
            return Poll::Ready(());
        }
        self.waits = !self.pipe.wait(self.half, self.wish, context.waker());
        match self.waits {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }
}

impl<const N: usize> Drop for Granted<'_, N> {
    fn drop(&mut self) {
        if self.waits {
            self.pipe.withdraw(self.half);
        }
    }
}

impl<const N: usize> Pipe<N> {
    const fn granted(&self, half: Half, wish: Wish) -> Granted<'_, N> {
        Granted {
            pipe: self,
            half,
            wish,
            waits: false,
        }
    }
}

impl<const N: usize> PipeWriter<'_, N> {
    const fn until(&mut self, wish: Wish) -> Granted<'_, N> {
        self.pipe.granted(Half::Writer, wish)
    }

    /// Accepts all of `message` or nothing, waiting for room if need be.
    ///
    /// Dropped while it waits, it has accepted nothing.
    ///
    /// # Errors
    ///
    /// [`WriteError::MessageTooLong`] if `message` has more than `N` bytes; otherwise why the pipe
    /// accepts no more bytes. Nothing of `message` was accepted.
    ///
    /// ```
    /// use lastbyte::WriteError;
    /// use lastbyte::pipe::PipeWriter;
    ///
    /// async fn record(log: &mut PipeWriter<'_, 64>) -> Result<(), WriteError> {
    ///     log.write_message(b"temperature 21\n").await
    /// }
    /// ```
    pub async fn write_message(&mut self, message: &[u8]) -> Result<(), WriteError> {
        loop {
            match self.try_write_message(message) {
                Err(WriteError::WouldBlock { .. }) => {}
                outcome => return outcome,
            }
            self.until(Wish::Room(message.len())).await;
        }
    }

    /// Finishes: no more writes; waits until the reader has taken what was accepted. The reader
    /// gets the end then. `Ok` if every accepted byte was read; the report says whether the
    /// reader had closed before.
    ///
    /// Dropped while it waits, it goes on: the reader gets the end, and `finish` can be awaited
    /// again.
    ///
    /// # Errors
    ///
    /// How the pipe ended instead, with the ledger.
    ///
    /// ```
    /// use lastbyte::WriteError;
    /// use lastbyte::pipe::PipeWriter;
    ///
    /// async fn end(mut writer: PipeWriter<'_, 64>) -> Result<u64, WriteError> {
    ///     Ok(writer.finish().await?.ledger.acknowledged())
    /// }
    /// ```
    pub async fn finish(&mut self) -> Result<Report, WriteError> {
        self.begin_finish();
        loop {
            if let Some(ended) = self.finished() {
                return ended;
            }
            self.until(Wish::Closed).await;
        }
    }

    /// Waits until it is decided why the pipe ends, and returns that: for a task that does not
    /// write at present. After a [`close`](PipeReader::close), accepted bytes may still drain.
    ///
    /// ```
    /// use lastbyte::Cause;
    /// use lastbyte::pipe::PipeWriter;
    ///
    /// /// Until there is no need to measure any more.
    /// async fn idle(writer: &mut PipeWriter<'_, 64>) {
    ///     let cause = writer.wait_end().await;
    ///     assert!(matches!(cause, Cause::PeerFinished | Cause::PeerReset));
    /// }
    /// ```
    pub async fn wait_end(&mut self) -> Cause {
        loop {
            if let Some(cause) = self.state().cause() {
                return cause;
            }
            self.until(Wish::Ended).await;
        }
    }
}

impl<const N: usize> Write for PipeWriter<'_, N> {
    /// Accepts at least one byte, waiting for room if need be. An empty `bytes` never waits.
    /// Dropped while it waits, it has accepted nothing.
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        loop {
            match self.try_write(bytes) {
                Err(WriteError::WouldBlock { .. }) => {}
                outcome => return outcome,
            }
            self.until(Wish::Room(1)).await;
        }
    }

    /// Waits until the reader has taken every accepted byte.
    async fn flush(&mut self) -> Result<(), Self::Error> {
        while !self.is_flushed()? {
            self.until(Wish::Flushed).await;
        }
        Ok(())
    }
}

impl<const N: usize> Read for PipeReader<'_, N> {
    /// Waits until there is at least one byte, or none will come. Dropped while it waits, it has
    /// taken nothing.
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadError> {
        loop {
            if let Some(read) = self.try_read(into)? {
                return Ok(read);
            }
            self.pipe.granted(Half::Reader, Wish::Readable).await;
        }
    }
}
