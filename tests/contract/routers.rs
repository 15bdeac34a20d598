//! Stateless address autoconfiguration: what routers advertise, and for how long it holds.

use std::cell::RefCell;
use std::rc::Rc;

use crate::common::hosts::{THIRD_MAC, answering, arrive, icmpv6, icmpv6_of};
use crate::common::*;
use lastbyte::stack::smoltcp::wire::{IpAddress, IpCidr, Ipv6Address, Ipv6Cidr};
use lastbyte::stack::{AddressError, ResolveError};
use lastbyte::{Cause, Options};
use lastbyte_sim::loopback::{Behaviour, OUR_ADDRESSES, PEER_V6, World, WorldConfig};

const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_ROUTERS: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

const ROUTER: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
const OTHER_ROUTER: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x98);
/// That of the peer as well.
const PREFIX: Ipv6Address = Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, 0);

/// What we are with a prefix: our hardware address is 02:77:00:00:00:02.
fn with_prefix(prefix: Ipv6Address) -> Ipv6Address {
    let [a, b, c, d, ..] = prefix.segments();
    Ipv6Address::new(a, b, c, d, 0x77, 0xff, 0xfe00, 2)
}

/// A prefix in an advertisement: on the link and for addresses, unless said otherwise.
struct Prefix {
    prefix: Ipv6Address,
    len: u8,
    flags: u8,
    valid: u32,
    preferred: u32,
}

fn prefix(valid: u32) -> Prefix {
    Prefix {
        prefix: PREFIX,
        len: 64,
        flags: 0xc0,
        valid,
        preferred: valid,
    }
}

/// RFC 4861, 4.2 and 4.6.2.
fn advertisement(router: Ipv6Address, lifetime: u16, prefixes: &[Prefix]) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, 64, 0];
    message.extend(lifetime.to_be_bytes());
    message.extend([0; 8]);
    // Whom a frame to it goes to.
    message.extend([1, 1]);
    message.extend(THIRD_MAC);
    for prefix in prefixes {
        message.extend([3, 4, prefix.len, prefix.flags]);
        message.extend(prefix.valid.to_be_bytes());
        message.extend(prefix.preferred.to_be_bytes());
        message.extend([0; 4]);
        message.extend(prefix.prefix.octets());
    }
    icmpv6(THIRD_MAC, router.octets(), ALL_NODES, &message)
}

type Asked = Rc<RefCell<Vec<u64>>>;

/// Our end without an address, and routers that say this to each solicitation.
fn routed(says: impl Fn() -> Vec<Vec<u8>> + 'static) -> (Us<1>, Asked) {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let asked = Asked::default();
    let (log, clock) = (asked.clone(), world.clone());
    answering(&world, move |frame| {
        let Some((source, to, message)) = icmpv6_of(frame, SOLICITATION) else {
            return Vec::new();
        };
        assert_eq!(to, ALL_ROUTERS);
        assert_eq!(source[..2], [0xfe, 0x80]);
        assert_eq!(message[8..10], [1, 1], "our hardware address");
        log.borrow_mut()
            .push(clock.now().since(at_ms(0)).as_millis() as u64);
        says()
    });
    let mut us = Us::new(&world);
    us.set_addresses(&[]);
    us.stack.start_slaac().expect("room");
    (us, asked)
}

#[test]
fn a_prefix_becomes_an_address_and_its_router_the_route() {
    let (mut us, asked) = routed(|| vec![advertisement(ROUTER, 1_800, &[prefix(3_600)])]);
    let cidr = us.stack.wait_slaac(secs(5)).expect("a router");
    assert_eq!(cidr, Ipv6Cidr::new(with_prefix(PREFIX), 64));
    // A second for the link-local address, and one for this one.
    let took = us.now().since(at_ms(0));
    assert!(took >= secs(2) && took < ms(2_100), "{took:?}");
    assert_eq!(us.stack.router(), Some(ROUTER));
    assert_eq!(*asked.borrow(), [1_000], "one question is enough");
    us.stack.run_for(secs(60));
    assert_eq!(asked.borrow().len(), 1);
    let id = us.open_to(PEER_V6, Options::default());
    us.write(id, 100);
    us.writer(id).finish().expect("all acknowledged");
}

