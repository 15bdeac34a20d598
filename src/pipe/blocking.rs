//! A half whose calls block, each with a timeout.

use super::shared::Shared;
use super::waiter::{Half, Wish};
use super::{Pipe, PipeReader, PipeWriter};
use crate::Clock;
use crate::core::error::{ReadError, Timeout, WriteError};
use crate::core::options::Options;
use crate::core::report::Report;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::task::Waker;
use core::time::Duration;
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

/// A half of a pipe with a clock: its calls block, at most for the call timeout.
///
/// Made by [`PipeWriter::blocking`] and [`PipeReader::blocking`]; it also has every call of the
/// half itself. Of the [`Options`], it uses [`call_timeout`](Options::call_timeout) and
/// [`finish_timeout`](Options::finish_timeout).
///
/// Between two checks it calls [`Clock::wait`]. If every interrupt ends that (WFI, WFE), as on
/// one core whose interrupts are the other half, nothing else is needed. Otherwise, give
/// [`with_waker`](Self::with_waker) a waker that ends it.
///
/// ```
/// use core::time::Duration;
/// use embedded_io::{Read, Write};
/// use lastbyte::pipe::Pipe;
/// use lastbyte::{Clock, Instant, Options};
/// # struct Ticks(u64);
/// # impl Clock for Ticks {
/// #     fn now(&mut self) -> Instant { Instant::from_millis(self.0) }
/// #     fn wait(&mut self, until: Option<Instant>) { self.0 += 1; }
/// # }
///
/// let pipe = Pipe::<4>::new();
/// let (writer, mut reader) = pipe.split()?;
/// let options = Options::builder().call_timeout(Duration::from_millis(20)).build()?;
/// let mut writer = writer.blocking(Ticks(0)).with_options(options);
///
/// // Nothing reads, so the fifth byte finds no room within 20 ms.
/// let error = writer.write_all(b"beats").unwrap_err();
/// assert_eq!(error.to_string(), "the peer does not read, the connection lives: \
///     4 bytes accepted, 0 acknowledged, 4 not known to be delivered");
///
/// let mut bytes = [0; 5];
/// assert_eq!(reader.try_read(&mut bytes)?, Some(4));
/// writer.write_all(&b"beats"[4..])?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct Blocking<H, C> {
    half: H,
    clock: C,
    call_timeout: Duration,
    finish_timeout: Duration,
    waker: Waker,
}

impl<'p, const N: usize> PipeWriter<'p, N> {
    /// A writer whose calls block, with the time of `clock` and the timeouts of
    /// [`Options::DEFAULT`].
    ///
    /// ```
    /// use embedded_io::Write;
    /// use lastbyte::Clock;
    /// use lastbyte::pipe::PipeWriter;
    ///
    /// fn log(writer: PipeWriter<'_, 256>, clock: impl Clock) -> Result<(), lastbyte::WriteError> {
    ///     let mut writer = writer.blocking(clock);
    ///     writer.write_all(b"beat\n")?;
    ///     writer.finish()?;
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn blocking<C: Clock>(self, clock: C) -> Blocking<Self, C> {
        Blocking::new(self, clock)
    }
}

impl<'p, const N: usize> PipeReader<'p, N> {
    /// A reader whose calls block, with the time of `clock` and the timeouts of
    /// [`Options::DEFAULT`].
    ///
    /// ```
    /// use embedded_io::Read;
    /// use lastbyte::Clock;
    /// use lastbyte::pipe::PipeReader;
    ///
    /// fn drain(reader: PipeReader<'_, 256>, clock: impl Clock) -> Result<(), lastbyte::ReadError> {
    ///     let mut reader = reader.blocking(clock);
    ///     let mut bytes = [0; 64];
    ///     while reader.read(&mut bytes)? > 0 {}
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn blocking<C: Clock>(self, clock: C) -> Blocking<Self, C> {
        Blocking::new(self, clock)
    }
}

impl<H, C> Blocking<H, C> {
    fn new(half: H, clock: C) -> Self {
        Self {
            half,
            clock,
            call_timeout: Options::DEFAULT.call_timeout(),
            finish_timeout: Options::DEFAULT.finish_timeout(),
            waker: Waker::noop().clone(),
        }
    }

