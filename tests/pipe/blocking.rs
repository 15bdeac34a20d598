//! Halves that block, with a clock in virtual time. What happens during a wait is what an
//! interrupt would do.

use embedded_io::{Error as _, ErrorKind, Read, ReadReady, Write, WriteReady};
use lastbyte::pipe::{Pipe, PipeReader, PipeWriter};
use lastbyte::{Cause, Clock, Instant, Options, ReadError, Timeout, WriteError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;
use std::time::Duration;

/// An odd hour.
const BEGINNING: u64 = 7 * 3_600_000 + 13;

/// What interrupts do during the waits, one after another, each after 10 ms. Then nothing, until
/// the timeout.
struct Board<'b> {
    now_ms: Rc<Cell<u64>>,
    interrupts: Vec<Box<dyn FnMut() + 'b>>,
    waits: Rc<Cell<u32>>,
}

impl<'b> Board<'b> {
    fn new(interrupts: Vec<Box<dyn FnMut() + 'b>>) -> Self {
        Self {
            now_ms: Rc::new(Cell::new(BEGINNING)),
            interrupts,
            waits: Rc::default(),
        }
    }
}

impl Clock for Board<'_> {
    fn now(&mut self) -> Instant {
        Instant::from_millis(self.now_ms.get())
    }

    fn wait(&mut self, until: Option<Instant>) {
        let until = until.expect("a call is bounded").as_micros() / 1_000;
        self.waits.set(self.waits.get() + 1);
        assert!(self.waits.get() < 100, "the call does not end");
        if self.interrupts.is_empty() {
            self.now_ms.set(until);
        } else {
            self.now_ms.set((self.now_ms.get() + 10).min(until));
            self.interrupts.remove(0)();
        }
    }
}

fn after(ms: u64) -> Options {
    let time = Duration::from_millis(ms);
    let options = Options::builder().call_timeout(time).finish_timeout(time);
    options.build().unwrap()
}

/// Reads up to four bytes, as an interrupt.
fn take<'b>(reader: &Rc<RefCell<PipeReader<'b, 4>>>, count: usize) -> Box<dyn FnMut() + 'b> {
    let reader = reader.clone();
    Box::new(move || {
        reader.borrow_mut().try_read(&mut [0; 4][..count]).unwrap();
    })
}

#[test]
fn a_write_waits_until_there_is_room() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let reader = Rc::new(RefCell::new(reader));
    let board = Board::new(vec![Box::new(|| {}), take(&reader, 3), take(&reader, 1)]);
    let waits = board.waits.clone();
    let mut writer = writer.blocking(board);
    assert_eq!(writer.write(b"abcdef"), Ok(4));
    assert_eq!(waits.get(), 0, "there was room");
    assert_eq!(writer.write(b"efgh"), Ok(3));
    assert_eq!(waits.get(), 2, "an interrupt without effect ends no call");
    assert_eq!(writer.write_ready(), Ok(false));
    assert_eq!(writer.write(b""), Ok(0), "an empty write never waits");
    assert_eq!(waits.get(), 2);
}

#[test]
fn a_message_waits_until_all_of_it_fits() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let reader = Rc::new(RefCell::new(reader));
    let board = Board::new(vec![take(&reader, 1), take(&reader, 1), take(&reader, 1)]);
    let waits = board.waits.clone();
    let mut writer = writer.blocking(board);
    writer.write_message(b"abc").unwrap();
    writer.write_message(b"def").unwrap();
    assert_eq!(waits.get(), 2);
    assert!(matches!(
        writer.write_message(b"12345"),
        Err(WriteError::MessageTooLong { capacity: 4, .. })
    ));
    assert_eq!(waits.get(), 2, "it never fits");
}

#[test]
fn a_call_ends_at_its_timeout_and_can_be_repeated() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let reader = Rc::new(RefCell::new(reader));
    let board = Board::new(Vec::new());
    let now = board.now_ms.clone();
    let mut writer = writer.blocking(board).with_options(after(250));
    writer.write_all(b"abcd").unwrap();
    let error = writer.write(b"e").unwrap_err();
    assert_eq!(now.get(), BEGINNING + 250);
    let WriteError::TimedOut { why, ledger } = error else {
        panic!("{error}");
    };
    assert_eq!((why, ledger.pending()), (Timeout::NotReading, 4));
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    take(&reader, 1)();
    assert_eq!(writer.write(b"e"), Ok(1));
}

