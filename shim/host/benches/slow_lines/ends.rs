//! The three writers with one interface: each owns our end of a world.

use crate::Failure;
use lastbyte::core::{Nagle, OptionsError};
use lastbyte::stack::{Config, ConnectionId, SlotBuffers, Stack};
use lastbyte::{Clock, Instant, Options, WriteError};
use lastbyte_sim::loopback::{
    LoopClock, LoopDevice, OUR_ADDRESSES, PEER_V4, World, lastbyte_time, our_hardware_address,
    smoltcp_time,
};
use smoltcp::iface::{Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{self, CongestionControl};
use std::time::Duration;

/// The peer's port of the first connection. Each further connection has the next port.
pub const FIRST_PORT: u16 = 5000;

const RX_BUFFER: usize = 512;
const SEED: u64 = 0x5eed;

/// The writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// lastbyte, with its defaults.
    Lastbyte,
    /// A bare smoltcp loop whose sockets have smoltcp's Reno.
    Reno,
    /// A bare smoltcp loop whose sockets have no congestion control.
    Uncontrolled,
}

impl Writer {
    pub const ALL: [Self; 3] = [Self::Lastbyte, Self::Reno, Self::Uncontrolled];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Lastbyte => "lastbyte",
            Self::Reno => "smoltcp Reno",
            Self::Uncontrolled => "smoltcp none",
        }
    }
}

/// The settings of the connections.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub connections: usize,
    /// Bytes of each connection's transmit buffer.
    pub buffer: usize,
    pub nagle: Nagle,
}

/// Our end of a world. Connections are numbered from 0. If lastbyte ends a connection,
/// the failure is its [`WriteError`](lastbyte::WriteError).
pub trait End {
    /// Accepts as many of `bytes` as fit.
    fn write(&mut self, connection: usize, bytes: &[u8]) -> Result<usize, Failure>;
    /// Closes the sending direction: accepted bytes still drain.
    fn close(&mut self, connection: usize) -> Result<(), Failure>;
    /// How many bytes the peer has acknowledged.
    fn acknowledged(&mut self, connection: usize) -> Result<u64, Failure>;
    /// Connects again in place of a connection that lastbyte ended.
    fn reconnect(&mut self, connection: usize) -> Result<(), Failure>;
    /// Waits until something happens, at most until this time.
    fn wait(&mut self, until: Instant);
}

/// Opens the connections of the plan and lends the end to `program`.
pub fn with<R>(
    writer: Writer,
    world: &World,
    plan: Plan,
    program: impl FnOnce(&mut dyn End) -> Result<R, Failure>,
) -> Result<R, Failure> {
    match (writer, plan.connections) {
        (Writer::Lastbyte, 1) => with_lastbyte::<1, R>(world, plan, program),
        (Writer::Lastbyte, 4) => with_lastbyte::<4, R>(world, plan, program),
        (Writer::Lastbyte, 8) => with_lastbyte::<8, R>(world, plan, program),
        (Writer::Lastbyte, other) => Err(format!("no stack of {other} connections").into()),
        (Writer::Reno, _) => program(&mut Bare::new(world, plan, CongestionControl::Reno)?),
        (Writer::Uncontrolled, _) => program(&mut Bare::new(world, plan, CongestionControl::None)?),
    }
}

fn ports(connections: usize) -> impl Iterator<Item = u16> {
    (FIRST_PORT..).take(connections)
}

struct Lastbyte<'a, const N: usize> {
    stack: Stack<'a, LoopDevice, LoopClock, N>,
    ids: Vec<ConnectionId>,
    options: Options,
}

/// The defaults, except that a slow line takes minutes to drain a large buffer.
fn options(plan: Plan) -> Result<Options, OptionsError> {
    Options::builder()
        .nagle(plan.nagle)
        .finish_timeout(Duration::from_secs(3600))
        .build()
}

fn with_lastbyte<const N: usize, R>(
    world: &World,
    plan: Plan,
    program: impl FnOnce(&mut dyn End) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let mut memory: [_; N] = std::array::from_fn(|_| (vec![0; plan.buffer], vec![0; RX_BUFFER]));
    let buffers = memory.each_mut().map(|(tx, rx)| SlotBuffers { tx, rx });
    let mut storage = [const { SocketStorage::EMPTY }; N];
    let config = Config::new(our_hardware_address(world.config().medium), SEED);
    let mut stack = Stack::new(world.device(), world.clock(), config, buffers, &mut storage)?;
    stack
        .interface_mut()
        .update_ip_addrs(|own| own.extend(OUR_ADDRESSES));
    let options = options(plan)?;
    let mut ids = Vec::with_capacity(N);
    for port in ports(N) {
        ids.push(stack.connect((PEER_V4, port), options)?);
    }
    program(&mut Lastbyte {
        stack,
        ids,
        options,
    })
}

