//! Two ends with the same connections: lastbyte's, and a bare smoltcp one.

use crate::common::{End, OUR_MAC, OUR_V4, PEER_V4, PREFIX, Reader, ReaderClock, Time};
use lastbyte::stack::{Config, ConnectionId, SlotBuffers, Stack};
use lastbyte::{Clock, Options};
use lastbyte_sim::loopback::smoltcp_time;
use smoltcp::iface::{Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::wire::IpCidr;
use std::cell::RefCell;
use std::rc::Rc;

const PORT: u16 = 5000;
const FIRST_PORT: u16 = 50_000;
const TX_BUFFER: usize = 16 * 1024;
const RX_BUFFER: usize = 1024;
const SEED: u64 = 7;
/// The maximum number of polls until a connection is open.
const POLLS: usize = 20;
/// A full segment.
const SEGMENT: [u8; 1460] = [0x5a; 1460];

/// The activity of the first connection. The others are idle.
#[derive(Debug, Clone, Copy)]
pub enum State {
    /// Nothing.
    Quiet,
    /// A full segment was sent and is not acknowledged.
    InFlight,
    /// A full segment was sent, and its acknowledgement has arrived.
    Acknowledged,
}

/// The reader at the other end, our end of the wire, and a clock without time.
fn parts(connections: usize) -> (Rc<RefCell<Reader>>, End, ReaderClock) {
    let (reader, end) = Reader::new(PORT, connections, Box::new(|_| ()));
    let reader = Rc::new(RefCell::new(reader));
    let clock = ReaderClock::new(Rc::clone(&reader), Time::Counted(0));
    (reader, end, clock)
}

/// lastbyte with `N` connections.
#[derive(Debug)]
pub struct Ours<const N: usize> {
    stack: Stack<'static, End, ReaderClock, N>,
    ids: Vec<ConnectionId>,
}

impl<const N: usize> Ours<N> {
    /// In a box, because a move of `N` connections would be counted.
    pub fn new(state: State) -> Box<Self> {
        let (_, end, clock) = parts(N);
        let buffer = |len| Box::leak(vec![0; len].into_boxed_slice());
        let buffers = std::array::from_fn(|_| SlotBuffers {
            tx: buffer(TX_BUFFER),
            rx: buffer(RX_BUFFER),
        });
        let storage = Box::leak(Box::new([const { SocketStorage::EMPTY }; N]));
        let config = Config::new(OUR_MAC.into(), SEED);
        let stack = Stack::new(end, clock, config, buffers, storage).expect("a sound setup");
        let mut ours = Box::new(Self {
            stack,
            ids: Vec::with_capacity(N),
        });
        ours.stack.interface_mut().update_ip_addrs(|own| {
            own.push(IpCidr::new(OUR_V4.into(), PREFIX)).expect("room");
        });
        for _ in 0..N {
            let peer = (PEER_V4, PORT);
            let id = ours.stack.connect(peer, Options::default());
            let id = id.expect("a free slot");
            ours.stack.wait_open(id).expect("the reader listens");
            ours.ids.push(id);
        }
        // The last acknowledgement of a handshake.
        ours.stack.clock_mut().wait(None);
        ours.poll();
        match state {
            State::Quiet => {}
            State::InFlight => ours.send_segment(),
            State::Acknowledged => {
                ours.send_segment();
                ours.stack.clock_mut().wait(None);
            }
        }
        ours
    }

    fn send_segment(&mut self) {
        assert_eq!(self.try_write(&SEGMENT), SEGMENT.len());
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> usize {
        let Some(id) = self.ids.first() else {
            return 0;
        };
        let accepted = self.stack.writer(*id).map(|mut w| w.try_write(bytes));
        accepted.map_or(0, |accepted| accepted.unwrap_or(0))
    }

    /// Serves the stack, and returns when to do so again.
    pub fn poll(&mut self) -> Option<lastbyte::Instant> {
        self.stack.poll()
    }
}

/// As many bare connections.
pub struct Bare {
    end: End,
    clock: ReaderClock,
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
}

impl Bare {
    pub fn new_one(state: State) -> Box<Self> {
        Self::new(1, state)
    }

    pub fn new(connections: usize, state: State) -> Box<Self> {
        let (_, mut end, mut clock) = parts(connections);
        let mut config = smoltcp::iface::Config::new(OUR_MAC.into());
        config.random_seed = SEED;
        let mut interface = Interface::new(config, &mut end, smoltcp_time(clock.now()));
        interface.update_ip_addrs(|own| {
            own.push(IpCidr::new(OUR_V4.into(), PREFIX)).expect("room");
        });
        let storage: Vec<_> = (0..connections).map(|_| SocketStorage::EMPTY).collect();
        let mut bare = Box::new(Self {
            end,
            clock,
            interface,
            sockets: SocketSet::new(Box::leak(storage.into_boxed_slice())),
            handles: Vec::with_capacity(connections),
        });
        for port in (FIRST_PORT..).take(connections) {
            bare.open(port);
        }
        bare.clock.wait(None);
        bare.poll();
        match state {
            State::Quiet => {}
            State::InFlight => bare.send_segment(),
            State::Acknowledged => {
                bare.send_segment();
                bare.clock.wait(None);
            }
        }
        bare
    }

    fn open(&mut self, port: u16) {
        let buffer = |len: usize| tcp::SocketBuffer::new(vec![0; len]);
        let mut socket = tcp::Socket::new(buffer(RX_BUFFER), buffer(TX_BUFFER));
        let context = self.interface.context();
        let connecting = socket.connect(context, (PEER_V4, PORT), port);
        connecting.expect("a fresh socket");
        let handle = self.sockets.add(socket);
        self.handles.push(handle);
        for _ in 0..POLLS {
            self.poll();
            self.clock.wait(None);
        }
        let socket = self.sockets.get::<tcp::Socket<'_>>(handle);
        assert!(socket.may_send(), "the reader listens");
    }

    fn send_segment(&mut self) {
        assert_eq!(self.write(&SEGMENT), SEGMENT.len());
        self.poll();
    }

    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(handle) = self.handles.first() else {
            return 0;
        };
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
        socket.send_slice(bytes).unwrap_or(0)
    }

    pub fn poll(&mut self) {
        let now = smoltcp_time(self.clock.now());
        self.interface.poll(now, &mut self.end, &mut self.sockets);
    }

    /// When to poll again.
    pub fn poll_at(&mut self) -> Option<smoltcp::time::Instant> {
        let now = smoltcp_time(self.clock.now());
        self.interface.poll_at(now, &self.sockets)
    }
}
