//! Duplicate address detection: ours is probed, probes of others are answered, and an address
//! that another machine has is given up.

use std::cell::RefCell;
use std::rc::Rc;

use crate::common::hosts::{THIRD_MAC, answering, arp, arp_of, arrive, icmpv6, icmpv6_of};
use crate::common::*;
use lastbyte::stack::smoltcp::wire::{
    EthernetAddress, IpAddress, IpCidr, Ipv4Address, Ipv6Address,
};
use lastbyte::stack::{AddressError, Conflict};
use lastbyte::{Cause, Options};
use lastbyte_sim::loopback::{
    Behaviour, OUR_ADDRESSES, OUR_MAC, OUR_V4, OUR_V6, PEER_V6, World, WorldConfig,
};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const UNSPECIFIED_V6: [u8; 16] = [0; 16];
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// An ARP message: operation, sender, target.
type Arp = (u8, [u8; 4], [u8; 4]);

/// A message of Neighbor Discovery: type, source, destination, target, and whether a hardware
/// address is named, which overrides what is known (RFC 4861, 4.4).
type Ndp = (u8, [u8; 16], [u8; 16], [u8; 16], bool);

/// What leaves.
#[derive(Default)]
struct Seen {
    arp: Vec<Arp>,
    ndp: Vec<Ndp>,
}

type Log = Rc<RefCell<Seen>>;

fn watched(world: &World) -> Log {
    let log = Log::default();
    let seen = log.clone();
    answering(world, move |frame| {
        let mut seen = seen.borrow_mut();
        seen.arp.extend(arp_of(frame));
        for kind in [SOLICITATION, ADVERTISEMENT] {
            if let Some((source, to, message)) = icmpv6_of(frame, kind) {
                let target = message[8..24].try_into().unwrap();
                let is_named = message.len() > 24;
                let is_override = message[4] & 0x20 != 0;
                let is_of_smoltcp = message[4] == 0x40;
                assert!(kind != ADVERTISEMENT || is_override || is_of_smoltcp);
                seen.ndp.push((kind, source, to, target, is_named));
            }
        }
        Vec::new()
    });
    log
}

fn ours() -> (Us<1>, Log) {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let log = watched(&world);
    (Us::new(&world), log)
}

fn group_of(address: Ipv6Address) -> [u8; 16] {
    let [.., x, y, z] = address.octets();
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z]
}

/// A Neighbor Solicitation from no address: another host is about to use `target`.
fn probe_v6(from: [u8; 6], target: Ipv6Address) -> Vec<u8> {
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    icmpv6(from, UNSPECIFIED_V6, group_of(target), &message)
}

/// A Neighbor Advertisement to all: `from` has `target`.
fn advert_v6(from: [u8; 6], target: Ipv6Address) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(target.octets());
    message.extend([2, 1]);
    message.extend(from);
    icmpv6(from, target.octets(), ALL_NODES, &message)
}

fn third(address: impl Into<IpAddress>) -> Conflict {
    Conflict {
        address: address.into(),
        hardware: EthernetAddress(THIRD_MAC),
    }
}

/// RFC 4862, 5.4.2: one probe, from no address, to the group of the target, and a second of
/// silence. RFC 4291, 2.8: with a link-local address beside it.
#[test]
fn an_address_of_ipv6_is_probed_before_it_is_used() {
    let (mut us, log) = ours();
    us.set_addresses(&[]);
    let cidr = IpCidr::new(OUR_V6.into(), 64);
    us.stack.claim_address(cidr).expect("room");
    assert!(us.stack.interface_mut().ip_addrs().is_empty());
    us.stack.run_for(ms(900));
    assert!(!us.stack.interface_mut().has_ip_addr(OUR_V6));
    us.stack.wait_address(OUR_V6.into(), secs(5)).expect("free");
    assert_eq!(us.now(), at_secs(1));
    us.stack.run_for(ms(1));
    let link_local: Ipv6Address = "fe80::77:ff:fe00:2".parse().unwrap();
    let own = us.stack.interface_mut().ip_addrs().to_vec();
    assert_eq!(own, [cidr, IpCidr::new(link_local.into(), 64)]);
    let probes = [OUR_V6, link_local].map(|own| {
        (
            SOLICITATION,
            UNSPECIFIED_V6,
            group_of(own),
            own.octets(),
            false,
        )
    });
    assert_eq!(log.borrow().ndp, probes);
    // It serves.
    us.open_to(PEER_V6, Options::default());
}