#[test]
fn a_call_that_timed_out_reports_whether_the_reader_reads() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let reader = Rc::new(RefCell::new(reader));
    let board = Board::new(vec![take(&reader, 1)]);
    let mut writer = writer.blocking(board).with_options(after(250));
    writer.write_all(b"abcd").unwrap();
    let why = |outcome: Result<(), WriteError>| match outcome {
        Err(WriteError::TimedOut { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(writer.flush()), Timeout::Call, "one byte was read");
    assert_eq!(why(writer.flush()), Timeout::NotReading);
    assert_eq!(why(writer.write_message(b"efgh")), Timeout::NotReading);
}

#[test]
fn an_interrupt_at_the_last_moment_counts() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let reader = Rc::new(RefCell::new(reader));
    let board = Board::new(vec![take(&reader, 1)]);
    let now = board.now_ms.clone();
    let mut writer = writer.blocking(board).with_options(after(10));
    writer.write_all(b"abcd").unwrap();
    assert_eq!(writer.write(b"e"), Ok(1));
    assert_eq!(now.get(), BEGINNING + 10);
}

#[test]
fn a_flush_waits_until_all_was_read() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let reader = Rc::new(RefCell::new(reader));
    let board = Board::new(vec![take(&reader, 2), take(&reader, 2)]);
    let waits = board.waits.clone();
    let mut writer = writer.blocking(board);
    writer.flush().unwrap();
    writer.write_all(b"abcd").unwrap();
    writer.flush().unwrap();
    assert_eq!(waits.get(), 2);
    assert_eq!(writer.report().ledger.acknowledged(), 4);
}

#[test]
fn a_reader_that_is_dropped_ends_every_wait_of_the_writer() {
    type Blocked = fn(Writer<'_>) -> Result<(), WriteError>;
    type Writer<'p> = lastbyte::pipe::Blocking<PipeWriter<'p, 4>, Board<'p>>;
    let calls: [Blocked; 4] = [
        |mut writer| writer.write(b"e").map(|_| ()),
        |mut writer| writer.write_message(b"e"),
        |mut writer| writer.flush(),
        |writer| writer.finish().map(|_| ()),
    ];
    for call in calls {
        let pipe = Pipe::<4>::new();
        let (writer, reader) = pipe.split().unwrap();
        let mut reader = Some(reader);
        let board = Board::new(vec![Box::new(move || drop(reader.take()))]);
        let waits = board.waits.clone();
        let mut writer = writer.blocking(board);
        writer.write_all(b"abcd").unwrap();
        let error = call(writer).unwrap_err();
        assert_eq!(error.cause(), Some(Cause::PeerReset));
        assert_eq!(error.ledger().undelivered(), 4);
        assert_eq!(waits.get(), 1);
    }
}

#[test]
fn finishing_waits_for_the_reader_within_the_finish_timeout() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let reader = Rc::new(RefCell::new(reader));
    let mut writer = writer.blocking(Board::new(vec![take(&reader, 4)]));
    writer.write_all(b"abcd").unwrap();
    let report = writer.finish().unwrap();
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_eq!(reader.borrow_mut().try_read(&mut [0; 4]), Ok(Some(0)));
    drop(reader);

    let (writer, mut reader) = pipe.split().unwrap();
    let board = Board::new(Vec::new());
    let now = board.now_ms.clone();
    let mut writer = writer.blocking(board).with_options(after(40));
    writer.write_all(b"abc").unwrap();
    let error = writer.finish().unwrap_err();
    assert_eq!(error.cause(), Some(Cause::FinishTimeout));
    assert_eq!(error.ledger().undelivered(), 3);
    assert_eq!(now.get(), BEGINNING + 40);
    let Err(ReadError::Ended(error)) = reader.try_read(&mut [0; 4]) else {
        panic!("the reader takes what the writer has reported as undelivered");
    };
    assert_eq!(error.cause(), Some(Cause::PeerReset));
}

