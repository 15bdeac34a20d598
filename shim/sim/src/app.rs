//! The applications of a run: their plans, step by step.

use std::time::Duration;

use lastbyte::stack::{ConnectionId, Error};
use lastbyte::{Cause, Instant, OnPeerFin, OnReceive, State, WriteError};
use smoltcp::wire::{IpAddress, IpEndpoint, IpListenEndpoint, Ipv4Address, Ipv6Address};

use super::content::{Whose, content_from};
use super::end::{End, Way};
use super::peers::{self, PEER_PORT};
use super::recording::Note;
use super::rule::Rule;
use super::run::{OUR_PORT, Run};
use super::scenario::{Bind, Family, Opening, Step};
use super::truth::PeerEnd;
use crate::loopback::{OUR_V4, OUR_V6, PEER_V4, PEER_V6};

/// The maximum number of bytes that an application reads at once.
const PIECE: usize = 512;

/// How many reads may be needed to reach the end: more than any buffer holds.
const PIECES: usize = 200;

impl<E: End> Run<'_, E> {
    pub(super) fn open(&mut self, lane: usize) {
        let now = self.world.now();
        let opening = self.lanes[lane].lane.opening;
        let port = OUR_PORT + lane as u16;
        let listens_at = matches!(opening, Opening::Listen(..)).then_some(port);
        self.wire.borrow_mut().lane_mut(lane).begin(now, listens_at);
        let has_address = self.has_address();
        let live = &mut self.lanes[lane];
        live.oracle.begin(now);
        live.oracle.done.address_lost = !has_address;
        live.read = 0;
        let options = live.lane.options;
        let opened = match opening {
            Opening::Connect => {
                let peer: IpAddress = match self.scenario.family {
                    Family::V4 => PEER_V4.into(),
                    Family::V6 => PEER_V6.into(),
                };
                let peer = IpEndpoint::new(peer, PEER_PORT + lane as u16);
                self.end.connect(peer, options)
            }
            Opening::Listen(bind, _) => {
                let addr = bound(bind, self.scenario.family);
                self.end.listen(IpListenEndpoint { addr, port }, options)
            }
        };
        let may_fail = !has_address || matches!(opening, Opening::Listen(bind, _) if is_odd(bind));
        self.note_opened(lane, opened, may_fail);
        self.look();
    }

    fn note_opened(&mut self, lane: usize, opened: Result<ConnectionId, Error>, may_fail: bool) {
        self.lanes[lane].id = opened.ok();
        if let Err(error) = opened
            && !may_fail
        {
            self.find(lane, Rule::Leak, format!("not opened: {error}"));
        }
    }

    pub(super) fn has_address(&mut self) -> bool {
        self.end
            .with_network(|network| !network.interface.ip_addrs().is_empty())
    }

    pub(super) fn take(&mut self, lane: usize, step: Step) {
        let Some(id) = self.id_of(lane) else {
            return;
        };
        let now = self.world.now();
        match step {
            Step::Pause(time) => return self.wait_for(time),
            Step::Neglect(time) => return self.neglect(time),
            Step::Reopen => return self.reopen(lane, id),
            // There is no call on a connection that was given back.
            _ if !self.end.is_owned(id) => return,
            _ => {}
        }
        let step = match step {
            Step::Finish | Step::BeginFinish if !self.end.can_finish(id) => Step::Release,
            step => step,
        };
        match step {
            Step::Write(len) => self.write(lane, id, len),
            Step::WriteAll(len) => self.write_all(lane, id, len),
            Step::TryWrite(len) => {
                self.try_write(lane, id, len, Way::Part);
            }
            Step::WriteMore(len) => {
                self.try_write(lane, id, len, Way::More);
            }
            Step::Message(len) => self.message(lane, id, len),
            Step::FinishWriting => self.finish_writing(lane, id),
            Step::Flush => self.flush(lane, id),
            Step::Read => {
                self.read(lane, id);
            }
            Step::BeginFinish => {
                self.lanes[lane].oracle.done.finish_at.get_or_insert(now);
                self.end.begin_finish(id);
            }
            Step::Finish => self.finish(lane, id),
            Step::Abort => {
                self.note_abort(lane);
                self.end.abort(id);
            }
            Step::Release => {
                self.note_abort(lane);
                self.end.release(id);
            }
            Step::Pause(_) | Step::Neglect(_) | Step::Reopen => {}
        }
    }

    /// The id of a connection, unless it was released and its slot is another's.
    fn id_of(&self, lane: usize) -> Option<ConnectionId> {
        let is_another = |id: &ConnectionId| {
            E::SLOTS > 1 && self.is_given_back(lane) && self.end.state(*id).is_err()
        };
        self.lanes[lane].id.filter(|id| !is_another(id))
    }

    fn note_abort(&mut self, lane: usize) {
        self.lanes[lane].oracle.done.aborted = true;
        self.wire
            .borrow_mut()
            .lane_mut(lane)
            .note_abort(self.world.now());
    }

    fn neglect(&mut self, time: Duration) {
        let now = self.world.now();
        let until = (now + time).min(self.next_happening().max(now));
        for truth in self.wire.borrow_mut().lanes_mut() {
            truth.neglected_since = now;
        }
        for live in &mut self.lanes {
            live.oracle.done.was_neglected = true;
        }
        self.world.run_until(until);
        // What was due is late: a round trip seems to have taken that long.
        self.excuse();
        self.end.serve();
        for truth in self.wire.borrow_mut().lanes_mut() {
            truth.neglected_since = Instant::NEVER;
        }
    }

    pub(super) fn wait_for(&mut self, time: Duration) {
        let until = self.world.now() + time;
        while self.world.now() < until {
            self.wait(until);
        }
    }

    /// Writes all of it or nothing.
    fn message(&mut self, lane: usize, id: ConnectionId, len: usize) {
        let capacity = self.scenario.tx_buffer;
        let taken = self.try_write(lane, id, len, Way::Whole);
        if taken.is_some_and(|taken| taken > capacity) {
            let detail = format!("a message of {len} bytes in a buffer of {capacity}");
            self.find(lane, Rule::Ledger, detail);
        }
    }

    fn finish_writing(&mut self, lane: usize, id: ConnectionId) {
        let now = self.world.now();
        let before = self.state(lane);
        let outcome = self.end.finish_writing(id);
        let is_new = matches!(before, State::Connecting | State::Listening | State::Open)
            || before == State::PeerFinished(OnPeerFin::HalfClose);
        match outcome {
            Ok(()) if is_new => {
                self.lanes[lane]
                    .oracle
                    .done
                    .finished_writing_at
                    .get_or_insert(now);
            }
            Ok(()) => {}
            Err(error) => {
                self.lanes[lane]
                    .oracle
                    .look_at_error(error, self.world.now());
            }
        }
        self.look();
    }

    /// Makes one attempt. Returns how many bytes were accepted, `None` if the end is known.
    fn try_write(&mut self, lane: usize, id: ConnectionId, len: usize, way: Way) -> Option<usize> {
        let must = self.must_refuse(lane);
        let before = self.lanes[lane].oracle.accepted;
        let bytes = content_from(Whose::Ours, before, len);
        let is_too_long = matches!(way, Way::Whole) && len > self.scenario.tx_buffer;
        let result = match self.end.try_write(id, bytes, way) {
            Err(WriteError::MessageTooLong { .. }) if is_too_long => Ok(0),
            result => result,
        };
        self.lanes[lane].oracle.accepted += result.unwrap_or(0) as u64;
        self.note_write(lane, must, before, result.map(|_| ()));
        self.look();
        result.ok()
    }

    /// Whether the next write must be refused, as far as that is certain.
    fn must_refuse(&self, lane: usize) -> Option<PeerEnd> {
        let truth = self.truth(lane);
        self.lanes[lane].oracle.must_refuse(&truth)
    }

    fn note_write(
        &mut self,
        lane: usize,
        must: Option<PeerEnd>,
        before: u64,
        result: Result<(), WriteError>,
    ) {
        let taken = self.lanes[lane].oracle.accepted - before;
        if taken > 0 {
            self.note(lane, Note::Accepted(taken));
        }
        if let Err(error) = result {
            self.note(lane, Note::Failed(error));
        }
        let (now, is_full) = (self.world.now(), self.world.is_full());
        let oracle = &mut self.lanes[lane].oracle;
        oracle.look_at_write(must, before, result, is_full, now);
    }

    fn write(&mut self, lane: usize, id: ConnectionId, len: usize) {
        let until = self.world.now() + self.lanes[lane].lane.options.call_timeout();
        let mut left = len;
        loop {
            match self.try_write(lane, id, left, Way::Part) {
                Some(taken) => left -= taken,
                None => return,
            }
            if left == 0 || self.world.now() >= until {
                return;
            }
            self.wait(until);
        }
    }

    fn write_all(&mut self, lane: usize, id: ConnectionId, len: usize) {
        let must = self.must_refuse(lane);
        let before = self.lanes[lane].oracle.accepted;
        let started = self.world.now();
        let bytes = content_from(Whose::Ours, before, len);
        let result = self.end.write_all(id, bytes);
        let reported = self.end.report(id).map(|report| report.ledger.accepted());
        let accepted = match &result {
            Ok(()) => before + len as u64,
            Err(error) => error.ledger().accepted(),
        };
        self.lanes[lane].oracle.accepted = accepted;
        if reported != Ok(accepted) || accepted > before + len as u64 {
            let detail = format!("{result:?}, {reported:?}, {before} before");
            self.find(lane, Rule::Account, detail);
        }
        // A blocking call may have begun before the end arrived.
        let must = must.filter(|_| self.world.now() == started);
        self.note_write(lane, must, before, result);
        self.look_at_call(lane, started);
    }

    /// Checks that no blocking call takes much longer than its timeout. `write_all` is as
    /// many calls as it needs, each with progress.
    fn look_at_call(&mut self, lane: usize, started: Instant) {
        let took = self.world.now().since(started);
        let lane_of = &self.lanes[lane].lane;
        let limit = lane_of.options.call_timeout();
        let calls = lane_of.bytes() as u32 + 1;
        if took > limit.saturating_mul(calls) + self.end.extension() + Duration::from_secs(1) {
            self.find(lane, Rule::Bounded, format!("a call took {took:?}"));
        }
    }

    fn flush(&mut self, lane: usize, id: ConnectionId) {
        let started = self.world.now();
        let result = self.end.flush(id);
        let now = self.world.now();
        let ledger = self.end.report(id).map(|report| report.ledger);
        match (result, ledger) {
            (Ok(()), Ok(ledger)) if ledger.pending() > 0 => {
                let detail = format!("flushed with {ledger:?}");
                self.find(lane, Rule::Delivered, detail);
            }
            (Err(error), _) => {
                self.note(lane, Note::Failed(error));
                self.lanes[lane].oracle.look_at_error(error, now);
            }
            _ => {}
        }
        let limit = self.lanes[lane].lane.options.call_timeout();
        if now.since(started) > limit + self.end.extension() + Duration::from_secs(1) {
            let detail = format!("flush took {:?}", now.since(started));
            self.find(lane, Rule::Bounded, detail);
        }
    }

    // ---- reading ----

    /// Reads what is available, once. Returns whether there may be more.
    fn read(&mut self, lane: usize, id: ConnectionId) -> bool {
        if self.lanes[lane].lane.options.on_receive() == OnReceive::Discard {
            return false;
        }
        let mut into = [0; PIECE];
        let result = self.end.try_read(id, &mut into);
        let before = self.lanes[lane].read;
        match result {
            Ok(None) => false,
            Ok(Some(0)) => {
                self.look_at_end_of_stream(lane);
                false
            }
            Ok(Some(len)) => {
                let bytes = &into[..len];
                if bytes != content_from(Whose::Peers, before, len) {
                    let detail = format!("{len} bytes after {before} are not the peer's");
                    self.find(lane, Rule::Read, detail);
                }
                self.lanes[lane].read = before + len as u64;
                true
            }
            Err(error) => {
                self.look_at_end_of_reading(lane, &format!("{error:?}"));
                false
            }
        }
    }

    /// Checks that everything acknowledged to the peer could be read before the end.
    fn look_at_end_of_reading(&mut self, lane: usize, end: &str) {
        let (truth, read) = (self.truth(lane), self.lanes[lane].read);
        let owed = truth.acknowledged_to_peer();
        // smoltcp clears what was received for a removed address. What was received on a
        // connection whose RST could not be sent is cleared with the RST.
        let oracle = &self.lanes[lane].oracle;
        let owes_rst = matches!(
            oracle.ended,
            Some(Cause::Vanished | Cause::Unacknowledged | Cause::FinishTimeout | Cause::Aborted)
        );
        // Finishing with unread bytes ends with a RST in place of a FIN, and so does the
        // release of a connection whose peer continues to send.
        let owes_rst = owes_rst || !truth.has_finished || !truth.may_have_fin();
        // Its direction may already have been finished separately.
        let owes_rst = owes_rst
            || oracle.done.finished_writing_at.is_some() && oracle.done.finish_at.is_some();
        // After the link came up, the neighbour has to be resolved again.
        let owes_rst = owes_rst || oracle.done.was_neglected || oracle.done.link_came_up;
        let is_cleared = oracle.done.address_lost || owes_rst && !truth.has_aborted;
        if read < owed && !is_cleared {
            let detail = format!("{owed} bytes were acknowledged, {read} read before {end}");
            self.find(lane, Rule::Read, detail);
        }
    }

    /// Checks that the end of the stream is at the peer's FIN.
    fn look_at_end_of_stream(&mut self, lane: usize) {
        let (truth, read) = (self.truth(lane), self.lanes[lane].read);
        let sent = truth.sent_before_fin();
        if sent != Some(read) {
            let detail = format!("the end of the stream after {read} bytes of {sent:?}");
            self.find(lane, Rule::Read, detail);
        }
    }

    /// Reads everything, until the end of the stream or of the connection.
    pub(super) fn read_rest(&mut self, lane: usize) {
        let Some(id) = self.id_of(lane).filter(|&id| self.end.is_owned(id)) else {
            return;
        };
        if self.gives_back(lane) {
            return;
        }
        for _ in 0..PIECES {
            if !self.read(lane, id) {
                return;
            }
        }
    }

    // ---- ending ----

    fn finish(&mut self, lane: usize, id: ConnectionId) {
        let now = self.world.now();
        let live = &mut self.lanes[lane];
        live.oracle.done.finish_at.get_or_insert(now);
        let limit = live.lane.options.finish_timeout();
        if self.scenario.seed.is_multiple_of(2) {
            let outcome = self.end.finish(id);
            self.look_at_finish(lane, outcome.map(|report| report.ledger.pending()));
            return;
        }
        self.end.begin_finish(id);
        self.look();
        let until = now + limit + Duration::from_secs(2);
        while self.world.now() < until {
            if let Some(outcome) = self.end.finished(id) {
                self.look_at_finish(lane, outcome.map(|report| report.ledger.pending()));
                self.end.release(id);
                return;
            }
            if self.state(lane) == State::Idle || self.state(lane) == State::Listening {
                return;
            }
            self.wait(until);
        }
        let detail = format!("no end after finishing: {:?}", self.state(lane));
        self.find(lane, Rule::Bounded, detail);
    }

    fn look_at_finish(&mut self, lane: usize, outcome: Result<u64, WriteError>) {
        let now = self.world.now();
        match outcome {
            Ok(0) => {}
            Ok(pending) => {
                let detail = format!("finished with {pending} bytes pending");
                self.find(lane, Rule::Delivered, detail);
            }
            Err(error) => {
                self.note(lane, Note::Failed(error));
                self.lanes[lane].oracle.look_at_error(error, now);
            }
        }
    }

    fn reopen(&mut self, lane: usize, id: ConnectionId) {
        self.look();
        self.look_at_delivery(lane);
        if !self.state(lane).is_closed() {
            return;
        }
        self.read_rest(lane);
        // The connection ended by itself: its slot is still held.
        self.end.release(id);
        if self.has_address() {
            self.open(lane);
            let spec = self.lanes[lane].lane;
            peers::call_again(self.scenario, self.world, lane as u16, &spec);
        }
    }
}

/// Whether a listener at this address may be refused.
const fn is_odd(bind: Bind) -> bool {
    !matches!(bind, Bind::Port | Bind::Ours)
}

/// The address to listen at.
fn bound(bind: Bind, family: Family) -> Option<IpAddress> {
    let v4 = |ours: Ipv4Address, theirs: Ipv6Address| match family {
        Family::V4 => ours.into(),
        Family::V6 => theirs.into(),
    };
    Some(match bind {
        Bind::Port => return None,
        Bind::Ours => v4(OUR_V4, OUR_V6),
        Bind::Unspecified => v4(Ipv4Address::UNSPECIFIED, Ipv6Address::UNSPECIFIED),
        Bind::Group => v4(
            Ipv4Address::new(224, 0, 0, 1),
            Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        ),
        Bind::Loopback => v4(Ipv4Address::LOCALHOST, Ipv6Address::LOCALHOST),
        Bind::Foreign => v4(PEER_V4, PEER_V6),
    })
}
