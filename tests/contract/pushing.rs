//! What Nagle's algorithm holds back is sent when a call blocks: no write follows before
//! that call returns, so it is useless to wait for one.

use crate::common::*;
use core::time::Duration;
use embedded_io::{BufRead, Read, Write};
use lastbyte::stack::ConnectionId;
use lastbyte::{OnReceive, Options};
use lastbyte_sim::loopback::{Behaviour, Sends, World, WorldConfig};

/// One way to wait for a reply.
#[derive(Debug, Clone, Copy)]
enum Waits {
    Read,
    FillBuf,
    Wait,
    RunFor,
    Flush,
}

/// Requests, each of several writes of some octets, with a reply to each.
const ROUNDS: u64 = 100;
const WRITES: u64 = 3;
const LEN: u64 = 10;
const REPLY: usize = 4;

fn keep() -> Options {
    options(|o| o.on_receive(OnReceive::Keep))
}

/// From now on the peer replies to each request that it has received.
fn reply(world: &World) {
    let requests = world.peer().taken_in(PORT) / (WRITES * LEN);
    world.peer().change(PORT, |behaviour| {
        let len = REPLY * usize::try_from(requests).expect("few");
        behaviour.sends = Sends::Bytes(vec![b'r'; len].into());
    });
    world.at(world.now() + Duration::from_micros(100), reply);
}

/// Blocks until the reply has arrived, and reads it.
fn take_reply(us: &mut Us<1>, id: ConnectionId, how: Waits) {
    let mut got = [0; REPLY];
    match how {
        Waits::Read => {}
        Waits::FillBuf => {
            let mut reader = us.stack.reader(id).expect("ours");
            reader.fill_buf().expect("open");
        }
        Waits::Wait => {
            let until = us.now() + secs(1);
            let mut taken = 0;
            while taken < REPLY {
                us.stack.wait(until);
                let mut reader = us.stack.reader(id).expect("ours");
                taken += reader.try_read(&mut got).expect("open").unwrap_or(0);
                assert!(us.now() < until);
            }
            return;
        }
        Waits::RunFor => us.stack.run_for(ms(5)),
        Waits::Flush => us.writer(id).flush().expect("acknowledged"),
    }
    let mut reader = us.stack.reader(id).expect("ours");
    reader.read_exact(&mut got).expect("a reply to each");
}

/// The world's peer delays its ACKs like real hosts.
fn slow_to_acknowledge() -> Behaviour {
    Behaviour {
        ack_delay: Some(ms(40)),
        ..Behaviour::sink()
    }
}

#[test]
fn a_request_of_many_writes_and_its_reply_take_a_round_trip() {
    for how in [
        Waits::Read,
        Waits::FillBuf,
        Waits::Wait,
        Waits::RunFor,
        Waits::Flush,
    ] {
        let (mut us, id) = connected(slow_to_acknowledge(), keep());
        reply(&us.world.clone());
        let tap = Tap::new(&us.world);
        for round in 0..ROUNDS {
            let from = us.now();
            for _ in 0..WRITES {
                us.write(id, 10);
            }
            take_reply(&mut us, id, how);
            let took = us.now().since(from);
            // A round trip, a poll of the peer, and the pause of `run_for`.
            let most = match how {
                Waits::RunFor => ms(6),
                _ => ms(3),
            };
            assert!(took <= most, "{how:?}, round {round}: {took:?}");
        }
        // The first write is sent at once, the others together.
        let mut frames = tap.take();
        frames.retain(|segment| !segment.payload.is_empty());
        assert_eq!(frames.len(), 2 * ROUNDS as usize, "{how:?}");
        assert_eq!(us.check(id).ledger.accepted(), ROUNDS * WRITES * LEN);
    }
}

/// A proxy waits for one side and has written to the other, with any call.
#[test]
fn bytes_held_back_on_another_connection_are_sent_too() {
    type Block = fn(&mut Us<2>, ConnectionId);
    let blocks: [Block; 3] = [
        |us, id| {
            let mut reader = us.stack.reader(id).expect("ours");
            reader.read(&mut [0; 10]).expect_err("no reply, in time");
        },
        |us, id| {
            let all = us.writer(id).write_all(&[0; 10_000]);
            all.expect_err("it does not read");
        },
        |us, id| {
            us.writer(id).write_all(&[0; 3_000]).expect("room");
            us.writer(id).flush().expect_err("it does not read");
        },
    ];
    for (number, block) in blocks.into_iter().enumerate() {
        let world = World::new(WorldConfig::default());
        world.peer().listen(PORT, slow_to_acknowledge().backlog(2));
        let unread = Behaviour::silent().rx_buffer(1_000);
        world.peer().listen(PORT + 1, unread);
        let mut us = Us::<2>::new(&world);
        let id = us.open(keep());
        let limited = options(|o| o.on_receive(OnReceive::Keep).call_timeout(ms(20)));
        let other = us
            .stack
            .connect((lastbyte_sim::loopback::PEER_V4, PORT + 1), limited);
        let other = other.expect("a slot");
        us.stack.wait_open(other).expect("it listens");
        us.write(id, 10);
        us.write(id, 10);
        block(&mut us, other);
        assert_eq!(us.world.peer().taken_in(PORT), 20, "call {number}");
    }
}

/// The next writes of the application fill them.
#[test]
fn a_large_buffer_is_still_sent_in_full_segments() {
    let world = World::new(WorldConfig::default());
    let reading = Behaviour::sink().rx_buffer(20_000);
    world.peer().listen(PORT, reading);
    let mut us = Us::<1>::sized(&world, 32 * 1_024, RX);
    let id = us.open(Options::default());
    let tap = Tap::new(&world);
    while us.ledger(id).accepted() < 1_000_000 {
        while us.accept(id, 1_000) > 0 {}
        us.stack.wait(at_secs(100));
        assert!(us.now() < at_secs(100));
    }
    us.writer(id).flush().expect("acknowledged");
    let mut frames = tap.take();
    frames.retain(|segment| !segment.payload.is_empty());
    let short = frames.iter().filter(|s| s.payload.len() < 1_460).count();
    // The ring buffer splits a segment each time that it wraps.
    assert!(short < 40, "{short} of {} are short", frames.len());
}
