//! A LAN in virtual time: our end, over a device that holds few frames and needs time to
//! send each, and hosts that run smoltcp. No frame is ever lost on it.

use core::time::Duration;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use lastbyte::stack::smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use lastbyte::stack::smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use lastbyte::stack::smoltcp::socket::{Socket, tcp};
use lastbyte::stack::smoltcp::time::Instant as Time;
use lastbyte::stack::smoltcp::wire::{
    EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address, Ipv6Address,
};
use lastbyte::{Clock, Instant};
use lastbyte_sim::loopback::BEGINNING;
use smoltcp::socket::udp;

/// The port on which every host listens.
pub const PORT: u16 = 80;

pub const OUR_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

/// How long a frame of a host takes to reach us.
const TRAVEL: Duration = Duration::from_micros(200);

pub fn v4(number: u8) -> IpAddress {
    IpAddress::Ipv4(Ipv4Address::new(10, 0, 0, number))
}

pub fn v6(number: u8) -> IpAddress {
    IpAddress::Ipv6(Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()))
}

/// Both addresses of host `number`.
pub fn addresses(number: u8) -> [IpCidr; 2] {
    [IpCidr::new(v4(number), 24), IpCidr::new(v6(number), 64)]
}

pub fn mac(number: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 1, number])
}

fn smoltcp_time(at: Instant) -> Time {
    Time::from_micros(i64::try_from(at.as_micros()).expect("not that late"))
}

/// The queues of a host's device.
#[derive(Default)]
struct Port {
    rx: VecDeque<Vec<u8>>,
    tx: Vec<Vec<u8>>,
}

/// A frame that one of the ends receives.
pub struct Rx(Vec<u8>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

pub struct PortTx<'p>(&'p mut Vec<Vec<u8>>);

impl TxToken for PortTx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.push(frame);
        result
    }
}

fn ethernet() -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = 1_514;
    capabilities
}

impl Device for Port {
    type RxToken<'p> = Rx;
    type TxToken<'p> = PortTx<'p>;

    fn receive(&mut self, _: Time) -> Option<(Rx, PortTx<'_>)> {
        let frame = self.rx.pop_front()?;
        Some((Rx(frame), PortTx(&mut self.tx)))
    }

    fn transmit(&mut self, _: Time) -> Option<PortTx<'_>> {
        Some(PortTx(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        ethernet()
    }
}

/// A host: accepts connections at [`PORT`] and discards what it receives, or sends without end.
pub struct Host {
    mac: EthernetAddress,
    interface: Interface,
    sockets: SocketSet<'static>,
    port: Port,
    /// Whether it sends as much as it can over every connection.
    pub is_source: bool,
    /// Whether it neither receives nor sends anything.
    pub is_off: bool,
    /// Octets received over TCP.
    pub received: u64,
    /// Octets sent over TCP.
    pub sent: u64,
    /// Datagrams received.
    pub datagrams: u64,
}

fn socket(buffer: usize) -> tcp::Socket<'static> {
    let mut socket = tcp::Socket::new(
        tcp::SocketBuffer::new(vec![0; buffer]),
        tcp::SocketBuffer::new(vec![0; buffer]),
    );
    socket.set_ack_delay(None);
    socket
}

impl Host {
    fn new(number: u8, connections: usize) -> Self {
        let mut port = Port::default();
        let mut config = Config::new(mac(number).into());
        config.random_seed = u64::from(number) + 1_000;
        let mut interface = Interface::new(config, &mut port, smoltcp_time(BEGINNING));
        interface.update_ip_addrs(|list| list.extend(addresses(number)));
        let mut sockets = SocketSet::new(Vec::new());
        for _ in 0..connections {
            let mut socket = socket(8_192);
            socket.listen(PORT).expect("a port");
            sockets.add(socket);
        }
        let queue = || {
            let places = vec![udp::PacketMetadata::EMPTY; 64];
            udp::PacketBuffer::new(places, vec![0; 16_384])
        };
        let mut datagrams = udp::Socket::new(queue(), queue());
        datagrams.bind(PORT).expect("a port");
        sockets.add(datagrams);
        Self {
            mac: mac(number),
            interface,
            sockets,
            port,
            is_source: false,
            is_off: false,
            received: 0,
            sent: 0,
            datagrams: 0,
        }
    }

