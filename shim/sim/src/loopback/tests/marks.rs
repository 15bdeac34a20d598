//! Faults at exactly one byte of a stream, however it is segmented.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use smoltcp::phy::Medium;
use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;

use super::{Bare, pattern};
use crate::loopback::{
    Action, Behaviour, Direction, Ending, Fate, Flags, Loss, Mark, PEER_V4, PEER_V6, StreamFault,
    World, WorldConfig,
};
use lastbyte::Instant;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Around the edges of segments and of the first window, and at zero.
const BYTES: [u64; 10] = [0, 1, 7, 536, 1_459, 1_460, 1_461, 2_047, 5_000, 9_999];

const LEN: usize = 10_000;

/// Over both media and both families, with loss and reordering towards the peer.
fn worlds() -> Vec<(World, IpAddress)> {
    let mut all = Vec::new();
    for config in [WorldConfig::default(), WorldConfig::ip()] {
        for peer in [IpAddress::from(PEER_V4), IpAddress::from(PEER_V6)] {
            for is_bad in [false, true] {
                let world = World::new(config.clone());
                if is_bad {
                    let mut count = 0;
                    let path = move |now: Instant, frame: &[u8]| {
                        count += 1;
                        match (frame.len() > 200, count % 7) {
                            (true, 3) => Fate::Lost(Loss::Random),
                            (true, 5) => Fate::sound(now + 30 * MS),
                            _ => Fate::sound(now + MS),
                        }
                    };
                    world.set_path(Direction::ToPeer, path);
                }
                all.push((world, peer));
            }
        }
    }
    all
}

fn connected(world: &World, peer: IpAddress, behaviour: Behaviour) -> Bare {
    world.peer().listen(80, behaviour);
    let mut bare = Bare::new(world);
    bare.connect((peer, 80));
    bare.run_until_state(tcp::State::Established);
    bare
}

/// Writes what fits, until everything is written or the connection is over.
fn write_all(bare: &mut Bare, bytes: &[u8]) {
    let mut done = 0;
    while done < bytes.len() && bare.socket().may_send() {
        if bare.socket().can_send() {
            done += bare.socket().send_slice(&bytes[done..]).expect("may send");
        }
        bare.run_for(MS);
    }
}

#[track_caller]
fn assert_received(world: &World, bytes: u64) {
    let medium = world.config().medium;
    let is_ip = medium == Medium::Ip;
    assert_eq!(world.peer().taken_in(80), bytes, "is_ip: {is_ip}");
    assert!(world.peer().received(80) == pattern(bytes as usize));
}

#[test]
fn a_peer_resets_at_exactly_that_byte() {
    for bytes in BYTES {
        for (world, peer) in worlds() {
            let reset = StreamFault::End(Ending::Reset);
            let behaviour = Behaviour::sink().fault(Mark::Received(bytes), reset);
            let mut bare = connected(&world, peer, behaviour);
            write_all(&mut bare, &pattern(LEN));
            bare.run_until_state(tcp::State::Closed);
            assert_received(&world, bytes);
        }
    }
}

/// The number of our SYN and what the peer's first FIN acknowledges, once they are sent.
fn watch_fin(world: &World) -> Rc<RefCell<(u32, Option<u32>)>> {
    let seen: Rc<RefCell<(u32, Option<u32>)>> = Rc::default();
    let sink = Rc::clone(&seen);
    world.observe(move |_, event| {
        let Some(segment) = event.segment() else {
            return;
        };
        let mut seen = sink.borrow_mut();
        if event.direction == Direction::ToPeer && segment.is(Flags::SYN) {
            seen.0 = segment.seq;
        } else if event.direction == Direction::ToUs && segment.is(Flags::FIN) {
            seen.1.get_or_insert(segment.ack);
        }
    });
    seen
}

