//! The guarantees for the application, checked with what the calls return and with what
//! is on the wire.

use super::track::Track;
use lastbyte::core::Incoming;
use lastbyte::stack::ConnectionId;
use lastbyte::{
    Cause, ClosedBy, Instant, Ledger, OnPeerFin, OnReceive, Options, ReadError, Report, State,
    WriteError,
};

/// What our side has done to a connection.
#[derive(Debug, Default)]
pub struct Deeds {
    pub finish_at: Option<Instant>,
    /// When `finish_writing` returned `Ok`, if nothing was finished before.
    pub finish_writing_at: Option<Instant>,
    pub has_aborted: bool,
    pub has_lost_address: bool,
}

/// The application's account of a connection.
#[derive(Debug)]
pub struct Conn {
    pub id: ConnectionId,
    pub options: Options,
    /// The size of the transmit buffer.
    capacity: usize,
    pub opened_at: Instant,
    pub deeds: Deeds,
    /// The sum of what writes have returned.
    accepted: u64,
    acknowledged: u64,
    /// When more was last acknowledged.
    progressed_at: Instant,
    /// The sum of what reads have returned.
    read: u64,
    /// The first cause that was reported.
    cause: Option<Cause>,
    state: State,
    /// Whether the acknowledgement of our FIN was detected.
    is_fin_acknowledged: bool,
}

impl Conn {
    pub fn new(id: ConnectionId, options: Options, capacity: usize, opened_at: Instant) -> Self {
        Self {
            id,
            options,
            capacity,
            opened_at,
            deeds: Deeds::default(),
            accepted: 0,
            acknowledged: 0,
            progressed_at: opened_at,
            read: 0,
            cause: None,
            state: State::Idle,
            is_fin_acknowledged: false,
        }
    }

    /// Checks after every call that the ledger adds up, that no number decreases, and
    /// that the wire justifies every change.
    pub fn check(&mut self, report: &Report, state: State, track: Option<&Track>, now: Instant) {
        let ledger = report.ledger;
        assert_eq!(ledger.accepted(), self.accepted, "accepted: {self:?}");
        assert_eq!(
            ledger.accepted(),
            ledger.acknowledged() + ledger.pending(),
            "{ledger:?}"
        );
        assert!(
            ledger.acknowledged() >= self.acknowledged,
            "acknowledged has decreased: {ledger:?} {self:?}"
        );
        assert_eq!(report.cause, state.cause());
        if self.state.is_closed() {
            assert_eq!(state, self.state, "the end is not the end: {self:?}");
            assert_eq!(ledger.acknowledged(), self.acknowledged, "after the end");
        } else {
            self.check_acknowledged(ledger, state, track);
            self.check_new(report, state, track, now);
            self.check_both_finished(state, track);
        }
        if self.cause.is_some() {
            assert_eq!(report.cause, self.cause, "another cause: {self:?}");
        }
        if ledger.acknowledged() > self.acknowledged {
            self.progressed_at = now;
        }
        self.acknowledged = ledger.acknowledged();
        self.cause = report.cause;
        self.state = state;
        self.is_fin_acknowledged |= track.is_some_and(Track::must_have_acknowledged_fin);
    }

    /// RFC 9293, 3.6: with both FINs, and ours acknowledged, the connection has ended.
    fn check_both_finished(&self, state: State, track: Option<&Track>) {
        let is_over = track.is_some_and(|track| {
            track.must_have_acknowledged_fin() && track.must_end() == Some(Cause::PeerFinished)
        });
        assert!(
            !is_over || self.deeds.finish_writing_at.is_none() || state.is_closed(),
            "both have finished: {state:?} {self:?} {track:?}"
        );
    }

    fn check_acknowledged(&self, ledger: Ledger, state: State, track: Option<&Track>) {
        let Some(track) = track else {
            assert_eq!(ledger.acknowledged(), 0, "by whom? {self:?}");
            return;
        };
        let (least, most) = track.acknowledged(self.accepted);
        let acknowledged = ledger.acknowledged();
        assert!(
            acknowledged <= most,
            "{acknowledged} acknowledged, {most} at most: {self:?} {track:?}"
        );
        // Our own call may have ended it before the acknowledgement.
        if !state.is_closed() {
            assert!(
                acknowledged >= least,
                "{acknowledged} acknowledged, {least} at least: {self:?} {track:?}"
            );
        }
    }

    /// Whether the peer has finished, as far as we report.
    fn has_peer_finished(state: State) -> bool {
        let has_finished = State::WriteFinished(Incoming::Ended);
        matches!(state, State::PeerFinished(_))
            || state == has_finished
            || state.cause() == Some(Cause::PeerFinished)
    }

