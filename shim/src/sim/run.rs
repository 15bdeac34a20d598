//! One run of one scenario.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use lastbyte::stack::{Config, ConnectionId, SlotBuffers, Stack};
use lastbyte::{Cause, Instant, Ledger, OnReceive, Report, State};
use smoltcp::iface::SocketStorage;
use smoltcp::phy::Medium;
use smoltcp::wire::IpAddress;

use super::content::content_from;
use super::dice::Chance;
use super::oracle::{Finding, Oracle, Rule};
use super::peers::{self, PEER_PORT, PeerSide};
use super::recording::{Note, Tape};
use super::scenario::{Family, Forgery, Happening, Network, Scenario};
use super::truth::{FinPlace, Opening as Handshake, Truth};
use crate::loopback::{
    Direction, Flags, LoopClock, LoopDevice, OUR_ADDRESSES, OUR_V4, OUR_V6, PEER_V4, PEER_V6,
    PeerConfig, Segment, World, WorldConfig, our_hardware_address, unreachable,
};

/// The port our end listens on; see [`PEER_PORT`].
pub(super) const OUR_PORT: u16 = 4_001;

/// How long behind the end nothing may be left: longer than TIME-WAIT and a
/// RST that waits for its neighbour.
const AFTERMATH: Duration = Duration::from_secs(70);

/// The most our end may wait without a frame or a step as the reason, for each
/// second: timers of both ends, and the pauses while a device is full.
const WAITS_PER_SECOND: u64 = 12;

/// The most frames our end may send without one of the peer's or an octet that was
/// written as the reason.
const FLOOD: u64 = 20_000;

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Stands for everything that crossed the wire, when and how: two runs are
    /// the same if their hashes are.
    pub hash: u64,
    /// Broken promises.
    pub findings: Vec<Finding>,
    /// How the last connection ended.
    pub cause: Option<Cause>,
    /// The account of the last connection.
    pub ledger: Ledger,
    /// How much virtual time it took.
    pub elapsed: Duration,
    /// Frames that were sent, by both ends.
    pub frames: u64,
}

/// What a run needs beside the scenario.
#[derive(Debug, Default)]
pub(super) struct Arena {
    tx: Vec<u8>,
    rx: Vec<u8>,
}

type RunStack<'a> = Stack<'a, LoopDevice, LoopClock, 1>;

