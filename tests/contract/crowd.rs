//! More peers on a link than fit into smoltcp's neighbour cache, with one request a second:
//! each is served as if it were alone.

use core::time::Duration;

use crate::common::lan::{Lan, LanClock, LanDevice, OUR_MAC, PORT, addresses, mac, v4, v6};
use crate::common::{buffers, ms, options, secs, storage};
use embedded_io::Write;
use lastbyte::stack::smoltcp::config::IFACE_NEIGHBOR_CACHE_COUNT;
use lastbyte::stack::smoltcp::wire::{IpAddress, IpEndpoint};
use lastbyte::stack::{Config, ConnectionId, Stack};
use lastbyte::{Cause, Options};

const PEERS: usize = 16;
const _: () = assert!(PEERS >= 2 * IFACE_NEIGHBOR_CACHE_COUNT);

/// Longer than smoltcp keeps a hardware address.
const REST: Duration = Duration::from_secs(70);

type OurStack = Stack<'static, LanDevice, LanClock, PEERS>;

/// Host `index` of the LAN, with one IP version.
fn address(index: usize, is_v6: bool) -> IpAddress {
    let number = 10 + u8::try_from(index).expect("few");
    if is_v6 { v6(number) } else { v4(number) }
}

struct Crowd {
    lan: Lan,
    stack: OurStack,
    ids: Vec<ConnectionId>,
}

impl Crowd {
    fn empty() -> Self {
        let hosts = u8::try_from(PEERS).expect("few");
        let lan = Lan::new(hosts, 2, 64, Duration::from_micros(10));
        let config = Config::new(OUR_MAC.into(), 42);
        let (device, clock) = (lan.device(), lan.clock());
        let stack = Stack::new(device, clock, config, buffers(4_096, 2_048), storage(PEERS));
        let mut stack = stack.expect("a good configuration");
        let list = addresses(1);
        stack
            .interface_mut()
            .update_ip_addrs(|ours| ours.extend(list));
        let ids = Vec::new();
        Self { lan, stack, ids }
    }

    /// Opens one connection after another.
    #[track_caller]
    fn connected(is_v6: bool, options: Options) -> Self {
        let mut crowd = Self::empty();
        for index in 0..PEERS {
            let to = (address(index, is_v6), PORT);
            let id = crowd.stack.connect(to, options).expect("a slot");
            let from = crowd.lan.now();
            crowd.stack.wait_open(id).expect("it listens");
            let took = crowd.lan.now().since(from);
            assert!(took < ms(50), "{index} opens after {took:?}");
            crowd.ids.push(id);
        }
        crowd
    }

    /// Each connection writes at the same time. Returns the time until the last is
    /// acknowledged.
    #[track_caller]
    fn beat(&mut self, who: &[usize]) -> Duration {
        let from = self.lan.now();
        for &index in who {
            let mut writer = self.stack.writer(self.ids[index]).expect("ours");
            writer.write_all(b"a beat").expect("open");
        }
        for &index in who {
            let mut writer = self.stack.writer(self.ids[index]).expect("ours");
            writer
                .flush()
                .unwrap_or_else(|error| panic!("{index}: {error:?}"));
        }
        self.lan.now().since(from)
    }
}

