//! Our end as a bare smoltcp socket.
#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a test instrument: if what is expected does not arrive, the test fails"
)]

use std::fmt;
use std::time::Duration;

use lastbyte::{Clock, Instant};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::IpEndpoint;

use super::{
    LoopClock, LoopDevice, OUR_ADDRESSES, World, lastbyte_time, our_hardware_address, smoltcp_time,
};

/// The first local port, also after a reboot.
const FIRST_PORT: u16 = 49_152;

/// The maximum number of rounds of polling and waiting.
const ROUNDS: u32 = 1_000_000;

/// One bare smoltcp socket at our end, to compare with.
///
/// Only smoltcp is between it and the wire: no guard, no timeouts, no ledger. Each one
/// begins as after a reboot, with the same random seed and the same local port, so that
/// every run is the same.
///
/// ```
/// use lastbyte_sim::loopback::{Bare, Behaviour, PEER_V4, World, WorldConfig};
/// use smoltcp::socket::tcp;
///
/// let world = World::new(WorldConfig::default());
/// world.peer().listen(80, Behaviour::sink());
/// let mut bare = Bare::new(&world);
/// bare.connect((PEER_V4, 80));
/// bare.run_until_state(tcp::State::Established);
/// assert_eq!(bare.write(b"hello"), 5);
/// bare.run_until(|bare| bare.socket().send_queue() == 0);
/// assert_eq!(world.peer().received(80), b"hello");
/// ```
pub struct Bare {
    /// Its world.
    pub world: World,
    /// Its interface, with [`OUR_ADDRESSES`].
    pub iface: Interface,
    /// Its sockets, of which [`socket`](Self::socket) is one.
    pub sockets: SocketSet<'static>,
    /// The number of polls so far: a measure of the work of a run.
    pub polls: u64,
    device: LoopDevice,
    clock: LoopClock,
    handle: SocketHandle,
    next_port: u16,
}

impl Bare {
    /// A bare end with 16 KiB for each direction.
    #[must_use]
    pub fn new(world: &World) -> Self {
        Self::with_buffers(world, 16 * 1024, 16 * 1024)
    }

    /// A bare end with this many bytes for each direction. Nagle's algorithm is off.
    #[must_use]
    pub fn with_buffers(world: &World, tx: usize, rx: usize) -> Self {
        let mut device = world.device();
        let mut config = Config::new(our_hardware_address(world.config().medium));
        config.random_seed = 42;
        let mut iface = Interface::new(config, &mut device, smoltcp_time(world.now()));
        iface.update_ip_addrs(|list| list.extend(OUR_ADDRESSES));
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
        let mut socket = tcp::Socket::new(buffer(rx), buffer(tx));
        socket.set_nagle_enabled(false);
        Self {
            handle: sockets.add(socket),
            clock: world.clock(),
            world: world.clone(),
            iface,
            sockets,
            device,
            next_port: FIRST_PORT,
            polls: 0,
        }
    }

    /// The socket.
    pub fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Begins to connect, each time from the next local port.
    ///
    /// # Errors
    ///
    /// smoltcp's.
    pub fn try_connect(&mut self, remote: impl Into<IpEndpoint>) -> Result<(), tcp::ConnectError> {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
        self.sockets.get_mut::<tcp::Socket>(self.handle).connect(
            self.iface.context(),
            remote.into(),
            port,
        )
    }

    /// As [`try_connect`](Self::try_connect).
    ///
    /// # Panics
    ///
    /// If the socket is open, or it is impossible to connect to the endpoint.
    #[track_caller]
    pub fn connect(&mut self, remote: impl Into<IpEndpoint>) {
        self.try_connect(remote).expect("the socket is free");
    }

    /// Processes what has arrived, and sends. Returns the result of smoltcp's poll.
    pub fn poll(&mut self) -> PollResult {
        self.polls += 1;
        let now = smoltcp_time(self.world.now());
        self.iface.poll(now, &mut self.device, &mut self.sockets)
    }

    /// When to poll smoltcp next; `None` if it waits for a frame.
    pub fn poll_at(&mut self) -> Option<Instant> {
        let now = smoltcp_time(self.world.now());
        self.iface.poll_at(now, &self.sockets).map(lastbyte_time)
    }

    /// Waits until smoltcp has to be polled, or a frame has arrived.
    pub fn wait(&mut self) {
        let next = self.poll_at();
        self.clock.wait(next);
    }

    /// Polls and waits until `done` returns true.
    ///
    /// # Panics
    ///
    /// If it never does.
    #[track_caller]
    pub fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..ROUNDS {
            self.poll();
            if done(self) {
                return;
            }
            self.wait();
        }
        panic!("never done: {:?}", self.world);
    }

    /// Polls and waits until this much time has passed.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.world.now() + time;
        self.world.at(end, |_| ());
        while self.world.now() < end {
            self.poll();
            let next = self.poll_at().unwrap_or(Instant::NEVER);
            self.clock.wait(Some(next.min(end)));
        }
        self.poll();
    }

    /// Writes `bytes`, while the connection lives. Returns how many were accepted.
    ///
    /// # Panics
    ///
    /// If the connection neither ends nor accepts them all.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        self.run_until(|bare| {
            let socket = bare.socket();
            let ended = !matches!(
                socket.state(),
                tcp::State::SynSent | tcp::State::SynReceived
            ) && !socket.may_send();
            if socket.can_send() {
                let rest = bytes.get(written..).unwrap_or_default();
                written += socket.send_slice(rest).unwrap_or(0);
                bare.poll();
            }
            ended || written == bytes.len()
        });
        written
    }

    /// Polls and waits until the socket is in this state.
    ///
    /// # Panics
    ///
    /// If it never reaches this state.
    #[track_caller]
    pub fn run_until_state(&mut self, state: tcp::State) {
        self.run_until(|bare| bare.socket().state() == state);
    }
}

impl fmt::Debug for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bare")
            .field("world", &self.world)
            .field("polls", &self.polls)
            .finish_non_exhaustive()
    }
}
