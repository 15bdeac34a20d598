//! DHCP: what a lease changes, what renewing it does not, and what ends with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::common::hosts::{Lending, answering, dhcp_of, dhcp_reply};
use crate::common::*;
use lastbyte::stack::smoltcp::socket::dhcpv4;
use lastbyte::stack::smoltcp::wire::{IpCidr, Ipv4Address, Ipv4Cidr};
use lastbyte::stack::{AddressError, LeaseChange, LeaseError};
use lastbyte::{Cause, Options};
use lastbyte_sim::loopback::{Behaviour, OUR_V4, PEER_V4, World, WorldConfig};

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

fn lending(seconds: u32) -> Lending {
    Lending {
        address: OUR_V4.octets(),
        prefix_len: 24,
        router: Some(PEER_V4.octets()),
        dns: vec![PEER_V4.octets(), [10, 77, 0, 9]],
        seconds,
    }
}

/// What the server does, and what it has seen.
#[derive(Clone)]
struct Server {
    lends: Rc<RefCell<Option<Lending>>>,
    refuses: Rc<Cell<bool>>,
    /// The types of the messages that came, and when.
    seen: Rc<RefCell<Vec<(u8, u64)>>>,
}

impl Server {
    fn new(world: &World, lends: Option<Lending>) -> Self {
        let server = Self {
            lends: Rc::new(RefCell::new(lends)),
            refuses: Rc::default(),
            seen: Rc::default(),
        };
        let (this, clock) = (server.clone(), world.clone());
        answering(world, move |frame| {
            let Some((kind, number, _)) = dhcp_of(frame) else {
                return Vec::new();
            };
            let second = clock.now().since(at_ms(0)).as_secs();
            this.seen.borrow_mut().push((kind, second));
            let lends = this.lends.borrow();
            let Some(lends) = lends.as_ref() else {
                return Vec::new();
            };
            let answer = match kind {
                DISCOVER => OFFER,
                REQUEST if this.refuses.get() => NAK,
                REQUEST => ACK,
                _ => return Vec::new(),
            };
            vec![dhcp_reply(answer, number, lends)]
        });
        server
    }

    fn stop(&self) {
        *self.lends.borrow_mut() = None;
    }

    fn kinds(&self) -> Vec<u8> {
        self.seen.borrow().iter().map(|(kind, _)| *kind).collect()
    }
}

/// Our end without an address, and a server that lends for so long.
fn lent(seconds: u32) -> (Us<1>, Server) {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let server = Server::new(&world, Some(lending(seconds)));
    let mut us = Us::new(&world);
    us.set_addresses(&[]);
    us.stack.start_dhcp().expect("room for a socket");
    (us, server)
}

fn routers(us: &mut Us<1>) -> Vec<String> {
    let mut routers = Vec::new();
    let routes = us.stack.interface_mut().routes_mut();
    routes.update(|routes| {
        routers.extend(routes.iter().map(|route| route.via_router.to_string()));
    });
    routers
}

#[test]
fn a_lease_becomes_address_route_and_servers() {
    let (mut us, server) = lent(3_600);
    assert_eq!(us.stack.lease(), Err(LeaseError::NoLease));
    assert_eq!(us.stack.poll_lease(), None, "nothing has changed");
    let lease = us.stack.wait_lease(secs(10)).expect("a server");
    assert_eq!(lease.address(), Ipv4Cidr::new(OUR_V4, 24));
    assert_eq!(lease.router(), Some(PEER_V4));
    let servers = lease.dns_servers();
    assert_eq!(
        servers,
        [PEER_V4.into(), Ipv4Address::new(10, 77, 0, 9).into()]
    );
    assert_eq!(server.kinds(), [DISCOVER, REQUEST]);
    let own = us.stack.interface_mut().ip_addrs().to_vec();
    assert_eq!(own, [IpCidr::Ipv4(lease.address())]);
    assert_eq!(routers(&mut us), [PEER_V4.to_string()]);
    // Reported once.
    assert_eq!(us.stack.poll_lease(), Some(LeaseChange::Configured(lease)));
    assert_eq!(us.stack.poll_lease(), None);
    // And it serves.
    let id = us.open(Options::default());
    us.write(id, 1_000);
    us.writer(id).finish().expect("all acknowledged");
}

#[test]
fn renewing_kills_nothing() {
    let (mut us, server) = lent(60);
    us.stack.wait_lease(secs(10)).expect("a server");
    us.stack.poll_lease();
    let id = us.open(options(|it| it.keep_alive(secs(5))));
    for _ in 0..120 {
        us.write(id, 100);
        us.stack.run_for(secs(1));
    }
    let renewals = server
        .kinds()
        .iter()
        .filter(|kind| **kind == REQUEST)
        .count();
    assert!(renewals >= 4, "{:?}", server.seen.borrow());
    assert_eq!(us.stack.poll_lease(), None, "nothing has changed");
    us.writer(id).finish().expect("all acknowledged");
    assert_eq!(us.check(id).ledger.acknowledged(), 12_000);
}

