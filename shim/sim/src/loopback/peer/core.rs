//! The endpoint itself: one smoltcp interface, polled exactly when it has
//! something to do.

use std::collections::BTreeMap;
use std::time::Duration;

use lastbyte::Instant;
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, IpCidr, IpEndpoint};

use super::datagrams::{Answerer, DatagramPorts};
use super::fault::Outside;
use super::service::{Admission, Connection, Service, Sockets};
use super::{Behaviour, Ending, PeerConfig, Presence};
use crate::loopback::addresses::{PEER_ADDRESSES, PEER_MAC, hardware_address};
use crate::loopback::device::{PeerDevice, Unplugged};
use crate::loopback::frame::{change_segment, is_intact, peek_tcp, split_segment};
use crate::loopback::{Direction, World, WorldConfig, lastbyte_time, smoltcp_time};

/// How long to wait before an interface is polled again that was due at once and did
/// nothing.
const NOTHING_DONE: Duration = Duration::from_millis(1);

pub(in crate::loopback) struct PeerCore {
    iface: Interface,
    /// The source of the initial sequence numbers of outgoing connections after a reboot.
    calling: Option<Interface>,
    sockets: Sockets,
    services: BTreeMap<u16, Service>,
    datagrams: DatagramPorts,
    presence: Presence,
    config: PeerConfig,
    /// As of the last run.
    now: Instant,
}

impl PeerCore {
    pub(in crate::loopback) fn new(world: &WorldConfig) -> Self {
        Self {
            iface: new_interface(world, world.peer.seed, world.begins_at),
            calling: None,
            sockets: SocketSet::new(Vec::new()),
            services: BTreeMap::new(),
            datagrams: DatagramPorts::default(),
            presence: world.peer.presence,
            config: world.peer.clone(),
            now: world.begins_at,
        }
    }

    /// Does everything that is due. Returns when to run again.
    pub(in crate::loopback) fn run(&mut self, world: &World) -> Instant {
        self.now = world.now();
        let now = smoltcp_time(self.now);
        let mut device = PeerDevice::new(world, self.presence);
        self.iface.poll_maintenance(now);
        let mut services = self.services.values();
        let has_faults = services.any(|service| !service.behaviour.faults.is_empty());
        loop {
            let before = device.received;
            if has_faults && !self.take_apart(world) {
                continue;
            }
            world.with_next(Direction::ToPeer, |frame| self.hold_back_fin(world, frame));
            self.iface
                .poll_ingress_single(now, &mut device, &mut self.sockets);
            if device.received == before {
                break;
            }
            let last = device.last;
            if let Some(segment) = last
                && let Some(service) = self.services.get_mut(&segment.dst_port)
            {
                service.serve(&mut self.sockets, &self.config, self.now, segment.rst);
                if std::mem::take(&mut service.suffered.any) {
                    break;
                }
            }
        }
        if has_faults && self.has_suffered(world) {
            return self.now;
        }
        let mut active = device.received > 0;
        active |= self.serve_all();
        if has_faults && self.has_suffered(world) {
            return self.now;
        }
        while self.iface.poll_egress(now, &mut device, &mut self.sockets) != PollResult::None {
            active = true;
        }
        active |= self.serve_all();
        if has_faults && self.has_suffered(world) {
            return self.now;
        }
        self.next_due(active, world.is_refused(Direction::ToUs))
    }

    /// Performs first the faults that concern more than one connection. Returns whether
    /// there was one.
    fn has_suffered(&mut self, world: &World) -> bool {
        let services = self.services.values_mut();
        let outside: Vec<Outside> = services
            .flat_map(|service| service.suffered.outside.drain(..))
            .collect();
        let any = !outside.is_empty();
        for fault in outside {
            world.at(world.now(), |world| fault.happen(world));
        }
        any
    }

    /// Splits the first waiting segment if a fault happens in the middle of it. Returns
    /// false if the segment is lost.
    fn take_apart(&mut self, world: &World) -> bool {
        let config = world.config();
        let mut parts = None;
        let mut admission = Admission::Whole;
        world.with_next(Direction::ToPeer, |frame| {
            let Some(segment) = peek_tcp(frame, config.medium) else {
                return;
            };
            let Some(service) = self.services.get_mut(&segment.dst_port) else {
                return;
            };
            if service.behaviour.faults.is_empty()
                || config.checksums && !is_intact(frame, config.medium)
            {
                return;
            }
            admission = service.admit(&self.sockets, &segment);
            if let Admission::Split(at) = admission {
                parts = split_segment(frame, config.medium, at);
            }
        });
        if let Some((first, rest)) = parts {
            world.replace_next(Direction::ToPeer, [first, rest]);
        } else if admission == Admission::Lost
            && let Some(frame) = world.take_frame(Direction::ToPeer)
        {
            world.recycle(frame);
            return false;
        }
        true
    }

    pub(super) fn serve_udp(&mut self, port: u16, answer: Answerer) {
        self.datagrams.serve(&mut self.sockets, port, answer);
    }

