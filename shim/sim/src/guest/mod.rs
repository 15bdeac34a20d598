//! Runs an application of a user in place of a scenario's plan.
//!
//! - `stage`: watches what the stack of such an application does.
//! - `account`: checks the rules for one connection.
//! - `explore`: runs many seeds, and draws the ladder of the first that fails.

mod account;
mod explore;
mod stage;

use std::fmt;
use std::time::Duration;

use lastbyte::Instant;
use lastbyte::stack::Stack;
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::peers::{self, PEER_PORT, PeerSide};
use super::recording::{Note, Recording, Tape};
use super::rule::Finding;
use super::scenario::{Family, Opening, Scenario};
use crate::loopback::{
    Answers, Datagrams, LoopClock, LoopDevice, OUR_ADDRESSES, PEER_V4, PEER_V6, PeerConfig, Reply,
    World, WorldConfig, our_hardware_address,
};
use crate::setup::Setup;

pub use explore::{Failure, explore};
use explore::{Kept, keeps_recordings};
use stage::Stage;

/// The virtual time after which an application that still waits panics.
const HORIZON: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The number of connections that the peer serves at once, for each of our end: it may not
/// know yet that some of them have ended.
const BACKLOG: usize = 8;

/// The number of sockets that an application may add.
const OWN_SOCKETS: usize = 8;

/// The number of ended connections that the peer remembers: what they received is checked at
/// the end.
const REMEMBERED: usize = 10_000;

/// The stack that an application gets, with `N` connections.
pub type GuestStack<'a, const N: usize = 1> = Stack<'a, LoopDevice, LoopClock, N>;

/// The outcome of a run of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit<R> {
    /// What the application returned.
    pub result: R,
    /// What the peer's TCP received at the port that the application got, for each
    /// connection, in order. A [`Rogue`](super::Rogue) remembers only its last one.
    pub received: Vec<Vec<u8>>,
    /// The rules that the stack broke, in the order of time.
    pub findings: Vec<Finding>,
    /// A hash of everything that crossed the wire, and when.
    pub hash: u64,
    /// How much virtual time it took.
    pub elapsed: Duration,
    /// Frames that were sent, by both ends.
    pub frames: u64,
}

