//! Checks the rules for one connection of an application.
//!
//! The oracle of the simulator's own runs knows what its applications do next, and serves
//! their stack without a pause. An unknown application may be busy elsewhere for hours, so
//! less is certain. These rules are checked:
//!
//! - the ledger adds up, agrees with what was written, and acknowledges no more than the wire;
//! - the first write after a FIN or RST that must have been detected accepts nothing;
//! - the first cause stays, and the wire justifies it;
//! - errors carry the ledger, and a flush succeeds only if everything is acknowledged;
//! - no call, handshake or finish takes longer than its timeout, while the stack is served;
//! - what is read is what the peer sent, and what the peer received is what was written.

use std::time::Duration;

use lastbyte::core::{Connection, Event};
use lastbyte::trace::Note as Trace;
use lastbyte::{Cause, Instant, Ledger, State, WriteError};

use super::stage::{Spoken, call_of};
use crate::loopback::World;
use crate::oracle::Oracle;
use crate::recording::{Call, Note};
use crate::rule::Rule;
use crate::truth::{Neighbour, Truth};

/// How late a timeout may be: the last try has its time for an answer.
const SLACK: Duration = Duration::from_secs(4);

/// After a timeout should have been reached, a longer pause between two calls means that
/// the stack is not served: tries are due then.
const ABSENCE: Duration = Duration::from_secs(3);

/// What else is known at the time of a note.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'s> {
    pub(super) now: Instant,
    /// Whether our device has no room.
    pub(super) is_full: bool,
    pub(super) truth: &'s Truth,
    pub(super) neighbour: Neighbour,
    /// What the peer has sent to this port; `None` if it was not recorded.
    pub(super) spoken: Option<&'s [Spoken]>,
}

/// One connection, from its opening on.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) slot: usize,
    pub(super) local_port: u16,
    pub(super) remote_port: Option<u16>,
    pub(super) opened_at: Instant,
    pub(super) oracle: Oracle,
    pub(super) state: State,
    pub(super) ledger: Ledger,
    /// The port of the caller that was accepted, and the time.
    caller: Option<(u16, Instant)>,
    /// Whether it is certain which segments belong to this connection.
    pub(super) is_wire_known: bool,
    written: Vec<u8>,
    /// How many written bytes the ledger has counted.
    counted: usize,
    /// The number of bytes read.
    read: usize,
    /// After a missed timeout: the time since which the stack is served without a pause,
    /// and when it was last served.
    late: Option<(Instant, Instant)>,
}

impl Account {
    pub(super) fn new(
        connection: &Connection,
        local_port: u16,
        remote_port: Option<u16>,
        now: Instant,
    ) -> Self {
        Self {
            slot: usize::from(connection.tag()),
            local_port,
            remote_port,
            opened_at: now,
            oracle: Oracle::new(*connection.options(), now),
            state: State::Idle,
            ledger: Ledger::ZERO,
            caller: None,
            is_wire_known: true,
            written: Vec::new(),
            counted: 0,
            read: 0,
            late: None,
        }
    }

    /// Whether the connection has already ended.
    pub(super) fn is_over(&self) -> bool {
        self.state.is_closed() || self.state == State::Idle
    }

    pub(super) fn take(
        &mut self,
        connection: &Connection,
        trace_note: Trace<'_>,
        scene: &Scene<'_>,
    ) {
        let now = scene.now;
        match trace_note {
            Trace::Written(bytes) => self.note_written(bytes, scene),
            Trace::Event(Event::Finish) => {
                self.oracle.done.finish_at.get_or_insert(now);
            }
            Trace::Event(Event::FinishWriting)
                if matches!(connection.state(), State::WriteFinished(_)) =>
            {
                self.oracle.done.finished_writing_at.get_or_insert(now);
            }
            Trace::Event(Event::Abort) => self.oracle.done.aborted = true,
            Trace::Event(Event::Established) if self.remote_port.is_none() => {
                self.caller = scene.truth.caller.map(|port| (port, now));
            }
            // The wire does not show which addresses an application has set.
            Trace::Event(Event::AddressLost) => self.oracle.done.address_lost = true,
            Trace::Failed(error) | Trace::Flushed(Err(error)) => {
                self.oracle.look_at_error(error, now);
            }
            Trace::Flushed(Ok(())) if connection.ledger().pending() > 0 => {
                let detail = format!("flushed with {:?}", connection.ledger());
                self.oracle.find(Rule::Delivered, now, detail);
            }
            Trace::Waits { since } => {
                let limit = self.oracle.options.call_timeout();
                if now.since(since) > limit + SLACK {
                    let detail = format!("a call waits for {:?}", now.since(since));
                    self.oracle.find(Rule::Bounded, now, detail);
                }
            }
            Trace::Read(bytes) => self.note_read(bytes, scene),
            Trace::Opened { .. }
            | Trace::Row(_)
            | Trace::Event(_)
            | Trace::Accepted
            | Trace::Acknowledged
            | Trace::Flush
            | Trace::Flushed(Ok(())) => {}
        }
        // Bytes that are in the buffer but not yet in the ledger cannot be checked.
        if !matches!(trace_note, Trace::Written(_)) {
            self.look(connection, scene);
        }
    }

    fn note_written(&mut self, bytes: &[u8], scene: &Scene<'_>) {
        let must = match self.is_wire_known {
            true => self.oracle.must_refuse(scene.truth),
            false => None,
        };
        let before = self.oracle.accepted;
        self.oracle.accepted += bytes.len() as u64;
        self.written.extend_from_slice(bytes);
        self.oracle
            .look_at_write(must, before, Ok(()), scene.is_full, scene.now);
    }

