//! The peer of a scenario, put into its world.

use std::cell::RefCell;
use std::rc::Rc;

use lastbyte::Instant;
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::rogue::{self, Taken};
use super::scenario::{Family, Network, Opening, PeerModel, Scenario};
use crate::loopback::{Behaviour, Direction, OUR_V4, OUR_V6, Presence, Reads, World};

/// The peer's port, whoever connects. No protocol is known for it, so that a
/// reader of captures takes the data for data.
pub(super) const PEER_PORT: u16 = 4_000;

/// Where to ask what the peer received.
#[derive(Debug)]
pub(super) enum PeerSide {
    /// A smoltcp peer.
    Stack,
    /// A scripted one.
    Rogue(Rc<RefCell<Taken>>),
}

/// Puts the scenario's peer into `world`, and its network. The peer serves up to
/// `backlog` connections at once.
pub(super) fn install(scenario: &Scenario, world: &World, backlog: usize) -> PeerSide {
    match scenario.network.clone() {
        Network::Links(links) => links.lay(world, scenario.seed),
        Network::Script { to_peer, to_us } => {
            world.set_path(Direction::ToPeer, to_peer.path());
            world.set_path(Direction::ToUs, to_us.path());
        }
    }
    if let PeerModel::Rogue(kind) = scenario.peer {
        let taken = rogue::install(world, kind, scenario.seed, scenario.peer_buffer);
        return PeerSide::Rogue(taken);
    }
    let peer = world.peer();
    match scenario.peer {
        PeerModel::NeverAnswers => peer.set_presence(Presence::Deaf),
        PeerModel::Absent => peer.set_presence(Presence::Absent),
        PeerModel::Vanishes(at, until) => {
            world.at(at, |world| world.peer().set_presence(Presence::Absent));
            if until != Instant::NEVER {
                world.at(until, |world| world.peer().set_presence(Presence::Present));
            }
        }
        PeerModel::Reboots(at, seed) => {
            world.at(at, move |world| world.peer().reboot(seed));
        }
        PeerModel::ReadsFrom(at) if at != Instant::NEVER => world.at(at, |world| {
            let reads = |behaviour: &mut Behaviour| behaviour.reads = Reads::Everything;
            world.peer().change(PEER_PORT, reads);
        }),
        PeerModel::ReadsAll
        | PeerModel::StaysOpen
        | PeerModel::ReadsSlowly { .. }
        | PeerModel::ReadsFrom(_)
        | PeerModel::HalfCloses(_)
        | PeerModel::Exits(_)
        | PeerModel::Resets(_)
        | PeerModel::ResetsAt(_)
        | PeerModel::Refuses
        | PeerModel::Floods(_)
        | PeerModel::Answers(_)
        | PeerModel::Rogue(_) => {}
    }
    if scenario.peer == PeerModel::Refuses {
        return PeerSide::Stack;
    }
    let behaviour = behaviour(scenario).backlog(backlog);
    match scenario.opening {
        Opening::Connect => peer.listen(PEER_PORT, behaviour),
        Opening::Listen(at) => {
            let ours: IpAddress = match scenario.family {
                Family::V4 => OUR_V4.into(),
                Family::V6 => OUR_V6.into(),
            };
            let to = IpEndpoint::new(ours, super::run::OUR_PORT);
            world.at(at, move |world| {
                world.peer().connect(PEER_PORT, to, behaviour);
            });
        }
    }
    PeerSide::Stack
}

fn behaviour(scenario: &Scenario) -> Behaviour {
    let sink = Behaviour {
        rx_buffer: scenario.peer_buffer,
        tx_buffer: 1_024,
        ..Behaviour::sink()
    };
    match scenario.peer {
        PeerModel::StaysOpen => sink.staying_open(),
        PeerModel::ReadsSlowly { bytes, every } => sink.reading(bytes, every),
        PeerModel::ReadsFrom(_) => Behaviour {
            reads: Reads::Nothing,
            ..sink
        },
        PeerModel::HalfCloses(after) => sink.closing_after(after),
        PeerModel::Exits(after) => sink.exiting_after(after),
        PeerModel::Resets(after) => sink.aborting_after(after),
        PeerModel::ResetsAt(at) => sink.aborting_at(at),
        PeerModel::Floods(len) => sink.sending(vec![b'f'; len]).staying_open(),
        PeerModel::Answers(len) => sink.sending(vec![b'a'; len]).closing_after_sending(),
        PeerModel::ReadsAll
        | PeerModel::Refuses
        | PeerModel::NeverAnswers
        | PeerModel::Absent
        | PeerModel::Vanishes(..)
        | PeerModel::Reboots(..)
        | PeerModel::Rogue(_) => sink,
    }
}

impl PeerSide {
    /// The bytes its TCP took in on the connection with this port of ours;
    /// `None` if it knows of none.
    pub(super) fn received(&self, world: &World, our_port: u16) -> Option<Vec<u8>> {
        match self {
            Self::Stack => {
                let of_ours = |remote: IpEndpoint| remote.port == our_port;
                let connections = world.peer().connections(PEER_PORT);
                // An old SYN may have opened a second one, which gets nowhere.
                let of_ours = connections
                    .into_iter()
                    .filter(|connection| connection.remote.is_some_and(of_ours));
                let most = of_ours.max_by_key(|connection| connection.taken_in);
                most.map(|connection| connection.received)
            }
            Self::Rogue(taken) => {
                let taken = taken.borrow();
                (taken.port == our_port).then(|| taken.bytes.clone())
            }
        }
    }

    /// The bytes its TCP took in, for each connection; a scripted peer remembers
    /// its last one only.
    pub(super) fn received_by_all(&self, world: &World) -> Vec<Vec<u8>> {
        match self {
            Self::Stack => {
                let connections = world.peer().connections(PEER_PORT).into_iter();
                connections.map(|connection| connection.received).collect()
            }
            Self::Rogue(taken) => vec![taken.borrow().bytes.clone()],
        }
    }
}
