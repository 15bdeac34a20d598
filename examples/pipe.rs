//! A pipe in memory between two tasks, with the ledger and the errors of a connection: first
//! between two threads that block, then between two async tasks on one thread.
//!
//! `cargo run --example pipe`. On a board, an interrupt would be one of the two, with the calls
//! that do not wait: `try_write`, `try_write_message`, `try_read`.

use futures_lite::future::{block_on, zip};
use lastbyte::pipe::{Blocking, Pipe, PipeReader, PipeWriter};
use lastbyte::{Clock, Instant, ReadError, Report, WriteError};
use lastbyte_examples::Failure;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time;

/// Holds two lines, and a part of the third.
static LINES: Pipe<32> = Pipe::new();

/// A thread waits in `park`, until the other half wakes it or the time is up.
struct Parked(time::Instant);

impl Parked {
    fn new() -> Self {
        Self(time::Instant::now())
    }
}

impl Clock for Parked {
    fn now(&mut self) -> Instant {
        self.0.elapsed().into()
    }

    fn wait(&mut self, until: Option<Instant>) {
        match until {
            Some(until) => thread::park_timeout(until.since(self.now())),
            None => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Arc::new(Unpark(thread::current())).into()
}

fn main() -> Result<(), Failure> {
    // The reader reads to the end.
    let report = between_threads(u32::MAX)?;
    assert_eq!(report.ledger.undelivered(), 0);

    // The reader takes one line, and leaves: five lines do not fit into what is left.
    let report = between_threads(1)?;
    assert_eq!(report.writes_refused, 1);
    assert_eq!(report.ledger.acknowledged(), 11);

    block_on(between_tasks())
}

/// Writes five lines in one thread, and reads `most` at most in another.
fn between_threads(most: u32) -> Result<Report, Failure> {
    let (writer, reader) = LINES.split()?;
    let reading = thread::spawn(move || {
        let mut reader = reader.blocking(Parked::new()).with_waker(waker());
        read_lines(&mut reader, most)
    });
    let mut writer = writer.blocking(Parked::new()).with_waker(waker());
    let report = match write_lines(&mut writer) {
        // The reader gets the end now.
        Ok(()) => writer.finish()?,
        Err(WriteError::PeerClosed { .. }) => writer.report(),
        Err(other) => return Err(other.into()),
    };
    reading.join().map_err(|_| "the reader panicked")??;
    println!("the writer: {report}");
    Ok(report)
}

fn write_lines(writer: &mut Blocking<PipeWriter<'_, 32>, Parked>) -> Result<(), WriteError> {
    for degrees in 20..25 {
        writer.write_message(format!("{degrees} degrees\n").as_bytes())?;
    }
    Ok(())
}

fn read_lines(
    reader: &mut Blocking<PipeReader<'_, 32>, Parked>,
    most: u32,
) -> Result<(), ReadError> {
    use embedded_io::Read;

    let mut line = Vec::new();
    let mut lines = 0;
    let mut byte = [0; 1];
    while lines < most && reader.read(&mut byte)? > 0 {
        line.push(byte[0]);
        if byte == *b"\n" {
            print!("the reader: {}", String::from_utf8_lossy(&line));
            line.clear();
            lines += 1;
        }
    }
    Ok(())
}

/// The same in two async tasks; the halves themselves have the async traits.
async fn between_tasks() -> Result<(), Failure> {
    let (writer, reader) = LINES.split()?;
    let (written, read) = zip(produce(writer), consume(reader)).await;
    let report = written?;
    println!("the writer: {report}");
    assert_eq!(report.ledger.acknowledged(), read?);
    Ok(())
}

async fn produce(mut writer: PipeWriter<'_, 32>) -> Result<Report, WriteError> {
    use embedded_io_async::Write;

    for degrees in 20..25 {
        writer
            .write_all(format!("{degrees} degrees\n").as_bytes())
            .await?;
    }
    writer.finish().await
}

async fn consume(mut reader: PipeReader<'_, 32>) -> Result<u64, Failure> {
    use embedded_io_async::{Read, ReadExactError};

    let mut line = *b"00 degrees\n";
    loop {
        match reader.read_exact(&mut line).await {
            Ok(()) => print!("the reader: {}", String::from_utf8_lossy(&line)),
            // The writer has finished.
            Err(ReadExactError::UnexpectedEof) => return Ok(reader.ledger().acknowledged()),
            Err(ReadExactError::Other(error)) => return Err(error.into()),
        }
    }
}
