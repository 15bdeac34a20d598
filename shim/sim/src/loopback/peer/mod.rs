//! The other end: a smoltcp TCP endpoint driven by behaviours.
//!
//! - `behaviour`: what an application at the peer does with a connection.
//! - `serve`, `datagrams`: the application as code of the test, over TCP and UDP.
//! - `fault`: faults at exactly one byte.
//! - `service`: a port, its sockets and the record of each connection.
//! - `slot`: one socket and its application.
//! - `core`: the endpoint itself, and when it runs.

mod behaviour;
mod core;
mod datagrams;
mod fault;
mod serve;
mod service;
mod slot;

use lastbyte::Instant;
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, IpEndpoint};

use super::World;
pub use behaviour::{Behaviour, Ending, Reads, Sends, When};
pub(super) use core::PeerCore;
pub use datagrams::Datagrams;
pub use fault::{Action, Mark, StreamFault};
pub use serve::{Answers, Reply};
pub use service::Connection;

/// The number of sockets of a port with a server: enough for clients that reconnect
/// before the peer knows that their earlier connections ended.
const SERVING: usize = 8;

/// How much of the peer responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// Everything.
    #[default]
    Present,
    /// It answers ARP and neighbour discovery, but neither receives nor sends TCP
    /// segments: a firewall that drops.
    Deaf,
    /// It neither receives nor sends anything: the machine is off.
    Absent,
}

/// The configuration of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Seed of its initial sequence numbers. Default 7.
    pub seed: u64,
    /// How much of it responds. Default everything.
    pub presence: Presence,
    /// The number of bytes of each connection that are kept for the test; the rest is
    /// only counted. Default 16 MiB.
    pub keep_bytes: usize,
    /// The number of ended connections of each port that are remembered. Default 16.
    pub keep_connections: usize,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            seed: 7,
            presence: Presence::Present,
            keep_bytes: 16 * 1024 * 1024,
            keep_connections: 16,
        }
    }
}

/// A handle to the other end; clones refer to the same peer.
///
/// Ports are the peer's own: those it listens on, and those it connects from. A port
/// without a listener answers with a RST, as smoltcp does. The calls here take effect the
/// next time the world runs, at the present virtual time. If a port had several
/// connections, the getters are about the one that began last; [`Peer::connections`] has
/// them all.
///
/// ```
/// use lastbyte::{Clock, Instant};
/// use lastbyte_sim::loopback::{Behaviour, OUR_ADDRESSES, PEER_V4, World, WorldConfig};
/// use lastbyte_sim::loopback::{lastbyte_time, our_hardware_address, smoltcp_time};
/// use smoltcp::iface::{Config, Interface, SocketSet};
/// use smoltcp::socket::tcp;
///
/// let world = World::new(WorldConfig::default());
/// let peer = world.peer();
/// // Reads 3 bytes, then resets the connection.
/// peer.listen(80, Behaviour::sink().aborting_after(3));
///
/// let (mut device, mut clock) = (world.device(), world.clock());
/// let config = Config::new(our_hardware_address(world.config().medium));
/// let mut iface = Interface::new(config, &mut device, smoltcp_time(clock.now()));
/// iface.update_ip_addrs(|list| list.extend(OUR_ADDRESSES));
/// let mut sockets = SocketSet::new(Vec::new());
/// let buffer = || tcp::SocketBuffer::new(vec![0; 4096]);
/// let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
/// let socket = sockets.get_mut::<tcp::Socket>(handle);
/// socket.connect(iface.context(), (PEER_V4, 80), 49_152).unwrap();
///
/// let mut written = 0;
/// loop {
///     let now = smoltcp_time(clock.now());
///     iface.poll(now, &mut device, &mut sockets);
///     let socket = sockets.get_mut::<tcp::Socket>(handle);
///     if !socket.is_open() {
///         break;
///     }
///     if written == 0 && socket.can_send() {
///         written = socket.send_slice(b"abc").unwrap();
///     }
///     iface.poll(now, &mut device, &mut sockets);
///     clock.wait(iface.poll_at(now, &sockets).map(lastbyte_time));
/// }
/// assert_eq!(peer.received(80), b"abc");
/// assert_eq!(peer.taken_in(80), 3);
/// assert_eq!(peer.state(80), Some(tcp::State::Closed));
/// assert_eq!(peer.saw_fin(80), None);
/// ```
#[derive(Debug, Clone)]
pub struct Peer {
    world: World,
}

impl Peer {
    pub(super) fn new(world: World) -> Self {
        Self { world }
    }

