//! Every order in which two threads can enter the critical sections of a pipe, tried by loom.
//!
//! The critical section of this program is a mutex of loom's, so loom tries each order, and fails
//! if both threads wait: a lost wake. The account is compared with what each thread has seen.
//! `tests/pipe` does the same for one thread at a time, with a model of all results.
#![cfg(test)]

use embedded_io_async::{Read as _, Write as _};
use lastbyte::pipe::{Pipe, PipeReader, PipeWriter};
use lastbyte::{Cause, How, Ledger, ReadError, WriteError};
use loom::future::block_on;
use loom::sync::{Mutex, MutexGuard};
use loom::thread;
use std::cell::RefCell;
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

loom::lazy_static! {
    static ref SECTION: Mutex<()> = Mutex::new(());
}

loom::thread_local! {
    static HELD: RefCell<Option<MutexGuard<'static, ()>>> = RefCell::new(None);
}

struct Section;
critical_section::set_impl!(Section);

// SAFETY: one thread at a time holds the guard of the mutex, from `acquire` to `release`.
unsafe impl critical_section::Impl for Section {
    unsafe fn acquire() -> bool {
        let is_nested = HELD.with(|held| held.borrow().is_some());
        if !is_nested {
            let guard = SECTION.lock().unwrap();
            HELD.with(|held| *held.borrow_mut() = Some(guard));
        }
        is_nested
    }

    unsafe fn release(is_nested: bool) {
        if !is_nested {
            drop(HELD.with(|held| held.borrow_mut().take()));
        }
    }
}

/// Like `loom::model`, but a thread that could go on is interrupted at most five times: for
/// tests that would have too many orders.
fn model_bounded(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(5);
    model.check(test);
}

type Writer = PipeWriter<'static, 2>;
type Reader = PipeReader<'static, 2>;

fn pipe() -> &'static Pipe<2> {
    Box::leak(Box::default())
}

fn halves() -> (Writer, Reader) {
    pipe().split().unwrap()
}

fn numbers(ledger: Ledger) -> (u64, u64) {
    (ledger.accepted(), ledger.acknowledged())
}

fn is_reset(error: &ReadError) -> bool {
    matches!(error, ReadError::Ended(error) if error.cause() == Some(Cause::PeerReset))
}

#[test]
fn a_write_is_accepted_before_the_reader_is_dropped_or_refused_after_it() {
    loom::model(|| {
        let (mut writer, mut reader) = halves();
        let reading = thread::spawn(move || {
            let taken = reader.try_read(&mut [0; 2]).unwrap().unwrap_or(0);
            drop(reader);
            taken as u64
        });
        let first = writer.try_write(b"a");
        let second = writer.try_write(b"b");
        let taken = reading.join().unwrap();
        let accepted = u64::from(first.is_ok()) + u64::from(second.is_ok());
        assert!(
            first.is_ok() || second.is_err(),
            "refused, and then accepted"
        );
        let error = writer.try_write(b"c").unwrap_err();
        assert_eq!(numbers(error.ledger()), (accepted, taken));
        let how = if accepted > taken {
            How::Reset
        } else {
            How::Fin
        };
        assert!(matches!(error, WriteError::PeerClosed { how: got, .. } if got == how));
    });
}

#[test]
fn bytes_cross_in_order_and_the_end_follows() {
    model_bounded(|| {
        let (mut writer, mut reader) = halves();
        let reading = thread::spawn(move || {
            block_on(async move {
                let (mut all, mut bytes) = (Vec::new(), [0; 2]);
                loop {
                    match reader.read(&mut bytes).await.unwrap() {
                        0 => return all,
                        count => all.extend_from_slice(&bytes[..count]),
                    }
                }
            })
        });
        let report = block_on(async {
            writer.write_all(b"abc").await.unwrap();
            writer.finish().await.unwrap()
        });
        assert_eq!(numbers(report.ledger), (3, 3));
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_eq!(reading.join().unwrap(), b"abc");
    });
}

#[test]
fn a_message_finds_room_for_all_of_it() {
    model_bounded(|| {
        let (mut writer, mut reader) = halves();
        let reading = thread::spawn(move || {
            block_on(async {
                let mut taken = 0;
                while taken < 3 {
                    taken += reader.read(&mut [0; 1]).await.unwrap();
                }
                reader
            })
        });
        block_on(async {
            writer.write_message(b"a").await.unwrap();
            writer.write_message(b"bc").await.unwrap();
            writer.flush().await.unwrap();
        });
        let mut reader = reading.join().unwrap();
        assert_eq!(numbers(reader.ledger()), (3, 3));
        assert_eq!(reader.try_read(&mut [0; 1]), Ok(None));
    });
}

