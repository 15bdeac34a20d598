//! From the command line to a stack that can connect: device, addresses,
//! capture, clock.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use lastbyte::Options;
use lastbyte::stack::Network as Lent;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::args::{ConnectionArgs, Network, Own};
use super::background::Background;
use super::bring_up::bring_up;
use super::ends::{self, Destination};
use super::exit::{self, Failure};
use super::over::{self, HostTime, Layer, Program};
use super::peer::Peer;
use super::session::Feed;
use super::target::Target;
use super::{console, stdio};
use lastbyte_host::capture::Capture;
use lastbyte_host::host_clock::{HostClock, Watch};
use lastbyte_host::namespace::{self, Namespace, NamespaceError};
use lastbyte_host::signals::Signals;
use lastbyte_host::tap::{Offload, Tap};
use lastbyte_sim::setup::Setup;

/// How long the kernel may take to detect the carrier of a TAP after attaching.
const CARRIER_LIMIT: Duration = Duration::from_secs(1);

/// The maximum number of bytes of a capture that wait to be written.
const CAPTURE_BACKLOG: usize = 64 << 20;

/// The device of the command.
pub type HostDevice = Capture<Tap>;

/// Everything that is needed before the first segment is sent.
#[derive(Debug)]
pub struct Prepared {
    run: Run,
    device: HostDevice,
    clock: HostClock,
    setup: Setup,
    gateway: Option<IpAddr>,
}

/// The network before the stack is made.
struct Found {
    tap: Tap,
    hardware_addr: EthernetAddress,
    addresses: Vec<IpCidr>,
    gateway: Option<IpAddr>,
    peer: Option<Peer>,
}

/// Prepares everything. A signal ends both the resolver query and the wait for the peer.
///
/// # Errors
///
/// [`Failure`]: what is missing, and how to get it.
pub(super) fn prepare(
    args: &ConnectionArgs,
    target: &Target,
    signals: &mut Signals,
    feed: &mut impl Feed,
) -> Result<Prepared, Failure> {
    let network = args.network()?;
    let options = args.options()?;
    let destination = ends::resolve(target, &network, signals)?;
    let own = network.own().clone();
    let found = match network {
        Network::Tap { name, own, gateway } => attach(&name, &own, gateway, args)?,
        Network::Private { command, own } => {
            enter(&command, &own, destination.listener(), args, signals)?
        }
    };
    feed.start().map_err(setting_up)?;
    let mut clock = HostClock::watching(&found.tap).map_err(setting_up)?;
    clock.watch(signals).map_err(setting_up)?;
    let input = feed.to_watch().map(|fd| clock.watch(&fd));
    let input = input.transpose().map_err(setting_up)?;
    let peer = found.peer.as_ref().map(|peer| clock.watch(peer));
    let peer_watch = peer.transpose().map_err(setting_up)?;
    if let Some(peer) = peer_watch {
        // Its end matters only after the end of the connection.
        clock.set_watched(peer, false);
    }
    let output = found.peer.as_ref().and_then(Peer::to_watch);
    let output = output.map(|fd| clock.watch(&fd));
    let output = output.transpose().map_err(setting_up)?;
    let capture = args.pcap.as_deref().map(capture_to).transpose()?;
    let offload = found.tap.offload();
    let device = match &capture {
        None => Capture::off(found.tap),
        Some(file) => {
            let file = Box::new(file.clone());
            Capture::to_writer(found.tap, file, clock.epoch_since_1970())
        }
    };
    let mut setup = Setup::new(
        found.hardware_addr.into(),
        &found.addresses,
        Setup::random_seed(),
    );
    setup.tx_buffer = args.tx_buffer;
    // Those of DHCP and DNS.
    setup.own_sockets = 2;
    let run = Run {
        peer: found.peer,
        destination,
        own,
        options,
        offload,
        input,
        peer_watch,
        output,
        capture,
    };
    Ok(Prepared {
        run,
        device,
        clock,
        setup,
        gateway: found.gateway,
    })
}

/// An error of the system during the setup.
pub(super) fn setting_up(error: io::Error) -> Failure {
    Failure::other(format!("setting up: {error}"))
}

/// Begins a capture to `path`, written by a thread. The thread also opens the file, because
/// opening a FIFO blocks until it has a reader.
fn capture_to(path: &Path) -> Result<Background, Failure> {
    let failed = |error: io::Error| Failure::other(format!("--pcap {}: {error}", path.display()));
    let file = Background::new(CAPTURE_BACKLOG);
    let is_fifo = fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    let started = if path == Path::new("-") {
        file.start(stdio::stdout)
    } else if is_fifo {
        let path = path.to_owned();
        file.start(move || File::options().write(true).open(path))
    } else {
        let created = File::create(path).map_err(failed)?;
        file.start(move || Ok(created))
    };
    started.map_err(failed)?;
    Ok(file)
}