#[test]
fn a_peer_finishes_at_exactly_that_byte_and_reads_on() {
    for bytes in BYTES {
        for (world, peer) in worlds() {
            let fin = watch_fin(&world);
            let finish = StreamFault::End(Ending::Fin);
            let behaviour = Behaviour::sink().fault(Mark::Received(bytes), finish);
            let mut bare = connected(&world, peer, behaviour);
            write_all(&mut bare, &pattern(LEN));
            bare.run_until(|bare| bare.socket().send_queue() == 0);
            let (syn, acknowledged) = *fin.borrow();
            let acknowledged = acknowledged.expect("a FIN").wrapping_sub(syn);
            assert_eq!(u64::from(acknowledged), 1 + bytes);
            assert_received(&world, LEN as u64);
        }
    }
}

#[test]
fn an_application_stops_reading_at_exactly_that_byte() {
    for bytes in BYTES {
        for (world, peer) in worlds() {
            let read: Rc<RefCell<Vec<u8>>> = Rc::default();
            let sink = Rc::clone(&read);
            let behaviour = Behaviour::serving(move |received, _| {
                sink.borrow_mut().append(received);
            })
            .rx_buffer(2_000)
            .fault(Mark::Received(bytes), StreamFault::StopsReading);
            let mut bare = connected(&world, peer, behaviour);
            for _ in 0..50 {
                let room = bare.socket().send_capacity() - bare.socket().send_queue();
                let _ = bare.socket().send_slice(&pattern(LEN)[..room.min(LEN)]);
                bare.run_for(SECOND);
            }
            assert_eq!(read.borrow().len() as u64, bytes);
            // Its TCP receives until its buffer is full.
            assert_eq!(world.peer().taken_in(80), bytes + 2_000);
        }
    }
}

#[test]
fn an_application_stalls_at_exactly_that_byte_and_goes_on() {
    for (world, peer) in worlds() {
        let log: Rc<RefCell<Vec<(Instant, usize)>>> = Rc::default();
        let sink = Rc::clone(&log);
        let behaviour = Behaviour::serving(move |received, reply| {
            sink.borrow_mut().push((reply.now(), received.len()));
        })
        .fault(Mark::Received(3_000), StreamFault::Stalls(60 * SECOND));
        let mut bare = connected(&world, peer, behaviour);
        write_all(&mut bare, &pattern(LEN));
        bare.run_for(120 * SECOND);
        let log = log.borrow();
        let resumed = log.iter().position(|(_, len)| *len >= 3_000);
        let (before, after) = log.split_at(resumed.expect("it goes on"));
        let pause = after[0].0.since(before.last().expect("a call").0);
        assert!(pause >= 60 * SECOND, "{log:?}");
        assert_eq!(after.last().map(|(_, len)| *len), Some(LEN));
    }
}

#[test]
fn the_link_drops_at_exactly_that_byte_and_comes_back() {
    for bytes in BYTES {
        for (world, peer) in worlds() {
            let down = StreamFault::LinkDown(20 * SECOND);
            let behaviour = Behaviour::sink().fault(Mark::Received(bytes), down);
            let mut bare = Bare::new(&world);
            world.peer().listen(80, behaviour);
            bare.connect((peer, 80));
            // At byte 0 our own end may not know yet that it is connected.
            bare.run_until(|bare| bare.socket().may_send() || !world.is_link_up());
            if bytes > 0 {
                let _ = bare.socket().send_slice(&pattern(LEN));
                bare.run_until(|_| !world.is_link_up());
            }
            assert_received(&world, bytes);
            bare.run_for(19 * SECOND);
            assert_received(&world, bytes);
            assert!(!world.is_link_up());
            bare.run_for(2 * SECOND);
            assert!(world.is_link_up());
            if bytes > 0 {
                bare.run_until(|bare| bare.socket().send_queue() == 0);
                assert!(world.peer().taken_in(80) > bytes);
            }
        }
    }
}

#[test]
fn nothing_else_happens_at_that_time_before_the_fault() {
    // The ACK of byte 500 is not sent: the machine has vanished.
    let world = World::new(WorldConfig::default());
    let vanishes = StreamFault::Vanishes(5 * SECOND);
    let behaviour = Behaviour::sink()
        .acking_at_once()
        .fault(Mark::Received(500), vanishes);
    let mut bare = connected(&world, PEER_V4.into(), behaviour);
    let _ = bare.socket().send_slice(&pattern(2_000));
    bare.run_for(4 * SECOND);
    assert_received(&world, 500);
    assert_eq!(bare.socket().send_queue(), 2_000);
    bare.run_until(|bare| bare.socket().send_queue() == 0);
    assert_received(&world, 2_000);
}