#[test]
fn a_reader_that_is_dropped_ends_a_write_that_waits() {
    model_bounded(|| {
        let (mut writer, mut reader) = halves();
        let reading = thread::spawn(move || {
            let taken = reader.try_read(&mut [0; 1]).unwrap().unwrap_or(0);
            drop(reader);
            taken as u64
        });
        let error = block_on(writer.write_all(b"abcd")).unwrap_err();
        let taken = reading.join().unwrap();
        assert!(matches!(error, WriteError::PeerClosed { .. }));
        assert_eq!(error.ledger().acknowledged(), taken);
        assert!(error.ledger().accepted() <= 2 + taken);
    });
}

#[test]
fn a_reader_that_is_dropped_ends_a_flush_and_a_wait_for_the_end() {
    loom::model(|| {
        let (mut writer, reader) = halves();
        writer.try_write(b"a").unwrap();
        let reading = thread::spawn(move || drop(reader));
        let error = block_on(writer.flush()).unwrap_err();
        assert_eq!(numbers(error.ledger()), (1, 0));
        assert_eq!(block_on(writer.wait_end()), Cause::PeerReset);
        reading.join().unwrap();
    });
    loom::model(|| {
        let (mut writer, mut reader) = halves();
        let reading = thread::spawn(move || reader.close());
        assert_eq!(block_on(writer.wait_end()), Cause::PeerFinished);
        reading.join().unwrap();
    });
}

#[test]
fn a_writer_that_is_dropped_resets_a_read_that_waits() {
    loom::model(|| {
        let (mut writer, mut reader) = halves();
        let writing = thread::spawn(move || {
            writer.try_write(b"a").unwrap();
            drop(writer);
        });
        let first = block_on(reader.read(&mut [0; 2]));
        let last = match first {
            Ok(1) => block_on(reader.read(&mut [0; 2])),
            other => other,
        };
        assert!(is_reset(&last.unwrap_err()));
        writing.join().unwrap();
        assert_eq!(numbers(reader.ledger()).1, u64::from(first.is_ok()));
    });
}

#[test]
fn a_cancelled_read_takes_nothing_and_loses_no_wake() {
    loom::model(|| {
        let (mut writer, mut reader) = halves();
        let writing = thread::spawn(move || {
            writer.try_write(b"a").unwrap();
            writer.begin_finish();
        });
        let mut bytes = [0; 1];
        let first = {
            let mut future = pin!(reader.read(&mut bytes));
            future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        };
        if first.is_pending() {
            assert_eq!(block_on(reader.read(&mut bytes)), Ok(1));
        }
        assert_eq!(&bytes, b"a");
        assert_eq!(block_on(reader.read(&mut bytes)), Ok(0));
        writing.join().unwrap();
    });
}

#[test]
fn a_cancelled_write_accepts_nothing_and_loses_no_wake() {
    loom::model(|| {
        let (mut writer, mut reader) = halves();
        writer.try_write(b"ab").unwrap();
        let reading = thread::spawn(move || {
            let taken = reader.try_read(&mut [0; 1]).unwrap();
            assert_eq!(taken, Some(1));
            reader
        });
        let first = {
            let mut future = pin!(writer.write(b"c"));
            future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        };
        if first.is_pending() {
            assert_eq!(block_on(writer.write(b"c")), Ok(1));
        }
        let mut reader = reading.join().unwrap();
        let mut bytes = [0; 3];
        assert_eq!(reader.try_read(&mut bytes), Ok(Some(2)));
        assert_eq!(&bytes[..2], b"bc");
    });
}

#[test]
fn one_of_two_splits_succeeds() {
    loom::model(|| {
        let pipe = pipe();
        let other = thread::spawn(move || pipe.split().ok());
        let halves = pipe.split().ok();
        let others = other.join().unwrap();
        assert_eq!(u8::from(halves.is_some()) + u8::from(others.is_some()), 1);
    });
}

#[test]
fn a_pipe_whose_halves_are_dropped_at_the_same_time_is_free() {
    loom::model(|| {
        let pipe = pipe();
        let (mut writer, reader) = pipe.split().unwrap();
        writer.try_write(b"a").unwrap();
        writer.begin_finish();
        let dropping = thread::spawn(move || drop(reader));
        drop(writer);
        dropping.join().unwrap();
        let (writer, reader) = pipe.split().unwrap();
        assert_eq!((reader.unread(), writer.report().ledger.accepted()), (0, 0));
    });
}