    /// With the call timeout and the finish timeout of `options`.
    ///
    /// ```
    /// use core::time::Duration;
    /// use lastbyte::pipe::{Blocking, PipeReader};
    /// use lastbyte::{Clock, Options};
    ///
    /// fn patient<C: Clock>(reader: Blocking<PipeReader<'_, 64>, C>) -> Blocking<PipeReader<'_, 64>, C> {
    ///     const HOUR: Options =
    ///         match Options::builder().call_timeout(Duration::from_secs(3_600)).build() {
    ///             Ok(options) => options,
    ///             Err(_) => panic!("an hour is not too long"),
    ///         };
    ///     reader.with_options(HOUR)
    /// }
    /// ```
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.call_timeout = options.call_timeout();
        self.finish_timeout = options.finish_timeout();
        self
    }

    /// With a waker that ends [`Clock::wait`]: the other half wakes it once what a call waits for
    /// has come true. Needed if no interrupt ends the wait, as between two threads or two cores.
    ///
    /// A wake before the wait begins must end it too, as `std::thread::unpark` does.
    ///
    /// ```
    /// use lastbyte::pipe::Pipe;
    /// use lastbyte::{Clock, Instant};
    /// use std::sync::Arc;
    /// use std::task::Wake;
    /// use std::thread::{self, Thread};
    /// use std::time;
    ///
    /// /// Waits in `park`, which `unpark` ends.
    /// struct Parked(time::Instant);
    ///
    /// impl Clock for Parked {
    ///     fn now(&mut self) -> Instant {
    ///         self.0.elapsed().into()
    ///     }
    ///
    ///     fn wait(&mut self, until: Option<Instant>) {
    ///         match until {
    ///             Some(until) => thread::park_timeout(until.since(self.now())),
    ///             None => thread::park(),
    ///         }
    ///     }
    /// }
    ///
    /// struct Unpark(Thread);
    ///
    /// impl Wake for Unpark {
    ///     fn wake(self: Arc<Self>) {
    ///         self.0.unpark();
    ///     }
    /// }
    ///
    /// static PIPE: Pipe<64> = Pipe::new();
    /// let (mut writer, reader) = PIPE.split()?;
    /// let task = thread::spawn(move || {
    ///     use embedded_io::Read;
    ///     let waker = Arc::new(Unpark(thread::current())).into();
    ///     let mut reader = reader.blocking(Parked(time::Instant::now())).with_waker(waker);
    ///     let mut bytes = [0; 64];
    ///     reader.read(&mut bytes).map(|count| bytes[..count].to_vec())
    /// });
    /// writer.try_write(b"beat")?;
    /// assert_eq!(task.join().expect("it does not panic")?, b"beat");
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_waker(mut self, waker: Waker) -> Self {
        self.waker = waker;
        self
    }

    /// The half without its clock.
    ///
    /// ```
    /// use lastbyte::Clock;
    /// use lastbyte::pipe::{Blocking, PipeWriter};
    ///
    /// /// Moves the writer, to an interrupt for instance.
    /// fn give<C: Clock>(writer: Blocking<PipeWriter<'static, 64>, C>) -> PipeWriter<'static, 64> {
    ///     writer.into_half()
    /// }
    /// ```
    #[must_use]
    pub fn into_half(self) -> H {
        self.half
    }
}

/// Waits until `wish` has come true; false if `timeout` expires before.
fn wait<const N: usize>(
    pipe: &Pipe<N>,
    half: Half,
    wish: Wish,
    clock: &mut impl Clock,
    waker: &Waker,
    timeout: Duration,
) -> bool {
    let until = clock.now() + timeout;
    // The wish is checked once more after the timeout.
    while !pipe.wait(half, wish, waker) {
        if clock.now() >= until {
            pipe.withdraw(half);
            return false;
        }
        clock.wait(Some(until));
    }
    true
}

