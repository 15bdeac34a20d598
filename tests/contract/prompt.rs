//! No call takes longer than its timeout, whatever it cannot send: otherwise a watchdog
//! that is fed between calls would reset the device.

use crate::common::*;
use core::time::Duration;
use embedded_io::{Read, Write};
use lastbyte::stack::ConnectionId;
use lastbyte::{Cause, OnReceive, Options, State, Timeout};
use lastbyte_sim::loopback::{Behaviour, Flags, OUR_V4, Presence, World, WorldConfig};

const LIMIT: Duration = ms(250);

fn limited() -> Options {
    options(|o| {
        o.call_timeout(LIMIT)
            .user_timeout(secs(10))
            .connect_timeout(secs(5))
            .on_receive(OnReceive::Keep)
    })
}

/// A connection whose neighbour is unreachable, and not in the cache any more.
#[track_caller]
fn lost() -> (Us<1>, ConnectionId) {
    let (mut us, id) = connected(Behaviour::sink(), limited());
    us.world.peer().set_presence(Presence::Absent);
    us.stack.run_for(secs(61));
    assert_eq!(us.state(id), State::Open);
    (us, id)
}

/// How long an abort takes.
#[track_caller]
fn time_of_abort(us: &mut Us<1>, id: ConnectionId) -> Duration {
    let from = us.now();
    us.writer(id).abort().expect("ours");
    us.now().since(from)
}

#[test]
fn an_abort_whose_rst_cannot_leave_keeps_the_call_timeout() {
    let (mut us, id) = lost();
    assert_eq!(time_of_abort(&mut us, id), LIMIT);
    let (mut us, id) = lost();
    let from = us.now();
    us.writer(id).scoped().abort().expect("ours");
    assert_eq!(us.now().since(from), LIMIT);

    // With a long timeout the abort does not wait for a minute.
    let (mut us, id) = connected(Behaviour::sink(), Options::default());
    us.world.peer().set_presence(Presence::Absent);
    us.stack.run_for(secs(61));
    assert_eq!(time_of_abort(&mut us, id), secs(1));
}

#[test]
fn the_rst_leaves_later_if_it_can() {
    let (mut us, id) = lost();
    let tap = Tap::new(&us.world);
    time_of_abort(&mut us, id);
    assert_eq!(tap.take(), []);
    us.stack.run_for(secs(1));
    us.world.peer().set_presence(Presence::Present);
    us.stack.run_for(secs(3));
    let [rst] = &tap.take()[..] else {
        panic!("one segment")
    };
    assert!(rst.is(Flags::RST | Flags::ACK));
    assert!(us.world.peer().saw_rst(PORT).is_some());
}

#[test]
fn an_abort_without_a_rst_returns_at_once() {
    // A SYN that was not sent, because the neighbour was not resolved, and later.
    for after in [ms(0), ms(100), secs(3), secs(6)] {
        let world = World::new(WorldConfig::default());
        world.peer().set_presence(Presence::Absent);
        let mut us = Us::<1>::new(&world);
        let id = us.connect(limited());
        us.stack.run_for(after);
        assert_eq!(time_of_abort(&mut us, id), ms(0), "{after:?}");
    }
    // No caller yet.
    let world = World::new(WorldConfig::default());
    let mut us = Us::<1>::new(&world);
    let id = us.stack.listen((OUR_V4, PORT), limited()).expect("free");
    us.stack.run_for(secs(1));
    assert_eq!(time_of_abort(&mut us, id), ms(0));
    // It has ended. Its pending RST still has time, but not in this call.
    let (mut us, id) = lost();
    us.write(id, 10);
    while !us.state(id).is_closed() {
        us.stack.run_for(ms(100));
        assert!(us.now() < at_secs(100));
    }
    assert_eq!(us.report(id).cause, Some(Cause::Vanished));
    assert_eq!(time_of_abort(&mut us, id), ms(0));
}

/// Every blocking call, if no answer arrives.
#[test]
fn a_blocking_call_keeps_its_timeout() {
    type Call = fn(&mut Us<1>, ConnectionId) -> Option<lastbyte::WriteError>;
    let calls: [Call; 3] = [
        |us, id| us.writer(id).write_all(&[7; 2 * TX]).err(),
        |us, id| {
            us.writer(id).try_write(b"few").expect("room");
            us.writer(id).flush().err()
        },
        |us, id| {
            let mut reader = us.stack.reader(id).expect("ours");
            match reader.read(&mut [0; 10]) {
                Err(lastbyte::ReadError::Ended(error)) => Some(error),
                other => panic!("{other:?}"),
            }
        },
    ];
    for call in calls {
        let (mut us, id) = lost();
        let from = us.now();
        assert_call_timed_out(call(&mut us, id).expect("no answer"), Timeout::Call);
        assert_eq!(us.now().since(from), LIMIT);
    }
    let world = World::new(WorldConfig::default());
    world.peer().set_presence(Presence::Absent);
    let mut us = Us::<1>::new(&world);
    let id = us.connect(limited());
    let from = us.now();
    let error = us.stack.wait_open(id).expect_err("no peer");
    assert_call_timed_out(error, Timeout::Call);
    assert_eq!(us.now().since(from), LIMIT);
}
