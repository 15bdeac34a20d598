//! A model of what a pipe promises, without its code: what each half has done, in which
//! order, and the expected result of each call.

use embedded_io::{ReadReady, WriteReady};
use lastbyte::pipe::{Pipe, PipeReader, PipeWriter};
use lastbyte::{Cause, ClosedBy, How, ReadError, Report, WriteError};
use std::collections::VecDeque;

/// A call of one half, or on the pipe. Writes and reads have a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Write(usize),
    Message(usize),
    Finish,
    Abort,
    DropWriter,
    Read(usize),
    Close,
    DropReader,
    Split,
}

/// The first event that decides how the pipe ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Nothing,
    /// The writer has finished; the reader may have bytes to read.
    Finish,
    ReaderClosed,
    ReaderReset,
    Abort,
}

/// The account of one pipe from one split to the next.
#[derive(Debug, Clone)]
pub struct Model {
    capacity: usize,
    /// Accepted, and neither read nor finally undelivered.
    held: VecDeque<u8>,
    accepted: u64,
    read: u64,
    /// The next byte of the writer.
    next: u8,
    first: First,
    /// The writer has finished, possibly after the reader had closed.
    has_finished: bool,
    /// Unread bytes can never be read.
    is_cut_off: bool,
    pub has_writer: bool,
    pub has_reader: bool,
    writes_accepted: u64,
    writes_refused: u64,
}

/// An error without its ledger, which is compared apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Closed(How),
    Ours(ClosedBy),
    WouldBlock,
    TooLong(u32),
}

pub fn refusal(error: WriteError) -> Refusal {
    match error {
        WriteError::PeerClosed { how, .. } => Refusal::Closed(how),
        WriteError::Closed { by, .. } => Refusal::Ours(by),
        WriteError::WouldBlock { .. } => Refusal::WouldBlock,
        WriteError::MessageTooLong { capacity, .. } => Refusal::TooLong(capacity),
        other => panic!("no pipe has this: {other:?}"),
    }
}