    fn check_new(&self, report: &Report, state: State, track: Option<&Track>, now: Instant) {
        let may_be = |cause| track.is_some_and(|track| track.may_be(cause));
        if Self::has_peer_finished(state) && !Self::has_peer_finished(self.state) {
            assert!(may_be(Cause::PeerFinished), "no FIN: {self:?} {track:?}");
        }
        let Some(cause) = report.cause.filter(|_| self.cause.is_none()) else {
            return;
        };
        let heard_at = track.and_then(Track::heard_at).unwrap_or(self.opened_at);
        let is_warranted = match cause {
            Cause::PeerFinished | Cause::PeerReset | Cause::Refused => may_be(cause),
            Cause::Unreachable => may_be(cause) || self.has_passed_connect_timeout(now),
            Cause::ConnectTimeout => self.has_passed_connect_timeout(now),
            Cause::Vanished => now.since(heard_at) >= self.options.user_timeout(),
            Cause::Unacknowledged => now.since(self.progressed_at) >= self.options.user_timeout(),
            Cause::FinishTimeout => self.has_passed_finish_timeout(now),
            Cause::AddressLost => self.deeds.has_lost_address,
            Cause::Finished => report.ledger.pending() == 0 && self.may_be_finished(track),
            Cause::Aborted => self.deeds.has_aborted,
        };
        assert!(
            is_warranted,
            "{cause} at {now:?}, but why? {self:?} {track:?}"
        );
    }

    fn has_passed_connect_timeout(&self, now: Instant) -> bool {
        now.since(self.opened_at) >= self.options.connect_timeout()
    }

    /// It can be reached only while our FIN is not acknowledged.
    fn has_passed_finish_timeout(&self, now: Instant) -> bool {
        let began = self.deeds.finish_writing_at.or(self.deeds.finish_at);
        !self.is_fin_acknowledged
            && began.is_some_and(|at| now.since(at) >= self.options.finish_timeout())
    }

    /// After a finish; if only writing was finished, after both FINs and the
    /// acknowledgement of ours.
    fn may_be_finished(&self, track: Option<&Track>) -> bool {
        let have_both = track.is_some_and(|track| {
            track.may_be(Cause::PeerFinished) && track.may_have_acknowledged_fin()
        });
        self.deeds.finish_at.is_some() || (self.deeds.finish_writing_at.is_some() && have_both)
    }

    /// The end that a write must have detected.
    fn owed(&self, track: Option<&Track>) -> Option<Cause> {
        let track = track?;
        match self.options.on_peer_fin() {
            OnPeerFin::Refuse => track.must_end(),
            OnPeerFin::HalfClose => track.must_rst().then_some(Cause::PeerReset),
        }
    }

    /// Called after a write of `len` octets, before [`check`](Self::check).
    pub fn wrote(
        &mut self,
        len: usize,
        result: Result<usize, WriteError>,
        report: &Report,
        track: Option<&Track>,
        foreseen: Option<&Track>,
    ) {
        let owed = self.owed(track);
        if self.deeds.finish_writing_at.is_some() {
            self.refused_as_finished(result, report);
        }
        match result {
            Err(WriteError::WouldBlock { .. }) => {
                self.wrote(len, Ok(0), report, track, foreseen);
            }
            Ok(accepted) => {
                assert!(accepted <= len);
                // The end is in the device, which returns no frame: then nothing may be
                // accepted.
                let waits = self.owed(foreseen);
                assert!(
                    waits.is_none() || accepted == 0,
                    "{accepted} octets were accepted, and {waits:?} waits: {self:?} {track:?}"
                );
                assert_eq!(owed, None, "a write was accepted: {self:?} {track:?}");
                assert_eq!(self.cause, None, "a write was accepted: {self:?}");
                self.accepted += accepted as u64;
            }
            Err(error) => {
                self.refused(error, report);
                assert!(self.cause.is_none() || error.cause() == self.cause);
                // Unless we ended it before, the error names the peer.
                if self.cause.is_none()
                    && matches!(self.state, State::Open | State::PeerFinished(_))
                    && let Some(cause) = owed
                {
                    assert_eq!(error.cause(), Some(cause), "{self:?} {track:?}");
                }
                assert!(owed.is_none() || error.cause().is_some(), "{error:?}");
            }
        }
    }

    /// Checks that after `finish_writing` a write is refused, whatever the peer has done; with
    /// the cause, if there is one.
    fn refused_as_finished(&self, result: Result<usize, WriteError>, report: &Report) {
        let Err(error) = result else {
            panic!("a write was accepted after our finish: {result:?} {self:?}");
        };
        let is_refused = match report.cause {
            Some(cause) => error.cause() == Some(cause),
            None => matches!(
                error,
                WriteError::Closed {
                    by: ClosedBy::Finish,
                    ..
                }
            ),
        };
        assert!(is_refused, "{error:?} after our finish: {self:?}");
    }