/// Runs an application against the network and the peer of a scenario.
///
/// `app` is lent a stack in this world, with buffers of the scenario's sizes, and gets the
/// endpoint of the peer, which listens. It replaces the scenario's plan: the plan, the
/// options and opening of its connection, and the happenings at our end have no effect. Two
/// runs with the same scenario and application are the same, bit for bit.
///
/// This is the short form of [`Harness`], which has servers with code of your own, several
/// connections, and UDP.
///
/// # Panics
///
/// If `app` panics, if it waits for more than 30 days, or if a buffer of the scenario is
/// empty.
///
/// ```
/// use embedded_io::Write;
/// use lastbyte::{Options, Report, WriteError};
/// use lastbyte_sim::{self as sim, PeerModel, Profile, Scenario};
///
/// let scenario = Scenario {
///     peer: PeerModel::ReadsAll,
///     ..Scenario::new(Profile::Wifi, 7)
/// };
/// let visit = sim::run_app(&scenario, |stack, server| -> Result<Report, WriteError> {
///     let id = stack.connect(server, Options::default()).unwrap();
///     let mut writer = stack.writer(id).unwrap();
///     writer.write_all(b"measured: 21.5")?;
///     writer.finish()
/// });
/// assert_eq!(visit.result.unwrap().ledger.acknowledged(), 14);
/// assert_eq!(visit.received, [b"measured: 21.5"]);
/// assert_eq!(visit.findings, []);
/// ```
pub fn run_app<R>(
    scenario: &Scenario,
    app: impl FnOnce(&mut GuestStack<'_>, IpEndpoint) -> R,
) -> Visit<R> {
    Harness::new(scenario).run(app)
}

/// Like [`run_app`], and records every frame, and what the application did. Draw it with
/// `Recording::ladder`, read it with [`Recording`]'s `Display`, or open it in Wireshark
/// ([`Recording::write_pcap`]).
///
/// # Panics
///
/// As [`run_app`].
///
/// ```
/// use lastbyte::Options;
/// use lastbyte_sim::{self as sim, Profile, Scenario};
///
/// let (visit, recording) = sim::record_app(&Scenario::new(Profile::Lan, 1), |stack, server| {
///     stack.connect(server, Options::default()).is_ok()
/// });
/// assert!(visit.result);
/// assert!(recording.ladder().starts_with("<svg"));
/// ```
pub fn record_app<R>(
    scenario: &Scenario,
    app: impl FnOnce(&mut GuestStack<'_>, IpEndpoint) -> R,
) -> (Visit<R>, Recording) {
    Harness::new(scenario).record(app)
}

/// Adds a note to the recording of the run in this thread, if there is one. It appears in
/// the ladder and in the log at the present time.
///
/// It is for tests and their servers, which know the meaning of the bytes.
///
/// ```
/// use lastbyte_sim::{self as sim, Profile, Scenario};
///
/// let (_, recording) = sim::record_app(&Scenario::new(Profile::Lan, 1), |stack, _| {
///     stack.run_for(std::time::Duration::from_secs(1));
///     sim::note("the sensor is warm");
/// });
/// assert!(recording.ladder().contains("the sensor is warm"));
/// ```
pub fn note(words: impl Into<String>) {
    stage::note_of_test(words.into());
}

/// Prepares a run of an application: [`run_app`] with servers, several connections and
/// everything else that a test needs in its world.
///
/// `N` is the number of connections of the application's stack.
///
/// ```
/// use embedded_io::{Read, Write};
/// use lastbyte::{OnReceive, Options, ReadError};
/// use lastbyte_sim::{Harness, PeerModel, Profile, Scenario};
///
/// let scenario = Scenario {
///     peer: PeerModel::ReadsAll,
///     ..Scenario::new(Profile::Wifi, 7)
/// };
/// let visit = Harness::new(&scenario)
///     // Each byte is answered with its successor.
///     .serve(7, |received, reply| {
///         let answer: Vec<u8> = received.drain(..).map(|byte| byte.wrapping_add(1)).collect();
///         reply.send(&answer);
///     })
///     .run(|stack, server| -> Result<[u8; 3], ReadError> {
///         let options = Options::builder().on_receive(OnReceive::Keep).build().unwrap();
///         let id = stack.connect(server, options).unwrap();
///         stack.writer(id).unwrap().write_all(b"abc").unwrap();
///         let mut answer = [0; 3];
///         stack.reader(id).unwrap().read_exact(&mut answer).unwrap();
///         Ok(answer)
///     });
/// assert_eq!(visit.result.unwrap(), *b"bcd");
/// assert_eq!(visit.findings, []);
/// ```
pub struct Harness<'s, const N: usize = 1> {
    scenario: &'s Scenario,
    servers: Vec<(u16, Answers)>,
    preparations: Vec<Preparation<'s>>,
}

/// An action of a test on the world before the application begins.
type Preparation<'s> = Box<dyn FnOnce(&World) + 's>;

impl<const N: usize> fmt::Debug for Harness<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("connections", &N)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl<'s> Harness<'s> {
    /// Makes a harness with the network and the peer of this scenario, and one connection.
    #[must_use]
    pub fn new(scenario: &'s Scenario) -> Self {
        Self {
            scenario,
            servers: Vec::new(),
            preparations: Vec::new(),
        }
    }
}

impl<'s, const N: usize> Harness<'s, N> {
    /// Lends the application a stack with this many connections.
    ///
    /// ```
    /// use lastbyte::Options;
    /// use lastbyte_sim::{Harness, Profile, Scenario};
    ///
    /// let scenario = Scenario::new(Profile::Lan, 1);
    /// let visit = Harness::new(&scenario).connections::<3>().run(|stack, server| {
    ///     let ids: Vec<_> = (0..4).map(|_| stack.connect(server, Options::default())).collect();
    ///     ids.iter().filter(|id| id.is_ok()).count()
    /// });
    /// assert_eq!(visit.result, 3);
    /// ```
    #[must_use]
    pub fn connections<const M: usize>(self) -> Harness<'s, M> {
        Harness {
            scenario: self.scenario,
            servers: self.servers,
            preparations: self.preparations,
        }
    }

    /// Makes `answer` the server at this port of the peer. The application gets the first
    /// port with a server. For how `answer` is called, see
    /// [`Peer::serve`](crate::loopback::Peer::serve).
    ///
    /// It replaces what the scenario's peer would send. [`Scenario::peer`] and
    /// [`Scenario::faults`] still determine when the peer reads, when it ends a connection,
    /// and whether its machine responds. Only a [`Rogue`](super::PeerModel::Rogue), a TCP
    /// without an application, is replaced by a peer that reads everything.
    #[must_use]
    pub fn serve(
        mut self,
        port: u16,
        mut answer: impl FnMut(&mut Vec<u8>, &mut Reply<'_>) + 'static,
    ) -> Self {
        let noted = move |received: &mut Vec<u8>, reply: &mut Reply<'_>| {
            if !stage::is_recording() {
                return answer(received, reply);
            }
            let before = received.clone();
            answer(received, reply);
            let took = before.len().saturating_sub(received.len());
            if took > 0 || !reply.sent_now().is_empty() {
                stage::note_of_server(Note::Served {
                    port,
                    number: reply.connection(),
                    took: before[..took].to_vec(),
                    said: reply.sent_now().to_vec(),
                });
            }
        };
        self.servers.push((port, Answers::new(noted)));
        self
    }

    /// Makes `answer` the server at this UDP port of the peer: see
    /// [`Peer::serve_udp`](crate::loopback::Peer::serve_udp).
    ///
    /// The application adds its socket to
    /// [`Stack::sockets_mut`]; there is room for 8.
    ///
    /// ```
    /// use lastbyte_sim::{Harness, PeerModel, Profile, Scenario};
    /// use smoltcp::socket::udp;
    ///
    /// let scenario = Scenario { peer: PeerModel::ReadsAll, ..Scenario::new(Profile::Lan, 1) };
    /// let visit = Harness::new(&scenario)
    ///     .serve_udp(7, |datagram, reply| reply.send(datagram))
    ///     .run(|stack, server| {
    ///         let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 512]);
    ///         let mut socket = udp::Socket::new(buffer(), buffer());
    ///         socket.bind(5_000).unwrap();
    ///         socket.send_slice(b"ping", (server.addr, 7)).unwrap();
    ///         let handle = stack.sockets_mut().add(socket);
    ///         stack.run_for(std::time::Duration::from_secs(1));
    ///         let socket = stack.sockets_mut().get_mut::<udp::Socket>(handle);
    ///         socket.recv().map(|(bytes, _)| bytes.to_vec())
    ///     });
    /// assert_eq!(visit.result, Ok(b"ping".to_vec()));
    /// ```
    #[must_use]
    pub fn serve_udp(self, port: u16, answer: impl FnMut(&[u8], &mut Datagrams) + 'static) -> Self {
        self.prepare(move |world| world.peer().serve_udp(port, answer))
    }

    /// Runs an action on the world before the application begins: for example, to
    /// schedule events ([`World::at`]), to make the peer connect to a listener of ours
    /// ([`Peer::connect`](crate::loopback::Peer::connect)), or to keep the world and
    /// query the peer afterwards.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lastbyte::Options;
    /// use lastbyte_sim::loopback::{Behaviour, OUR_V4};
    /// use lastbyte_sim::{Harness, Profile, Scenario};
    ///
    /// let scenario = Scenario::new(Profile::Lan, 1);
    /// let visit = Harness::new(&scenario)
    ///     .prepare(|world| {
    ///         let soon = world.after(Duration::from_secs(1));
    ///         world.at(soon, |world| world.peer().connect(4_000, (OUR_V4, 80), Behaviour::sink()));
    ///     })
    ///     .run(|stack, _| {
    ///         let id = stack.listen(80, Options::default()).unwrap();
    ///         stack.wait_open(id)
    ///     });
    /// assert_eq!(visit.result, Ok(()));
    /// ```
    #[must_use]
    pub fn prepare(mut self, preparation: impl FnOnce(&World) + 's) -> Self {
        self.preparations.push(Box::new(preparation));
        self
    }

    /// Runs the application: see [`run_app`].
    ///
    /// # Panics
    ///
    /// As [`run_app`].
    pub fn run<R>(self, app: impl FnOnce(&mut GuestStack<'_, N>, IpEndpoint) -> R) -> Visit<R> {
        if keeps_recordings() {
            return self.record(app).0;
        }
        let world = new_world(self.scenario);
        self.play(&world, &Tape::default(), app)
    }

    /// Like [`run`](Self::run), and records every frame and what the application did: see
    /// [`record_app`].
    ///
    /// # Panics
    ///
    /// As [`run_app`].
    pub fn record<R>(
        self,
        app: impl FnOnce(&mut GuestStack<'_, N>, IpEndpoint) -> R,
    ) -> (Visit<R>, Recording) {
        let world = new_world(self.scenario);
        let kept = Kept::begin(self.scenario, &world);
        let visit = self.play(&world, kept.tape(), app);
        (visit, kept.recording())
    }

    #[expect(clippy::panic, reason = "documented: the scenario is invalid")]
    fn play<R>(
        self,
        world: &World,
        tape: &Tape,
        app: impl FnOnce(&mut GuestStack<'_, N>, IpEndpoint) -> R,
    ) -> Visit<R> {
        let log = world.record(0);
        let port = self.servers.first().map_or(PEER_PORT, |(port, _)| *port);
        let scenario = self.scenario;
        let side = install(scenario, world, BACKLOG * N, self.servers);
        let stage = Stage::enter(world, tape, matches!(side, PeerSide::Stack));
        for preparation in self.preparations {
            preparation(world);
        }
        let peer: IpAddress = match scenario.family {
            Family::V4 => PEER_V4.into(),
            Family::V6 => PEER_V6.into(),
        };
        let hardware_addr = our_hardware_address(world.config().medium);
        let setup = Setup {
            tx_buffer: scenario.tx_buffer,
            rx_buffer: scenario.rx_buffer,
            own_sockets: OWN_SOCKETS,
            ..Setup::new(hardware_addr, &OUR_ADDRESSES, scenario.seed | 1)
        };
        let result = setup
            .run_many(world.device(), world.clock(), |stack| {
                stack.follow_link(|device| device.is_link_up());
                app(stack, IpEndpoint::new(peer, port))
            })
            .unwrap_or_else(|error| panic!("the scenario makes no stack: {error}"));
        let findings = stage.leave(world);
        Visit {
            result,
            received: side.received_by_all(world, port),
            findings,
            hash: log.hash(),
            elapsed: world.now().since(Instant::ZERO),
            frames: log.frames(),
        }
    }
}

fn install(
    scenario: &Scenario,
    world: &World,
    backlog: usize,
    servers: Vec<(u16, Answers)>,
) -> PeerSide {
    let scenario = &Scenario {
        opening: Opening::Connect,
        beside: Vec::new(),
        ..scenario.clone()
    };
    if servers.is_empty() {
        peers::install(scenario, world, backlog)
    } else {
        peers::install_servers(scenario, world, backlog, servers)
    }
}

fn new_world(scenario: &Scenario) -> World {
    World::new(WorldConfig {
        latency: Duration::ZERO,
        medium: scenario.medium,
        mtu: scenario.mtu(),
        offload: scenario.offload,
        transmit_frames: scenario.transmit_frames,
        horizon: HORIZON,
        peer: PeerConfig {
            keep_bytes: 1 << 20,
            keep_connections: REMEMBERED,
            ..PeerConfig::default()
        },
        // The times of a scenario count from zero.
        begins_at: Instant::ZERO,
        ..WorldConfig::default()
    })
}
