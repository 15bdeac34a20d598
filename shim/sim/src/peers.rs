//! Puts the peer of a scenario into its world.

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

/// The peer's port of the first connection, whichever end connects; the others have the
/// ports after it. No protocol is registered for it, so that Wireshark shows the data as
/// data.
pub(super) const PEER_PORT: u16 = 4_000;

/// The size of a server's send buffer.
const SERVER_BUFFER: usize = 16 * 1024;

/// How long after our end listens again the peer connects again.
const CALLS_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Gives access to what the peer received.
#[derive(Debug)]
pub(super) enum PeerSide {
    /// A smoltcp peer.
    Stack,
    /// A scripted one.
    Rogue(Rc<RefCell<Taken>>),
}

/// Puts the scenario's peer and network into `world`. The peer serves up to `backlog`
/// connections at once.
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

/// Like [`install`], with code of the test that answers at these ports. The model
/// determines the network, the machine, reading and ending for each of them, but not what
/// is sent; a rogue is not used.
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

/// Sets up the network.
fn lay(scenario: &Scenario, world: &World) {
    match scenario.network.clone() {
        Network::Links(links) => links.lay(world, scenario.seed),
        Network::Script { to_peer, to_us } => {
            world.set_path(Direction::ToPeer, to_peer.path());
            world.set_path(Direction::ToUs, to_us.path());
        }
    }
}

/// Applies the model to the machine, and schedules its actions at these ports.
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

/// Our end of the connection with this number, to which the peer connects.
fn our_end(family: Family, number: u16) -> IpEndpoint {
    let ours: IpAddress = match family {
        Family::V4 => OUR_V4.into(),
        Family::V6 => OUR_V6.into(),
    };
    IpEndpoint::new(ours, OUR_PORT + number)
}

/// Makes the peer listen, or connect at its time.
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

/// Makes the peer connect again, from the same port.
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

/// The behaviour of the application at a port; the faults of the scenario apply to the first
/// port.
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
    /// The bytes that its TCP received on the connection with this number and this port
    /// of ours. If we listen, several connections have these ports: the last one that
    /// began by then counts. `None` if there was none.
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
                // An old SYN may have opened a second connection, which is never established.
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

    /// The bytes that its TCP received at this port, for each connection. A scripted peer
    /// remembers only its last one.
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