    /// Called after a write of a message: all of it was accepted, or nothing, which
    /// [`check`](Self::check) checks with the ledger.
    pub fn wrote_message(
        &mut self,
        len: usize,
        result: Result<(), WriteError>,
        report: &Report,
        track: Option<&Track>,
        foreseen: Option<&Track>,
    ) {
        let fits = len <= self.capacity;
        assert!(fits || result.is_err(), "{len} octets? {self:?}");
        if let Err(WriteError::MessageTooLong { capacity, .. }) = result {
            assert!(!fits, "{len} octets are too many? {self:?}");
            assert_eq!(capacity as usize, self.capacity);
        }
        self.wrote(len, result.map(|()| len), report, track, foreseen);
    }

    /// Called after the query for room and a write of that much, or of one octet if it was
    /// refused. The query must also report an end at once.
    pub fn has_room(
        &mut self,
        room: Result<usize, WriteError>,
        written: Result<usize, WriteError>,
        report: &Report,
        track: Option<&Track>,
        foreseen: Option<&Track>,
    ) {
        match (room, written) {
            (Ok(room), _) => {
                assert!(room <= self.capacity, "{room} octets of room? {self:?}");
                // A segment that arrived in between may end it.
                let is_kept = written.map_or_else(|error| error.cause().is_some(), |n| n == room);
                assert!(is_kept, "room for {room}, but {written:?}: {self:?}");
                self.wrote(room, written, report, track, foreseen);
            }
            (Err(error), _) => {
                assert_eq!(Err(error.cause()), written.map_err(|error| error.cause()));
                self.wrote(1, written, report, track, foreseen);
            }
        }
    }

    /// Called after `finish_writing`, before [`check`](Self::check).
    pub fn finished_writing(
        &mut self,
        result: Result<(), WriteError>,
        report: &Report,
        track: Option<&Track>,
        now: Instant,
    ) {
        let has_finished = self.deeds.finish_at.is_some() || self.deeds.finish_writing_at.is_some();
        match result {
            Ok(()) => {
                assert_eq!(self.cause, None, "it had ended: {self:?}");
                let owed = self.owed(track);
                assert!(
                    has_finished || owed.is_none(),
                    "finished, and {owed:?} had come: {self:?} {track:?}"
                );
                if !has_finished {
                    self.deeds.finish_writing_at = Some(now);
                }
            }
            Err(error) => self.refused(error, report),
        }
    }

    /// Checks that an error carries the ledger, and the first cause if there is one.
    /// After the peer's FIN, only a wait for the drain may time out without an end.
    pub fn refused(&self, error: WriteError, report: &Report) {
        assert_eq!(error.ledger(), report.ledger, "{error:?} {self:?}");
        let is_wait = matches!(error, WriteError::TimedOut { .. }) && !self.state.is_closed();
        if self.cause.is_some() && !is_wait {
            assert_eq!(error.cause(), self.cause, "another cause: {self:?}");
        }
    }

    pub fn flushed(&self, result: Result<(), WriteError>, report: &Report) {
        match result {
            Ok(()) => assert_eq!(report.ledger.pending(), 0, "flushed? {self:?}"),
            Err(error) => {
                self.refused(error, report);
                assert!(
                    report.ledger.pending() > 0,
                    "flushed, and reported otherwise"
                );
            }
        }
    }

    /// Checks that the reader gets the octets that the peer has sent, which [`octet`]
    /// makes, and before the end everything that was acknowledged.
    pub fn has_read(
        &mut self,
        result: Result<Option<usize>, ReadError>,
        bytes: &[u8],
        report: &Report,
        track: Option<&Track>,
    ) {
        let readable = track.map_or(0, Track::readable);
        match result {
            Ok(None) => {}
            Ok(Some(0)) if bytes.is_empty() => {}
            Ok(Some(0)) => {
                let may_end = track.is_some_and(|track| track.may_be(Cause::PeerFinished));
                assert!(may_end, "the end of the stream? {self:?} {track:?}");
                assert!(
                    self.read >= readable,
                    "{readable} at least: {self:?} {track:?}"
                );
            }
            Ok(Some(len)) => {
                let first = track.map_or(0, Track::first);
                for (number, &byte) in (self.read..).zip(&bytes[..len]) {
                    let sent = octet(first.wrapping_add(number as u32));
                    assert_eq!(byte, sent, "octet {number}: {self:?} {track:?}");
                }
                self.read += len as u64;
            }
            Err(ReadError::Ended(error)) => {
                self.refused(error, report);
                // Our own finish does not end the peer's direction.
                let is_read_on = self.deeds.finish_writing_at.is_some()
                    && self.deeds.finish_at.is_none()
                    && self.options.on_receive() == OnReceive::Keep
                    && matches!(report.cause, None | Some(Cause::Finished));
                assert!(!is_read_on, "{error:?}, while the peer sends: {self:?}");
                assert!(
                    self.read >= readable,
                    "{readable} at least: {self:?} {track:?}"
                );
            }
            Err(_) => {}
        }
    }
}

/// The octet at this place of the peer's stream, in whatever segment.
pub const fn octet(seq: u32) -> u8 {
    (seq.wrapping_mul(0x9e37_79b9) >> 24) as u8
}
