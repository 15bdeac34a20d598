//! The application of a run: its plan, step by step.

use std::time::Duration;

use embedded_io::{Read, ReadReady, Write};
use lastbyte::stack::ConnectionId;
use lastbyte::{Instant, OnReceive, State, WriteError};
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::content::content_from;
use super::oracle::Rule;
use super::peers::PEER_PORT;
use super::recording::Note;
use super::run::{OUR_PORT, Run};
use super::scenario::{Family, Opening, Step};
use crate::loopback::{PEER_V4, PEER_V6};

impl Run<'_, '_> {
    pub(super) fn open(&mut self) {
        let now = self.world.now();
        self.truth.borrow_mut().begin(now);
        self.oracle.begin(now);
        self.oracle.done.address_lost = !self.has_address();
        let options = self.scenario.options;
        let opened = match self.scenario.opening {
            Opening::Connect => {
                let peer: IpAddress = match self.scenario.family {
                    Family::V4 => PEER_V4.into(),
                    Family::V6 => PEER_V6.into(),
                };
                self.stack
                    .connect(IpEndpoint::new(peer, PEER_PORT), options)
            }
            Opening::Listen(_) => self.stack.listen(OUR_PORT, options),
        };
        match opened {
            Ok(id) => self.id = Some(id),
            Err(_) if self.oracle.done.address_lost => self.id = None,
            Err(error) => {
                self.id = None;
                self.oracle
                    .find(Rule::Leak, now, format!("not opened: {error}"));
            }
        }
        self.look();
    }

    pub(super) fn has_address(&mut self) -> bool {
        !self.stack.interface_mut().ip_addrs().is_empty()
    }

    pub(super) fn take(&mut self, step: Step) {
        let Some(id) = self.id else {
            return;
        };
        let now = self.world.now();
        match step {
            Step::Write(len) => self.write(id, len),
            Step::WriteAll(len) => self.write_all(id, len),
            Step::TryWrite(len) => {
                self.try_write(id, len);
            }
            Step::Pause(time) => self.wait_for(time),
            Step::Neglect(time) => {
                let until = (now + time).min(self.next_happening().max(now));
                self.truth.borrow_mut().neglected_since = now;
                self.world.run_until(until);
                // Whatever was due is late: a round trip seems to have taken as long.
                self.oracle.stirred_at = self.world.now();
                self.stack.poll();
                self.truth.borrow_mut().neglected_since = Instant::NEVER;
            }
            Step::Flush => self.flush(id),
            Step::Read => self.read(id),
            Step::BeginFinish => {
                self.oracle.done.finish_at.get_or_insert(now);
                if let Ok(mut writer) = self.stack.writer(id) {
                    writer.begin_finish();
                }
            }
            Step::Finish => self.finish(id),
            Step::Abort => {
                self.oracle.done.aborted = true;
                if let Ok(writer) = self.stack.writer(id) {
                    // The id is good, so there is nothing it could fail with.
                    let _ = writer.abort();
                }
            }
            Step::Release => {
                self.oracle.done.aborted = true;
                // As above.
                let _ = self.stack.release(id);
            }
            Step::Reopen => self.reopen(id),
        }
    }

    pub(super) fn wait_for(&mut self, time: Duration) {
        let until = self.world.now() + time;
        while self.world.now() < until {
            self.wait(until);
        }
    }

    /// One attempt; how many bytes were taken, `None` if the end is known.
    fn try_write(&mut self, id: ConnectionId, len: usize) -> Option<usize> {
        let must = self.oracle.must_refuse(&self.truth.borrow());
        let before = self.oracle.accepted;
        let bytes = content_from(before, len);
        let result = match self.stack.writer(id) {
            Ok(mut writer) => writer.try_write(bytes),
            Err(unknown) => Err(unknown.into()),
        };
        self.oracle.accepted += result.unwrap_or(0) as u64;
        let now = self.world.now();
        self.note_write(before, result.map(|_| ()));
        self.oracle
            .look_at_write(must, before, result.map(|_| ()), now);
        self.look();
        result.ok()
    }

    fn note_write(&self, before: u64, result: Result<(), WriteError>) {
        if self.oracle.accepted > before {
            self.note(Note::Accepted(self.oracle.accepted - before));
        }
        if let Err(error) = result {
            self.note(Note::Failed(error));
        }
    }

    fn write(&mut self, id: ConnectionId, len: usize) {
        let until = self.world.now() + self.scenario.options.call_limit();
        let mut left = len;
        loop {
            match self.try_write(id, left) {
                Some(taken) => left -= taken,
                None => return,
            }
            if left == 0 || self.world.now() >= until {
                return;
            }
            self.wait(until);
        }
    }