/// RFC 4861, 6.3.7: three times, 4 s apart. Nothing is polled for without a reason afterwards.
#[test]
fn without_a_router_three_questions_are_enough() {
    let (mut us, asked) = routed(Vec::new);
    let waited = us.stack.wait_slaac(secs(30));
    assert_eq!(waited, Err(AddressError::NoRouter));
    assert_eq!(*asked.borrow(), [1_000, 5_000, 9_000]);
    let waits = us.world.waits();
    us.stack.run_for(secs(3_600));
    assert!(
        us.world.waits() - waits < 10,
        "it was polled without a reason"
    );
    // A router that comes later is heeded, and a link that comes back starts again.
    arrive(
        &us.world,
        ms(1),
        advertisement(ROUTER, 1_800, &[prefix(3_600)]),
    );
    us.stack.wait_slaac(secs(5)).expect("a router");
    us.stack.set_link(false);
    us.stack.set_link(true);
    us.stack.run_for(secs(1));
    assert_eq!(asked.borrow().len(), 4);
}

/// The first write after it has expired is refused, also if it was not polled meanwhile.
#[test]
fn an_address_whose_prefix_expires_is_lost_before_a_write() {
    for is_polled in [true, false] {
        let (mut us, _) = routed(|| vec![advertisement(ROUTER, 1_800, &[prefix(60)])]);
        us.stack.wait_slaac(secs(5)).expect("a router");
        let id = us.open_to(PEER_V6, Options::default());
        us.write(id, 100);
        us.stack.run_for(secs(1));
        let rest = secs(62);
        match is_polled {
            true => us.stack.run_for(rest),
            false => us.world.run_for(rest),
        }
        us.assert_refused(id, Cause::AddressLost, 100, 100);
        assert!(us.stack.wait_slaac(secs(0)).is_err());
    }
}

/// It is polled for when it is due, and not more often.
#[test]
fn an_expiry_is_polled_for_when_it_is_due() {
    let (mut us, _) = routed(|| vec![advertisement(ROUTER, 30, &[prefix(60)])]);
    us.stack.wait_slaac(secs(5)).expect("a router");
    let begun = us.now();
    let waits = us.world.waits();
    while us.stack.wait_slaac(secs(0)).is_ok() {
        let next = us.stack.poll().expect("something is due");
        assert!(next > us.now());
        us.world.run_until(next);
        us.stack.poll();
    }
    let took = us.now().since(begun);
    assert!(took > secs(57) && took <= secs(60), "{took:?}");
    assert!(us.world.waits() - waits < 10);
}

#[test]
fn a_prefix_that_is_advertised_again_lives_on() {
    let (mut us, _) = routed(|| vec![advertisement(ROUTER, 1_800, &[prefix(60)])]);
    us.stack.wait_slaac(secs(5)).expect("a router");
    let id = us.open_to(PEER_V6, options(|it| it.keep_alive(secs(10))));
    for _ in 0..10 {
        arrive(
            &us.world,
            ms(1),
            advertisement(ROUTER, 1_800, &[prefix(60)]),
        );
        us.write(id, 100);
        us.stack.run_for(secs(30));
    }
    us.writer(id).finish().expect("all acknowledged");
}