    /// Listens on `port` with as many sockets as the behaviour's backlog;
    /// listening again replaces the behaviour and leaves connections alone.
    ///
    /// # Panics
    ///
    /// If `port` is zero.
    #[track_caller]
    pub fn listen(&self, port: u16, behaviour: Behaviour) {
        assert_ne!(port, 0, "the peer cannot listen on port 0");
        self.with_core(|core| core.listen(port, behaviour));
    }

    /// Listens on `port` with 8 sockets and `answer` as the server: shorthand for
    /// [`listen`](Self::listen) with [`Behaviour::serving`].
    ///
    /// `answer` is called with all received bytes of a connection that it has not yet
    /// removed, and with a [`Reply`] to send with: once the connection is open (with no
    /// bytes, for servers that send first), whenever more bytes have arrived, when our end
    /// has finished ([`Reply::is_at_end`]), and when it requested a call
    /// ([`Reply::call_after`]). Bytes that it leaves in the vector, such as half a request,
    /// are passed again the next time. Our FIN is answered with a FIN once everything is sent
    /// and no call is due ([`Behaviour::closes_on_fin`]).
    ///
    /// It must not call the peer; [`World::at`] with [`Reply::now`] can.
    ///
    /// ```
    /// use embedded_io::{Read, Write};
    /// use lastbyte::{OnReceive, Options};
    /// use lastbyte_sim::loopback::{OUR_ADDRESSES, PEER_V4, World, WorldConfig, our_hardware_address};
    /// use lastbyte_sim::setup::Setup;
    ///
    /// let world = World::new(WorldConfig::default());
    /// // Answers each line with its length.
    /// world.peer().serve(7, |received, reply| {
    ///     while let Some(end) = received.iter().position(|&byte| byte == b'\n') {
    ///         let line: Vec<u8> = received.drain(..=end).collect();
    ///         reply.send(format!("{}\n", line.len() - 1).as_bytes());
    ///     }
    /// });
    /// let setup = Setup::new(our_hardware_address(world.config().medium), &OUR_ADDRESSES, 1);
    /// let answer = setup.run(world.device(), world.clock(), |stack| {
    ///     let options = Options::builder().on_receive(OnReceive::Keep).build().unwrap();
    ///     let id = stack.connect((PEER_V4, 7), options).unwrap();
    ///     stack.writer(id).unwrap().write_all(b"measured: 21.5\n").unwrap();
    ///     let mut answer = [0; 3];
    ///     stack.reader(id).unwrap().read_exact(&mut answer).unwrap();
    ///     answer
    /// });
    /// assert_eq!(answer, Ok(*b"14\n"));
    /// ```
    ///
    /// # Panics
    ///
    /// If `port` is zero.
    #[track_caller]
    pub fn serve(&self, port: u16, answer: impl FnMut(&mut Vec<u8>, &mut Reply<'_>) + 'static) {
        self.listen(port, Behaviour::serving(answer).backlog(SERVING));
    }

    /// Receives datagrams on this UDP port with `answer` as the server, which is called with
    /// each datagram. A second call replaces the server of the port. A reboot does not affect
    /// it.
    ///
    /// ```
    /// # use lastbyte_sim::loopback::{World, WorldConfig};
    /// let world = World::new(WorldConfig::default());
    /// // A time server.
    /// world.peer().serve_udp(123, |_datagram, reply| {
    ///     let micros = reply.now().as_micros();
    ///     reply.send(&micros.to_be_bytes());
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If `port` is zero.
    #[track_caller]
    pub fn serve_udp(&self, port: u16, answer: impl FnMut(&[u8], &mut Datagrams) + 'static) {
        assert_ne!(port, 0, "the peer cannot receive datagrams on port 0");
        self.with_core(|core| core.serve_udp(port, Box::new(answer)));
    }

    /// Accepts no further connection on `port`; those that exist go on.
    pub fn stop_listening(&self, port: u16) {
        self.with_core(|core| core.stop_listening(port));
    }

    /// Connects from `local_port` to one of our addresses.
    ///
    /// # Panics
    ///
    /// If a port is zero, or a connection from `local_port` still lives.
    #[track_caller]
    pub fn connect(&self, local_port: u16, remote: impl Into<IpEndpoint>, behaviour: Behaviour) {
        let remote = remote.into();
        assert!(
            self.try_connect(local_port, remote, behaviour),
            "the peer cannot connect from {local_port} to {remote}"
        );
    }

    /// Like [`Peer::connect`]. Returns whether it could begin.
    pub fn try_connect(
        &self,
        local_port: u16,
        remote: impl Into<IpEndpoint>,
        behaviour: Behaviour,
    ) -> bool {
        let remote = remote.into();
        let now = self.world.now();
        self.with_core(|core| core.connect(local_port, remote, behaviour, now))
    }

    /// Sends a FIN on every connection of `port` and keeps reading as before.
    pub fn close(&self, port: u16) {
        self.with_core(|core| core.end(port, Ending::Fin));
    }

    /// Ends every connection of `port` as if the program had exited: with a FIN, and a
    /// RST in answer to everything that arrives afterwards.
    pub fn exit(&self, port: u16) {
        self.with_core(|core| core.end(port, Ending::Exit));
    }

    /// Resets every connection of `port`.
    pub fn abort(&self, port: u16) {
        self.with_core(|core| core.end(port, Ending::Reset));
    }

    /// Changes the behaviour of the application at `port` from then on: makes it start or
    /// stop reading, for example.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lastbyte_sim::loopback::{Behaviour, Reads, World, WorldConfig};
    /// # let world = World::new(WorldConfig::default());
    /// world.peer().listen(80, Behaviour::silent());
    /// world.at(world.after(Duration::from_secs(60)), |world| {
    ///     world.peer().change(80, |behaviour| behaviour.reads = Reads::Everything);
    /// });
    /// ```
    pub fn change(&self, port: u16, change: impl FnOnce(&mut Behaviour)) {
        self.with_core(|core| core.change(port, change));
    }

    /// Reboots the peer's machine, in no time: it forgets its connections and neighbours,
    /// and listens on the same ports as before. `seed` is the new seed of its sequence
    /// numbers.
    pub fn reboot(&self, seed: u64) {
        let now = self.world.now();
        self.with_core(|core| core.reboot(self.world.config(), seed, now));
    }

    /// Sets how much of the peer responds.
    pub fn set_presence(&self, presence: Presence) {
        self.with_core(|core| core.set_presence(presence));
    }

    /// Gives the peer another Ethernet address, until it reboots, as if another machine had
    /// taken its place. It does not announce the address, and receives no frame for the old
    /// one.
    ///
    /// # Panics
    ///
    /// On a wire that is not Ethernet, or if the address is a group address.
    pub fn set_hardware_addr(&self, mac: EthernetAddress) {
        self.with_core(|core| core.set_hardware_addr(mac));
    }

    /// Replaces the addresses of the peer's interface.
    ///
    /// # Panics
    ///
    /// If an address is not unicast, or there are more than smoltcp holds.
    pub fn set_addresses(&self, addresses: &[smoltcp::wire::IpCidr]) {
        self.with_core(|core| core.set_addresses(addresses));
    }

    /// The bytes that the peer's TCP received, read or not, up to
    /// [`PeerConfig::keep_bytes`].
    #[must_use]
    pub fn received(&self, port: u16) -> Vec<u8> {
        let last = self.connections(port).pop();
        last.map_or_else(Vec::new, |last| last.received)
    }

    /// How many bytes the peer's TCP received, including those not read.
    #[must_use]
    pub fn taken_in(&self, port: u16) -> u64 {
        self.last(port).map_or(0, |last| last.taken_in)
    }

    /// The state of the connection; `None` if `port` never had one.
    #[must_use]
    pub fn state(&self, port: u16) -> Option<tcp::State> {
        self.last(port).map(|last| last.state)
    }

    /// When the peer's TCP received our FIN.
    #[must_use]
    pub fn saw_fin(&self, port: u16) -> Option<Instant> {
        self.last(port).and_then(|last| last.saw_fin)
    }

    /// When a RST of ours ended the connection at the peer.
    #[must_use]
    pub fn saw_rst(&self, port: u16) -> Option<Instant> {
        self.last(port).and_then(|last| last.saw_rst)
    }

    /// How many connections of `port` have begun so far.
    #[must_use]
    pub fn accepted(&self, port: u16) -> u64 {
        self.world.with_peer(|core| core.accepted(port))
    }

    /// The connections of `port` in the order in which they began; of ended
    /// ones the last [`PeerConfig::keep_connections`].
    #[must_use]
    pub fn connections(&self, port: u16) -> Vec<Connection> {
        self.world.with_peer(|core| core.connections(port))
    }

    fn last(&self, port: u16) -> Option<Connection> {
        self.world.with_peer(|core| core.last(port))
    }

    fn with_core<R>(&self, f: impl FnOnce(&mut PeerCore) -> R) -> R {
        let result = self.world.with_peer(f);
        self.world.wake_peer();
        result
    }
}