/// Another host has it, or probes it at the same time.
#[test]
fn an_address_of_ipv6_that_another_host_has_is_not_used() {
    for frame in [advert_v6(THIRD_MAC, OUR_V6), probe_v6(THIRD_MAC, OUR_V6)] {
        let (mut us, _) = ours();
        us.set_addresses(&[]);
        arrive(&us.world, ms(500), frame);
        let cidr = IpCidr::new(OUR_V6.into(), 64);
        us.stack.claim_address(cidr).expect("room");
        let waited = us.stack.wait_address(OUR_V6.into(), secs(5));
        assert_eq!(waited, Err(AddressError::Duplicate(third(OUR_V6))));
        assert_eq!(us.stack.conflict(), Some(third(OUR_V6)));
        us.stack.run_for(secs(5));
        assert!(!us.stack.interface_mut().has_ip_addr(OUR_V6));
        // Claimed again, it is probed again.
        us.stack.claim_address(cidr).expect("room");
        assert_eq!(us.stack.conflict(), None);
        us.stack.wait_address(OUR_V6.into(), secs(5)).expect("free");
    }
}

/// Some switches return what they were sent.
#[test]
fn our_own_frames_that_come_back_are_no_conflict() {
    let (mut us, _) = ours();
    us.set_addresses(&[]);
    for frame in [
        probe_v6(OUR_MAC.0, OUR_V6),
        advert_v6(OUR_MAC.0, OUR_V6),
        arp(OUR_MAC.0, 1, OUR_V4.octets(), OUR_V4.octets()),
    ] {
        arrive(&us.world, ms(500), frame);
    }
    for cidr in OUR_ADDRESSES {
        us.stack.claim_address(cidr).expect("room");
    }
    us.stack.wait_address(OUR_V6.into(), secs(5)).expect("free");
    us.stack.wait_address(OUR_V4.into(), secs(5)).expect("free");
    assert_eq!(us.stack.conflict(), None);
}

/// RFC 5227, 1.1: three probes from no address, then two announcements. It is used meanwhile.
#[test]
fn an_address_of_ipv4_is_probed_and_announced_while_it_is_used() {
    let (mut us, log) = ours();
    us.set_addresses(&[]);
    us.stack.claim_address(OUR_ADDRESSES[0]).expect("room");
    us.stack
        .wait_address(OUR_V4.into(), secs(0))
        .expect("used at once");
    us.open(Options::default());
    us.stack.run_for(secs(20));
    let (unspecified, own) = ([0; 4], OUR_V4.octets());
    let about_us: Vec<_> = log.borrow().arp.clone();
    let about_us: Vec<_> = about_us.into_iter().filter(|it| it.2 == own).collect();
    let probe = (1, unspecified, own);
    let announcement = (1, own, own);
    assert_eq!(about_us, [probe, probe, probe, announcement, announcement]);
}

#[test]
fn an_address_of_ipv4_that_another_host_has_is_given_up_while_it_is_probed() {
    let (mut us, log) = ours();
    us.set_addresses(&[]);
    us.stack.claim_address(OUR_ADDRESSES[0]).expect("room");
    let id = us.open(Options::default());
    us.write(id, 100);
    us.stack.run_for(ms(100));
    // What answers our next probe.
    arrive(
        &us.world,
        secs(1),
        arp(THIRD_MAC, 2, OUR_V4.octets(), [0; 4]),
    );
    us.stack.run_for(secs(2));
    us.assert_refused(id, Cause::AddressLost, 100, 100);
    assert_eq!(us.stack.conflict(), Some(third(OUR_V4)));
    let count = log.borrow().arp.len();
    us.stack.run_for(secs(20));
    assert_eq!(
        log.borrow().arp.len(),
        count,
        "nothing is said of it any more"
    );
}