/// RFC 4862, 5.5.3 e: a forged lifetime of zero ends nothing at once.
#[test]
fn a_lifetime_is_shortened_to_two_hours_at_most() {
    let (mut us, _) = routed(|| vec![advertisement(ROUTER, 1_800, &[prefix(86_400)])]);
    us.stack.wait_slaac(secs(5)).expect("a router");
    arrive(&us.world, ms(1), advertisement(ROUTER, 1_800, &[prefix(0)]));
    us.stack.run_for(secs(7_190));
    assert!(us.stack.wait_slaac(secs(0)).is_ok());
    us.stack.run_for(secs(20));
    assert!(us.stack.wait_slaac(secs(0)).is_err());
    // One that is shorter already stays as it is.
    arrive(
        &us.world,
        ms(1),
        advertisement(ROUTER, 1_800, &[prefix(100)]),
    );
    us.stack.wait_slaac(secs(5)).expect("a router");
    arrive(&us.world, ms(1), advertisement(ROUTER, 1_800, &[prefix(1)]));
    us.stack.run_for(secs(50));
    assert!(us.stack.wait_slaac(secs(0)).is_ok());
}

/// RFC 4861, 6.3.4: with a lifetime of zero it is a router no more. Addresses stay.
#[test]
fn a_router_without_a_lifetime_is_no_route() {
    let (mut us, _) = routed(|| vec![advertisement(ROUTER, 1_800, &[prefix(3_600)])]);
    us.stack.wait_slaac(secs(5)).expect("a router");
    let far: IpAddress = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().into();
    let is_routed = |us: &mut Us<1>| {
        let opened = us.stack.connect((far, PORT), Options::default());
        opened.map(|id| us.stack.release(id).expect("ours")).is_ok()
    };
    let has_route = |us: &mut Us<1>| {
        let mut count = 0;
        let routes = us.stack.interface_mut().routes_mut();
        routes.update(|routes| count = routes.len());
        count > 0
    };
    assert!(is_routed(&mut us) && has_route(&mut us));
    // Another router does not take its place while it is one.
    arrive(&us.world, ms(1), advertisement(OTHER_ROUTER, 1_800, &[]));
    us.stack.run_for(secs(1));
    assert_eq!(us.stack.router(), Some(ROUTER));
    arrive(&us.world, ms(1), advertisement(ROUTER, 0, &[prefix(3_600)]));
    us.stack.run_for(secs(1));
    assert_eq!(us.stack.router(), None);
    assert!(!has_route(&mut us));
    assert!(us.stack.wait_slaac(secs(0)).is_ok());
    arrive(&us.world, ms(1), advertisement(OTHER_ROUTER, 30, &[]));
    us.stack.run_for(secs(1));
    assert_eq!(us.stack.router(), Some(OTHER_ROUTER));
    us.stack.run_for(secs(31));
    assert_eq!(us.stack.router(), None, "its lifetime is over");
    assert!(!has_route(&mut us));
}

#[test]
fn prefixes_that_make_no_address_are_ignored() {
    let ignored = |change: fn(&mut Prefix)| {
        let mut prefix = prefix(3_600);
        change(&mut prefix);
        prefix
    };
    let prefixes = [
        ignored(|it| it.flags = 0x80),
        ignored(|it| it.len = 48),
        ignored(|it| it.preferred = 3_601),
        ignored(|it| it.valid = 0),
        ignored(|it| it.prefix = "fe80::".parse().unwrap()),
        ignored(|it| it.prefix = "ff02::".parse().unwrap()),
    ];
    let (mut us, _) = routed(Vec::new);
    us.stack.run_for(secs(2));
    for (number, prefix) in prefixes.into_iter().enumerate() {
        let frame = advertisement(ROUTER, 1_800, &[prefix]);
        arrive(&us.world, ms(number as u64), frame);
    }
    us.stack.run_for(secs(5));
    let own = us.stack.interface_mut().ip_addrs().to_vec();
    assert_eq!(own.len(), 1, "{own:?}");
    // The others of one that is not on the link are reached by way of the router.
    let off_link = ignored(|it| it.flags = 0x40);
    arrive(&us.world, ms(1), advertisement(ROUTER, 1_800, &[off_link]));
    let cidr = us.stack.wait_slaac(secs(5)).expect("a router");
    assert_eq!(cidr.prefix_len(), 128);
}

