//! One writer and one reader at a time, and a pipe that can be used again.

use lastbyte::pipe::{Pipe, PipeInUse};
use lastbyte::{ReadError, WriteError};

static PIPE: Pipe<4> = Pipe::new();

fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn a_static_pipe_is_split_once_at_a_time_and_again_with_a_new_ledger() {
    for _ in 0..3 {
        let (mut writer, reader) = is_send(PIPE.split().unwrap());
        assert_eq!(PIPE.split().unwrap_err(), PipeInUse);
        assert_eq!(writer.report().ledger.accepted(), 0);
        assert_eq!(reader.unread(), 0, "nothing is left of the time before");
        writer.try_write(b"left").unwrap();
        drop(writer);
        assert_eq!(PIPE.split().unwrap_err(), PipeInUse, "one half is left");
        drop(reader);
    }
    let (writer, reader) = PIPE.split().unwrap();
    drop(reader);
    assert_eq!(
        PIPE.split().unwrap_err(),
        PipeInUse,
        "the other half is left"
    );
    drop(writer);
    assert!(PIPE.split().is_ok());
}

#[test]
fn a_refused_split_changes_nothing() {
    let pipe = Pipe::<4>::new();
    let (mut writer, mut reader) = pipe.split().unwrap();
    writer.try_write(b"ab").unwrap();
    let text = pipe.split().unwrap_err().to_string();
    assert_eq!(text, "the pipe is in use; drop both of its halves first");
    assert_eq!(writer.try_write(b"cd"), Ok(2));
    let mut bytes = [0; 4];
    assert_eq!(reader.try_read(&mut bytes), Ok(Some(4)));
    assert_eq!(&bytes, b"abcd");
}

#[test]
fn the_errors_are_those_of_the_crate() {
    fn any() -> Result<(), lastbyte::Error> {
        let pipe = Pipe::<4>::default();
        let (mut writer, mut reader) = pipe.split().map_err(|_| WriteError::NotOpen {
            ledger: lastbyte::Ledger::ZERO,
        })?;
        writer.try_write(b"a")?;
        reader.try_read(&mut [0; 1])?;
        drop(writer);
        reader.try_read(&mut [0; 1])?;
        Ok(())
    }
    let lastbyte::Error::Read(ReadError::Ended(error)) = any().unwrap_err() else {
        panic!("a reset is an error of reading");
    };
    assert_eq!(error.ledger().acknowledged(), 1);
}