/// A world for `scenario`, without its peer.
pub(super) fn world_of(scenario: &Scenario) -> World {
    let longest = scenario.longest() + AFTERMATH + scenario.options.finish_limit();
    World::new(WorldConfig {
        latency: Duration::ZERO,
        horizon: longest * 2 + Duration::from_secs(3_600),
        peer: PeerConfig {
            keep_bytes: 1 << 20,
            ..PeerConfig::default()
        },
        // A scenario counts from zero.
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
    let medium = world.config().medium;
    let damages = match &scenario.network {
        Network::Links(links) => links.to_us.corruption != Chance::NEVER,
        Network::Script { .. } => true,
    };
    let truth = Rc::new(RefCell::new(Truth::new(
        medium,
        damages,
        scenario.options.connect_limit(),
    )));
    watch(world, &truth);
    let log = world.record(0);
    let peer = peers::install(scenario, world, 1);

    arena.tx.resize(scenario.tx_buffer, 0);
    arena.rx.resize(scenario.rx_buffer, 0);
    let buffers = SlotBuffers {
        tx: &mut arena.tx,
        rx: &mut arena.rx,
    };
    let mut storage = [SocketStorage::EMPTY];
    let config = Config::new(our_hardware_address(medium), scenario.seed | 1);
    let stack = Stack::new(
        world.device(),
        world.clock(),
        config,
        [buffers],
        &mut storage,
    );
    let mut run = match stack {
        Ok(stack) => Run::new(scenario, world, stack, truth, peer, tape),
        Err(error) => return broken(world, format!("no stack: {error}")),
    };
    run.play();
    for finding in &run.oracle.findings {
        run.note(Note::Found(finding.clone()));
    }
    let frames = log.frames();
    Outcome {
        hash: log.hash(),
        cause: run.last.and_then(|report| report.cause),
        ledger: run.last.map_or(Ledger::ZERO, |report| report.ledger),
        elapsed: world.now().since(Instant::ZERO),
        findings: run.oracle.findings,
        frames,
    }
}

/// The outcome of a run that could not be carried out.
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

/// Tells `truth` of everything that leaves our end and arrives there.
fn watch(world: &World, truth: &Rc<RefCell<Truth>>) {
    let sent = Rc::clone(truth);
    world.observe(move |_, event| {
        if event.direction == Direction::ToPeer {
            sent.borrow_mut().note_sent(event.sent_at, event.frame);
        }
    });
    let arrived = Rc::clone(truth);
    world.witness(move |now, direction, frame| {
        if direction == Direction::ToUs {
            arrived.borrow_mut().note_arrival(now, frame);
        }
    });
}

/// A run going on.
pub(super) struct Run<'s, 'a> {
    pub(super) scenario: &'s Scenario,
    pub(super) world: &'s World,
    pub(super) stack: RunStack<'a>,
    pub(super) id: Option<ConnectionId>,
    pub(super) truth: Rc<RefCell<Truth>>,
    pub(super) peer: PeerSide,
    pub(super) oracle: Oracle,
    /// How many of the happenings have happened.
    pub(super) happened: usize,
    /// What the connection said last.
    pub(super) last: Option<Report>,
    pub(super) tape: &'s Tape,
}

impl<'s, 'a> Run<'s, 'a> {
    fn new(
        scenario: &'s Scenario,
        world: &'s World,
        mut stack: RunStack<'a>,
        truth: Rc<RefCell<Truth>>,
        peer: PeerSide,
        tape: &'s Tape,
    ) -> Self {
        stack
            .interface_mut()
            .update_ip_addrs(|list| list.extend(OUR_ADDRESSES));
        Self {
            scenario,
            world,
            stack,
            id: None,
            truth,
            peer,
            oracle: Oracle::new(scenario.options, world.now()),
            happened: 0,
            last: None,
            tape,
        }
    }

    fn play(&mut self) {
        self.open();
        for &step in &self.scenario.plan {
            self.happen();
            self.note(Note::Step(step));
            self.take(step);
            self.look();
        }
        self.look_at_delivery();
        let aftermath = AFTERMATH + self.scenario.options.finish_limit();
        if self.id.is_some() {
            self.wait_for(aftermath);
        }
        let now = self.world.now();
        let (limit, elapsed) = (self.scenario.longest(), now.since(Instant::ZERO));
        let waits = self.world.waits();
        let reasons = self.reasons();
        let allowed = 100 + 4 * reasons + WAITS_PER_SECOND * elapsed.as_secs();
        if waits > allowed {
            let detail = format!("{waits} waits for {reasons} reasons in {elapsed:?}");
            self.oracle.find(Rule::Busy, now, detail);
        }
        if self.is_flooding() {
            let detail = format!("{reasons} frames and steps, most of them ours");
            self.oracle.find(Rule::Busy, now, detail);
        }
        if elapsed > limit + aftermath + Duration::from_secs(5) {
            let detail = format!("it took {elapsed:?}");
            self.oracle.find(Rule::Bounded, now, detail);
        }
        self.look_at_what_is_left();
    }

    /// Frames and steps: what our end has to wake for.
    fn reasons(&self) -> u64 {
        let frames =
            [Direction::ToPeer, Direction::ToUs].map(|way| self.world.counters(way).frames);
        frames.iter().sum::<u64>() + self.scenario.plan.len() as u64
    }

    // ---- the world ----

    pub(super) fn next_happening(&self) -> Instant {
        let next = self.scenario.happenings.get(self.happened);
        next.map_or(Instant::NEVER, |(at, _)| *at)
    }

    /// Lets happen what is due.
    pub(super) fn happen(&mut self) {
        while self.next_happening() <= self.world.now() {
            let (_, happening) = self.scenario.happenings[self.happened];
            self.happened += 1;
            self.note(Note::Happened(happening));
            match happening {
                Happening::AddressLost => {
                    self.oracle.done.address_lost = true;
                    self.stack
                        .interface_mut()
                        .update_ip_addrs(|list| list.truncate(0));
                }
                Happening::LinkDown => self.stack.set_link(false),
                Happening::LinkUp => self.stack.set_link(true),
                Happening::Forged(forgery) => self.forge(forgery),
                Happening::Unreachable(code) => self.complain(code),
            }
        }
    }

    fn forge(&self, forgery: Forgery) {
        let truth = *self.truth.borrow();
        let (Handshake::Synchronised, Some(port)) = (truth.opening, truth.local_port) else {
            return;
        };
        let (dst, src) = self.addresses();
        let (rcv, snd) = (truth.rcv_max(), truth.snd_nxt());
        let (flags, seq, ack) = match forgery {
            Forgery::Rst(off) => (Flags::RST, rcv.wrapping_add(off), 0),
            Forgery::Syn(off) => (Flags::SYN, rcv.wrapping_add(off), 0),
            Forgery::Ack(off) => (Flags::ACK, rcv, snd.wrapping_add(off)),
            Forgery::Fin(off) => (Flags::FIN | Flags::ACK, rcv.wrapping_add(off), snd),
        };
        let segment = Segment {
            src,
            dst,
            ..Segment::new(PEER_PORT, port, flags, seq, ack)
        };
        let frame = segment.to_frame(Medium::Ethernet);
        self.world.inject(Direction::ToUs, frame);
    }

    /// A router complains about a segment in flight.
    fn complain(&mut self, code: u8) {
        let truth = *self.truth.borrow();
        let (Some(seq), Some(port)) = (truth.in_flight(), truth.local_port) else {
            return;
        };
        let (src, dst) = self.addresses();
        let segment = Segment {
            src,
            dst,
            ..Segment::new(port, PEER_PORT, Flags::ACK, seq, 0)
        };
        self.oracle.done.complained |= truth.opening != Handshake::Synchronised;
        let frame = unreachable(Medium::Ethernet, &segment, code);
        self.world.inject(Direction::ToUs, frame);
    }

    /// Ours and the peer's.
    fn addresses(&self) -> (IpAddress, IpAddress) {
        match self.scenario.family {
            Family::V4 => (OUR_V4.into(), PEER_V4.into()),
            Family::V6 => (OUR_V6.into(), PEER_V6.into()),
        }
    }

    /// Serves the stack until something happens, or `until`.
    pub(super) fn wait(&mut self, until: Instant) {
        let next = self.next_happening().min(until);
        if self.is_flooding() {
            // Nobody has to wait for the end of that.
            self.world.run_until(next);
        } else {
            self.stack.wait(next);
        }
        self.happen();
        self.look();
    }

    /// Whether our end has sent much more than anything gave reason for.
    fn is_flooding(&self) -> bool {
        let ours = self.world.counters(Direction::ToPeer).frames;
        let theirs = self.world.counters(Direction::ToUs).frames;
        ours > FLOOD + 4 * theirs + self.oracle.accepted
    }

    /// Holds the connection to the rules.
    pub(super) fn look(&mut self) {
        let Some(id) = self.id else { return };
        let now = self.world.now();
        match (self.stack.state(id), self.stack.report(id)) {
            (Ok(state), Ok(report)) => {
                self.last = Some(report);
                self.note(Note::Changed);
                let truth = *self.truth.borrow();
                self.oracle.look(state, &report, &truth, now);
                self.look_at_buffer(id, now);
            }
            _ => self
                .oracle
                .find(Rule::Leak, now, "the id is stale".to_owned()),
        }
    }

    /// Where nothing is kept, the peer's FIN is never hidden by a full buffer.
    fn look_at_buffer(&mut self, id: ConnectionId, now: Instant) {
        let is_full = self.scenario.options.on_receive() == OnReceive::Discard
            && self.stack.writer(id).is_ok_and(|mut writer| {
                writer.progress().is_ok_and(|progress| {
                    progress.state.is_established() && progress.is_receive_full
                })
            });
        if is_full {
            let detail = "the receive buffer is full".to_owned();
            self.oracle.find(Rule::Discarded, now, detail);
        }
    }

    pub(super) fn note(&self, note: Note) {
        let ledger = self.last.map_or(Ledger::ZERO, |report| report.ledger);
        self.tape.note(self.world.now(), self.state(), ledger, note);
    }

    pub(super) fn state(&self) -> State {
        self.id
            .and_then(|id| self.stack.state(id).ok())
            .unwrap_or(State::Idle)
    }

    // ---- behind the end ----

    /// What the peer received against what was accepted.
    pub(super) fn look_at_delivery(&mut self) {
        let truth = *self.truth.borrow();
        // Without a handshake, what the peer received is another connection's.
        let (Some(port), Handshake::Synchronised) = (truth.local_port, truth.opening) else {
            return;
        };
        let ledger = self.last.map_or(Ledger::ZERO, |report| report.ledger);
        let Some(received) = self.peer.received(self.world, port) else {
            return;
        };
        let now = self.world.now();
        let taken_in = received.len() as u64;
        // smoltcp repeats a segment whole, also beyond the peer's window; and
        // where it is the peer, it takes the FIN at the end of what it cuts off.
        // From there on the two count differently.
        if truth.fin == FinPlace::Beyond {
            return;
        }
        if ledger.acknowledged() > taken_in {
            let detail = format!("{ledger:?}, but the peer took in {taken_in}");
            self.oracle.find(Rule::Acknowledged, now, detail);
        }
        if received != content_from(0, received.len()) || taken_in > self.oracle.accepted {
            let detail = format!("the peer received {taken_in} bytes that are not ours");
            self.oracle.find(Rule::Content, now, detail);
        }
    }

    /// Some time after the end nothing is due, and the slot can be used.
    fn look_at_what_is_left(&mut self) {
        if self.id.is_none() {
            return;
        }
        let now = self.world.now();
        if !self.state().is_closed() {
            let detail = format!("{:?} behind the last step", self.state());
            self.oracle.find(Rule::Bounded, now, detail);
        }
        // One wake without a reason is allowed: deadlines are looked at when they
        // come, not when they are taken back.
        if let Some(at) = self.stack.poll() {
            self.world.run_until(at);
        }
        if let Some(at) = self.stack.poll() {
            let detail = format!("something is due at {at:?}");
            self.oracle.find(Rule::Leak, now, detail);
        }
        if self.has_address()
            && self
                .stack
                .connect((PEER_V4, 9), self.scenario.options)
                .is_err()
        {
            self.oracle
                .find(Rule::Leak, now, "the slot cannot be used".to_owned());
        }
    }
}