/// RFC 5227, 2.4 b: once in 10 s it is defended. Also for an address that was given to the
/// interface without being claimed.
#[test]
fn an_address_in_use_is_defended_once_and_then_given_up() {
    let claims = [arp(THIRD_MAC, 1, OUR_V4.octets(), [10, 77, 0, 9])];
    let claims_v6 = [advert_v6(THIRD_MAC, OUR_V6)];
    for (is_v6, frame) in claims
        .into_iter()
        .map(|frame| (false, frame))
        .chain(claims_v6.map(|frame| (true, frame)))
    {
        let (mut us, log) = ours();
        let id = match is_v6 {
            true => us.open_to(PEER_V6, Options::default()),
            false => us.open(Options::default()),
        };
        us.write(id, 100);
        us.stack.run_for(secs(1));
        let count = |log: &Log| {
            let own = (1, OUR_V4.octets(), OUR_V4.octets());
            let v4 = log.borrow().arp.iter().filter(|it| **it == own).count();
            let own = (
                ADVERTISEMENT,
                OUR_V6.octets(),
                ALL_NODES,
                OUR_V6.octets(),
                true,
            );
            let v6 = log.borrow().ndp.iter().filter(|it| **it == own).count();
            v4 + v6
        };
        assert_eq!(count(&log), 0);
        // Far apart, it is defended each time.
        for expected in 1..=3 {
            arrive(&us.world, ms(1), frame.clone());
            us.stack.run_for(secs(11));
            assert_eq!(count(&log), expected);
            assert_eq!(us.report(id).cause, None);
        }
        for at in [1, 9_000] {
            arrive(&us.world, ms(at), frame.clone());
        }
        us.stack.run_for(secs(8));
        assert_eq!(us.report(id).cause, None);
        us.stack.run_for(secs(2));
        us.assert_refused(id, Cause::AddressLost, 100, 100);
        assert!(us.stack.conflict().is_some());
    }
}

/// A host that is about to use our address learns that it is taken. smoltcp answers no probe.
#[test]
fn probes_for_our_addresses_are_answered() {
    let (mut us, log) = ours();
    arrive(&us.world, ms(1), arp(THIRD_MAC, 1, [0; 4], OUR_V4.octets()));
    arrive(&us.world, ms(2), probe_v6(THIRD_MAC, OUR_V6));
    // Those for others are not.
    arrive(&us.world, ms(3), arp(THIRD_MAC, 1, [0; 4], [10, 77, 0, 9]));
    let other = Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, 9);
    arrive(&us.world, ms(4), probe_v6(THIRD_MAC, other));
    us.stack.run_for(secs(2));
    assert_eq!(log.borrow().arp, [(2, OUR_V4.octets(), [0; 4])]);
    let answer = (
        ADVERTISEMENT,
        OUR_V6.octets(),
        ALL_NODES,
        OUR_V6.octets(),
        true,
    );
    assert_eq!(log.borrow().ndp, [answer]);
    assert_eq!(us.stack.conflict(), None);
}

/// The kernel of a host requests an address from a link-local one, which we could not answer
/// without one of our own.
#[test]
fn a_request_from_a_link_local_address_is_answered() {
    let (mut us, log) = ours();
    let from: Ipv6Address = "fe80::99".parse().unwrap();
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(OUR_V6.octets());
    message.extend([1, 1]);
    message.extend(THIRD_MAC);
    let question = icmpv6(THIRD_MAC, from.octets(), group_of(OUR_V6), &message);
    let answer = (
        ADVERTISEMENT,
        OUR_V6.octets(),
        from.octets(),
        OUR_V6.octets(),
        true,
    );
    arrive(&us.world, ms(1), question.clone());
    us.stack.run_for(secs(1));
    assert_eq!(log.borrow().ndp, [answer]);
    // With one of our own it is answered once as well.
    let link_local: Ipv6Address = "fe80::2".parse().unwrap();
    us.set_addresses(&[OUR_ADDRESSES[1], IpCidr::new(link_local.into(), 64)]);
    log.borrow_mut().ndp.clear();
    arrive(&us.world, ms(1), question);
    us.stack.run_for(secs(1));
    assert_eq!(log.borrow().ndp.len(), 1);
}