impl Prepared {
    /// Makes the network, and runs over it what `program` makes of the rest.
    ///
    /// # Errors
    ///
    /// The network cannot be made from these parts.
    pub(super) fn run<'r, P: Program>(
        self,
        layer: Layer,
        signals: &'r mut Signals,
        program: impl FnOnce(Run, SocketAddr, &'r mut Signals) -> P,
    ) -> Result<P::Output, Failure> {
        // A failed allocation of a vector would end the process.
        let size = self.setup.tx_buffer;
        if Vec::<u8>::new().try_reserve_exact(size).is_err() {
            return Err(Failure::other(format!(
                "there is no memory for a transmit buffer of {size} bytes; use a smaller --tx-buffer"
            )));
        }
        let Self {
            mut run,
            device,
            clock,
            setup,
            gateway,
        } = self;
        let add_route = |network: Lent<'_, '_>| gateway.map_or(Ok(()), |it| add_route(network, it));
        let done = match layer {
            Layer::Stack => setup.run(device, clock, |stack| {
                add_route(stack.network_mut())?;
                let remote = bring_up(&mut *stack, &mut run, signals)?;
                Ok(over::on_stack(stack, program(run, remote, signals)))
            }),
            Layer::Async => {
                let time = HostTime::new(clock);
                setup.run_shared(device, time.clone(), |shared| {
                    shared.with_network(add_route).unwrap_or(Ok(()))?;
                    let begin = over::BeginShared(shared, &time);
                    let remote = bring_up(begin, &mut run, signals)?;
                    Ok(over::on_shared(
                        shared,
                        &time,
                        program(run, remote, signals),
                    ))
                })
            }
        };
        done.map_err(|error| Failure::other(error.to_string()))?
    }
}

/// What a run needs in addition to the stack.
#[derive(Debug)]
pub struct Run {
    /// The peer's process, if it is ours.
    pub peer: Option<Peer>,
    /// The peer's address and port, or its name.
    pub destination: Destination,
    /// Where our addresses come from.
    pub own: Own,
    /// The options of the connection.
    pub options: Options,
    /// What the device offloads to the kernel.
    pub offload: Offload,
    /// The clock's watch of the input, if that can be watched.
    pub input: Option<Watch>,
    /// The clock's watch of the peer's end.
    pub peer_watch: Option<Watch>,
    /// The clock's watch of the peer's output, if that goes through us.
    pub output: Option<Watch>,
    /// The file of the capture, if there is one.
    pub(super) capture: Option<Background>,
}

fn add_route(network: Lent<'_, '_>, gateway: IpAddr) -> Result<(), Failure> {
    let routes = network.interface.routes_mut();
    let added = match gateway {
        IpAddr::V4(gateway) => routes.add_default_ipv4_route(gateway).map(drop),
        IpAddr::V6(gateway) => routes.add_default_ipv6_route(gateway).map(drop),
    };
    added.map_err(|error| Failure::other(format!("--gateway {gateway}: {error}")))
}

fn attach(
    name: &str,
    own: &Own,
    gateway: Option<IpAddr>,
    args: &ConnectionArgs,
) -> Result<Found, Failure> {
    console::start();
    let tap =
        Tap::open_with(name, args.offload).map_err(|error| Failure::other(error.to_string()))?;
    if tap.had_leftover() && !args.quiet {
        exit::note(&format!(
            "a killed program had left offload switched on at {name}, which damages the \
             frames of others; repaired"
        ));
    }
    for addr in &own.fixed {
        ends::check_free(*addr, name)?;
    }
    if !tap.wait_carrier(CARRIER_LIMIT) && !args.quiet {
        exit::note(&format!(
            "{name} is down; connecting anyway. To bring it up: sudo ip link set {name} up"
        ));
    }
    let kernel = tap.kernel_hardware_addr().ok();
    let last = match own.fixed.first() {
        Some(own) => last_octets(own.address()),
        // That of the TAP is another for each.
        None => kernel.map_or([0, 0, 0, 2], |[_, _, a, b, c, d]| [a, b, c, d]),
    };
    let mut hardware_addr = hardware_addr_of(last);
    if kernel == Some(hardware_addr.0) {
        hardware_addr.0[1] ^= 1;
    }
    Ok(Found {
        tap,
        hardware_addr,
        // They are added once it is known that no other machine has them.
        addresses: Vec::new(),
        gateway,
        peer: None,
    })
}

/// A locally administered address with these last octets: the same at each start, so that no
/// neighbour has a wrong cache entry, and a different one for each address on a bridge.
const fn hardware_addr_of([a, b, c, d]: [u8; 4]) -> EthernetAddress {
    EthernetAddress([0x02, 0x1b, a, b, c, d])
}

fn last_octets(own: IpAddress) -> [u8; 4] {
    match own {
        IpAddress::Ipv4(v4) => v4.octets(),
        IpAddress::Ipv6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            [a, b, c, d]
        }
    }
}

fn enter(
    command: &str,
    own: &Own,
    listener: SocketAddr,
    args: &ConnectionArgs,
    signals: &mut Signals,
) -> Result<Found, Failure> {
    let mut is_unwanted = || signals.have_arrived();
    let entered = Namespace::enter_unless(args.offload, &mut is_unwanted);
    // From here on there may be several threads.
    console::start();
    let (namespace, tap) = entered.map_err(|error| match error {
        NamespaceError::Interrupted => Failure::Interrupted,
        error => Failure::other(format!("--peer: {error}")),
    })?;
    if listener.is_ipv6() && !namespace.has_ipv6() {
        return Err(Failure::other(
            "IPv6 is switched off in this kernel; use 10.77.0.1",
        ));
    }
    let by_line = args.shows_progress();
    let mut peer = Peer::start(command, namespace, args.quiet, by_line, signals)?;
    peer.wait_listening(listener, args.listen_wait, signals)?;
    Ok(Found {
        tap,
        hardware_addr: EthernetAddress(namespace::OUR_HARDWARE_ADDR),
        addresses: own.fixed.clone(),
        gateway: None,
        peer: Some(peer),
    })
}