impl Model {
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            held: VecDeque::new(),
            accepted: 0,
            read: 0,
            next: 1,
            first: First::Nothing,
            has_finished: false,
            is_cut_off: false,
            has_writer: true,
            has_reader: true,
            writes_accepted: 0,
            writes_refused: 0,
        }
    }

    /// The bytes of the next write of this length.
    pub fn bytes(&self, len: usize) -> Vec<u8> {
        (0..len)
            .map(|at| self.next.wrapping_add(at as u8))
            .collect()
    }

    /// Why a write is refused at present, if it is.
    pub fn refused(&self) -> Option<Refusal> {
        match self.first {
            First::Nothing => None,
            First::Finish => Some(Refusal::Ours(ClosedBy::Finish)),
            First::ReaderClosed => Some(Refusal::Closed(How::Fin)),
            First::ReaderReset => Some(Refusal::Closed(How::Reset)),
            First::Abort => Some(Refusal::Ours(ClosedBy::Abort)),
        }
    }

    fn free(&self) -> usize {
        self.capacity - self.held.len()
    }

    pub fn pending(&self) -> u64 {
        self.accepted - self.read
    }

    /// The result of a write, and its effect.
    pub fn write(&mut self, len: usize) -> Result<usize, Refusal> {
        if let Some(refused) = self.refused() {
            self.writes_refused += 1;
            return Err(refused);
        }
        match self.free() {
            _ if len == 0 => Ok(0),
            0 => Err(Refusal::WouldBlock),
            free => Ok(self.accept(len.min(free))),
        }
    }

    pub fn message(&mut self, len: usize) -> Result<(), Refusal> {
        if self.refused().is_some() || len == 0 {
            return self.write(len).map(|_| ());
        }
        if len > self.capacity {
            return Err(Refusal::TooLong(self.capacity as u32));
        }
        match len > self.free() {
            true => Err(Refusal::WouldBlock),
            false => {
                self.accept(len);
                Ok(())
            }
        }
    }

    fn accept(&mut self, len: usize) -> usize {
        self.held.extend(self.bytes(len));
        self.next = self.next.wrapping_add(len as u8);
        self.accepted += len as u64;
        self.writes_accepted += 1;
        len
    }

    /// Whether every accepted byte was read; `None`: not yet; an error: it never will be.
    pub fn flushed(&self) -> Option<Result<(), Refusal>> {
        match self.pending() {
            0 => Some(Ok(())),
            _ if self.is_cut_off => Some(Err(self.refused().expect("an end has a reason"))),
            _ => None,
        }
    }

    /// How it ended for the writer; `None`: it has not.
    pub fn finished(&self) -> Option<Result<(), Refusal>> {
        if self.is_cut_off {
            // Even after an abort without undelivered bytes, the writer has not finished.
            return match self.first {
                First::ReaderClosed if self.pending() == 0 => Some(Ok(())),
                _ => Some(Err(self.refused().expect("an end has a reason"))),
            };
        }
        (self.has_finished && self.pending() == 0).then_some(Ok(()))
    }

    fn has_ended(&self) -> bool {
        self.finished().is_some()
    }

    pub fn finish(&mut self) {
        if !self.has_ended() {
            self.has_finished = true;
            if self.first == First::Nothing {
                self.first = First::Finish;
            }
        }
    }

    /// Ends it at once, for this reason if it has none yet.
    fn cut_off(&mut self, reason: First) {
        if !self.has_ended() {
            if matches!(self.first, First::Nothing | First::Finish) {
                self.first = reason;
            }
            self.is_cut_off = true;
            self.held.clear();
        }
    }

    pub fn abort(&mut self) {
        self.cut_off(First::Abort);
    }

    pub fn drop_writer(&mut self) {
        self.has_writer = false;
        if !self.has_finished {
            self.abort();
        }
    }

    pub fn close(&mut self) {
        if self.first == First::Nothing {
            self.first = First::ReaderClosed;
        }
    }

    pub fn drop_reader(&mut self) {
        self.has_reader = false;
        match self.held.is_empty() {
            true => self.close(),
            false => self.cut_off(First::ReaderReset),
        }
    }

    /// The result of a read, and its effect. `Ok(None)`: nothing at present.
    pub fn read(&mut self, len: usize) -> Result<Option<Vec<u8>>, Refusal> {
        let blocks = self.readable().is_none();
        if len == 0 {
            return Ok(Some(Vec::new()));
        }
        if self.held.is_empty() {
            let was_reset = self.is_cut_off && self.finished() != Some(Ok(()));
            return match (blocks, was_reset) {
                (true, _) => Ok(None),
                (false, true) => Err(Refusal::Closed(How::Reset)),
                (false, false) => Ok(Some(Vec::new())),
            };
        }
        let count = len.min(self.held.len());
        self.read += count as u64;
        Ok(Some(self.held.drain(..count).collect()))
    }

    /// Whether a read returns at once: `None` if not.
    pub fn readable(&self) -> Option<()> {
        let may_follow = self.first == First::Nothing;
        (!self.held.is_empty() || !may_follow).then_some(())
    }

    /// Whether a write of this many bytes, whole or in part, returns at once.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.refused().is_some() || self.free() >= bytes
    }

    pub fn cause(&self) -> Option<Cause> {
        match self.first {
            First::Nothing => None,
            First::Finish if self.pending() > 0 => None,
            First::Finish => Some(Cause::Finished),
            First::ReaderClosed => Some(Cause::PeerFinished),
            First::ReaderReset => Some(Cause::PeerReset),
            First::Abort => Some(Cause::Aborted),
        }
    }

    #[track_caller]
    pub fn compare_report(&self, report: &Report) {
        assert_eq!(report.cause, self.cause());
        assert_eq!(report.ledger.accepted(), self.accepted, "accepted");
        assert_eq!(report.ledger.acknowledged(), self.read, "acknowledged");
        assert_eq!(report.ledger.undelivered(), self.pending(), "undelivered");
        assert_eq!(report.writes_accepted, self.writes_accepted);
        assert_eq!(report.writes_refused, self.writes_refused);
    }

    /// Compares the ledger of an error, after the call.
    #[track_caller]
    pub fn compare_error(&self, error: WriteError) -> Refusal {
        assert_eq!(error.ledger().accepted(), self.accepted);
        assert_eq!(error.ledger().acknowledged(), self.read);
        refusal(error)
    }
}

/// A pipe and its model, side by side.
pub struct Pair<'p, const N: usize> {
    pipe: &'p Pipe<N>,
    writer: Option<PipeWriter<'p, N>>,
    reader: Option<PipeReader<'p, N>>,
    model: Model,
}

impl<'p, const N: usize> Pair<'p, N> {
    pub fn new(pipe: &'p Pipe<N>) -> Self {
        let (writer, reader) = pipe.split().expect("a pipe without halves");
        Self {
            pipe,
            writer: Some(writer),
            reader: Some(reader),
            model: Model::new(N),
        }
    }

