//! A device that is always full: each connection with something to send gets its turn.

use core::time::Duration;

use crate::common::lan::{Lan, LanClock, LanDevice, OUR_MAC, PORT, addresses, v4};
use crate::common::{accepted, buffers, ms, secs, storage};
use embedded_io::Write;
use lastbyte::stack::smoltcp::iface::SocketHandle;
use lastbyte::stack::smoltcp::wire::IpEndpoint;
use lastbyte::stack::{Config, ConnectionId, Stack};
use lastbyte::{Cause, Options};
use smoltcp::socket::udp;

/// A full frame at 10 Mbit/s.
const FRAME_TIME: Duration = Duration::from_micros(1_200);

type OurStack<const N: usize> = Stack<'static, LanDevice, LanClock, N>;

fn stack<const N: usize>(lan: &Lan, tx: usize, own: usize) -> OurStack<N> {
    let config = Config::new(OUR_MAC.into(), 42);
    let stack = Stack::new(
        lan.device(),
        lan.clock(),
        config,
        buffers(tx, 2_048),
        storage(N + own),
    );
    let mut stack = stack.expect("a good configuration");
    let list = addresses(1);
    stack
        .interface_mut()
        .update_ip_addrs(|ours| ours.extend(list));
    stack
}

#[track_caller]
fn open<const N: usize>(stack: &mut OurStack<N>, options: Options) -> ConnectionId {
    let id = stack.connect((v4(10), PORT), options).expect("a slot");
    stack.wait_open(id).expect("it listens");
    id
}

/// What every connection has delivered, if each always has something to send.
#[track_caller]
fn shares<const N: usize>(room: usize, frames: u32) -> Vec<u64> {
    let lan = Lan::new(1, N, room, FRAME_TIME);
    let mut stack = stack::<N>(&lan, 4_096, 0);
    let ids: Vec<_> = (0..N)
        .map(|_| open(&mut stack, Options::default()))
        .collect();
    let until = lan.now() + FRAME_TIME * frames;
    let bytes = [7; 4_096];
    for _ in 0..100_000 {
        if lan.now() >= until {
            break;
        }
        for &id in &ids {
            let mut writer = stack.writer(id).expect("ours");
            accepted(writer.try_write(&bytes));
        }
        stack.wait(until);
    }
    let report = |&id: &ConnectionId| stack.report(id).expect("ours").ledger.acknowledged();
    ids.iter().map(report).collect()
}

#[track_caller]
fn assert_fair(shares: &[u64], what: &str) {
    let mean = shares.iter().sum::<u64>() / shares.len() as u64;
    let least = *shares.iter().min().expect("there are some");
    assert!(mean > 1_000, "{what}: hardly anything: {shares:?}");
    assert!(least * 2 >= mean, "{what}: {least} of {mean}: {shares:?}");
}

#[test]
fn eight_connections_share_a_full_device() {
    for room in [1, 4, 64] {
        assert_fair(&shares::<8>(room, 800), &format!("{room} frames"));
    }
}

#[test]
fn sixty_four_connections_share_a_full_device() {
    for room in [1, 4, 64] {
        assert_fair(&shares::<64>(room, 64 * 20), &format!("{room} frames"));
    }
}

#[test]
fn two_hundred_and_fifty_six_connections_share_a_full_device() {
    for room in [1, 4, 64] {
        assert_fair(&shares::<256>(room, 256 * 10), &format!("{room} frames"));
    }
}

/// Four connections that always have something to send, and two more.
struct Busy {
    lan: Lan,
    stack: OurStack<6>,
    ids: Vec<ConnectionId>,
}

impl Busy {
    fn new(own: usize) -> Self {
        let lan = Lan::new(3, 6, 1, FRAME_TIME);
        let mut stack = stack::<6>(&lan, 8_192, own);
        let ids = (0..4).map(|_| open(&mut stack, Options::default()));
        let ids = ids.collect();
        Self { lan, stack, ids }
    }

    /// Keeps them busy for this long, or until a condition is true.
    #[track_caller]
    fn run(&mut self, duration: Duration, is_over: impl Fn(&mut OurStack<6>) -> bool) -> Duration {
        let from = self.lan.now();
        let bytes = [7; 8_192];
        while self.lan.now() < from + duration {
            for &id in &self.ids {
                let written = self.stack.writer(id).expect("ours").try_write(&bytes);
                accepted(written);
            }
            if is_over(&mut self.stack) {
                return self.lan.now().since(from);
            }
            self.stack.wait(from + duration);
        }
        panic!("not within {duration:?}");
    }
}