#[test]
fn a_lease_that_ends_takes_its_connections_with_it() {
    let (mut us, server) = lent(60);
    us.stack.wait_lease(secs(10)).expect("a server");
    let id = us.open(Options::default());
    us.write(id, 1_000);
    us.stack.run_for(secs(1));
    us.stack.poll_lease();
    server.stop();
    us.stack.run_for(secs(55));
    assert!(us.stack.lease().is_ok(), "it still has some seconds");
    us.stack.run_for(secs(10));
    assert_eq!(us.stack.lease(), Err(LeaseError::NoLease));
    assert_eq!(us.stack.poll_lease(), Some(LeaseChange::Lost));
    us.assert_refused(id, Cause::AddressLost, 1_000, 1_000);
    assert!(us.stack.interface_mut().ip_addrs().is_empty());
    assert!(routers(&mut us).is_empty());
    us.stack.release(id).expect("a connection of ours");
    // Another server, another lease.
    *server.lends.borrow_mut() = Some(lending(60));
    us.stack.wait_lease(secs(64)).expect("a server");
    us.world.peer().listen(81, Behaviour::sink());
    let again = us.stack.connect((PEER_V4, 81), Options::default());
    let again = again.expect("a slot, a port and a route");
    us.stack.wait_open(again).expect("the peer listens");
}

/// A write that blocks meanwhile ends with it, and not by its own limit.
#[test]
fn a_blocked_write_ends_with_the_lease() {
    let (mut us, server) = lent(30);
    us.world.peer().listen(81, Behaviour::silent());
    us.stack.wait_lease(secs(10)).expect("a server");
    let options = options(|it| it.call_timeout(secs(300)).user_timeout(secs(300)));
    let id = us.stack.connect((PEER_V4, 81), options).expect("a slot");
    us.stack.wait_open(id).expect("the peer listens");
    server.stop();
    let bytes = pattern(0, 100_000);
    let error = embedded_io::Write::write_all(&mut us.writer(id), &bytes);
    let error = error.expect_err("the peer does not read");
    assert_eq!(error.cause(), Some(Cause::AddressLost));
    let after = us.now().since(at_ms(0));
    assert!(after < secs(31), "{after:?}");
}

#[test]
fn a_lease_that_changes_replaces_what_differs() {
    let (mut us, server) = lent(60);
    us.stack.wait_lease(secs(10)).expect("a server");
    let id = us.open(Options::default());
    us.stack.poll_lease();
    // The router moves: the address stays, and the connection with it.
    let router = [10, 77, 0, 254];
    *server.lends.borrow_mut() = Some(Lending {
        router: Some(router),
        ..lending(60)
    });
    us.stack.run_for(secs(31));
    assert!(matches!(
        us.stack.poll_lease(),
        Some(LeaseChange::Configured(lease)) if lease.router() == Some(router.into())
    ));
    assert_eq!(routers(&mut us), ["10.77.0.254"]);
    us.write(id, 100);
    us.stack.run_for(secs(1));
    assert_eq!(us.report(id).cause, None);
    // The address moves: connections from the old one are over.
    *server.lends.borrow_mut() = Some(Lending {
        address: [10, 77, 0, 77],
        router: None,
        ..lending(60)
    });
    us.stack.run_for(secs(31));
    us.assert_refused(id, Cause::AddressLost, 100, 100);
    assert!(routers(&mut us).is_empty());
    let own = us.stack.interface_mut().ip_addrs().to_vec();
    assert_eq!(
        own,
        [IpCidr::new(Ipv4Address::new(10, 77, 0, 77).into(), 24)]
    );
}

#[test]
fn a_refused_renewal_loses_the_lease_at_once() {
    let (mut us, server) = lent(60);
    us.stack.wait_lease(secs(10)).expect("a server");
    let id = us.open(Options::default());
    server.refuses.set(true);
    us.stack.run_for(secs(31));
    us.assert_refused(id, Cause::AddressLost, 0, 0);
}

/// RFC 2131, 4.1: 4 s, and twice as long each time, up to 64 s.
#[test]
fn without_a_server_there_is_no_lease_and_servers_are_queried_less_and_less() {
    let world = World::new(WorldConfig::default());
    let server = Server::new(&world, None);
    let mut us = Us::<1>::new(&world);
    us.set_addresses(&[]);
    assert_eq!(us.stack.wait_lease(secs(1)), Err(LeaseError::NotStarted));
    us.stack.start_dhcp().expect("room for a socket");
    let begun = us.now();
    assert_eq!(us.stack.wait_lease(secs(10)), Err(LeaseError::NoLease));
    assert_eq!(us.now().since(begun), secs(10));
    us.stack.run_for(secs(290));
    let at: Vec<u64> = server.seen.borrow().iter().map(|(_, at)| *at).collect();
    assert_eq!(at, [0, 4, 8, 16, 32, 64, 128, 192, 256]);
}

#[test]
fn what_cannot_be_is_refused() {
    // Without Ethernet there is no DHCP.
    let world = World::new(WorldConfig::ip());
    let mut us = Us::<1>::new(&world);
    assert_eq!(us.stack.start_dhcp(), Err(AddressError::NotEthernet));
    // Without a place for the socket, neither.
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    for _ in 0..OWN_SOCKETS {
        us.stack.sockets_mut().add(dhcpv4::Socket::new());
    }
    assert_eq!(us.stack.start_dhcp(), Err(AddressError::NoSocket));
    // Once is enough.
    let mut us = Us::<1>::new(&World::new(WorldConfig::default()));
    assert_eq!(us.stack.start_dhcp(), us.stack.start_dhcp());
}

/// What smoltcp's lists have no room for is no lease, and nothing of it is left.
#[test]
fn a_lease_that_does_not_fit_is_an_error() {
    let (mut us, _server) = lent(60);
    let taken: Vec<IpCidr> = (1..=4)
        .map(|number| IpCidr::new(Ipv4Address::new(192, 168, number, 1).into(), 24))
        .collect();
    us.set_addresses(&taken);
    assert_eq!(us.stack.wait_lease(secs(10)), Err(LeaseError::NoRoom));
    assert_eq!(us.stack.interface_mut().ip_addrs(), taken);
    assert!(routers(&mut us).is_empty());
}
