//! An application of one's own in the place of a scenario's plan.

use std::time::Duration;

use lastbyte::Instant;
use lastbyte::stack::Stack;
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::peers::{self, PEER_PORT};
use super::recording::{Recording, keep_frames};
use super::scenario::{Family, Opening, Scenario};
use crate::loopback::{
    LoopClock, LoopDevice, OUR_ADDRESSES, PEER_V4, PEER_V6, PeerConfig, World, WorldConfig,
    our_hardware_address,
};
use crate::setup::Setup;

/// Behind this much virtual time nothing moves any more, and an application
/// that goes on waiting is told so by a panic.
const HORIZON: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Connections that the peer serves at once: it may not know yet that some of
/// them are no more.
const BACKLOG: usize = 8;

/// The stack that an application gets.
pub type GuestStack<'a> = Stack<'a, LoopDevice, LoopClock, 1>;

/// How a run of an application went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit<R> {
    /// What the application returned.
    pub result: R,
    /// What the peer's TCP took in, for each of its connections, in order; a
    /// [`Rogue`](super::Rogue) remembers its last one only.
    pub received: Vec<Vec<u8>>,
    /// Stands for everything that crossed the wire, when and how.
    pub hash: u64,
    /// How much virtual time it took.
    pub elapsed: Duration,
    /// Frames that were sent, by both ends.
    pub frames: u64,
}

/// Runs an application against the network and the peer of a scenario.
///
/// `app` is lent a stack in this world, with buffers of the scenario's sizes,
/// and the endpoint of the peer, which listens. It takes the place of the
/// scenario's plan: that, the options and opening of its connection, and the
/// happenings at our end play no part. Two runs with the same scenario
/// and application are the same, bit for bit.
///
/// # Panics
///
/// Where `app` panics, if it waits for more than 30 days, and if the buffers of
/// the scenario are none.
///
/// ```
/// use embedded_io::Write;
/// use lastbyte::{Options, Report, WriteError};
/// use lastbyte_shim::sim::{self, PeerModel, Profile, Scenario};
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
/// ```
pub fn run_app<R>(
    scenario: &Scenario,
    app: impl FnOnce(&mut GuestStack<'_>, IpEndpoint) -> R,
) -> Visit<R> {
    visit(scenario, &world(scenario), app)
}

/// As [`run_app`], and keeps every frame: to be drawn
/// ([`Recording::ladder`]), read ([`Recording`]'s `Display`) or opened in
/// Wireshark ([`Recording::write_pcap`]).
///
/// # Panics
///
/// As [`run_app`].
///
/// ```
/// use lastbyte::Options;
/// use lastbyte_shim::sim::{self, Profile, Scenario};
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
    let world = world(scenario);
    let frames = keep_frames(&world);
    let visit = visit(scenario, &world, app);
    let recording = Recording {
        scenario: Scenario {
            plan: Vec::new(),
            happenings: Vec::new(),
            beside: Vec::new(),
            ..scenario.clone()
        },
        frames: frames.take(),
        moments: Vec::new(),
    };
    (visit, recording)
}

fn world(scenario: &Scenario) -> World {
    World::new(WorldConfig {
        latency: Duration::ZERO,
        medium: scenario.medium,
        mtu: scenario.mtu(),
        offload: scenario.offload,
        transmit_frames: scenario.transmit_frames,
        horizon: HORIZON,
        peer: PeerConfig {
            keep_bytes: 1 << 20,
            ..PeerConfig::default()
        },
        // A scenario counts from zero.
        begins_at: Instant::ZERO,
        ..WorldConfig::default()
    })
}

#[expect(clippy::panic, reason = "documented: the scenario is at fault")]
fn visit<R>(
    scenario: &Scenario,
    world: &World,
    app: impl FnOnce(&mut GuestStack<'_>, IpEndpoint) -> R,
) -> Visit<R> {
    let log = world.record(0);
    let scenario = &Scenario {
        opening: Opening::Connect,
        beside: Vec::new(),
        ..scenario.clone()
    };
    let side = peers::install(scenario, world, BACKLOG);
    let peer: IpAddress = match scenario.family {
        Family::V4 => PEER_V4.into(),
        Family::V6 => PEER_V6.into(),
    };
    let setup = Setup {
        tx_buffer: scenario.tx_buffer,
        rx_buffer: scenario.rx_buffer,
        ..Setup::new(
            our_hardware_address(world.config().medium),
            &OUR_ADDRESSES,
            scenario.seed | 1,
        )
    };
    let result = setup
        .run(world.device(), world.clock(), |stack| {
            app(stack, IpEndpoint::new(peer, PEER_PORT))
        })
        .unwrap_or_else(|error| panic!("the scenario makes no stack: {error}"));
    Visit {
        result,
        received: side.received_by_all(world),
        hash: log.hash(),
        elapsed: world.now().since(Instant::ZERO),
        frames: log.frames(),
    }
}
