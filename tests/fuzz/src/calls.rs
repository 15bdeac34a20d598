//! Makes the calls of an application, and checks their results.

use super::harness::{Harness, LONGEST};
use super::input::Call;
use embedded_io::Write;
use lastbyte::WriteError;
use lastbyte::stack::ConnectionId;

impl Harness<'_> {
    pub fn call(&mut self, which: usize, call: &Call) {
        let Some(conn) = self.conns[which].as_mut() else {
            return;
        };
        let id = conn.id;
        let now = self.world.now();
        match call {
            Call::BeginFinish | Call::Finish => {
                conn.deeds.finish_at.get_or_insert(now);
            }
            Call::Abort | Call::Release => {
                conn.deeds.has_aborted = true;
            }
            _ => {}
        }
        if let Ok(outcome) = self.carry_out(id, call) {
            self.judge(which, outcome);
        }
    }

    /// `Err` if the connection is unknown.
    fn carry_out(
        &mut self,
        id: ConnectionId,
        call: &Call,
    ) -> Result<Outcome, lastbyte::stack::UnknownConnection> {
        let bytes = |len: u16| vec![0xa5; usize::from(len % LONGEST)];
        Ok(match *call {
            Call::TryWrite(len) => {
                let written = self.stack.writer(id)?.try_write(&bytes(len));
                Outcome::Wrote(usize::from(len % LONGEST), written)
            }
            Call::Write(len) => {
                let written = self.stack.writer(id)?.write(&bytes(len));
                Outcome::Wrote(usize::from(len % LONGEST), written)
            }
            Call::WriteWith(len) => {
                let written = self
                    .stack
                    .writer(id)?
                    .write_with(|free| free.len().min(usize::from(len)));
                Outcome::Wrote(usize::from(len), written)
            }
            Call::WriteMore(len) => {
                let written = self.stack.writer(id)?.write_more(&bytes(len));
                Outcome::Wrote(usize::from(len % LONGEST), written)
            }
            Call::TryWriteMore(len) => {
                let written = self.stack.writer(id)?.try_write_more(&bytes(len));
                Outcome::Wrote(usize::from(len % LONGEST), written)
            }
            Call::WriteMessage(len) => {
                let written = self.stack.writer(id)?.write_message(&bytes(len));
                Outcome::WroteMessage(usize::from(len % LONGEST), written)
            }
            Call::TryWriteMessage(len) => {
                let written = self.stack.writer(id)?.try_write_message(&bytes(len));
                Outcome::WroteMessage(usize::from(len % LONGEST), written)
            }
            Call::Room => {
                let mut writer = self.stack.writer(id)?;
                let room = writer.room();
                // Refused or not, a write must have the same result.
                let bytes = vec![0xa5; room.unwrap_or(1)];
                Outcome::HasRoom(room, writer.try_write(&bytes))
            }
            Call::FinishWriting => {
                Outcome::FinishedWriting(self.stack.writer(id)?.finish_writing())
            }
            Call::Read(len) => {
                let mut into = vec![0; usize::from(len)];
                let result = self.stack.reader(id)?.try_read(&mut into);
                Outcome::HasRead(result, into)
            }
            Call::Flush => Outcome::Flushed(self.stack.writer(id)?.flush()),
            Call::BeginFinish => {
                self.stack.writer(id)?.begin_finish();
                Outcome::Nothing
            }
            Call::Finish => Outcome::Finished(self.stack.writer(id)?.finish()),
            Call::Abort => {
                let _ = self.stack.writer(id)?.abort();
                Outcome::Nothing
            }
            Call::Release => {
                self.stack.release(id)?;
                Outcome::Nothing
            }
            Call::Report => {
                let _ = self.stack.poll_advice(id)?;
                let _ = self.stack.writer(id)?.progress()?;
                Outcome::Nothing
            }
        })
    }

    fn judge(&mut self, which: usize, outcome: Outcome) {
        let ends = self.ends(which);
        let mut tracks = self.tracks.borrow_mut();
        let foreseen = match self.world.is_full() {
            true => tracks.foresee(ends, &self.waiting),
            false => None,
        };
        let track = tracks.get(ends).map(|track| &*track);
        let Some(conn) = self.conns[which].as_mut() else {
            return;
        };
        let Ok(report) = self.stack.report(conn.id) else {
            return;
        };
        match outcome {
            Outcome::Wrote(len, result) => {
                conn.wrote(len, result, &report, track, foreseen.as_ref());
            }
            Outcome::WroteMessage(len, result) => {
                conn.wrote_message(len, result, &report, track, foreseen.as_ref());
            }
            Outcome::HasRoom(room, result) => {
                conn.has_room(room, result, &report, track, foreseen.as_ref());
            }
            Outcome::FinishedWriting(result) => {
                conn.finished_writing(result, &report, track, self.world.now());
            }
            Outcome::Flushed(result) => conn.flushed(result, &report),
            Outcome::HasRead(result, bytes) => conn.has_read(result, &bytes, &report, track),
            Outcome::Finished(Ok(finished)) => {
                assert_eq!(finished.ledger.pending(), 0, "finished? {conn:?}");
            }
            Outcome::Finished(Err(error)) => conn.refused(error, &report),
            Outcome::Nothing => {}
        }
    }
}

enum Outcome {
    Wrote(usize, Result<usize, WriteError>),
    WroteMessage(usize, Result<(), WriteError>),
    HasRoom(Result<usize, WriteError>, Result<usize, WriteError>),
    FinishedWriting(Result<(), WriteError>),
    HasRead(Result<Option<usize>, lastbyte::ReadError>, Vec<u8>),
    Flushed(Result<(), WriteError>),
    Finished(Result<lastbyte::Report, WriteError>),
    Nothing,
}