    /// Replaces its network card.
    pub fn set_mac(&mut self, address: EthernetAddress) {
        self.mac = address;
        self.interface
            .set_hardware_addr(HardwareAddress::Ethernet(address));
    }

    /// Connects to us.
    pub fn call(&mut self, to: IpEndpoint, from_port: u16) -> SocketHandle {
        let mut socket = socket(8_192);
        let connected = socket.connect(self.interface.context(), to, from_port);
        connected.expect("a socket that is closed");
        self.sockets.add(socket)
    }

    fn work(&mut self) {
        for (_, socket) in self.sockets.iter_mut() {
            match socket {
                Socket::Tcp(socket) => {
                    while socket.can_recv() {
                        let taken = socket.recv(|bytes| (bytes.len(), bytes.len()));
                        self.received += taken.expect("it can") as u64;
                    }
                    if self.is_source && socket.can_send() {
                        let sent = socket.send(|room| (room.len(), room.len()));
                        self.sent += sent.expect("it can") as u64;
                    }
                    if socket.state() == tcp::State::CloseWait {
                        socket.close();
                    }
                }
                Socket::Udp(socket) => {
                    while socket.recv().is_ok() {
                        self.datagrams += 1;
                    }
                }
                #[allow(unreachable_patterns, reason = "smoltcp may have other kinds")]
                _ => {}
            }
        }
    }

    fn poll(&mut self, now: Instant) {
        let at = smoltcp_time(now);
        self.interface.poll(at, &mut self.port, &mut self.sockets);
        self.work();
        self.interface.poll(at, &mut self.port, &mut self.sockets);
        if self.is_off {
            self.port.tx.clear();
        }
    }

    fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(smoltcp_time(now), &self.sockets)?;
        let at = u64::try_from(at.total_micros()).unwrap_or(0);
        Some(Instant::from_micros(at).max(now))
    }
}

/// What our device has sent, and when.
pub struct Sent {
    pub at: Instant,
    pub frame: Vec<u8>,
}

struct Inner {
    now: Cell<Instant>,
    hosts: RefCell<Vec<Host>>,
    /// Frames in our device; the first is being sent, until `leaves_at`.
    queue: RefCell<VecDeque<Vec<u8>>>,
    leaves_at: Cell<Instant>,
    room: usize,
    frame_time: Duration,
    to_us: RefCell<VecDeque<(Instant, Vec<u8>)>>,
    was_refused: Cell<bool>,
    log: RefCell<Vec<Sent>>,
}

/// The LAN, shared by our device, our clock and the test.
#[derive(Clone)]
pub struct Lan(Rc<Inner>);

impl Lan {
    /// Hosts from number 10 on, each with this many listening sockets, and a device of ours
    /// that holds `room` frames and needs `frame_time` to send each.
    pub fn new(hosts: u8, connections: usize, room: usize, frame_time: Duration) -> Self {
        let hosts = (0..hosts).map(|host| Host::new(10 + host, connections));
        Self(Rc::new(Inner {
            now: Cell::new(BEGINNING),
            hosts: RefCell::new(hosts.collect()),
            queue: RefCell::default(),
            leaves_at: Cell::new(Instant::NEVER),
            room,
            frame_time,
            to_us: RefCell::default(),
            was_refused: Cell::new(false),
            log: RefCell::default(),
        }))
    }

    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// Runs an action on a host.
    pub fn host<R>(&self, index: usize, act: impl FnOnce(&mut Host) -> R) -> R {
        act(&mut self.0.hosts.borrow_mut()[index])
    }

    /// What was sent so far.
    pub fn take_log(&self) -> Vec<Sent> {
        self.0.log.take()
    }

