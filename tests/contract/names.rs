//! DNS: names become addresses, and why one does not is distinguished.

use std::cell::RefCell;
use std::rc::Rc;

use crate::common::hosts::{
    THIRD_MAC, answering, arp, arp_of, datagram, dns_reply, question_of, udp,
};
use crate::common::*;
use lastbyte::stack::ResolveError;
use lastbyte::stack::smoltcp::wire::{IpAddress, IpCidr, Ipv4Address};
use lastbyte_sim::loopback::{OUR_ADDRESSES, OUR_V4, PEER_V4, World, WorldConfig};

const A: u16 = 1;
const AAAA: u16 = 28;
const CNAME: u16 = 5;

const FIRST: [u8; 4] = [10, 77, 0, 11];
const SECOND: [u8; 4] = [10, 77, 0, 12];

/// An answer: the response code, and records as type and data. `None` is no answer at all.
type Answer = Option<(u8, Vec<(u16, Vec<u8>)>)>;

/// The answer of a server to a question for this name and type.
type Says = fn(&str, u16) -> Answer;

/// The questions that came: to which server, when, for what.
type Asked = Rc<RefCell<Vec<([u8; 4], u64, String, u16)>>>;

fn with_servers(servers: &[([u8; 4], Says)]) -> (Us<1>, Asked) {
    with_addresses(servers, &OUR_ADDRESSES)
}

fn with_addresses(servers: &[([u8; 4], Says)], own: &[IpCidr]) -> (Us<1>, Asked) {
    let world = World::new(WorldConfig::default());
    let asked = Asked::default();
    let (log, clock, all) = (asked.clone(), world.clone(), servers.to_vec());
    answering(&world, move |frame| {
        // Each server answers for its hardware address as well.
        if let Some((1, _, target)) = arp_of(frame)
            && all.iter().any(|(server, _)| *server == target)
        {
            let sender = [10, 77, 0, 2];
            return vec![arp(THIRD_MAC, 2, target, sender)];
        }
        let Some((from, to, query)) = datagram(frame, 53) else {
            return Vec::new();
        };
        let (name, kind) = question_of(&query);
        let second = clock.now().since(at_ms(0)).as_secs();
        log.borrow_mut().push((to, second, name.clone(), kind));
        let Some((_, says)) = all.iter().find(|(server, _)| *server == to) else {
            return Vec::new();
        };
        let Some((code, records)) = says(&name, kind) else {
            return Vec::new();
        };
        let records: Vec<(u16, &[u8])> = records.iter().map(|(k, d)| (*k, &d[..])).collect();
        vec![udp((to, 53), from, &dns_reply(&query, code, &records))]
    });
    let mut us = Us::new(&world);
    us.set_addresses(own);
    let queries = vec![None];
    let addresses: Vec<IpAddress> = servers
        .iter()
        .map(|(server, _)| Ipv4Address::from(*server).into())
        .collect();
    us.stack
        .start_dns(queries.leak(), &addresses)
        .expect("room for a socket");
    (us, asked)
}

fn knows(name: &str, kind: u16) -> Answer {
    Some(match (name.to_ascii_lowercase().as_str(), kind) {
        ("host.test", A) => (0, vec![(A, vec![10, 77, 0, 1])]),
        // RFC 4074, 4.2: a server that has only the other kind, and says it wrongly.
        ("wrong.test", A) => (3, vec![]),
        ("six.test" | "wrong.test", AAAA) => (0, vec![(AAAA, PEER_V6_OCTETS.to_vec())]),
        ("alias.test", A) => {
            let mut other = b"\x05other\x04test\x00".to_vec();
            other.truncate(12);
            (0, vec![(CNAME, other)])
        }
        ("host.test" | "six.test" | "empty.test" | "alias.test", _) => (0, vec![]),
        _ => (3, vec![]),
    })
}

const PEER_V6_OCTETS: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn silent(_: &str, _: u16) -> Answer {
    None
}

fn failing(_: &str, _: u16) -> Answer {
    Some((2, vec![]))
}

#[test]
fn a_name_becomes_an_address() {
    let (mut us, asked) = with_servers(&[(FIRST, knows)]);
    assert_eq!(us.stack.resolve("host.test", secs(5)), Ok(PEER_V4.into()));
    assert_eq!(us.stack.resolve("host.test.", secs(5)), Ok(PEER_V4.into()));
    assert_eq!(asked.borrow().len(), 2, "{asked:?}");
    // The numbers of queries do not repeat.
    assert!(us.now().since(at_ms(0)) < secs(1));
}

