//! One run of one scenario.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::end::{End, Over, RunStack};
#[cfg(feature = "async")]
use super::end::{LateClock, Net, Tasks};
#[cfg(feature = "async")]
use super::executor::Time;
use lastbyte::stack::{Config, ConnectionId, SlotBuffers, Stack};
use lastbyte::{Cause, Instant, Ledger, OnReceive, Report, State};
use smoltcp::iface::SocketStorage;

use super::dice::Chance;
use super::happening::Forgery;
use super::oracle::Oracle;
use super::peers::{self, PeerSide};
use super::profile::Profile;
use super::recording::{Note, Tape};
use super::rule::{Finding, Rule};
use super::scenario::{Lane, Network, Scenario};
use super::truth::{Truth, Wire};
use crate::loopback::{
    Direction, EventLog, OUR_ADDRESSES, PeerConfig, World, WorldConfig, our_hardware_address,
};

/// The port that our end listens on for the first connection; the others have the ports
/// after it. Far from [`PEER_PORT`](peers::PEER_PORT).
pub(super) const OUR_PORT: u16 = 4_101;

/// The time after the end at which nothing may be left: longer than TIME-WAIT, and than a
/// RST waits for its neighbour.
const AFTERMATH: Duration = Duration::from_secs(70);

/// The maximum number of frames that our end may send without a frame of the peer or a
/// written octet as the reason.
const FLOOD: u64 = 20_000;

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// A hash of everything that crossed the wire, and when: two runs are the same if
    /// their hashes are.
    pub hash: u64,
    /// The broken rules.
    pub findings: Vec<Finding>,
    /// How the last connection ended.
    pub cause: Option<Cause>,
    /// The ledger of the last connection.
    pub ledger: Ledger,
    /// How much virtual time it took.
    pub elapsed: Duration,
    /// Frames that were sent, by both ends.
    pub frames: u64,
}

/// What a run needs in addition to the scenario.
#[derive(Debug, Default)]
pub(super) struct Arena {
    tx: [Vec<u8>; MOST],
    rx: [Vec<u8>; MOST],
}

/// The maximum number of connections of a run.
const MOST: usize = 1 + Scenario::MOST_BESIDE;

/// A world for `scenario`, without its peer.
pub(super) fn world_of(scenario: &Scenario) -> World {
    let longest = scenario.longest() + AFTERMATH + scenario.options.finish_timeout();
    World::new(WorldConfig {
        latency: Duration::ZERO,
        medium: scenario.medium,
        mtu: scenario.mtu(),
        offload: scenario.offload,
        transmit_frames: scenario.transmit_frames,
        horizon: longest * 2 + Duration::from_secs(3_600),
        peer: PeerConfig {
            keep_bytes: 1 << 20,
            ..PeerConfig::default()
        },
        // The times of a scenario count from zero.
        begins_at: Instant::ZERO,
        ..WorldConfig::default()
    })
}

/// Runs `scenario` in a `world` made for it.
pub(super) fn run_in(
    scenario: &Scenario,
    world: &World,
    arena: &mut Arena,
    tape: &Tape,
) -> Outcome {
    // If there is only one slot, it is opened again at once.
    match scenario.lanes().count() {
        1 => run_with::<1>(scenario, world, arena, tape),
        _ => run_with::<MOST>(scenario, world, arena, tape),
    }
}

fn run_with<const N: usize>(
    scenario: &Scenario,
    world: &World,
    arena: &mut Arena,
    tape: &Tape,
) -> Outcome {
    let medium = world.config().medium;
    let damages = match &scenario.network {
        Network::Links(links) => links.to_us.corruption != Chance::NEVER,
        Network::Script { .. } => true,
    };
    let patience = scenario.lanes().map(|lane| lane.options.connect_timeout());
    let wire = Rc::new(RefCell::new(Wire::new(medium, damages, patience)));
    watch(world, &wire);
    let log = world.record(0);
    let peer = peers::install(scenario, world, 1);

    let Arena { tx, rx } = arena;
    let mut memory = tx.iter_mut().zip(rx);
    let buffers: [SlotBuffers<'_>; N] = std::array::from_fn(|_| match memory.next() {
        Some((tx, rx)) => {
            tx.resize(scenario.tx_buffer, 0);
            rx.resize(scenario.rx_buffer, 0);
            SlotBuffers { tx, rx }
        }
        None => SlotBuffers {
            tx: &mut [],
            rx: &mut [],
        },
    });
    let mut storage = [SocketStorage::EMPTY; N];
    let queue = u16::try_from(world.config().queue_frames).unwrap_or(u16::MAX);
    let config = Config::new(our_hardware_address(medium), scenario.seed | 1).receive_queue(queue);
    let seen = Seen {
        scenario,
        world,
        wire,
        peer,
        tape,
        log,
    };
    let (device, clock) = (world.device(), world.clock());
    let made = match scenario.over {
        Over::Stack => Stack::new(device, clock, config, buffers, &mut storage)
            .map(|stack| seen.run(RunStack(stack))),
        #[cfg(feature = "async")]
        Over::Async => {
            let time = Time::new(LateClock(clock));
            Net::<N>::new(device, time.clone(), config, buffers, &mut storage)
                .map(|net| seen.run(Tasks::new(&net, time, scenario.seed)))
        }
    };
    made.unwrap_or_else(|error| broken(world, format!("no stack: {error}")))
}