#[test]
fn a_connection_opens_and_ends_beside_busy_ones() {
    let mut busy = Busy::new(0);
    let connected = busy.stack.connect((v4(10), PORT), Options::default());
    let id = connected.expect("a slot");
    let is_open = |stack: &mut OurStack<6>| stack.state(id).expect("ours").is_established();
    assert!(busy.run(secs(5), is_open) < ms(50));
    busy.stack.writer(id).expect("ours").begin_finish();
    let is_over = |stack: &mut OurStack<6>| stack.state(id).expect("ours").is_closed();
    assert!(busy.run(secs(5), is_over) < ms(50));
    assert_eq!(
        busy.stack.report(id).expect("ours").cause,
        Some(Cause::Finished)
    );
}

/// Received data has to be acknowledged.
#[test]
fn a_receiver_is_served_beside_busy_writers() {
    let mut busy = Busy::new(0);
    busy.lan.host(1, |host| host.is_source = true);
    let connected = busy.stack.connect((v4(11), PORT), Options::default());
    let id = connected.expect("a slot");
    let discarded = |stack: &mut OurStack<6>| stack.report(id).expect("ours").discarded;
    let took = busy.run(secs(5), |stack| discarded(stack) > 100_000);
    assert!(took < secs(3), "{took:?}");
}

#[test]
fn a_blocking_write_leaves_the_others_their_turns() {
    let mut busy = Busy::new(0);
    let bytes = [7; 8_192];
    for &id in &busy.ids[1..] {
        busy.stack
            .writer(id)
            .expect("ours")
            .write_all(&bytes)
            .expect("open");
    }
    let long = vec![7; 200_000];
    let written = busy
        .stack
        .writer(busy.ids[0])
        .expect("ours")
        .write_all(&long);
    written.expect("open");
    for &id in &busy.ids {
        let ledger = busy.stack.report(id).expect("ours").ledger;
        assert!(ledger.acknowledged() >= 8_192, "{ledger:?}");
    }
}

fn datagrams() -> udp::Socket<'static> {
    let queue = || {
        let places = vec![udp::PacketMetadata::EMPTY; 8];
        udp::PacketBuffer::new(places, vec![0; 8_192])
    };
    let mut socket = udp::Socket::new(queue(), queue());
    socket.bind(4_000).expect("a port");
    socket
}

#[test]
fn a_socket_of_the_application_gets_its_turn() {
    let mut busy = Busy::new(2);
    let handles: [SocketHandle; 2] =
        core::array::from_fn(|_| busy.stack.sockets_mut().add(datagrams()));
    for (count, handle) in (1..=40).zip(handles.into_iter().cycle()) {
        let socket = busy.stack.sockets_mut().get_mut::<udp::Socket<'_>>(handle);
        let sent = socket.send_slice(b"a reading", IpEndpoint::new(v4(10), PORT));
        sent.expect("room");
        let lan = busy.lan.clone();
        let is_there = |_: &mut OurStack<6>| lan.host(0, |host| host.datagrams == count);
        // Each of the four busy connections comes first at most a few times.
        let took = busy.run(secs(5), is_there);
        assert!(took < FRAME_TIME * 20, "number {count}: {took:?}");
    }
}

/// smoltcp stores the wait for a neighbour with the place in the set where it began.
#[test]
fn an_unreachable_peer_delays_no_other_connection() {
    let mut busy = Busy::new(0);
    busy.lan.host(2, |host| host.is_off = true);
    let lost = busy.stack.connect((v4(12), PORT), Options::default());
    lost.expect("a slot");
    let sums = |busy: &mut Busy| -> Vec<u64> {
        let ids = busy.ids.clone();
        let mut ledger = |&id: &ConnectionId| busy.stack.report(id).expect("ours").ledger;
        ids.iter().map(|id| ledger(id).acknowledged()).collect()
    };
    for second in 0..10 {
        let before = sums(&mut busy);
        let until = busy.lan.now() + secs(1);
        let lan = busy.lan.clone();
        busy.run(secs(2), |_| lan.now() >= until);
        let after = sums(&mut busy);
        let shares: Vec<u64> = before.iter().zip(&after).map(|(a, b)| b - a).collect();
        assert_fair(&shares, &format!("second {second}"));
    }
}
