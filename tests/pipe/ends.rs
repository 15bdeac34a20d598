//! Each row of the documentation's table of ends, and related cases.

use embedded_io::{Error as _, ErrorKind};
use lastbyte::pipe::{Pipe, PipeReader, PipeWriter};
use lastbyte::{Cause, ClosedBy, How, OnPeerFin, ReadError, State, WriteError};

fn halves<const N: usize>(pipe: &Pipe<N>) -> (PipeWriter<'_, N>, PipeReader<'_, N>) {
    pipe.split().expect("a pipe without halves")
}

/// Accepted, acknowledged, undelivered.
fn numbers(error: &WriteError) -> (u64, u64, u64) {
    let ledger = error.ledger();
    (
        ledger.accepted(),
        ledger.acknowledged(),
        ledger.undelivered(),
    )
}

#[track_caller]
fn is_reset(read: Result<Option<usize>, ReadError>, undelivered: u64) {
    let Err(ReadError::Ended(error)) = read else {
        panic!("not reset: {read:?}");
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(error.ledger().undelivered(), undelivered);
}

#[test]
fn the_first_write_after_the_reader_is_dropped_is_refused() {
    let pipe = Pipe::<8>::new();
    let (mut writer, mut reader) = halves(&pipe);
    assert_eq!(writer.try_write(b"abcde"), Ok(5));
    assert_eq!(reader.try_read(&mut [0; 2]), Ok(Some(2)));
    drop(reader);
    for _ in 0..3 {
        let error = writer.try_write(b"f").unwrap_err();
        assert!(matches!(
            error,
            WriteError::PeerClosed {
                how: How::Reset,
                ..
            }
        ));
        assert_eq!(numbers(&error), (5, 2, 3));
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(writer.report().writes_refused, 3);
}

#[test]
fn a_reader_that_is_dropped_with_nothing_unread_sends_a_fin() {
    let pipe = Pipe::<8>::new();
    let (mut writer, mut reader) = halves(&pipe);
    writer.try_write(b"abc").unwrap();
    reader.try_read(&mut [0; 8]).unwrap();
    drop(reader);
    let error = writer.try_write(b"d").unwrap_err();
    assert!(matches!(
        error,
        WriteError::PeerClosed { how: How::Fin, .. }
    ));
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert_eq!(numbers(&error), (3, 3, 0));
    // No byte is undelivered, so finishing succeeds, and returns the cause.
    writer.begin_finish();
    let report = writer.finished().unwrap().unwrap();
    assert_eq!(report.cause, Some(Cause::PeerFinished));
}

#[test]
fn what_was_accepted_before_a_close_drains() {
    let pipe = Pipe::<8>::new();
    let (mut writer, mut reader) = halves(&pipe);
    writer.try_write(b"abc").unwrap();
    reader.close();
    reader.close();
    assert!(matches!(
        writer.try_write_message(b"d"),
        Err(WriteError::PeerClosed { how: How::Fin, .. })
    ));
    assert_eq!(writer.is_flushed(), Ok(false), "it may still be read");
    writer.begin_finish();
    assert_eq!(writer.finished(), None);
    let mut bytes = [0; 8];
    assert_eq!(reader.try_read(&mut bytes), Ok(Some(3)));
    assert_eq!(&bytes[..3], b"abc");
    assert_eq!(reader.try_read(&mut bytes), Ok(Some(0)));
    let report = writer.finished().unwrap().unwrap();
    assert_eq!(report.cause, Some(Cause::PeerFinished));
    assert_eq!(report.ledger.acknowledged(), 3);
}

#[test]
fn dropping_an_unfinished_writer_resets_and_loses_unread_bytes() {
    let pipe = Pipe::<8>::new();
    let (mut writer, mut reader) = halves(&pipe);
    writer.try_write(b"abc").unwrap();
    reader.try_read(&mut [0; 1]).unwrap();
    drop(writer);
    for _ in 0..2 {
        is_reset(reader.try_read(&mut [0; 8]), 2);
    }
    assert_eq!(reader.unread(), 0);
}

#[test]
fn a_finish_reaches_the_reader_after_every_byte() {
    let pipe = Pipe::<8>::new();
    let (mut writer, mut reader) = halves(&pipe);
    writer.try_write(b"abc").unwrap();
    writer.begin_finish();
    let error = writer.try_write(b"d").unwrap_err();
    assert!(matches!(
        error,
        WriteError::Closed {
            by: ClosedBy::Finish,
            ..
        }
    ));
    drop(writer);
    assert_eq!(reader.try_read(&mut [0; 2]), Ok(Some(2)));
    assert_eq!(reader.try_read(&mut [0; 2]), Ok(Some(1)));
    for _ in 0..2 {
        assert_eq!(reader.try_read(&mut [0; 2]), Ok(Some(0)));
    }
}

#[test]
fn an_abort_reports_what_the_reader_has_not_taken() {
    let pipe = Pipe::<8>::new();
    let (mut writer, mut reader) = halves(&pipe);
    writer.try_write(b"abc").unwrap();
    let report = writer.abort();
    assert_eq!(report.cause, Some(Cause::Aborted));
    assert_eq!(report.ledger.undelivered(), 3);
    assert_eq!(report.elapsed, core::time::Duration::ZERO);
    is_reset(reader.try_read(&mut [0; 8]), 3);
}

#[test]
fn an_abort_after_the_end_changes_nothing() {
    let pipe = Pipe::<8>::new();
    let (mut writer, mut reader) = halves(&pipe);
    writer.try_write(b"abc").unwrap();
    writer.begin_finish();
    reader.try_read(&mut [0; 8]).unwrap();
    assert_eq!(writer.abort().cause, Some(Cause::Finished));
    assert_eq!(reader.try_read(&mut [0; 8]), Ok(Some(0)));
}

#[test]
fn the_first_cause_is_latched() {
    let pipe = Pipe::<8>::new();
    let (mut writer, mut reader) = halves(&pipe);
    writer.try_write(b"abc").unwrap();
    reader.close();
    drop(reader);
    // Bytes were unread, but the close came first.
    let error = writer.is_flushed().unwrap_err();
    assert_eq!(error.cause(), Some(Cause::PeerFinished));
    assert_eq!(numbers(&error), (3, 0, 3));
    assert_eq!(writer.state(), State::Closed(Cause::PeerFinished));
    assert_eq!(writer.finished(), Some(Err(error)));
    assert_eq!(writer.abort().cause, Some(Cause::PeerFinished));
}

#[test]
fn a_reader_that_is_dropped_while_the_writer_finishes_resets_it() {
    let pipe = Pipe::<8>::new();
    let (mut writer, reader) = halves(&pipe);
    writer.try_write(b"abc").unwrap();
    writer.begin_finish();
    drop(reader);
    let error = writer.finished().unwrap().unwrap_err();
    assert!(matches!(
        error,
        WriteError::PeerClosed {
            how: How::Reset,
            ..
        }
    ));
    assert_eq!(numbers(&error), (3, 0, 3));
}

#[test]
fn a_close_while_the_writer_finishes_changes_nothing() {
    let pipe = Pipe::<8>::new();
    let (mut writer, mut reader) = halves(&pipe);
    writer.try_write(b"abc").unwrap();
    writer.begin_finish();
    reader.close();
    assert_eq!(writer.report().cause, None);
    reader.try_read(&mut [0; 8]).unwrap();
    assert_eq!(writer.report().cause, Some(Cause::Finished));
}

#[test]
fn the_state_is_that_of_a_connection() {
    let pipe = Pipe::<8>::new();
    let (mut writer, mut reader) = halves(&pipe);
    assert_eq!(writer.state(), State::Open);
    reader.close();
    assert_eq!(writer.state(), State::PeerFinished(OnPeerFin::Refuse));
    writer.begin_finish();
    assert_eq!(writer.state(), State::Closed(Cause::PeerFinished));
}

#[test]
fn an_empty_write_is_accepted_and_an_empty_read_takes_nothing() {
    let pipe = Pipe::<1>::new();
    let (mut writer, mut reader) = halves(&pipe);
    assert_eq!(writer.try_write(b""), Ok(0));
    assert_eq!(writer.report().writes_accepted, 0);
    writer.try_write(b"a").unwrap();
    assert_eq!(writer.try_write(b""), Ok(0), "also while the pipe is full");
    assert_eq!(reader.try_read(&mut []), Ok(Some(0)));
    assert_eq!(reader.unread(), 1);
    drop(reader);
    assert!(writer.try_write(b"").is_err(), "the state is checked first");
}

#[test]
fn what_is_printed_names_state_and_ledger() {
    let pipe = Pipe::<8>::new();
    let (mut writer, reader) = halves(&pipe);
    writer.try_write(b"abc").unwrap();
    for text in [
        format!("{writer:?}"),
        format!("{reader:?}"),
        format!("{pipe:?}"),
    ] {
        assert!(
            text.contains("Open") && text.contains("pending: 3"),
            "{text}"
        );
    }
}
