//! Another machine replaces the peer, or the peer returns with another Ethernet address:
//! the stack forgets its neighbour where that matters, long before smoltcp's minute is
//! over.

use core::time::Duration;

use crate::common::*;
use embedded_io::Write;
use lastbyte::stack::ConnectionId;
use lastbyte::stack::smoltcp::wire::{EthernetAddress, IpAddress, Ipv4Address};
use lastbyte::{Cause, Options, State};
use lastbyte_sim::loopback::{
    Behaviour, LoopDevice, PEER_V4, PEER_V6, Presence, World, WorldConfig,
};

const OTHER_MAC: EthernetAddress = EthernetAddress([0x02, 0x77, 0, 0, 0, 9]);

/// An address that no host has.
const ABSENT: IpAddress = IpAddress::Ipv4(Ipv4Address::new(10, 77, 0, 99));

fn impatient() -> Options {
    options(|o| {
        o.user_timeout(secs(3))
            .connect_timeout(secs(3))
            .call_timeout(secs(50))
    })
}

fn patient() -> Options {
    options(|o| o.user_timeout(secs(30)).connect_timeout(secs(30)))
}

fn peers() -> [IpAddress; 2] {
    [PEER_V4.into(), PEER_V6.into()]
}

#[track_caller]
fn connected_to<const N: usize>(to: IpAddress, options: Options) -> (Us<N>, ConnectionId) {
    let world = World::new(WorldConfig::default());
    world
        .peer()
        .listen(PORT, Behaviour::sink().acking_at_once());
    let mut us = Us::new(&world);
    let id = us.open_to(to, options);
    us.write(id, 10);
    us.writer(id).flush().expect("acknowledged");
    (us, id)
}

/// The time to write and flush.
#[track_caller]
fn time_to_deliver<const N: usize>(us: &mut Us<N>, id: ConnectionId) -> Duration {
    let from = us.now();
    us.write(id, 10);
    us.writer(id).flush().expect("acknowledged");
    us.now().since(from)
}

/// Only with IPv4: the IPv6 answers of this peer do not override a cache entry (RFC 4861,
/// 7.2.5).
#[test]
fn a_connection_whose_peer_was_replaced_reaches_the_machine_in_its_place() {
    let (mut us, id) = connected_to::<1>(PEER_V4.into(), patient());
    us.world.peer().reboot(9);
    us.world.peer().set_hardware_addr(OTHER_MAC);
    us.write(id, 10);
    let from = us.now();
    let error = us.writer(id).flush().expect_err("another machine");
    assert_error(error, Cause::PeerReset, 20, 10);
    assert!(us.now().since(from) < secs(8), "{:?}", us.now().since(from));
    us.stack.release(id).expect("ours");
    let from = us.now();
    us.open_to(PEER_V4, patient());
    assert!(us.now().since(from) < secs(2), "{:?}", us.now().since(from));
}

#[test]
fn the_connection_after_a_vanished_peer_reaches_its_replacement() {
    for to in peers() {
        let (mut us, id) = connected_to::<1>(to, impatient());
        us.world.peer().set_presence(Presence::Absent);
        us.write(id, 10);
        let error = us.writer(id).flush().expect_err("no peer");
        assert_error(error, Cause::Vanished, 20, 10);
        us.world.peer().reboot(9);
        us.world.peer().set_presence(Presence::Present);
        us.world.peer().set_hardware_addr(OTHER_MAC);
        us.stack.release(id).expect("ours");
        let from = us.now();
        us.open_to(to, impatient());
        assert!(us.now().since(from) < secs(2), "{:?}", us.now().since(from));
    }
}

#[test]
fn an_attempt_reaches_the_replacement_of_a_known_machine() {
    let (mut us, id) = connected_to::<1>(PEER_V4.into(), patient());
    us.writer(id).finish().expect("in order");
    us.stack.run_for(secs(1));
    us.world.peer().set_hardware_addr(OTHER_MAC);
    let from = us.now();
    us.open_to(PEER_V4, patient());
    assert!(
        us.now().since(from) < secs(16),
        "{:?}",
        us.now().since(from)
    );
}

#[test]
fn a_connection_lives_on_with_a_peer_that_has_another_address_once_the_link_is_back() {
    for to in peers() {
        let (mut us, id) = connected_to::<1>(to, Options::default());
        us.stack.set_link(false);
        us.world.peer().set_hardware_addr(OTHER_MAC);
        us.stack.run_for(secs(1));
        us.stack.set_link(true);
        let took = time_to_deliver(&mut us, id);
        assert!(took < ms(100), "{took:?}");
        assert_eq!(us.state(id), State::Open);
    }
}

#[test]
fn a_link_that_is_followed_and_comes_up_counts_too() {
    let (mut us, id) = connected_to::<1>(PEER_V4.into(), Options::default());
    us.world.run_until(at_secs(1));
    us.stack.follow_link(|device: &mut LoopDevice| {
        let now = device.world().now();
        now < at_secs(2) || now > at_secs(3)
    });
    us.stack.run_for(ms(1_500));
    us.world.peer().set_hardware_addr(OTHER_MAC);
    us.stack.run_for(secs(2));
    let took = time_to_deliver(&mut us, id);
    assert!(took < ms(100), "{took:?}");
    assert!(us.report(id).link_was_down);
}

/// A link that was always up gives no reason to forget neighbours, and to resolve them
/// again takes a round trip.
#[test]
fn a_link_that_stays_up_forgets_no_neighbour() {
    let (mut us, id) = connected_to::<1>(PEER_V4.into(), Options::default());
    let known = time_to_deliver(&mut us, id);
    us.stack.set_link(true);
    assert_eq!(time_to_deliver(&mut us, id), known);
    us.stack.set_link(false);
    assert_eq!(time_to_deliver(&mut us, id), known);
    // smoltcp sends one request a second.
    us.stack.run_for(secs(2));
    us.stack.set_link(true);
    assert_eq!(time_to_deliver(&mut us, id), known + ms(2));
}

/// smoltcp sends one request a second, and would send each of them for the unreachable
/// peer.
#[test]
fn an_attempt_after_one_without_an_answer_delays_no_other_connection() {
    let (mut us, id) = connected_to::<2>(PEER_V4.into(), Options::default());
    let known = time_to_deliver(&mut us, id);
    for _ in 0..3 {
        let lost = us.stack.connect((ABSENT, PORT), impatient());
        let lost = lost.expect("a slot");
        assert_eq!(time_to_deliver(&mut us, id), known);
        us.stack.wait_open(lost).expect_err("no peer");
        us.stack.release(lost).expect("ours");
    }
}
