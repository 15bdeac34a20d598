//! The client on smoltcp alone, as a careful user would write it: it processes received
//! frames before it writes, sends at once, and sleeps if there is no room.
#![no_std]
#![no_main]

use budgets::board::Stack;
use budgets::client::{Aligned, CONNECTIONS, Client, PORT, RX, TX, Ticks, measure};
use budgets::mac::{Frames, Mac, OUR_ADDRESS, OUR_MAC, PEER_ADDRESS};
use lastbyte::Clock as _;
use lastbyte::stack::smoltcp;
use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet, SocketStorage,
};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::IpCidr;
use static_cell::{ConstStaticCell, StaticCell};

budgets::program!(run);

struct Bare {
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: [SocketHandle; CONNECTIONS],
    mac: Mac,
    clock: Ticks,
    next_port: u16,
}

impl Bare {
    fn now(&mut self) -> Instant {
        Instant::from_millis(self.clock.tick())
    }

    /// Processes what has arrived.
    fn receive(&mut self, now: Instant) {
        let Self {
            interface,
            sockets,
            mac,
            ..
        } = self;
        interface.poll_maintenance(now);
        while interface.poll_ingress_single(now, mac, sockets) != PollIngressSingleResult::None {}
    }

    /// Sends what may be sent.
    fn send(&mut self, now: Instant) {
        let Self {
            interface,
            sockets,
            mac,
            ..
        } = self;
        while interface.poll_egress(now, mac, sockets) != PollResult::None {}
    }

    /// Sleeps until something is due or arrives.
    fn sleep(&mut self, now: Instant) {
        let until = self.interface.poll_at(now, &self.sockets);
        self.clock.wait(
            until.map(|until| lastbyte::Instant::from_micros(until.total_micros().cast_unsigned())),
        );
    }
}

impl Client for Bare {
    fn open(&mut self) {
        for handle in self.handles {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
            socket.abort();
            let context = self.interface.context();
            self.next_port = self.next_port.wrapping_add(1) | 0xc000;
            if socket
                .connect(context, (PEER_ADDRESS, PORT), self.next_port)
                .is_err()
            {
                return;
            }
            while !self.sockets.get::<tcp::Socket<'_>>(handle).may_send() {
                let now = self.now();
                self.receive(now);
                self.send(now);
                self.sleep(now);
            }
        }
    }

    fn write(&mut self, connection: usize, bytes: &[u8]) -> Option<usize> {
        let &handle = self.handles.get(connection)?;
        loop {
            let now = self.now();
            self.receive(now);
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
            let accepted = socket.send_slice(bytes);
            self.send(now);
            match accepted {
                Ok(0) => self.sleep(now),
                Ok(accepted) => return Some(accepted),
                Err(_) => return None,
            }
        }
    }
}

static TX_BUFFERS: ConstStaticCell<Aligned<[[u8; TX]; CONNECTIONS]>> =
    ConstStaticCell::new(Aligned([[0; TX]; CONNECTIONS]));
static RX_BUFFERS: ConstStaticCell<Aligned<[[u8; RX]; CONNECTIONS]>> =
    ConstStaticCell::new(Aligned([[0; RX]; CONNECTIONS]));
static FRAMES: ConstStaticCell<Frames> = ConstStaticCell::new(Frames::new());
static STORAGE: ConstStaticCell<[SocketStorage<'static>; CONNECTIONS]> =
    ConstStaticCell::new([SocketStorage::EMPTY; CONNECTIONS]);
static CLIENT: StaticCell<Bare> = StaticCell::new();

fn run(stack: &Stack) -> ! {
    let mut tx = TX_BUFFERS.take().0.iter_mut();
    let mut rx = RX_BUFFERS.take().0.iter_mut();
    let storage = STORAGE.take();
    let client = CLIENT.init_with(|| {
        let mut mac = Mac::new(FRAMES.take());
        let mut config = Config::new(OUR_MAC.into());
        config.random_seed = 1;
        let mut interface = Interface::new(config, &mut mac, Instant::ZERO);
        interface.update_ip_addrs(|all| {
            all.push(IpCidr::new(OUR_ADDRESS.into(), 24)).unwrap_or(());
        });
        let mut sockets = SocketSet::new(&mut storage[..]);
        let handles = core::array::from_fn(|_| {
            let tx = tx.next().map_or(&mut [][..], |tx| &mut tx[..]);
            let rx = rx.next().map_or(&mut [][..], |rx| &mut rx[..]);
            sockets.add(tcp::Socket::new(
                tcp::SocketBuffer::new(rx),
                tcp::SocketBuffer::new(tx),
            ))
        });
        Bare {
            interface,
            sockets,
            handles,
            mac,
            clock: Ticks::new(),
            next_port: 0,
        }
    });
    measure(client, stack)
}