/// Everything of a run except our end.
struct Seen<'s> {
    scenario: &'s Scenario,
    world: &'s World,
    wire: Rc<RefCell<Wire>>,
    peer: PeerSide,
    tape: &'s Tape,
    log: EventLog,
}

impl Seen<'_> {
    /// Runs the applications at our end, and checks the rules.
    fn run(self, end: impl End) -> Outcome {
        let mut run = Run::new(
            self.scenario,
            self.world,
            end,
            self.wire,
            self.peer,
            self.tape,
        );
        run.play();
        let findings = run.findings();
        for finding in &findings {
            run.note(0, Note::Found(finding.clone()));
        }
        let first = run.lanes.first().and_then(|lane| lane.last);
        // What is left is aborted here, on the wire as well.
        drop(run);
        Outcome {
            hash: self.log.hash(),
            cause: first.and_then(|report| report.cause),
            ledger: first.map_or(Ledger::ZERO, |report| report.ledger),
            elapsed: self.world.now().since(Instant::ZERO),
            findings,
            frames: self.log.frames(),
        }
    }
}

/// The outcome of a run that could not be made.
pub(super) fn broken(world: &World, detail: String) -> Outcome {
    Outcome {
        hash: 0,
        findings: vec![Finding {
            rule: Rule::Panic,
            at: world.now(),
            detail,
        }],
        cause: None,
        ledger: Ledger::ZERO,
        elapsed: world.now().since(Instant::ZERO),
        frames: 0,
    }
}

/// Reports to `wire` each frame that leaves our end or arrives there.
pub(super) fn watch(world: &World, wire: &Rc<RefCell<Wire>>) {
    let sent = Rc::clone(wire);
    world.observe(move |_, event| {
        if event.direction == Direction::ToPeer {
            sent.borrow_mut().note_sent(event.sent_at, event.frame);
        }
    });
    let arrived = Rc::clone(wire);
    world.witness(move |now, direction, frame| {
        if direction == Direction::ToUs {
            arrived.borrow_mut().note_arrival(now, frame);
        }
    });
}

/// One connection of a run.
#[derive(Debug)]
pub(super) struct Live<'s> {
    pub(super) lane: Lane<'s>,
    pub(super) id: Option<ConnectionId>,
    pub(super) oracle: Oracle,
    /// The last reported state of the connection.
    pub(super) last: Option<Report>,
    /// Bytes of the peer's that the application has read.
    pub(super) read: u64,
}

/// Forged segments that arrive one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storm {
    pub(super) forgery: Forgery,
    pub(super) next: Instant,
    pub(super) every: Duration,
    pub(super) left: u32,
}

/// A run in progress.
pub(super) struct Run<'s, E> {
    pub(super) scenario: &'s Scenario,
    pub(super) world: &'s World,
    pub(super) end: E,
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) peer: PeerSide,
    pub(super) lanes: Vec<Live<'s>>,
    /// How many of the happenings were performed.
    pub(super) happened: usize,
    pub(super) storm: Option<Storm>,
    pub(super) tape: &'s Tape,
}

