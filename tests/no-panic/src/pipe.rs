//! The pipe's part of the proof: every call of both halves, on a pipe in an unknown state.

use crate::{Board, any, any_u64, print, print_debug, used};
use core::pin::pin;
use core::task::{Context, Waker};
use embedded_io::{Error as _, Read, ReadReady, Write, WriteReady};
use lastbyte::Clock as _;
use lastbyte::pipe::{Pipe, PipeInUse, PipeReader, PipeWriter};

/// More than one piece, and no power of two.
const SIZE: usize = 61;

static PIPE: Pipe<SIZE> = Pipe::new();

/// The compiler has to assume that interrupts are off.
struct Section;
critical_section::set_impl!(Section);

// SAFETY: the program is never run, and has one thread.
unsafe impl critical_section::Impl for Section {
    unsafe fn acquire() -> critical_section::RawRestoreState {
        used(any(0_u8));
    }

    unsafe fn release((): critical_section::RawRestoreState) {
        used(any(0_u8));
    }
}

/// Some bytes, of any number up to more than the pipe holds.
fn some(bytes: &[u8; 99]) -> &[u8] {
    bytes
        .get(..usize::try_from(any_u64()).unwrap_or(0))
        .unwrap_or(bytes)
}

/// Makes calls on a pipe until the halves are dropped, in whatever state it is then.
pub fn calls() {
    match any(&PIPE).split() {
        Ok((mut writer, mut reader)) => {
            while any(true) {
                write(&mut writer);
                read(&mut reader);
            }
            end(writer, reader);
        }
        Err(error) => {
            print(error);
            print_debug(error);
            used(error.kind());
        }
    }
    used(any(PipeInUse) == PipeInUse);
    print_debug(&PIPE);
}

fn write(writer: &mut PipeWriter<'static, SIZE>) {
    let bytes = any([0; 99]);
    match any(0_u8) {
        0 => used(writer.try_write(some(&bytes))),
        1 => used(writer.try_write_message(some(&bytes))),
        2 => used((writer.room(), writer.is_flushed(), writer.write_ready())),
        3 => used((writer.finished(), writer.state())),
        4 => used((writer.progress(), writer.report())),
        5 => print_debug(&*writer),
        _ => writer.begin_finish(),
    }
}

fn read(reader: &mut PipeReader<'static, SIZE>) {
    let mut bytes = any([0; 99]);
    let len = some(&bytes).len();
    match any(0_u8) {
        0 => used(reader.try_read(bytes.get_mut(..len).unwrap_or_default())),
        1 => used((reader.unread(), reader.ledger(), reader.read_ready())),
        2 => print_debug(&*reader),
        _ => reader.close(),
    }
    used(bytes);
}

fn end(writer: PipeWriter<'static, SIZE>, reader: PipeReader<'static, SIZE>) {
    match any(0_u8) {
        0 => used(writer.abort()),
        1 => block(writer, reader),
        2 => wait(writer, reader),
        _ => drop((reader, writer)),
    }
}

fn block(writer: PipeWriter<'static, SIZE>, reader: PipeReader<'static, SIZE>) {
    let bytes = any([0; 99]);
    let mut into = any([0; 99]);
    let mut writer = writer
        .blocking(Board)
        .with_options(any(lastbyte::Options::DEFAULT));
    let mut reader = reader.blocking(Board);
    while any(true) {
        match any(0_u8) {
            0 => used(writer.write(some(&bytes))),
            1 => used(writer.write_message(some(&bytes))),
            2 => used(writer.flush()),
            _ => used(reader.read(&mut into)),
        }
        Board.wait(None);
    }
    used(writer.finish());
    used(reader.into_half());
}

/// Polls each future once: the executor has to make sure that a completed one is not
/// polled again.
fn wait(mut writer: PipeWriter<'static, SIZE>, mut reader: PipeReader<'static, SIZE>) {
    let bytes = any([0; 99]);
    let mut into = any([0; 99]);
    let mut context = Context::from_waker(Waker::noop());
    macro_rules! poll {
        ($future:expr) => {{
            let mut future = pin!($future);
            used(Future::poll(future.as_mut(), &mut context));
        }};
    }
    match any(0_u8) {
        0 => poll!(embedded_io_async::Write::write(&mut writer, some(&bytes))),
        1 => poll!(embedded_io_async::Write::flush(&mut writer)),
        2 => poll!(writer.write_message(some(&bytes))),
        3 => poll!(writer.finish()),
        4 => poll!(writer.wait_end()),
        _ => poll!(embedded_io_async::Read::read(&mut reader, &mut into)),
    }
}