impl<const N: usize> Lastbyte<'_, N> {
    fn id(&self, connection: usize) -> Result<ConnectionId, Failure> {
        let id = self.ids.get(connection).copied();
        id.ok_or_else(|| "no such connection".into())
    }
}

impl<const N: usize> End for Lastbyte<'_, N> {
    fn write(&mut self, connection: usize, bytes: &[u8]) -> Result<usize, Failure> {
        let id = self.id(connection)?;
        match self.stack.writer(id)?.try_write(bytes) {
            Err(WriteError::WouldBlock { .. }) => Ok(0),
            result => Ok(result?),
        }
    }

    fn close(&mut self, connection: usize) -> Result<(), Failure> {
        let id = self.id(connection)?;
        self.stack.writer(id)?.begin_finish();
        Ok(())
    }

    fn acknowledged(&mut self, connection: usize) -> Result<u64, Failure> {
        let id = self.id(connection)?;
        if let Some(Err(error)) = self.stack.writer(id)?.finished() {
            return Err(error.into());
        }
        Ok(self.stack.report(id)?.ledger.acknowledged())
    }

    fn reconnect(&mut self, connection: usize) -> Result<(), Failure> {
        let id = self.id(connection)?;
        self.stack.release(id)?;
        let port = ports(N).nth(connection).ok_or("no such connection")?;
        let id = self.stack.connect((PEER_V4, port), self.options)?;
        if let Some(place) = self.ids.get_mut(connection) {
            *place = id;
        }
        Ok(())
    }

    fn wait(&mut self, until: Instant) {
        self.stack.wait(until);
    }
}

/// What a user of smoltcp would write: a loop that fills the buffers and polls.
struct Bare {
    world: World,
    device: LoopDevice,
    clock: LoopClock,
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
    /// How many bytes each socket has accepted.
    accepted: Vec<u64>,
}

impl Bare {
    fn new(world: &World, plan: Plan, control: CongestionControl) -> Result<Self, Failure> {
        let mut device = world.device();
        let address = our_hardware_address(world.config().medium);
        let mut config = smoltcp::iface::Config::new(address);
        config.random_seed = SEED;
        let mut interface = Interface::new(config, &mut device, smoltcp_time(world.now()));
        interface.update_ip_addrs(|own| own.extend(OUR_ADDRESSES));
        let mut sockets = SocketSet::new(vec![]);
        let mut handles = Vec::with_capacity(plan.connections);
        for (port, local) in ports(plan.connections).zip(49_152..) {
            let memory = |len| tcp::SocketBuffer::new(vec![0; len]);
            let mut socket = tcp::Socket::new(memory(RX_BUFFER), memory(plan.buffer));
            socket.set_congestion_control(control);
            socket.set_nagle_enabled(plan.nagle == Nagle::On);
            socket
                .connect(interface.context(), (PEER_V4, port), local)
                .map_err(|error| format!("connect: {error:?}"))?;
            handles.push(sockets.add(socket));
        }
        let mut bare = Self {
            world: world.clone(),
            device,
            clock: world.clock(),
            interface,
            sockets,
            accepted: vec![0; handles.len()],
            handles,
        };
        bare.poll();
        Ok(bare)
    }

    fn socket(&mut self, connection: usize) -> Result<&mut tcp::Socket<'static>, Failure> {
        let handle = self.handles.get(connection).copied();
        let handle = handle.ok_or("no such connection")?;
        Ok(self.sockets.get_mut(handle))
    }

    fn poll(&mut self) {
        let now = smoltcp_time(self.world.now());
        self.interface
            .poll(now, &mut self.device, &mut self.sockets);
    }
}

impl End for Bare {
    fn write(&mut self, connection: usize, bytes: &[u8]) -> Result<usize, Failure> {
        let socket = self.socket(connection)?;
        if !socket.is_active() {
            return Err("the connection ended".into());
        }
        if !socket.can_send() {
            return Ok(0);
        }
        let written = socket.send_slice(bytes);
        let written = written.map_err(|_| "the connection ended")?;
        if let Some(accepted) = self.accepted.get_mut(connection) {
            *accepted += written as u64;
        }
        self.poll();
        Ok(written)
    }

    fn close(&mut self, connection: usize) -> Result<(), Failure> {
        self.socket(connection)?.close();
        self.poll();
        Ok(())
    }

    fn acknowledged(&mut self, connection: usize) -> Result<u64, Failure> {
        let queued = self.socket(connection)?.send_queue() as u64;
        let accepted = self.accepted.get(connection).copied().unwrap_or(0);
        Ok(accepted - queued)
    }

    fn reconnect(&mut self, _: usize) -> Result<(), Failure> {
        Err("smoltcp gives no connection up".into())
    }

    fn wait(&mut self, until: Instant) {
        let now = smoltcp_time(self.world.now());
        let next = self.interface.poll_at(now, &self.sockets);
        let next = next.map_or(Instant::NEVER, lastbyte_time);
        self.clock.wait(Some(next.min(until)));
        self.poll();
    }
}