impl<'s, E: End> Run<'s, E> {
    fn new(
        scenario: &'s Scenario,
        world: &'s World,
        mut end: E,
        wire: Rc<RefCell<Wire>>,
        peer: PeerSide,
        tape: &'s Tape,
    ) -> Self {
        end.with_network(|network| {
            network
                .interface
                .update_ip_addrs(|list| list.extend(OUR_ADDRESSES));
        });
        let live = |lane: Lane<'s>| Live {
            lane,
            id: None,
            oracle: Oracle::new(lane.options, world.now()),
            last: None,
            read: 0,
        };
        Self {
            scenario,
            world,
            end,
            wire,
            peer,
            lanes: scenario.lanes().map(live).collect(),
            happened: 0,
            storm: None,
            tape,
        }
    }

    fn play(&mut self) {
        let all = 0..self.lanes.len();
        for lane in all.clone() {
            self.open(lane);
        }
        if self.scenario.profile == Profile::Outage
            && let Some(outage) = self.scenario.outage()
        {
            self.wire.borrow_mut().lane_mut(0).outage_ends = outage.end;
        }
        let steps = self.lanes.iter().map(|live| live.lane.plan.len());
        for number in 0..steps.max().unwrap_or(0) {
            for lane in all.clone() {
                if let Some(&step) = self.lanes[lane].lane.plan.get(number) {
                    self.happen();
                    self.note(lane, Note::Step(step));
                    self.take(lane, step);
                    self.look();
                }
            }
        }
        let reads_late = self.scenario.seed % 4 < 2;
        for lane in all.clone() {
            self.look_at_delivery(lane);
            if !reads_late {
                self.read_rest(lane);
            }
        }
        let patience = self
            .lanes
            .iter()
            .map(|live| live.lane.options.finish_timeout());
        let aftermath = AFTERMATH + patience.max().unwrap_or_default();
        if self.is_any_open() {
            self.wait_for(aftermath);
        }
        for lane in all {
            if reads_late {
                self.read_rest(lane);
            }
        }
        self.look_at_work(aftermath);
        if self.scenario.profile == Profile::Outage {
            self.look_at_outage();
        }
        self.look_at_what_is_left();
    }

    pub(super) fn is_any_open(&self) -> bool {
        self.lanes.iter().any(|live| live.id.is_some())
    }

    pub(super) fn find(&mut self, lane: usize, rule: Rule, detail: String) {
        let now = self.world.now();
        self.lanes[lane].oracle.find(rule, now, detail);
    }

    /// The findings, in the order of time. Those of other connections name the connection.
    fn findings(&mut self) -> Vec<Finding> {
        let mut all = Vec::new();
        for (number, live) in self.lanes.iter_mut().enumerate() {
            let findings = std::mem::take(&mut live.oracle.findings);
            all.extend(findings.into_iter().map(|finding| match number {
                0 => finding,
                _ => Finding {
                    detail: format!("{} (connection {number} beside)", finding.detail),
                    ..finding
                },
            }));
        }
        all.sort_by_key(|finding| finding.at);
        all
    }

    /// Serves the stack until something happens, or `until`.
    pub(super) fn wait(&mut self, until: Instant) {
        let next = self.next_happening().min(until);
        if self.is_flooding() {
            // A flood has no end to wait for.
            self.world.run_until(next);
        } else {
            self.end.wait(next);
        }
        self.happen();
        self.look();
    }

    /// Whether our end has sent much more than there were reasons for.
    pub(super) fn is_flooding(&self) -> bool {
        let ours = self.world.counters(Direction::ToPeer).frames;
        let theirs = self.world.counters(Direction::ToUs).frames;
        let written: u64 = self.lanes.iter().map(|live| live.oracle.accepted).sum();
        ours > FLOOD + 4 * theirs + written
    }

    pub(super) fn truth(&self, lane: usize) -> Truth {
        *self.wire.borrow().lane(lane)
    }

    /// Checks the rules for the connections.
    pub(super) fn look(&mut self) {
        let is_full = self.world.is_full();
        if is_full {
            self.excuse();
        }
        for live in &mut self.lanes {
            live.oracle.done.device_is_full = is_full;
        }
        for lane in 0..self.lanes.len() {
            self.look_at(lane);
        }
    }

    /// Records that our end could not be served until now.
    pub(super) fn excuse(&mut self) {
        let now = self.world.now();
        let mut wire = self.wire.borrow_mut();
        wire.lanes_mut().for_each(|truth| truth.excuse(now));
        for live in &mut self.lanes {
            live.oracle.stirred_at = now;
            live.oracle.served_at = now;
        }
    }

    fn look_at(&mut self, lane: usize) {
        let Some(id) = self.lanes[lane].id else {
            return;
        };
        let now = self.world.now();
        match (self.end.state(id), self.end.report(id)) {
            (Ok(state), Ok(report)) => {
                self.lanes[lane].last = Some(report);
                self.note(lane, Note::Changed);
                let mut wire = self.wire.borrow_mut();
                let neighbour = wire.neighbour;
                let truth = wire.lane_mut(lane);
                if state != State::Listening {
                    truth.stop_listening();
                }
                self.lanes[lane]
                    .oracle
                    .look(state, &report, truth, neighbour, now);
                drop(wire);
                self.look_at_buffer(lane, id);
            }
            // The connection was released, and its slot is used by another.
            _ if E::SLOTS > 1 && (self.is_given_back(lane) || !self.end.is_owned(id)) => {}
            _ => self.find(lane, Rule::Leak, "the id is stale".to_owned()),
        }
    }

    /// Whether the application does not need a connection any more, so that its slot may
    /// be opened again.
    pub(super) fn is_given_back(&self, lane: usize) -> bool {
        let done = &self.lanes[lane].oracle.done;
        done.aborted || done.finish_at.is_some()
    }

    /// Checks that if received bytes are discarded, a full buffer never hides the peer's FIN.
    fn look_at_buffer(&mut self, lane: usize, id: ConnectionId) {
        let is_full = self.lanes[lane].lane.options.on_receive() == OnReceive::Discard
            && self
                .end
                .progress(id)
                .is_ok_and(|progress| progress.state.is_established() && progress.is_receive_full);
        if is_full {
            let detail = "the receive buffer is full".to_owned();
            self.find(lane, Rule::Discarded, detail);
        }
    }

    pub(super) fn note(&self, lane: usize, note: Note) {
        if !self.tape.is_on() {
            return;
        }
        let last = self.lanes.get(lane).and_then(|live| live.last);
        let ledger = last.map_or(Ledger::ZERO, |report| report.ledger);
        let state = self.state(lane);
        self.tape.note(self.world.now(), lane, state, ledger, note);
    }

    pub(super) fn state(&self, lane: usize) -> State {
        let id = self.lanes.get(lane).and_then(|live| live.id);
        id.and_then(|id| self.end.state(id).ok())
            .unwrap_or(State::Idle)
    }
}