    fn next_event(&self) -> Instant {
        let now = self.now();
        let mut next = self.0.leaves_at.get();
        for host in self.0.hosts.borrow_mut().iter_mut() {
            next = next.min(host.poll_at(now).unwrap_or(Instant::NEVER));
        }
        // Received frames wait for us, and for room.
        let arrives = self.0.to_us.borrow().front().map(|(at, _)| *at);
        next.min(arrives.filter(|at| *at > now).unwrap_or(Instant::NEVER))
    }

    /// Performs what is due.
    fn happen(&self) {
        let now = self.now();
        if self.0.leaves_at.get() <= now {
            let frame = self.0.queue.borrow_mut().pop_front();
            self.deliver(&frame.expect("one leaves"));
            let is_empty = self.0.queue.borrow().is_empty();
            self.0.leaves_at.set(match is_empty {
                true => Instant::NEVER,
                false => now + self.0.frame_time,
            });
        }
        for host in self.0.hosts.borrow_mut().iter_mut() {
            if host.poll_at(now).is_some_and(|at| at <= now) || !host.port.rx.is_empty() {
                host.poll(now);
            }
            let answers = host.port.tx.drain(..);
            let answers = answers.map(|frame| (now + TRAVEL, frame));
            let is_to_us = |frame: &Vec<u8>| frame[0] & 1 == 1 || frame[..6] == OUR_MAC.0;
            let mut to_us = self.0.to_us.borrow_mut();
            to_us.extend(answers.filter(|(_, frame)| is_to_us(frame)));
        }
    }

    fn deliver(&self, frame: &[u8]) {
        for host in self.0.hosts.borrow_mut().iter_mut() {
            if !host.is_off && (frame[0] & 1 == 1 || frame[..6] == host.mac.0) {
                host.port.rx.push_back(frame.to_vec());
            }
        }
        let at = self.now();
        let frame = frame.to_vec();
        self.0.log.borrow_mut().push(Sent { at, frame });
    }

    fn has_arrived(&self) -> bool {
        let to_us = self.0.to_us.borrow();
        to_us.front().is_some_and(|(at, _)| *at <= self.now())
    }

    fn has_room(&self) -> bool {
        let has_room = self.0.queue.borrow().len() < self.0.room;
        if !has_room {
            self.0.was_refused.set(true);
        }
        has_room
    }

    pub fn device(&self) -> LanDevice {
        LanDevice(self.clone())
    }

    pub fn clock(&self) -> LanClock {
        LanClock(self.clone())
    }
}

pub struct LanClock(Lan);

impl Clock for LanClock {
    fn now(&mut self) -> Instant {
        self.0.now()
    }

    fn wait(&mut self, until: Option<Instant>) {
        let lan = &self.0;
        let until = until.unwrap_or(Instant::NEVER);
        for _ in 0..1_000_000 {
            lan.happen();
            let waits = lan.has_arrived() || lan.0.was_refused.get();
            let is_needed = waits && lan.has_room();
            if is_needed || lan.now() >= until {
                lan.0.was_refused.set(false);
                return;
            }
            let next = lan.next_event().min(until);
            assert!(next != Instant::NEVER, "nothing can happen any more");
            lan.0.now.set(next.max(lan.now()));
        }
        panic!("time does not advance");
    }
}

pub struct LanDevice(Lan);

pub struct LanTx<'l>(&'l Lan);

impl TxToken for LanTx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        let inner = &self.0.0;
        if inner.queue.borrow().is_empty() {
            inner.leaves_at.set(self.0.now() + inner.frame_time);
        }
        inner.queue.borrow_mut().push_back(frame);
        result
    }
}

impl Device for LanDevice {
    type RxToken<'l> = Rx;
    type TxToken<'l> = LanTx<'l>;

    fn receive(&mut self, _: Time) -> Option<(Rx, LanTx<'_>)> {
        if !self.0.has_arrived() || !self.0.has_room() {
            return None;
        }
        let (_, frame) = self.0.0.to_us.borrow_mut().pop_front()?;
        Some((Rx(frame), LanTx(&self.0)))
    }

    fn transmit(&mut self, _: Time) -> Option<LanTx<'_>> {
        self.0.has_room().then_some(LanTx(&self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        ethernet()
    }
}