/// Not from a link-local address, forwarded, damaged, or with a malformed option
/// (RFC 4861, 6.1.2).
#[test]
fn what_no_router_on_the_link_can_have_sent_is_ignored() {
    let good = advertisement(ROUTER, 1_800, &[prefix(3_600)]);
    let change = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        frame
    };
    let far: Ipv6Address = "2001:db8::1".parse().unwrap();
    let mut frames = vec![
        advertisement(far, 1_800, &[prefix(3_600)]),
        change(21, 64),
        change(55, 1),
        change(60, 9),
    ];
    // An option without a length, another code, another type.
    for (at, octet) in [(17, 0), (1, 1), (0, 133), (0, 136)] {
        let mut message = good[54..].to_vec();
        message[at] = octet;
        frames.push(icmpv6(THIRD_MAC, ROUTER.octets(), ALL_NODES, &message));
    }
    frames.extend((14..good.len()).map(|len| good[..len].to_vec()));
    let (mut us, _) = routed(Vec::new);
    us.stack.run_for(secs(2));
    for frame in frames {
        arrive(&us.world, ms(1), frame.clone());
        us.stack.run_for(secs(2));
        let own = us.stack.interface_mut().ip_addrs().to_vec();
        assert_eq!((own.len(), us.stack.router()), (1, None), "{frame:02x?}");
    }
}

/// Another machine has the address of the prefix: it is not used, now or later.
#[test]
fn an_address_that_another_host_has_is_not_taken_from_a_prefix() {
    let (mut us, _) = routed(|| vec![advertisement(ROUTER, 1_800, &[prefix(3_600)])]);
    let address = with_prefix(PREFIX);
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    let taken = icmpv6(THIRD_MAC, address.octets(), ALL_NODES, &message);
    arrive(&us.world, ms(1_500), taken);
    assert_eq!(us.stack.wait_slaac(secs(10)), Err(AddressError::NoRouter));
    let conflict = us.stack.conflict().expect("a conflict");
    assert_eq!(conflict.address, address.into());
    arrive(
        &us.world,
        ms(1),
        advertisement(ROUTER, 1_800, &[prefix(3_600)]),
    );
    us.stack.run_for(secs(10));
    assert!(!us.stack.interface_mut().has_ip_addr(address));
}

/// RFC 8106, 5.1.
#[test]
fn a_router_names_dns_servers() {
    let (mut us, _) = routed(|| {
        let mut message = advertisement(ROUTER, 1_800, &[prefix(3_600)])[54..].to_vec();
        message.extend([25, 3, 0, 0, 0, 0, 0, 60]);
        message.extend(PEER_V6.octets());
        vec![icmpv6(THIRD_MAC, ROUTER.octets(), ALL_NODES, &message)]
    });
    us.stack.start_dns(vec![None].leak(), &[]).expect("room");
    us.stack.wait_slaac(secs(5)).expect("a router");
    // It is asked, and does not answer.
    let found = us.stack.resolve("host.test", secs(1));
    assert_eq!(found, Err(ResolveError::NoAnswer));
    us.stack.run_for(secs(60));
    let found = us.stack.resolve("host.test", secs(1));
    assert_eq!(found, Err(ResolveError::NoServer));
}

#[test]
fn what_cannot_be_is_refused() {
    let mut us = Us::<1>::new(&World::new(WorldConfig::ip()));
    assert_eq!(us.stack.start_slaac(), Err(AddressError::NotEthernet));
    let mut us = Us::<1>::new(&World::new(WorldConfig::default()));
    let other = |number: u16| Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, number);
    let [a, b] = [1, 2].map(|number| IpCidr::new(other(number).into(), 64));
    us.set_addresses(&[OUR_ADDRESSES[0], OUR_ADDRESSES[1], a, b]);
    assert_eq!(us.stack.start_slaac(), Err(AddressError::NoRoom));
}
