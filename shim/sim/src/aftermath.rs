//! The checks of a run after its plans have ended: what the peer received, how much work
//! it was, and what is left.

use std::time::Duration;

use lastbyte::{Cause, Instant, Ledger, State};

use super::content::{Whose, content_from};
use super::end::End;
use super::happening::Happening;
use super::model::PeerModel;
use super::rule::Rule;
use super::run::Run;
use super::scenario::{Opening, Step};
use super::truth::Opening as Handshake;
use crate::loopback::{Direction, PEER_V4};

/// How long the RST of a connection that is given back may wait for its neighbour, and more.
const LAST_RST: Duration = Duration::from_secs(10);

/// How often in a second our end may wait without a frame or a step as the reason: for
/// timers of both ends, and for pauses while a device is full.
const WAITS_PER_SECOND: u64 = 12;

/// The same while its device has no room: nothing reports when it will have room.
const WAITS_PER_STUCK_SECOND: u64 = 1_100;

/// smoltcp resolves one neighbour a second, and the answer takes a round trip.
const ONE_QUESTION: Duration = Duration::from_millis(1_500);

impl<E: End> Run<'_, E> {
    /// Checks how much work our end did, and for how long.
    pub(super) fn look_at_work(&mut self, aftermath: Duration) {
        let now = self.world.now();
        let (limit, elapsed) = (self.scenario.longest(), now.since(Instant::ZERO));
        let waits = self.world.waits();
        let reasons = self.reasons();
        let allowed = 100
            + 4 * reasons
            + WAITS_PER_SECOND * E::SLOTS as u64 * elapsed.as_secs()
            + WAITS_PER_STUCK_SECOND * self.stuck_for(elapsed).as_secs();
        if waits > allowed {
            let detail = format!("{waits} waits for {reasons} reasons in {elapsed:?}");
            self.find(0, Rule::Busy, detail);
        }
        if self.is_flooding() {
            let detail = format!("{reasons} frames and steps, most of them ours");
            self.find(0, Rule::Busy, detail);
        }
        if elapsed > limit + aftermath + Duration::from_secs(5) {
            let detail = format!("it took {elapsed:?}");
            self.find(0, Rule::Bounded, detail);
        }
    }

    /// How long our device may have had no room.
    fn stuck_for(&self, elapsed: Duration) -> Duration {
        if self.scenario.transmit_frames < 1_024 {
            return elapsed;
        }
        let happenings = self.scenario.happenings.iter();
        let stuck = happenings.map(|(_, happening)| match happening {
            Happening::Stuck(time) => *time + Duration::from_secs(1),
            _ => Duration::ZERO,
        });
        stuck.sum()
    }

    /// Frames, steps and happenings: the reasons for our end to wake.
    fn reasons(&self) -> u64 {
        let frames =
            [Direction::ToPeer, Direction::ToUs].map(|way| self.world.counters(way).frames);
        let steps: usize = self.lanes.iter().map(|live| live.lane.plan.len()).sum();
        frames.iter().sum::<u64>() + (steps + self.scenario.happenings.len()) as u64
    }

    /// Compares what the peer received with what was accepted.
    pub(super) fn look_at_delivery(&mut self, lane: usize) {
        let truth = self.truth(lane);
        // Without a handshake, what the peer received belongs to another connection.
        let (Some(port), Handshake::Synchronised) = (truth.local_port, truth.opening) else {
            return;
        };
        let live = &self.lanes[lane];
        let ledger = live.last.map_or(Ledger::ZERO, |report| report.ledger);
        let accepted = live.oracle.accepted;
        let we_listen = matches!(live.lane.opening, Opening::Listen(..));
        let called_by = we_listen.then_some(truth.opened_at);
        let received = self.peer.received(self.world, lane as u16, port, called_by);
        let Some(received) = received else {
            return;
        };
        let taken_in = received.len() as u64;
        if ledger.acknowledged() > taken_in {
            let detail = format!("{ledger:?}, but the peer received {taken_in}");
            self.find(lane, Rule::Acknowledged, detail);
        }
        if received != content_from(Whose::Ours, 0, received.len()) || taken_in > accepted {
            let detail = format!("the peer received {taken_in} bytes that are not ours");
            self.find(lane, Rule::Content, detail);
        }
    }

    /// Checks the effect of an outage that is shorter than every timeout.
    pub(super) fn look_at_outage(&mut self) {
        let Some(outage) = self.scenario.outage() else {
            return;
        };
        let report = self.lanes[0].last;
        let (cause, ledger) =
            report.map_or((None, Ledger::ZERO), |report| (report.cause, report.ledger));
        let bytes = self.scenario.bytes() as u64;
        if cause != Some(Cause::Finished) || ledger.acknowledged() != bytes {
            let detail = format!("{cause:?} with {ledger:?} of {bytes}");
            self.find(0, Rule::Survives, detail);
        }
        let options = &self.scenario.options;
        let has_happenings = !self.scenario.happenings.is_empty();
        // The next try is due within a quarter of the running timeout.
        let patience = match outage.start == Instant::ZERO {
            true => options.connect_timeout(),
            false => options.user_timeout(),
        };
        let longest = match has_happenings {
            true => Duration::from_secs(2),
            false => (patience / 4).max(Duration::from_secs(1)) + ONE_QUESTION,
        };
        if let Some(at) = self.truth(0).resumed_at
            && at > outage.end + longest
        {
            let late = at.since(outage.end);
            let detail = format!("what was in flight was retransmitted {late:?} after the outage");
            self.find(0, Rule::Survives, detail);
        }
    }

    /// Checks that some time after the end nothing is due, and that the slots can be used.
    pub(super) fn look_at_what_is_left(&mut self) {
        if !self.is_any_open() {
            return;
        }
        let now = self.world.now();
        for lane in 0..self.lanes.len() {
            let state = self.state(lane);
            if self.lanes[lane].id.is_some() && !(state.is_closed() || state == State::Idle) {
                let detail = format!("{state:?} after the last step");
                self.find(lane, Rule::Bounded, detail);
            }
        }
        if self.end.release_all() {
            self.wait_for(LAST_RST);
        }
        // One wake without a reason is allowed: deadlines are checked when they are
        // reached, not when they are cancelled.
        if let Some(at) = self.end.serve() {
            self.world.run_until(at);
        }
        if let Some(at) = self.end.serve() {
            let detail = format!("something is due at {at:?} ({now:?} now)");
            self.find(0, Rule::Leak, detail);
        }
        for _ in 0..E::SLOTS {
            let options = self.scenario.options;
            if self.has_address() && self.end.connect((PEER_V4, 9).into(), options).is_err() {
                self.find(0, Rule::Leak, "a slot cannot be used".to_owned());
            }
        }
    }

    /// Whether the plan of a connection released it in the end.
    pub(super) fn gives_back(&self, lane: usize) -> bool {
        let plan = self.lanes[lane].lane.plan;
        plan.iter().any(|step| matches!(step, Step::Release))
            || matches!(self.lanes[lane].lane.peer, PeerModel::Refuses)
    }
}