/// Nothing that is damaged, forwarded by a router, or malformed counts (RFC 4861, 7.1).
#[test]
fn what_no_host_on_the_link_can_have_sent_is_ignored() {
    let good = advert_v6(THIRD_MAC, OUR_V6);
    let change = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        frame
    };
    let mut other_code = good[54..].to_vec();
    other_code[1] = 1;
    let mut solicited_to_all = vec![ADVERTISEMENT, 0, 0, 0, 0x60, 0, 0, 0];
    solicited_to_all.extend(OUR_V6.octets());
    let mut endless = solicited_to_all.clone();
    endless[4] = 0x20;
    endless.extend([2, 0, 0, 0, 0, 0, 0, 0]);
    let mut arp_of_tokens = arp(THIRD_MAC, 1, OUR_V4.octets(), OUR_V4.octets());
    arp_of_tokens[15] = 6;
    let mut frames = vec![
        change(21, 64),
        icmpv6(THIRD_MAC, OUR_V6.octets(), ALL_NODES, &other_code),
        change(60, 9),
        icmpv6(THIRD_MAC, OUR_V6.octets(), ALL_NODES, &solicited_to_all),
        icmpv6(THIRD_MAC, OUR_V6.octets(), ALL_NODES, &endless),
        arp_of_tokens,
    ];
    for len in 14..good.len() {
        frames.push(good[..len].to_vec());
    }
    let (mut us, _) = ours();
    us.set_addresses(&[]);
    us.stack.claim_address(OUR_ADDRESSES[1]).expect("room");
    us.stack.claim_address(OUR_ADDRESSES[0]).expect("room");
    for (number, frame) in frames.into_iter().enumerate() {
        arrive(&us.world, ms(100 + number as u64), frame);
    }
    us.stack.run_for(secs(5));
    assert_eq!(us.stack.conflict(), None);
    assert!(us.stack.interface_mut().has_ip_addr(OUR_V6));
}

#[test]
fn what_is_no_address_of_a_host_is_not_claimed() {
    let (mut us, _) = ours();
    for (address, prefix) in [
        ("10.77.0.0", 24),
        ("10.77.0.255", 24),
        ("0.0.0.0", 8),
        ("127.0.0.1", 8),
        ("224.0.0.1", 4),
        ("255.255.255.255", 32),
        ("::", 64),
        ("::1", 128),
        ("ff02::1", 64),
    ] {
        let address: std::net::IpAddr = address.parse().unwrap();
        let claimed = us.stack.claim_address(IpCidr::new(address.into(), prefix));
        assert_eq!(claimed, Err(AddressError::NotUsable), "{address}");
    }
    // Four fit, one of them a link-local one that is added.
    us.set_addresses(&[]);
    for number in 1..=3 {
        let address = Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, number);
        let claimed = us.stack.claim_address(IpCidr::new(address.into(), 64));
        assert_eq!(claimed, Ok(()));
    }
    let fifth = IpCidr::new(Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, 5).into(), 64);
    assert_eq!(us.stack.claim_address(fifth), Err(AddressError::NoRoom));
    us.stack.run_for(secs(2));
    assert_eq!(us.stack.interface_mut().ip_addrs().len(), 4);
    assert_eq!(us.stack.claim_address(fifth), Err(AddressError::NoRoom));
    let v4 = IpCidr::new(Ipv4Address::new(10, 77, 0, 5).into(), 24);
    assert_eq!(us.stack.claim_address(v4), Err(AddressError::NoRoom));
}

/// Without Ethernet there is no other host.
#[test]
fn without_ethernet_an_address_is_used_at_once() {
    let world = World::new(WorldConfig::ip());
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    us.set_addresses(&[]);
    us.stack.claim_address(OUR_ADDRESSES[1]).expect("room");
    us.stack
        .wait_address(OUR_V6.into(), secs(0))
        .expect("used at once");
    us.open_to(PEER_V6, Options::default());
}
