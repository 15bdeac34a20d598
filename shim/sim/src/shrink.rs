//! Makes a failing scenario smaller.

use lastbyte::{Instant, Options};

use super::happening::Happening;
use super::link::Link;
use super::model::PeerModel;
use super::recording::Recording;
use super::rule::Rule;
use super::scenario::{Bind, Family, Network, Opening, Scenario, Step};
use super::script::Script;
use super::{record, run};
use crate::loopback::{Direction, Offload};
use smoltcp::phy::Medium;

/// The maximum number of runs of one shrinking.
const PATIENCE: u32 = 2_000;

/// A smaller scenario that breaks the same rule: fewer steps, bytes,
/// happenings and faults.
///
/// The network becomes a script of the remaining faults, frame by frame, so that the
/// result is not random.
#[must_use]
pub fn shrink(failing: &Scenario, rule: Rule) -> Scenario {
    let mut shrinker = Shrinker {
        best: failing.clone(),
        rule,
        left: PATIENCE,
    };
    while shrinker.simplify() {}
    shrinker.script();
    while shrinker.drop_faults() || shrinker.simplify() {}
    shrinker.best
}

struct Shrinker {
    best: Scenario,
    rule: Rule,
    /// The number of runs left.
    left: u32,
}

impl Shrinker {
    /// Whether `candidate` also breaks the rule; if so, it becomes the best one.
    fn try_out(&mut self, candidate: Scenario) -> bool {
        if self.left == 0 || candidate == self.best {
            return false;
        }
        self.left -= 1;
        let findings = run(&candidate).findings;
        let fails = findings.iter().any(|finding| finding.rule == self.rule);
        if fails {
            self.best = candidate;
        }
        fails
    }

    /// One round over everything that can be left out. Returns whether anything was.
    fn simplify(&mut self) -> bool {
        let mut has_shrunk = self.drop_beside();
        has_shrunk |= self.drop_steps();
        has_shrunk |= self.shorten_steps();
        has_shrunk |= self.drop_happenings();
        for simpler in simpler_wholes(&self.best) {
            has_shrunk |= self.try_out(simpler);
        }
        has_shrunk |= self.simplify_links();
        has_shrunk
    }

    /// Tries fewer connections, and simpler ones.
    fn drop_beside(&mut self) -> bool {
        let mut has_shrunk = false;
        for index in (0..self.best.beside.len()).rev() {
            let mut candidate = self.best.clone();
            candidate.beside.remove(index);
            if self.try_out(candidate) {
                has_shrunk = true;
                continue;
            }
            let mut candidate = self.best.clone();
            let other = &mut candidate.beside[index];
            (other.peer, other.options) = (PeerModel::ReadsAll, Options::default());
            has_shrunk |= self.try_out(candidate);
            for step in (0..self.best.beside[index].plan.len().saturating_sub(1)).rev() {
                let mut candidate = self.best.clone();
                candidate.beside[index].plan.remove(step);
                has_shrunk |= self.try_out(candidate);
            }
        }
        has_shrunk
    }

    /// The last step stays: it ends the connection, and without it a slot in use is no
    /// finding.
    fn drop_steps(&mut self) -> bool {
        let mut has_shrunk = false;
        let last = self.best.plan.len().saturating_sub(1);
        for index in (0..last).rev() {
            let mut candidate = self.best.clone();
            candidate.plan.remove(index);
            has_shrunk |= self.try_out(candidate);
        }
        has_shrunk
    }

    fn shorten_steps(&mut self) -> bool {
        let mut has_shrunk = false;
        for index in 0..self.best.plan.len() {
            while let Some(shorter) = self.best.plan.get(index).copied().and_then(half) {
                let mut candidate = self.best.clone();
                candidate.plan[index] = shorter;
                if !self.try_out(candidate) {
                    break;
                }
                has_shrunk = true;
            }
        }
        has_shrunk
    }

    fn drop_happenings(&mut self) -> bool {
        let mut has_shrunk = false;
        for index in (0..self.best.happenings.len()).rev() {
            let mut candidate = self.best.clone();
            let (at, happening) = candidate.happenings.remove(index);
            if self.try_out(candidate) {
                has_shrunk = true;
            } else if let Some(shorter) = shorter(happening) {
                let mut candidate = self.best.clone();
                candidate.happenings[index] = (at, shorter);
                has_shrunk |= self.try_out(candidate);
            }
        }
        has_shrunk
    }

    fn simplify_links(&mut self) -> bool {
        let mut has_shrunk = false;
        for direction in [Direction::ToPeer, Direction::ToUs] {
            for simplification in SIMPLIFICATIONS {
                let mut candidate = self.best.clone();
                let Network::Links(links) = &mut candidate.network else {
                    return has_shrunk;
                };
                simplification(match direction {
                    Direction::ToPeer => &mut links.to_peer,
                    Direction::ToUs => &mut links.to_us,
                });
                has_shrunk |= self.try_out(candidate);
            }
        }
        has_shrunk
    }