#[test]
fn a_name_with_an_address_of_ipv6_only_is_found() {
    let (mut us, asked) = with_servers(&[(FIRST, knows)]);
    let found = us.stack.resolve("six.test", secs(5));
    assert_eq!(found, Ok(IpAddress::Ipv6(PEER_V6_OCTETS.into())));
    let kinds: Vec<u16> = asked.borrow().iter().map(|asked| asked.3).collect();
    assert_eq!(kinds, [A, AAAA]);
    let found = us.stack.resolve("wrong.test", secs(5));
    assert_eq!(found, Ok(IpAddress::Ipv6(PEER_V6_OCTETS.into())));
    // Without an address of that version it is of no use.
    let (mut us, asked) = with_addresses(&[(FIRST, knows)], &[IpCidr::new(OUR_V4.into(), 24)]);
    let found = us.stack.resolve("six.test", secs(5));
    assert_eq!(found, Err(ResolveError::NoSuchName));
    assert_eq!(asked.borrow().len(), 1);
}

#[test]
fn an_address_is_its_own_result() {
    let (mut us, asked) = with_servers(&[(FIRST, knows)]);
    for text in ["10.1.2.3", "fd00::1"] {
        let expected = text.parse::<std::net::IpAddr>().unwrap();
        let found = us.stack.resolve(text, secs(5));
        assert_eq!(found, Ok(expected.into()));
    }
    assert!(asked.borrow().is_empty());
}

#[test]
fn no_such_name_is_reported_at_once() {
    let (mut us, _) = with_servers(&[(FIRST, knows), (SECOND, knows)]);
    for name in ["nowhere.test", "empty.test", "alias.test"] {
        let found = us.stack.resolve(name, secs(5));
        assert_eq!(found, Err(ResolveError::NoSuchName), "{name}");
    }
    assert!(us.now().since(at_ms(0)) < secs(1));
}

#[test]
fn no_answer_is_reported_after_the_time() {
    let (mut us, asked) = with_servers(&[(FIRST, silent)]);
    for limit in [2, 30] {
        let begun = us.now();
        let found = us.stack.resolve("host.test", secs(limit));
        assert_eq!(found, Err(ResolveError::NoAnswer));
        assert_eq!(us.now().since(begun), secs(limit));
    }
    let questions = asked.borrow().len();
    us.stack.run_for(secs(60));
    assert_eq!(asked.borrow().len(), questions, "the query was cancelled");
    // Its place is free.
    assert_eq!(
        us.stack.resolve("host.test", secs(1)),
        Err(ResolveError::NoAnswer)
    );
}

#[test]
fn a_server_that_is_silent_or_fails_costs_a_part_of_the_time() {
    for (first, limit) in [(silent as Says, secs(4)), (failing, secs(2))] {
        let (mut us, asked) = with_servers(&[(FIRST, first), (SECOND, knows)]);
        assert_eq!(us.stack.resolve("host.test", secs(10)), Ok(PEER_V4.into()));
        let took = us.now().since(at_ms(0));
        assert!(took < limit, "{took:?}: {asked:?}");
        // The one that answered is asked first from now on.
        let begun = us.now();
        assert_eq!(us.stack.resolve("host.test", secs(10)), Ok(PEER_V4.into()));
        assert!(us.now().since(begun) < ms(100));
    }
}

#[test]
fn servers_that_cannot_find_out_are_not_no_such_name() {
    let (mut us, asked) = with_servers(&[(FIRST, failing), (SECOND, failing)]);
    let found = us.stack.resolve("host.test", secs(10));
    assert_eq!(found, Err(ResolveError::ServerFailed { code: 2 }));
    assert_eq!(asked.borrow().len(), 2);
}

#[test]
fn what_is_no_name_is_refused() {
    let (mut us, asked) = with_servers(&[(FIRST, knows)]);
    let long = "a".repeat(64);
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    assert_eq!(longest.len(), 253);
    for (name, error) in [
        ("", ResolveError::NotAName),
        (".", ResolveError::NotAName),
        ("a..b", ResolveError::NotAName),
        (&long, ResolveError::NotAName),
        (&format!("{longest}b"), ResolveError::NameTooLong),
        (&"a.".repeat(200), ResolveError::NameTooLong),
        // As long as may be.
        (&longest, ResolveError::NoSuchName),
    ] {
        let before = asked.borrow().len();
        assert_eq!(us.stack.resolve(name, secs(5)), Err(error), "{name}");
        let is_asked = asked.borrow().len() > before;
        assert_eq!(is_asked, error == ResolveError::NoSuchName);
    }
}

#[test]
fn without_a_server_there_is_no_query() {
    let (mut us, _) = with_servers(&[]);
    let found = us.stack.resolve("host.test", secs(5));
    assert_eq!(found, Err(ResolveError::NoServer));
    let mut us = Us::<1>::new(&World::new(WorldConfig::default()));
    let found = us.stack.resolve("host.test", secs(5));
    assert_eq!(found, Err(ResolveError::NotStarted));
}