    fn note_read(&mut self, bytes: &[u8], scene: &Scene<'_>) {
        let end = self.read + bytes.len();
        if let Some(spoken) = scene.spoken
            && self.is_wire_known
            && !spoken
                .iter()
                .any(|stream| stream.bytes.get(self.read..end) == Some(bytes))
        {
            let detail = format!(
                "{} bytes after {} are not the peer's",
                bytes.len(),
                self.read
            );
            self.oracle.find(Rule::Read, scene.now, detail);
        }
        self.read = end;
    }

    fn look(&mut self, connection: &Connection, scene: &Scene<'_>) {
        let now = scene.now;
        let report = connection.report(now);
        let state = connection.state();
        (self.state, self.ledger) = (state, report.ledger);
        let on_wire = match self.is_wire_known {
            true => scene.truth.acknowledged(),
            false => u64::MAX,
        };
        self.oracle.look_at_ledger(report.ledger, on_wire, now);
        if self.oracle.ended.is_some() && report.cause != self.oracle.ended {
            let detail = format!("{:?} became {:?}", self.oracle.ended, report.cause);
            self.oracle.find(Rule::Latched, now, detail);
        }
        if let (None, Some(cause)) = (self.oracle.ended, report.cause) {
            self.oracle.ended = Some(cause);
            let ended_at = self.opened_at + report.elapsed;
            let judged = self
                .oracle
                .judge(cause, scene.truth, scene.neighbour, ended_at);
            if let (Err(why), true) = (judged, self.is_wire_known) {
                let detail = format!("{cause:?}, but {why}");
                self.oracle.find(Rule::Cause, now, detail);
            }
        }
    }

    /// Called when the stack was served. A connection that should have ended is a finding if
    /// it stays open while the stack is served for longer than a last try needs.
    pub(super) fn note_poll(&mut self, now: Instant) {
        let options = &self.oracle.options;
        let limit_at = match (self.state, self.oracle.done.finish_at) {
            (State::Connecting, _) => self.opened_at + options.connect_timeout(),
            (State::Finishing(_), Some(at)) => at + options.finish_timeout(),
            _ => return self.late = None,
        };
        if now <= limit_at + SLACK {
            return;
        }
        let (since, last) = self.late.unwrap_or((now, now));
        let since = match now.since(last) > ABSENCE {
            true => now,
            false => since,
        };
        self.late = Some((since, now));
        if now.since(since) > SLACK {
            let late = now.since(limit_at);
            let detail = format!("it is {:?} {late:?} after its timeout", self.state);
            self.oracle.find(Rule::Bounded, now, detail);
            // One report is enough.
            self.late = Some((Instant::NEVER, now));
        }
    }

    /// The note of the recording for this note of the trace.
    pub(super) fn note(&mut self, trace_note: Trace<'_>, was_over: bool) -> Option<Note> {
        Some(match trace_note {
            Trace::Opened {
                local_port,
                remote_port,
            } => Note::Opened {
                local_port,
                remote_port,
            },
            Trace::Accepted => {
                let new = self.written.get(self.counted..).unwrap_or_default();
                let note = Note::Wrote(new.to_vec());
                self.counted = self.written.len();
                note
            }
            Trace::Read(bytes) => Note::Read(bytes.to_vec()),
            Trace::Failed(error) => Note::Failed(error),
            Trace::Flush => Note::Called(Call::Flush),
            Trace::Flushed(Ok(())) => Note::Called(Call::Flushed),
            // A call timeout is reported as `Failed`.
            Trace::Flushed(Err(WriteError::TimedOut { .. })) if !self.is_over() => return None,
            Trace::Flushed(Err(error)) => Note::Failed(error),
            Trace::Event(event) => match call_of(event).filter(|_| !was_over) {
                Some(call) => Note::Called(call),
                None => Note::Changed,
            },
            Trace::Acknowledged => Note::Changed,
            Trace::Written(_) | Trace::Row(_) | Trace::Waits { .. } => return None,
        })
    }

    /// Compares what the peer has received with what was written. The port may have had
    /// another connection from `later` on.
    pub(super) fn settle(&mut self, world: &World, later: Option<Instant>) {
        if !self.is_wire_known {
            return;
        }
        let Some((port, until)) = self.remote_port.map_or(self.caller, |port| {
            Some((port, later.unwrap_or(Instant::NEVER)))
        }) else {
            return;
        };
        let connections = world.peer().connections(port).into_iter();
        // An old SYN may have opened a second connection, which is never established.
        let Some(it) = connections
            .filter(|it| it.remote.is_some_and(|ours| ours.port == self.local_port))
            .filter(|it| self.opened_at <= it.began_at && it.began_at < until)
            .max_by_key(|it| (it.taken_in, it.began_at))
        else {
            return;
        };
        let now = world.now();
        let written = self.written.get(..it.received.len());
        if written != Some(&*it.received) || it.taken_in > self.written.len() as u64 {
            let detail = format!("the peer received {} bytes that are not ours", it.taken_in);
            self.oracle.find(Rule::Content, now, detail);
        }
        let acknowledged = self.ledger.acknowledged();
        let owed = match self.oracle.ended {
            Some(Cause::Finished) => self.written.len() as u64,
            _ => acknowledged,
        };
        if it.taken_in < owed {
            let detail = format!("{:?}, but the peer received {}", self.ledger, it.taken_in);
            self.oracle.find(Rule::Acknowledged, now, detail);
        }
    }
}