#[test]
fn finishing_with_all_read_does_not_wait() {
    let pipe = Pipe::<4>::new();
    let (writer, mut reader) = pipe.split().unwrap();
    let board = Board::new(Vec::new());
    let waits = board.waits.clone();
    let mut writer = writer.blocking(board);
    writer.write_all(b"ab").unwrap();
    reader.try_read(&mut [0; 4]).unwrap();
    writer.finish().unwrap();
    assert_eq!(waits.get(), 0);
}

#[test]
fn a_read_waits_for_bytes_the_end_or_its_timeout() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let writer = Rc::new(RefCell::new(Some(writer)));
    let (first, last) = (writer.clone(), writer.clone());
    let board = Board::new(vec![
        Box::new(move || {
            first
                .borrow_mut()
                .as_mut()
                .unwrap()
                .try_write(b"ab")
                .unwrap();
        }),
        Box::new(move || last.borrow_mut().as_mut().unwrap().begin_finish()),
    ]);
    let mut reader = reader.blocking(board).with_options(after(250));
    let mut bytes = [0; 4];
    assert_eq!(reader.read_ready(), Ok(false));
    assert_eq!(reader.read(&mut bytes), Ok(2));
    assert_eq!(reader.read(&mut bytes), Ok(0));
    drop((reader, writer));

    let (writer, reader) = pipe.split().unwrap();
    let board = Board::new(Vec::new());
    let now = board.now_ms.clone();
    let mut reader = reader.blocking(board).with_options(after(250));
    let Err(ReadError::Ended(error)) = reader.read(&mut bytes) else {
        panic!("nothing was written");
    };
    assert!(matches!(
        error,
        WriteError::TimedOut {
            why: Timeout::Call,
            ..
        }
    ));
    assert_eq!(now.get(), BEGINNING + 250);
    drop(writer);
    assert!(
        matches!(reader.read(&mut bytes), Err(ReadError::Ended(error)) if error.cause().is_some())
    );
}

#[test]
fn the_half_comes_back_without_its_clock() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let mut writer = writer.blocking(Board::new(Vec::new()));
    writer.write_all(b"ab").unwrap();
    assert_eq!(writer.room(), Ok(2), "the calls of the half are there");
    let mut writer = writer.into_half();
    assert_eq!(writer.try_write(b"cd"), Ok(2));
    let reader = reader.blocking(Board::new(Vec::new()));
    assert_eq!(reader.unread(), 4);
    assert!(format!("{reader:?}").contains("Open"));
}

#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_waker_is_woken_once_when_there_is_what_a_call_waits_for() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let reader = Rc::new(RefCell::new(reader));
    let wakes = Arc::new(Wakes::default());
    let count = || wakes.0.load(Ordering::Relaxed);
    let board = Board::new(vec![
        Box::new(|| {}),
        take(&reader, 1),
        take(&reader, 3),
        Box::new(|| assert_eq!(count(), 1, "only three of four")),
        take(&reader, 1),
    ]);
    let mut writer = writer.blocking(board).with_waker(wakes.clone().into());
    writer.write_all(b"abcd").unwrap();
    assert_eq!(count(), 0);
    assert_eq!(writer.write(b"e"), Ok(1));
    assert_eq!(count(), 1);
    writer.flush().unwrap();
    assert_eq!(count(), 2);
}

#[test]
fn a_call_that_timed_out_is_not_woken_later() {
    let pipe = Pipe::<4>::new();
    let (writer, reader) = pipe.split().unwrap();
    let reader = Rc::new(RefCell::new(reader));
    let wakes = Arc::new(Wakes::default());
    let writer = writer.blocking(Board::new(Vec::new()));
    let mut writer = writer.with_waker(wakes.clone().into());
    writer.write_all(b"abcd").unwrap();
    writer.write(b"e").unwrap_err();
    assert_eq!(Arc::strong_count(&wakes), 2, "one is the writer's own");
    take(&reader, 1)();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_read_into_nothing_returns_at_once() {
    let pipe = Pipe::<4>::new();
    let (mut writer, mut reader) = pipe.split().expect("free");
    assert_eq!(reader.try_read(&mut []), Ok(Some(0)));
    let mut reader = reader.blocking(Board::new(Vec::new()));
    assert_eq!(reader.read(&mut []), Ok(0));
    writer.try_write(b"beat").expect("room");
    assert_eq!(reader.read(&mut []), Ok(0));
}