impl<C: Clock, const N: usize> Blocking<PipeWriter<'_, N>, C> {
    fn wait(&mut self, wish: Wish, timeout: Duration) -> bool {
        let (clock, waker) = (&mut self.clock, &self.waker);
        wait(self.half.pipe, Half::Writer, wish, clock, waker, timeout)
    }

    /// Makes a call that does not wait, and repeats it after `wish` has come true.
    fn call<T>(
        &mut self,
        wish: Wish,
        mut attempt: impl FnMut(&mut PipeWriter<'_, N>) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        let outcome = attempt(&mut self.half);
        let Err(WriteError::WouldBlock { ledger }) = outcome else {
            return outcome;
        };
        if self.wait(wish, self.call_timeout) {
            return attempt(&mut self.half);
        }
        Err(self
            .half
            .pipe
            .account()
            .call_timed_out(ledger.acknowledged()))
    }

    /// Accepts all of `message` or nothing. Waits for room if necessary, at most for the call
    /// timeout.
    ///
    /// # Errors
    ///
    /// [`WriteError::MessageTooLong`] if `message` has more than `N` bytes; otherwise the errors
    /// of a write. Nothing of `message` was accepted.
    ///
    /// ```
    /// use lastbyte::pipe::{Blocking, PipeWriter};
    /// use lastbyte::{Clock, WriteError};
    ///
    /// fn record<C: Clock>(log: &mut Blocking<PipeWriter<'_, 64>, C>) -> Result<(), WriteError> {
    ///     log.write_message(b"temperature 21\n")
    /// }
    /// ```
    pub fn write_message(&mut self, message: &[u8]) -> Result<(), WriteError> {
        self.call(Wish::Room(message.len()), |writer| {
            writer.try_write_message(message)
        })
    }

    /// Finishes: no more writes; waits until the reader has read everything that was accepted, and
    /// then gets the end, at most for the finish timeout. `Ok` if every accepted byte was read;
    /// the report says whether the reader had closed before.
    ///
    /// # Errors
    ///
    /// How the pipe ended instead, with the ledger. At the finish timeout
    /// ([`Cause::FinishTimeout`](crate::Cause::FinishTimeout)) the reader gets a reset.
    ///
    /// ```
    /// use lastbyte::pipe::{Blocking, PipeWriter};
    /// use lastbyte::{Clock, WriteError};
    ///
    /// fn end<C: Clock>(writer: Blocking<PipeWriter<'_, 64>, C>) -> Result<u64, WriteError> {
    ///     Ok(writer.finish()?.ledger.acknowledged())
    /// }
    /// ```
    pub fn finish(mut self) -> Result<Report, WriteError> {
        self.half.begin_finish();
        if self.half.finished().is_none() && !self.wait(Wish::Closed, self.finish_timeout) {
            let pipe = self.half.pipe;
            pipe.act(Half::Writer, || (), Shared::give_up_finishing);
        }
        let ledger = self.half.pipe.account().ledger();
        let ended = self.half.finished();
        ended.unwrap_or(Err(WriteError::NotOpen { ledger }))
    }
}

impl<C: Clock, const N: usize> ErrorType for Blocking<PipeWriter<'_, N>, C> {
    type Error = WriteError;
}

impl<C: Clock, const N: usize> Write for Blocking<PipeWriter<'_, N>, C> {
    /// Accepts at least one byte, waiting for room if necessary, at most for the call timeout.
    /// An empty `bytes` never waits.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.call(Wish::Room(1), |writer| writer.try_write(bytes))
    }

    /// Waits until the reader has read every accepted byte, at most for the call timeout.
    fn flush(&mut self) -> Result<(), Self::Error> {
        self.call(Wish::Flushed, |writer| match writer.is_flushed()? {
            true => Ok(()),
            false => Err(writer.pipe.account().would_block()),
        })
    }
}

impl<C: Clock, const N: usize> WriteReady for Blocking<PipeWriter<'_, N>, C> {
    /// Whether a write would return at once, possibly with an error.
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        self.half.write_ready()
    }
}

impl<C: Clock, const N: usize> ErrorType for Blocking<PipeReader<'_, N>, C> {
    type Error = ReadError;
}

impl<C: Clock, const N: usize> Read for Blocking<PipeReader<'_, N>, C> {
    /// Waits until there is at least one byte, or none will come, at most for the call timeout.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        if let Some(read) = self.half.try_read(into)? {
            return Ok(read);
        }
        let (clock, waker, timeout) = (&mut self.clock, &self.waker, self.call_timeout);
        wait(
            self.half.pipe,
            Half::Reader,
            Wish::Readable,
            clock,
            waker,
            timeout,
        );
        let ledger = self.half.ledger();
        let why = Timeout::Call;
        let timed_out = ReadError::Ended(WriteError::TimedOut { why, ledger });
        self.half.try_read(into)?.ok_or(timed_out)
    }
}

impl<C: Clock, const N: usize> ReadReady for Blocking<PipeReader<'_, N>, C> {
    /// Whether a read would return at once, possibly with an error.
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        self.half.read_ready()
    }
}

impl<H, C> Deref for Blocking<H, C> {
    type Target = H;

    fn deref(&self) -> &Self::Target {
        &self.half
    }
}

impl<H, C> DerefMut for Blocking<H, C> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.half
    }
}

impl<H: fmt::Debug, C> fmt::Debug for Blocking<H, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocking").field(&self.half).finish()
    }
}