    /// Replaces the links by a script of what they did.
    fn script(&mut self) {
        let (_, Recording { frames, .. }) = record(&self.best);
        let candidate = Scenario {
            network: Network::Script {
                to_peer: Script::of(&frames, Direction::ToPeer),
                to_us: Script::of(&frames, Direction::ToUs),
            },
            ..self.best.clone()
        };
        self.try_out(candidate);
    }

    /// Leaves out faults, first by halves (like delta debugging).
    fn drop_faults(&mut self) -> bool {
        let mut has_shrunk = false;
        for direction in [Direction::ToPeer, Direction::ToUs] {
            let mut size =
                faults(&mut self.best, direction).map_or(0, |script| script.faults.len());
            while size > 0 {
                has_shrunk |= self.drop_chunks(direction, size);
                size /= 2;
            }
        }
        has_shrunk
    }

    fn drop_chunks(&mut self, direction: Direction, size: usize) -> bool {
        let mut has_shrunk = false;
        let Some(script) = faults(&mut self.best, direction) else {
            return false;
        };
        let numbers: Vec<u64> = script.faults.keys().copied().collect();
        for chunk in numbers.chunks(size) {
            let mut candidate = self.best.clone();
            if let Some(script) = faults(&mut candidate, direction) {
                script.faults.retain(|number, _| !chunk.contains(number));
            }
            has_shrunk |= self.try_out(candidate);
        }
        has_shrunk
    }
}

fn faults(scenario: &mut Scenario, direction: Direction) -> Option<&mut Script> {
    match (&mut scenario.network, direction) {
        (Network::Script { to_peer, .. }, Direction::ToPeer) => Some(to_peer),
        (Network::Script { to_us, .. }, Direction::ToUs) => Some(to_us),
        (Network::Links(_), _) => None,
    }
}

const SIMPLIFICATIONS: [fn(&mut Link); 9] = [
    |link| *link = Link::with_latency(link.latency),
    |link| link.partitions.clear(),
    |link| link.burst = None,
    |link| link.loss = Link::default().loss,
    |link| link.duplication = Link::default().duplication,
    |link| link.reordering = Link::default().reordering,
    |link| link.corruption = Link::default().corruption,
    |link| link.truncation = Link::default().truncation,
    |link| {
        link.bandwidth = None;
        link.jitter = Link::default().jitter;
    },
];

fn simpler_wholes(scenario: &Scenario) -> Vec<Scenario> {
    let change = |change: &dyn Fn(&mut Scenario)| {
        let mut simpler = scenario.clone();
        change(&mut simpler);
        simpler
    };
    vec![
        change(&|s| s.peer = PeerModel::ReadsAll),
        change(&|s| s.options = Options::default()),
        change(&|s| s.family = Family::V4),
        change(&|s| s.opening = Opening::Connect),
        change(&|s| {
            if let Opening::Listen(..) = s.opening {
                s.opening = Opening::Listen(Bind::Port, Instant::ZERO);
            }
        }),
        change(&|s| s.medium = Medium::Ethernet),
        change(&|s| s.offload = Offload::default()),
        change(&|s| s.transmit_frames = 1_024),
        change(&|s| s.peer_buffer = 16_384),
        change(&|s| s.tx_buffer = 4_096),
        change(&|s| s.rx_buffer = 1_460),
    ]
}

/// Half of what happens for some time; `None` if that is nothing.
fn shorter(happening: Happening) -> Option<Happening> {
    match happening {
        Happening::Storm {
            forgery,
            times,
            every,
        } if times > 1 => Some(Happening::Storm {
            forgery,
            times: times / 2,
            every,
        }),
        Happening::Stuck(time) if time.as_micros() > 1 => Some(Happening::Stuck(time / 2)),
        _ => None,
    }
}

/// Half of what a step does; `None` if that is nothing.
fn half(step: Step) -> Option<Step> {
    let shorter = match step {
        Step::Write(len) => Step::Write(len / 2),
        Step::WriteAll(len) => Step::WriteAll(len / 2),
        Step::TryWrite(len) => Step::TryWrite(len / 2),
        Step::WriteMore(len) => Step::WriteMore(len / 2),
        Step::Message(len) => Step::Message(len / 2),
        Step::Pause(time) => Step::Pause(time / 2),
        Step::Neglect(time) => Step::Neglect(time / 2),
        Step::Flush
        | Step::Read
        | Step::FinishWriting
        | Step::BeginFinish
        | Step::Finish
        | Step::Abort
        | Step::Release
        | Step::Reopen => {
            return None;
        }
    };
    match shorter {
        Step::Write(0)
        | Step::WriteAll(0)
        | Step::TryWrite(0)
        | Step::WriteMore(0)
        | Step::Message(0) => None,
        Step::Pause(time) | Step::Neglect(time) if time.as_micros() == 0 => None,
        _ => Some(shorter),
    }
}