    /// Removes the FIN from a segment whose data does not fit into the receive buffer:
    /// smoltcp truncates such data and still accepts the FIN, which no other TCP does.
    fn hold_back_fin(&self, world: &World, frame: &mut [u8]) {
        let medium = world.config().medium;
        let Some(segment) = peek_tcp(frame, medium).filter(|segment| segment.fin) else {
            return;
        };
        let service = self.services.get(&segment.dst_port);
        let room = service.and_then(|service| service.room(&self.sockets, segment.src_port));
        let is_cut_off = room.is_some_and(|room| segment.text > room);
        if is_cut_off && is_intact(frame, medium) {
            change_segment(frame, medium, |tcp| tcp.set_fin(false));
        }
    }

    fn serve_all(&mut self) -> bool {
        let mut changed = self.datagrams.answer_all(&mut self.sockets, self.now);
        for service in self.services.values_mut() {
            changed |= service.serve(&mut self.sockets, &self.config, self.now, false);
        }
        changed
    }

    fn next_due(&mut self, active: bool, refused: bool) -> Instant {
        let poll_at = self.iface.poll_at(smoltcp_time(self.now), &self.sockets);
        let tcp_due = poll_at.map_or(Instant::NEVER, lastbyte_time);
        let dues = self.services.values();
        let due = dues
            .map(|service| service.next_due(&self.sockets, self.now))
            .fold(tcp_due, Instant::min);
        if due > self.now || active {
            due
        } else if refused {
            // Woken when there is room again.
            Instant::NEVER
        } else {
            self.now + NOTHING_DONE
        }
    }

    pub(super) fn listen(&mut self, port: u16, behaviour: Behaviour) {
        let service = self.service(port);
        service.behaviour = behaviour;
        if let Some(service) = self.services.get_mut(&port) {
            service.start_listening(&mut self.sockets);
        }
    }

    fn service(&mut self, port: u16) -> &mut Service {
        self.services
            .entry(port)
            .or_insert_with(|| Service::new(port, Behaviour::sink()))
    }

    pub(super) fn stop_listening(&mut self, port: u16) {
        if let Some(service) = self.services.get_mut(&port) {
            service.stop_listening(&mut self.sockets);
        }
    }

    pub(super) fn connect(
        &mut self,
        local_port: u16,
        remote: IpEndpoint,
        behaviour: Behaviour,
        now: Instant,
    ) -> bool {
        self.service(local_port).behaviour = behaviour;
        let service = self.services.get_mut(&local_port);
        let handle = service.and_then(|service| service.outgoing(&mut self.sockets, remote, now));
        let Some(handle) = handle else {
            return false;
        };
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        // After a reboot, listeners use the same sequence numbers as before, outgoing
        // connections others: bare smoltcp panics if an answer to its SYN arrives before the SYN
        // was sent.
        let connected = match &mut self.calling {
            Some(iface) => socket.connect(iface.context(), remote, local_port),
            None => socket.connect(self.iface.context(), remote, local_port),
        };
        connected.is_ok()
    }

    pub(super) fn end(&mut self, port: u16, how: Ending) {
        if let Some(service) = self.services.get_mut(&port) {
            service.end(&mut self.sockets, how);
        }
    }

    pub(super) fn change(&mut self, port: u16, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.service(port).behaviour);
    }

    /// The machine reboots: connections and neighbours are forgotten.
    pub(super) fn reboot(&mut self, world: &WorldConfig, seed: u64, now: Instant) {
        self.iface = new_interface(world, seed, now);
        self.calling = Some(new_interface(world, seed ^ now.as_micros(), now));
        for service in self.services.values_mut() {
            service.forget(&mut self.sockets, now);
        }
    }

    pub(super) fn set_presence(&mut self, presence: Presence) {
        self.presence = presence;
    }

    pub(super) fn set_hardware_addr(&mut self, mac: EthernetAddress) {
        self.iface.set_hardware_addr(mac.into());
    }

    pub(super) fn set_addresses(&mut self, addresses: &[IpCidr]) {
        set_addresses(&mut self.iface, addresses);
    }

    pub(super) fn accepted(&self, port: u16) -> u64 {
        self.services
            .get(&port)
            .map_or(0, |service| service.accepted)
    }

    pub(super) fn last(&mut self, port: u16) -> Option<Connection> {
        let service = self.services.get(&port)?;
        service.last(&mut self.sockets)
    }

    pub(super) fn connections(&mut self, port: u16) -> Vec<Connection> {
        let service = self.services.get(&port);
        service.map_or_else(Vec::new, |service| service.connections(&mut self.sockets))
    }
}

fn new_interface(world: &WorldConfig, seed: u64, now: Instant) -> Interface {
    let mut config = Config::new(hardware_address(world.medium, PEER_MAC));
    config.random_seed = seed;
    let mut device = Unplugged::new(world);
    let mut iface = Interface::new(config, &mut device, smoltcp_time(now));
    set_addresses(&mut iface, &PEER_ADDRESSES);
    iface
}

/// # Panics
///
/// If there are more addresses than smoltcp holds.
fn set_addresses(iface: &mut Interface, addresses: &[IpCidr]) {
    iface.update_ip_addrs(|list| {
        list.clear();
        list.extend(addresses.iter().copied());
    });
}