    /// Makes a call on both, and compares everything. False if its half is dropped.
    #[track_caller]
    pub fn call(&mut self, call: Call) -> bool {
        let is_made = match call {
            Call::Split => {
                self.split();
                true
            }
            Call::Write(_) | Call::Message(_) | Call::Finish | Call::Abort | Call::DropWriter => {
                self.call_writer(call)
            }
            Call::Read(_) | Call::Close | Call::DropReader => self.call_reader(call),
        };
        self.compare();
        is_made
    }

    fn split(&mut self) {
        let has_halves = self.model.has_writer || self.model.has_reader;
        match self.pipe.split() {
            Err(_) => assert!(has_halves, "a pipe without halves can be split"),
            Ok((writer, reader)) => {
                assert!(!has_halves, "one writer and one reader at a time");
                self.writer = Some(writer);
                self.reader = Some(reader);
                self.model = Model::new(N);
            }
        }
    }

    fn call_writer(&mut self, call: Call) -> bool {
        let Some(mut writer) = self.writer.take() else {
            return false;
        };
        let model = &mut self.model;
        match call {
            Call::Write(len) => {
                let bytes = model.bytes(len);
                let expected = model.write(len);
                let got = writer.try_write(&bytes);
                assert_eq!(got.map_err(|error| model.compare_error(error)), expected);
            }
            Call::Message(len) => {
                let bytes = model.bytes(len);
                let expected = model.message(len);
                let got = writer.try_write_message(&bytes);
                assert_eq!(got.map_err(|error| model.compare_error(error)), expected);
            }
            Call::Finish => {
                writer.begin_finish();
                model.finish();
            }
            Call::Abort => {
                let report = writer.abort();
                model.abort();
                model.compare_report(&report);
                model.drop_writer();
                return true;
            }
            Call::DropWriter => {
                drop(writer);
                model.drop_writer();
                return true;
            }
            Call::Read(_) | Call::Close | Call::DropReader | Call::Split => unreachable!(),
        }
        self.writer = Some(writer);
        true
    }

    fn call_reader(&mut self, call: Call) -> bool {
        let Some(mut reader) = self.reader.take() else {
            return false;
        };
        let model = &mut self.model;
        match call {
            Call::Read(len) => {
                let mut bytes = vec![0; len];
                let expected = model.read(len);
                let got = reader.try_read(&mut bytes);
                let got = got.map(|count| count.map(|count| bytes[..count].to_vec()));
                let got = got.map_err(|error| match error {
                    ReadError::Ended(error) => model.compare_error(error),
                    other => panic!("no pipe has this: {other:?}"),
                });
                assert_eq!(got, expected);
            }
            Call::Close => {
                reader.close();
                model.close();
            }
            Call::DropReader => {
                drop(reader);
                model.drop_reader();
                return true;
            }
            Call::Write(_)
            | Call::Message(_)
            | Call::Finish
            | Call::Abort
            | Call::DropWriter
            | Call::Split => unreachable!(),
        }
        self.reader = Some(reader);
        true
    }

    /// Every query of both halves.
    #[track_caller]
    fn compare(&mut self) {
        let model = &self.model;
        if let Some(writer) = &mut self.writer {
            let refused = model.refused();
            let compare = |error| model.compare_error(error);
            let room = writer.room().map_err(compare);
            assert_eq!(room, refused.map_or(Ok(model.free()), Err), "room");
            assert_eq!(writer.write_ready(), Ok(model.has_room(1)), "write_ready");
            let flushed = match writer.is_flushed() {
                Ok(is_flushed) => is_flushed.then_some(Ok(())),
                Err(error) => Some(Err(compare(error))),
            };
            assert_eq!(flushed, model.flushed(), "is_flushed");
            let finished = writer.finished().map(|end| match end {
                Ok(report) => {
                    model.compare_report(&report);
                    Ok(())
                }
                Err(error) => Err(compare(error)),
            });
            assert_eq!(finished, model.finished(), "finished");
            model.compare_report(&writer.report());
            assert_eq!(writer.progress().ledger, writer.report().ledger);
            assert_eq!(writer.state().cause(), model.cause());
        }
        if let Some(reader) = &mut self.reader {
            assert_eq!(reader.unread(), model.held.len(), "unread");
            assert_eq!(reader.ledger().accepted(), model.accepted);
            assert_eq!(reader.ledger().acknowledged(), model.read);
            let is_ready = model.readable().is_some();
            assert_eq!(reader.read_ready(), Ok(is_ready), "read_ready");
        }
    }
}