#[test]
fn a_reboot_at_that_byte_forgets_the_connection() {
    let world = World::new(WorldConfig::default());
    let behaviour = Behaviour::sink().fault(Mark::Received(1_000), StreamFault::Reboots(9));
    let mut bare = connected(&world, PEER_V4.into(), behaviour);
    let _ = bare.socket().send_slice(&pattern(2_000));
    bare.run_until_state(tcp::State::Closed);
    assert_received(&world, 1_000);
}

#[test]
fn a_reply_ends_at_exactly_the_byte_that_was_sent() {
    for bytes in BYTES {
        for how in [Ending::Fin, Ending::Exit, Ending::Reset] {
            let world = World::new(WorldConfig::default());
            let behaviour = Behaviour::serving(|received, reply| {
                if !std::mem::take(received).is_empty() {
                    reply.send(&pattern(LEN));
                }
            })
            .fault(Mark::Sent(bytes), StreamFault::End(how));
            let mut bare = Bare::new(&world);
            world.peer().listen(80, behaviour);
            bare.connect((PEER_V4, 80));
            bare.run_until(|bare| bare.socket().state() != tcp::State::SynSent);
            let _ = bare.socket().send_slice(b"get");
            let mut got = Vec::new();
            for _ in 0..200 {
                bare.run_for(10 * MS);
                let mut into = vec![0; LEN];
                let len = bare.socket().recv_slice(&mut into).unwrap_or(0);
                got.extend_from_slice(&into[..len]);
            }
            assert!(
                got == pattern(bytes as usize),
                "{how:?} at {bytes}: {}",
                got.len()
            );
            let state = bare.socket().state();
            let is_over = match how {
                Ending::Reset => state == tcp::State::Closed,
                Ending::Fin => state == tcp::State::CloseWait,
                // What we send to it then is answered with a RST.
                Ending::Exit => state == tcp::State::CloseWait || bytes == 0,
            };
            assert!(is_over, "{how:?} at {bytes}: {state}");
        }
    }
}

#[test]
fn a_reply_stalls_at_exactly_the_byte_that_was_sent() {
    let world = World::new(WorldConfig::default());
    let behaviour = Behaviour::sink()
        .sending(pattern(LEN))
        .fault(Mark::Sent(3_333), StreamFault::Stalls(30 * SECOND));
    let mut bare = connected(&world, PEER_V4.into(), behaviour);
    bare.run_for(29 * SECOND);
    assert_eq!(bare.socket().recv_queue(), 3_333);
    bare.run_for(2 * SECOND);
    assert!(bare.socket().recv_queue() > 3_333);
}

#[test]
fn several_faults_happen_in_their_order_on_each_connection() {
    let world = World::new(WorldConfig::default());
    let seen: Rc<RefCell<Vec<u64>>> = Rc::default();
    let note = |name: &str| {
        let (seen, bytes) = (Rc::clone(&seen), name.len() as u64);
        let action = Action::new(move |world| {
            seen.borrow_mut()
                .push(world.peer().taken_in(80) * 10 + bytes);
        });
        StreamFault::Call(action)
    };
    let behaviour = Behaviour::sink()
        .fault(Mark::Received(20), note("b"))
        .fault(Mark::Received(10), note("aa"))
        .fault(Mark::Received(20), note("ccc"));
    world.peer().listen(80, behaviour);
    for _ in 0..2 {
        let mut bare = Bare::new(&world);
        bare.connect((PEER_V4, 80));
        bare.run_until_state(tcp::State::Established);
        bare.write(&pattern(40));
        bare.run_until(|bare| bare.socket().send_queue() == 0);
        bare.socket().abort();
        bare.run_for(10 * MS);
    }
    assert_eq!(*seen.borrow(), [102, 201, 203, 102, 201, 203]);
}
