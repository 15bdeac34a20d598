//! Our end, as small as it gets.

use std::time::Duration;

use lastbyte::{Clock, Instant};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::IpEndpoint;

use crate::loopback::{
    LoopClock, LoopDevice, OUR_ADDRESSES, World, lastbyte_time, our_hardware_address, smoltcp_time,
};

/// One socket on one interface.
pub(super) struct Bare {
    pub(super) world: World,
    pub(super) iface: Interface,
    pub(super) sockets: SocketSet<'static>,
    device: LoopDevice,
    clock: LoopClock,
    handle: SocketHandle,
    next_port: u16,
    /// Polls so far: how much work a run was.
    pub(super) polls: u64,
}

impl Bare {
    pub(super) fn new(world: &World) -> Self {
        Self::with_buffers(world, 16 * 1024, 16 * 1024)
    }

    pub(super) fn with_buffers(world: &World, tx: usize, rx: usize) -> Self {
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
            next_port: 49_152,
            polls: 0,
        }
    }

    pub(super) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    #[track_caller]
    pub(super) fn connect(&mut self, remote: impl Into<IpEndpoint>) {
        let port = self.next_port;
        self.next_port = if port == u16::MAX { 49_152 } else { port + 1 };
        self.sockets
            .get_mut::<tcp::Socket>(self.handle)
            .connect(self.iface.context(), remote.into(), port)
            .expect("the socket is free");
    }

    pub(super) fn poll(&mut self) {
        self.polls += 1;
        let now = smoltcp_time(self.world.now());
        self.iface.poll(now, &mut self.device, &mut self.sockets);
    }

    pub(super) fn wait(&mut self) {
        let now = smoltcp_time(self.world.now());
        let next = self.iface.poll_at(now, &self.sockets);
        self.clock.wait(next.map(lastbyte_time));
    }

    /// Polls and waits until `done` holds.
    #[track_caller]
    pub(super) fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..1_000_000 {
            self.poll();
            if done(self) {
                return;
            }
            self.wait();
        }
        panic!("never done: {:?}", self.world);
    }

    /// Polls and waits until that much time has passed.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.world.now() + time;
        self.world.at(end, |_| ());
        while self.world.now() < end {
            self.poll();
            let now = smoltcp_time(self.world.now());
            let next = self.iface.poll_at(now, &self.sockets);
            let next = next.map_or(Instant::NEVER, lastbyte_time);
            self.clock.wait(Some(next.min(end)));
        }
        self.poll();
    }

    /// Writes `bytes`, as far as the connection lives; how many went in.
    #[track_caller]
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        self.run_until(|bare| {
            let socket = bare.socket();
            let ended = !matches!(
                socket.state(),
                tcp::State::SynSent | tcp::State::SynReceived
            ) && !socket.may_send();
            if socket.can_send() {
                written += socket.send_slice(&bytes[written..]).unwrap_or(0);
                bare.poll();
            }
            ended || written == bytes.len()
        });
        written
    }

    #[track_caller]
    pub(super) fn run_until_state(&mut self, state: tcp::State) {
        self.run_until(|bare| bare.socket().state() == state);
    }
}
