//! Both halves in threads of their own: bytes, order and account.

use lastbyte::pipe::Pipe;
use lastbyte::{ReadError, WriteError};
use std::thread;

static PIPE: Pipe<13> = Pipe::new();

/// The byte that the writer writes at this place of the stream.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(31) >> 3) as u8
}

#[test]
fn every_byte_arrives_once_and_in_order() {
    let total = crate::size("PIPE_BYTES", 10_000, 300) as usize;
    let (mut writer, mut reader) = PIPE.split().unwrap();
    let reading = thread::spawn(move || {
        let mut at = 0;
        let mut bytes = [0; 9];
        loop {
            match reader.try_read(&mut bytes).unwrap() {
                None => thread::yield_now(),
                Some(0) => return (at, reader.ledger()),
                Some(count) => {
                    for &got in &bytes[..count] {
                        assert_eq!(got, byte(at));
                        at += 1;
                    }
                }
            }
        }
    });
    let mut at = 0;
    while at < total {
        let len = (1 + at % 17).min(total - at);
        let bytes: Vec<u8> = (at..at + len).map(byte).collect();
        match writer.try_write(&bytes) {
            Ok(accepted) => at += accepted,
            Err(WriteError::WouldBlock { .. }) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    writer.begin_finish();
    let (read, ledger) = reading.join().unwrap();
    assert_eq!(read, total);
    assert_eq!(ledger.acknowledged(), total as u64);
    assert_eq!(writer.finished().unwrap().unwrap().ledger, ledger);
}

/// Drops the reader at some time: the bytes that were read and those reported as undelivered are
/// all that were accepted.
#[test]
fn what_is_lost_by_a_reader_that_leaves_is_known_exactly() {
    for rounds in 0..crate::size("PIPE_ROUNDS", 50, 5) {
        let pipe = Pipe::<8>::new();
        let (mut writer, mut reader) = pipe.split().unwrap();
        thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let mut taken = 0;
                for _ in 0..rounds {
                    taken += reader.try_read(&mut [0; 3]).unwrap().unwrap_or(0);
                    thread::yield_now();
                }
                taken as u64
            });
            let error = loop {
                match writer.try_write(b"abcde") {
                    Ok(_) => {}
                    Err(WriteError::WouldBlock { .. }) => thread::yield_now(),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, WriteError::PeerClosed { .. }));
            let taken = reading.join().unwrap();
            assert_eq!(error.ledger().acknowledged(), taken);
            assert_eq!(error, writer.try_write(b"f").unwrap_err(), "it stays");
        });
    }
}

/// Aborts at some time: the reader gets a prefix and the reset, never an end that looks whole.
#[test]
fn an_abort_is_never_taken_for_the_end() {
    for rounds in 0..crate::size("PIPE_ROUNDS", 50, 5) {
        let pipe = Pipe::<8>::new();
        let (mut writer, mut reader) = pipe.split().unwrap();
        thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let mut taken = 0;
                loop {
                    match reader.try_read(&mut [0; 3]) {
                        Ok(None) => thread::yield_now(),
                        Ok(Some(count)) => {
                            assert_ne!(count, 0, "an end without a finish");
                            taken += count as u64;
                        }
                        Err(ReadError::Ended(error)) => return (taken, error.ledger()),
                        Err(other) => panic!("{other}"),
                    }
                }
            });
            for _ in 0..rounds {
                let _ = writer.try_write(b"abc");
                thread::yield_now();
            }
            let report = writer.abort();
            let (taken, ledger) = reading.join().unwrap();
            assert_eq!(report.ledger, ledger);
            assert_eq!(ledger.acknowledged(), taken);
        });
    }
}