    fn write_all(&mut self, id: ConnectionId, len: usize) {
        let must = self.oracle.must_refuse(&self.truth.borrow());
        let before = self.oracle.accepted;
        let started = self.world.now();
        let bytes = content_from(before, len);
        let result = match self.stack.writer(id) {
            Ok(mut writer) => writer.write_all(bytes),
            Err(unknown) => Err(unknown.into()),
        };
        let accepted = self.stack.report(id).map(|report| report.ledger.accepted());
        self.oracle.accepted = match &result {
            Ok(()) => before + len as u64,
            Err(error) => error.ledger().accepted(),
        };
        let now = self.world.now();
        if accepted != Ok(self.oracle.accepted) || self.oracle.accepted > before + len as u64 {
            let detail = format!("{result:?}, {accepted:?}, {before} before");
            self.oracle.find(Rule::Account, now, detail);
        }
        // A blocking call may have begun before the end arrived.
        let must = must.filter(|_| now == started);
        self.note_write(before, result);
        self.oracle.look_at_write(must, before, result, now);
        self.look_at_call(started);
    }

    /// No blocking call takes much longer than its limit; `write_all` is as
    /// many calls as it takes, each with progress.
    fn look_at_call(&mut self, started: Instant) {
        let now = self.world.now();
        let (took, limit) = (now.since(started), self.scenario.options.call_limit());
        let calls = self.scenario.bytes() as u32 + 1;
        if took > limit.saturating_mul(calls) + Duration::from_secs(1) {
            self.oracle
                .find(Rule::Bounded, now, format!("a call took {took:?}"));
        }
    }

    fn flush(&mut self, id: ConnectionId) {
        let started = self.world.now();
        let result = match self.stack.writer(id) {
            Ok(mut writer) => writer.flush(),
            Err(unknown) => Err(unknown.into()),
        };
        let now = self.world.now();
        let ledger = self.stack.report(id).map(|report| report.ledger);
        match (result, ledger) {
            (Ok(()), Ok(ledger)) if ledger.pending() > 0 => {
                let detail = format!("flushed with {ledger:?}");
                self.oracle.find(Rule::Delivered, now, detail);
            }
            (Err(error), _) => {
                self.note(Note::Failed(error));
                self.oracle.look_at_error(error, now);
            }
            _ => {}
        }
        if now.since(started) > self.scenario.options.call_limit() + Duration::from_secs(1) {
            let detail = format!("flush took {:?}", now.since(started));
            self.oracle.find(Rule::Bounded, now, detail);
        }
    }

    fn read(&mut self, id: ConnectionId) {
        if self.scenario.options.on_receive() == OnReceive::Discard {
            return;
        }
        let mut into = [0; 512];
        // Only where something is there: reading blocks.
        if let Ok(mut reader) = self.stack.reader(id)
            && reader.read_ready() == Ok(true)
        {
            // What is read is the peer's affair; an end is told by the look.
            let _ = reader.read(&mut into);
        }
    }

    fn finish(&mut self, id: ConnectionId) {
        let now = self.world.now();
        self.oracle.done.finish_at.get_or_insert(now);
        let Ok(mut writer) = self.stack.writer(id) else {
            return;
        };
        if self.scenario.seed.is_multiple_of(2) {
            let outcome = writer.finish();
            self.look_at_finish(outcome.map(|report| report.ledger.pending()));
            return;
        }
        writer.begin_finish();
        self.look();
        let until = now + self.scenario.options.finish_limit() + Duration::from_secs(2);
        while self.world.now() < until {
            let outcome = match self.stack.writer(id) {
                Ok(mut writer) => writer.finished(),
                Err(_) => return,
            };
            if let Some(outcome) = outcome {
                self.look_at_finish(outcome.map(|report| report.ledger.pending()));
                // The id is good.
                let _ = self.stack.release(id);
                return;
            }
            if self.state() == State::Idle || self.state() == State::Listening {
                return;
            }
            self.wait(until);
        }
        let detail = format!("no end after finishing: {:?}", self.state());
        self.oracle.find(Rule::Bounded, self.world.now(), detail);
    }

    fn look_at_finish(&mut self, outcome: Result<u64, WriteError>) {
        let now = self.world.now();
        match outcome {
            Ok(0) => {}
            Ok(pending) => {
                let detail = format!("finished with {pending} bytes pending");
                self.oracle.find(Rule::Delivered, now, detail);
            }
            Err(error) => {
                self.note(Note::Failed(error));
                self.oracle.look_at_error(error, now);
            }
        }
    }

    fn reopen(&mut self, id: ConnectionId) {
        self.look();
        self.look_at_delivery();
        if !self.state().is_closed() {
            return;
        }
        // Ended by itself: its slot is still held.
        let _ = self.stack.release(id);
        if self.has_address() {
            self.open();
        }
    }
}
