//! The peer of a scenario, put into its world.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use lastbyte::Instant;
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::content::{Whose, content_from};
use super::model::PeerModel;
use super::rogue::{self, Taken};
use super::run::OUR_PORT;
use super::scenario::{Family, Lane, Network, Opening, Scenario};
use crate::loopback::{Answers, Behaviour, Direction, OUR_V4, OUR_V6, Presence, Reads, World};

/// The peer's port of the first connection, whichever end connects; the others have those
/// after it. No protocol is known for it, so that a reader of captures shows the data as
/// data.
pub(super) const PEER_PORT: u16 = 4_000;

/// What the TCP of a server holds that is not acknowledged.
const SERVER_BUFFER: usize = 16 * 1024;

/// How long after our end listens again the peer calls again.
const CALLS_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Where to read what the peer received.
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
    lay(scenario, world);
    if let PeerModel::Rogue(kind) = scenario.peer {
        let taken = rogue::install(world, kind, scenario.seed, scenario.peer_buffer);
        return PeerSide::Rogue(taken);
    }
    strike(scenario, world, &[PEER_PORT]);
    for (number, lane) in (0..).zip(scenario.lanes()) {
        if lane.peer != PeerModel::Refuses {
            serve(scenario, world, number, &lane, backlog);
        }
    }
    PeerSide::Stack
}

/// As [`install`], with code that answers at these ports. What the model says about the
/// network, the machine, reading and ending holds for each of them; what it would send, and
/// what it would do as a TCP of its own, does not.
pub(super) fn install_servers(
    scenario: &Scenario,
    world: &World,
    backlog: usize,
    servers: Vec<(u16, Answers)>,
) -> PeerSide {
    lay(scenario, world);
    let ports: Vec<u16> = servers.iter().map(|(port, _)| *port).collect();
    strike(scenario, world, &ports);
    let peer = match scenario.peer {
        PeerModel::Floods(_) | PeerModel::Answers(_) | PeerModel::Rogue(_) => PeerModel::ReadsAll,
        other => other,
    };
    let lane = Lane {
        peer,
        options: scenario.options,
        opening: Opening::Connect,
        plan: &[],
    };
    for (number, (port, answers)) in servers.into_iter().enumerate() {
        let behaviour = Behaviour {
            answers: Some(answers),
            tx_buffer: SERVER_BUFFER,
            ..behaviour(scenario, &lane, number == 0).backlog(backlog)
        };
        if peer != PeerModel::Refuses {
            world.peer().listen(port, behaviour);
        }
    }
    PeerSide::Stack
}

/// Lays the network.
fn lay(scenario: &Scenario, world: &World) {
    match scenario.network.clone() {
        Network::Links(links) => links.lay(world, scenario.seed),
        Network::Script { to_peer, to_us } => {
            world.set_path(Direction::ToPeer, to_peer.path());
            world.set_path(Direction::ToUs, to_us.path());
        }
    }
}

/// What the model says about the machine, and about these ports in time.
fn strike(scenario: &Scenario, world: &World, ports: &[u16]) {
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
        PeerModel::ReadsFrom(at) if at != Instant::NEVER => {
            for port in ports.iter().copied() {
                world.at(at, move |world| {
                    let reads = |behaviour: &mut Behaviour| behaviour.reads = Reads::Everything;
                    world.peer().change(port, reads);
                });
            }
        }
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
}

/// Our end of the connection with this number, as the peer calls it.
fn our_end(family: Family, number: u16) -> IpEndpoint {
    let ours: IpAddress = match family {
        Family::V4 => OUR_V4.into(),
        Family::V6 => OUR_V6.into(),
    };
    IpEndpoint::new(ours, OUR_PORT + number)
}

/// Lets the peer listen, or call at its time.
fn serve(scenario: &Scenario, world: &World, number: u16, lane: &Lane<'_>, backlog: usize) {
    let behaviour = behaviour(scenario, lane, number == 0).backlog(backlog);
    match lane.opening {
        Opening::Connect => world.peer().listen(PEER_PORT + number, behaviour),
        Opening::Listen(_, at) => {
            let to = our_end(scenario.family, number);
            world.at(at, move |world| {
                world.peer().try_connect(PEER_PORT + number, to, behaviour);
            });
        }
    }
}

/// Lets the peer call again, from the port of before.
pub(super) fn call_again(scenario: &Scenario, world: &World, number: u16, lane: &Lane<'_>) {
    let again = Lane {
        opening: match lane.opening {
            Opening::Listen(bind, _) => Opening::Listen(bind, world.now() + CALLS_AGAIN_AFTER),
            Opening::Connect => return,
        },
        ..*lane
    };
    if lane.peer != PeerModel::Refuses {
        serve(scenario, world, number, &again, 1);
    }
}

/// What the application at a port does; the faults of the scenario are for the first.
fn behaviour(scenario: &Scenario, lane: &Lane<'_>, is_first: bool) -> Behaviour {
    let sink = Behaviour {
        faults: match is_first {
            true => scenario.faults.clone(),
            false => Vec::new(),
        },
        rx_buffer: scenario.peer_buffer,
        tx_buffer: 1_024,
        ..Behaviour::sink()
    };
    let content = |len| content_from(Whose::Peers, 0, len);
    match lane.peer {
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
        PeerModel::Floods(len) => sink.sending(content(len)).staying_open(),
        PeerModel::Answers(len) => sink.sending(content(len)).closing_after_sending(),
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
    /// The bytes its TCP took in on the connection of this number, with this port of
    /// ours, which are the same for one
    /// after the other if we listen: the last that called by then;
    /// `None` if it knows of none.
    pub(super) fn received(
        &self,
        world: &World,
        number: u16,
        our_port: u16,
        called_by: Option<Instant>,
    ) -> Option<Vec<u8>> {
        match self {
            Self::Stack => {
                let of_ours = |remote: IpEndpoint| remote.port == our_port;
                let connections = world.peer().connections(PEER_PORT + number);
                // An old SYN may have opened a second one, which gets nowhere.
                let of_ours = connections
                    .into_iter()
                    .filter(|connection| connection.remote.is_some_and(of_ours));
                let it = match called_by {
                    Some(at) => of_ours
                        .filter(|connection| connection.began_at <= at)
                        .max_by_key(|connection| connection.number),
                    None => of_ours.max_by_key(|connection| connection.taken_in),
                };
                it.map(|connection| connection.received)
            }
            Self::Rogue(taken) => {
                let taken = taken.borrow();
                (taken.port == our_port).then(|| taken.bytes.clone())
            }
        }
    }

    /// The bytes its TCP took in at this port, for each connection; a scripted peer remembers
    /// its last one only.
    pub(super) fn received_by_all(&self, world: &World, port: u16) -> Vec<Vec<u8>> {
        match self {
            Self::Stack => {
                let connections = world.peer().connections(port).into_iter();
                connections.map(|connection| connection.received).collect()
            }
            Self::Rogue(taken) => vec![taken.borrow().bytes.clone()],
        }
    }
}
