//! The promises to the application, held against what the calls return and
//! against what the wire says.

use super::track::Track;
use lastbyte::core::Incoming;
use lastbyte::stack::ConnectionId;
use lastbyte::{
    Cause, ClosedBy, Instant, Ledger, OnPeerFin, OnReceive, Options, ReadError, Report, State,
    WriteError,
};

/// What our own side has done to a connection.
#[derive(Debug, Default)]
pub struct Deeds {
    pub finish_at: Option<Instant>,
    /// When `finish_writing` returned `Ok`, if nothing was finished before.
    pub finish_writing_at: Option<Instant>,
    pub has_aborted: bool,
    pub has_lost_address: bool,
}

/// A connection as its application remembers it.
#[derive(Debug)]
pub struct Conn {
    pub id: ConnectionId,
    pub options: Options,
    /// How many octets the transmit buffer holds.
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
    /// The acknowledgement of our FIN was noticed.
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

    /// After every call: the ledger adds up, nothing is taken back, and
    /// whatever is new is warranted by what is on the wire.
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
            "acknowledged is taken back: {ledger:?} {self:?}"
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

    /// RFC 9293, 3.6: with both FINs, and ours acknowledged, nothing is left to wait for.
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
        // An end of our own making may have come before the acknowledgement.
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

    /// It is reached only while our FIN is not acknowledged.
    fn has_passed_finish_timeout(&self, now: Instant) -> bool {
        let began = self.deeds.finish_writing_at.or(self.deeds.finish_at);
        !self.is_fin_acknowledged
            && began.is_some_and(|at| now.since(at) >= self.options.finish_timeout())
    }

    /// By a finish; where only writing was finished, by both FINs and the acknowledgement
    /// of ours.
    fn may_be_finished(&self, track: Option<&Track>) -> bool {
        let have_both = track.is_some_and(|track| {
            track.may_be(Cause::PeerFinished) && track.may_have_acknowledged_fin()
        });
        self.deeds.finish_at.is_some() || (self.deeds.finish_writing_at.is_some() && have_both)
    }

    /// The end that a write must have noticed.
    fn owed(&self, track: Option<&Track>) -> Option<Cause> {
        let track = track?;
        match self.options.on_peer_fin() {
            OnPeerFin::Refuse => track.must_end(),
            OnPeerFin::HalfClose => track.must_rst().then_some(Cause::PeerReset),
        }
    }

    /// After a write of `len` octets, before [`check`](Self::check).
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
                // The end is in the device, which gives nothing: then nothing is taken.
                let waits = self.owed(foreseen);
                assert!(
                    waits.is_none() || accepted == 0,
                    "{accepted} octets were taken, and {waits:?} waits: {self:?} {track:?}"
                );
                assert_eq!(owed, None, "it was written on: {self:?} {track:?}");
                assert_eq!(self.cause, None, "it was written on: {self:?}");
                self.accepted += accepted as u64;
            }
            Err(error) => {
                self.refused(error, report);
                assert!(self.cause.is_none() || error.cause() == self.cause);
                // Unless we ended it before, the peer is named.
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

    /// After `finish_writing`, a write is refused, whatever the peer has done; with the end, if
    /// there is one.
    fn refused_as_finished(&self, result: Result<usize, WriteError>, report: &Report) {
        let Err(error) = result else {
            panic!("it was written on after our finish: {result:?} {self:?}");
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

    /// After a write of a message: all of it was accepted, or nothing, which
    /// [`check`](Self::check) sees in the ledger.
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

    /// After the question for room and a write of as much, of one octet if refused. C1 holds
    /// for the question too.
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
                // What arrived in between may end it.
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

    /// After `finish_writing`, before [`check`](Self::check).
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

    /// An error carries the ledger, and the first cause if there is one. Only
    /// waiting for a drain may take too long after the peer's FIN, and go on.
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

    /// The reader gets the octets that the peer has sent, which [`octet`] makes, and
    /// before the end all that was acknowledged.
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
                // Our own finish is no end of what the peer sends.
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

/// What stands at this place of the peer's stream, whichever segment carries it.
pub const fn octet(seq: u32) -> u8 {
    (seq.wrapping_mul(0x9e37_79b9) >> 24) as u8
}