const ALL_PEERS: [usize; PEERS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

#[test]
fn sixteen_peers_are_opened_one_after_the_other_and_beat_together() {
    for is_v6 in [false, true] {
        let mut crowd = Crowd::connected(is_v6, Options::default());
        for second in 0..30 {
            let took = crowd.beat(&ALL_PEERS);
            assert!(took < ms(50), "v6 {is_v6}, {second} s: {took:?}");
            crowd.stack.run_for(secs(1));
        }
    }
}

#[test]
fn peers_with_expired_addresses_do_not_wait_for_each_other() {
    for is_v6 in [false, true] {
        let mut crowd = Crowd::connected(is_v6, Options::default());
        crowd.beat(&ALL_PEERS);
        for _ in 0..5 {
            crowd.stack.run_for(REST);
            let took = crowd.beat(&ALL_PEERS);
            assert!(took < ms(50), "v6 {is_v6}: {took:?}");
        }
    }
}

#[test]
fn clients_of_a_server_on_the_link_are_all_served() {
    let mut crowd = Crowd::empty();
    let us = IpEndpoint::new(v4(1), PORT);
    for _ in 0..12 {
        let id = crowd.stack.listen(PORT, Options::default());
        crowd.ids.push(id.expect("a slot"));
    }
    for index in 0..12 {
        crowd.lan.host(index, |host| host.call(us, 4_000));
    }
    let from = crowd.lan.now();
    for index in 0..12 {
        crowd.stack.wait_open(crowd.ids[index]).expect("it calls");
    }
    let took = crowd.lan.now().since(from);
    assert!(took < secs(2), "{took:?}");
    for second in 0..30 {
        let took = crowd.beat(&ALL_PEERS[..12]);
        assert!(took < ms(50), "{second} s: {took:?}");
        crowd.stack.run_for(secs(1));
    }
}

/// smoltcp only requests the missing neighbours, one every second.
#[test]
fn unreachable_peers_delay_no_other_connection() {
    for is_v6 in [false, true] {
        let mut crowd = Crowd::empty();
        let patient = options(|o| o.connect_timeout(secs(60)));
        for index in 0..4 {
            crowd.lan.host(index, |host| host.is_off = true);
            let to = (address(index, is_v6), PORT);
            let id = crowd.stack.connect(to, patient).expect("a slot");
            crowd.ids.push(id);
            crowd.stack.run_for(ms(130));
        }
        for index in 4..PEERS {
            let to = (address(index, is_v6), PORT);
            let id = crowd.stack.connect(to, patient).expect("a slot");
            let from = crowd.lan.now();
            crowd.stack.wait_open(id).expect("it listens");
            let took = crowd.lan.now().since(from);
            assert!(took < ms(1_100), "v6 {is_v6}: {index} opens after {took:?}");
            crowd.ids.push(id);
        }
        for _ in 0..10 {
            crowd.stack.run_for(ms(700));
            let took = crowd.beat(&ALL_PEERS[4..]);
            assert!(took < ms(50), "v6 {is_v6}: {took:?}");
        }
    }
}

/// Only with IPv4: the IPv6 answers of these hosts do not override a cache entry (RFC 4861,
/// 7.2.5).
#[test]
fn a_peer_with_another_network_card_is_found_within_seconds_and_delays_no_other() {
    let mut crowd = Crowd::connected(false, Options::default());
    crowd.beat(&ALL_PEERS);
    crowd.lan.host(3, |host| host.set_mac(mac(200)));
    let from = crowd.lan.now();
    let mut writer = crowd.stack.writer(crowd.ids[3]).expect("ours");
    writer.write_all(b"to the old network card").expect("open");
    let mut found_after = None;
    for _ in 0..100 {
        let others: Vec<usize> = ALL_PEERS.into_iter().filter(|&index| index != 3).collect();
        let took = crowd.beat(&others);
        assert!(took < ms(50), "{took:?}");
        crowd.stack.run_for(ms(100));
        let ledger = crowd.stack.report(crowd.ids[3]).expect("ours").ledger;
        if ledger.pending() == 0 {
            found_after = Some(crowd.lan.now().since(from));
            break;
        }
    }
    let took = found_after.expect("it is there");
    // At the second try after that.
    assert!(took < secs(4), "{took:?}");
}

/// Probes find an idle peer.
#[test]
fn an_idle_peer_with_another_network_card_is_found_by_keep_alives() {
    let probing = options(|o| o.keep_alive(secs(10)).user_timeout(secs(40)));
    let mut crowd = Crowd::connected(false, probing);
    crowd.beat(&ALL_PEERS);
    crowd.lan.host(3, |host| host.set_mac(mac(200)));
    crowd.stack.run_for(secs(300));
    for &id in &crowd.ids {
        assert!(crowd.stack.state(id).expect("ours").is_established());
    }
    assert!(crowd.beat(&ALL_PEERS) < ms(50));
}

/// No address is kept without bound: an unreachable peer has vanished.
#[test]
fn an_unreachable_peer_is_not_treated_as_a_known_one() {
    let mut crowd = Crowd::connected(false, options(|o| o.user_timeout(secs(20))));
    crowd.beat(&ALL_PEERS);
    crowd.lan.host(3, |host| host.is_off = true);
    let mut writer = crowd.stack.writer(crowd.ids[3]).expect("ours");
    writer.write_all(b"to no peer").expect("open");
    crowd.stack.run_for(secs(25));
    let report = crowd.stack.report(crowd.ids[3]).expect("ours");
    assert_eq!(report.cause, Some(Cause::Vanished));
    // While it is tried, smoltcp and the stack each send one request a second.
    let requests = crowd.lan.take_log();
    let requests = requests.iter().filter(|sent| sent.frame[12..14] == [8, 6]);
    assert!(requests.count() < 100);
}
