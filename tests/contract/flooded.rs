//! An endless flood: the device has a frame at every poll. A call processes what had
//! arrived when it began, and what arrives meanwhile does not block it.

use crate::common::devices::Flooded;
use crate::common::*;
use core::time::Duration;
use embedded_io::{Read, Write, WriteReady};
use lastbyte::stack::ConnectionId;
use lastbyte::{Cause, OnReceive, Options, State, Timeout};
use lastbyte_sim::loopback::{Behaviour, Direction, Drops, World, WorldConfig};

/// A frame each 10 us.
const EVERY: Duration = Duration::from_micros(10);

/// How many frames the device holds by default.
const USUAL: u64 = 256;

/// Our end over a device whose queue of `queue` frames is always full, connected to a
/// peer that behaves like this.
#[track_caller]
fn flooded(
    behaviour: Behaviour,
    queue: u64,
    every: Duration,
    options: Options,
) -> (Us<1, Flooded>, ConnectionId) {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, behaviour);
    let mut config = config(&world);
    if queue != USUAL {
        config = config.receive_queue(u16::try_from(queue).expect("a short queue"));
    }
    let device = Flooded::new(&world, every, queue - 1);
    let mut us = Us::over(device, &world, config, buffers(TX, RX));
    let id = us.open(options);
    (us, id)
}

#[test]
fn writes_go_on() {
    for way in Way::ALL {
        let (mut us, id) = flooded(Behaviour::sink(), USUAL, EVERY, Options::default());
        let from = us.now();
        let bytes = pattern(0, 100_000);
        let mut written = 0;
        while written < bytes.len() {
            let end = bytes.len().min(written + 1_000);
            let accepted = way.write(us.writer(id), &bytes[written..end]);
            written += accepted.expect("it is open");
            assert!(us.now() < from + secs(10), "{way:?}: {written} octets");
            if matches!(way, Way::TryWrite | Way::WriteWith) {
                us.stack.poll();
            }
        }
        us.writer(id).flush().expect("acknowledged");
        assert_ledger(us.check(id).ledger, 100_000, 100_000);
        // An acknowledgement waits for 2.56 ms at the end of the queue: with 4 KiB in a round
        // trip, that is 25 round trips of twice that time, plus the peer's own delays.
        let took = us.now().since(from);
        assert!(took < secs(2), "{way:?}: {took:?}");
    }
}

#[test]
fn the_first_write_detects_a_fin_at_the_end_of_a_full_queue() {
    for queue in [1, 8, USUAL, 1_000, 5_000] {
        for way in Way::ALL {
            let (mut us, id) = flooded(Behaviour::sink(), queue, EVERY, Options::default());
            us.write(id, 10);
            us.writer(id).flush().expect("acknowledged");
            us.world.peer().close(PORT);
            us.world.run_for(secs(1));
            let refused = way.write(us.writer(id), b"late");
            let error = refused.expect_err("a FIN had arrived");
            assert_error(error, Cause::PeerFinished, 10, 10);
        }
    }
}

#[test]
fn a_write_would_not_wait() {
    let (mut us, id) = flooded(Behaviour::sink(), USUAL, EVERY, Options::default());
    assert_eq!(us.writer(id).write_ready(), Ok(true));
    assert_eq!(us.try_write(id, 10), Ok(10));
}

#[test]
fn data_of_the_peer_is_read_and_answered() {
    let options = options(|o| o.on_receive(OnReceive::Keep));
    let sent = pattern(0, 50_000);
    let talking = Behaviour::sink().sending(sent.clone());
    let (mut us, id) = flooded(talking, USUAL, EVERY, options);
    let mut read = vec![0; sent.len()];
    let mut reader = us.stack.reader(id).expect("ours");
    reader.read_exact(&mut read).expect("it was all sent");
    assert!(read == sent);
    assert_eq!(
        us.writer(id).finish().map(|report| report.cause),
        Ok(Some(Cause::Finished))
    );
}

#[test]
fn a_waiting_call_keeps_its_timeout() {
    let options = options(|o| o.call_timeout(ms(500)));
    let silent = Behaviour::silent().rx_buffer(1_000);
    let (mut us, id) = flooded(silent, USUAL, EVERY, options);
    let from = us.now();
    let error = loop {
        if let Err(error) = us.writer(id).write(&[7; 1_000]) {
            break error;
        }
    };
    assert_call_timed_out(error, Timeout::NotReading);
    let took = us.now().since(from);
    assert!(took >= ms(500) && took < ms(600), "{took:?}");
}

#[test]
fn a_lost_segment_is_retransmitted_and_a_vanished_peer_is_detected() {
    let patient = options(|o| o.user_timeout(secs(10)).call_timeout(secs(100)));
    let every = Duration::from_micros(100);
    let (mut us, id) = flooded(Behaviour::sink(), USUAL, every, patient);
    us.world.set_drops(Direction::ToPeer, Drops::All);
    let from = us.now();
    us.world.at(from + ms(1_500), |world| {
        world.set_drops(Direction::ToPeer, Drops::Nothing);
    });
    us.write(id, 100);
    us.writer(id).flush().expect("sent again");
    assert!(us.now().since(from) < secs(4), "{:?}", us.now().since(from));

    us.world.set_drops(Direction::ToPeer, Drops::All);
    us.world.set_drops(Direction::ToUs, Drops::All);
    let from = us.now();
    us.write(id, 100);
    let error = us.writer(id).flush().expect_err("no peer");
    assert_error(error, Cause::Vanished, 200, 100);
    let took = us.now().since(from);
    assert!(took >= secs(10) && took < secs(11), "{took:?}");
    assert_eq!(us.state(id), State::Closed(Cause::Vanished));
}

#[test]
fn a_call_that_never_sleeps_follows_the_link() {
    let options = options(|o| o.call_timeout(secs(1)));
    let silent = Behaviour::silent().rx_buffer(1_000);
    let (mut us, id) = flooded(silent, USUAL, EVERY, options);
    us.stack.follow_link(|device| {
        let now = device.world().now();
        now < at_ms(5_000) || now > at_ms(5_500)
    });
    us.write(id, 2_000);
    us.world.run_until(at_ms(4_900));
    us.stack.poll();
    assert!(!us.report(id).link_was_down);
    us.writer(id).flush().expect_err("it does not read");
    assert!(us.report(id).link_was_down);
}
