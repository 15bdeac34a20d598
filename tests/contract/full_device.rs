//! A FIN waits in a device that has no room for a frame of ours: most drivers only return
//! a received frame together with room for an answer.

use crate::common::*;
use embedded_io::Write;
use lastbyte::core::Nagle;
use lastbyte::stack::ConnectionId;
use lastbyte::{Cause, Options, Timeout, WriteError};
use lastbyte_sim::loopback::{Behaviour, Direction, Handshake, World, WorldConfig};

/// A device with room for this many frames, which it keeps for `busy` once it has them;
/// and a connection over it, with nothing pending.
#[track_caller]
fn narrow(frames: usize, busy: core::time::Duration, options: Options) -> (Us<1>, ConnectionId) {
    let world = World::new(WorldConfig {
        queue_frames: frames,
        ..WorldConfig::default()
    });
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let id = us.open(options);
    us.stack.run_for(secs(1));
    world.set_latency(Direction::ToPeer, busy);
    (us, id)
}

fn no_nagle() -> Options {
    options(|o| o.nagle(Nagle::Off).call_timeout(secs(10)))
}

/// Asserts that nothing of this write is accepted. A write that does not wait may return that
/// it would block.
#[track_caller]
fn assert_accepts_nothing(written: Result<usize, WriteError>, way: Way, accepted: u64) {
    match (written, way) {
        (Err(WriteError::WouldBlock { .. }), Way::TryWrite | Way::WriteWith) => {}
        (Err(error), _) => {
            assert_eq!(error.cause(), Some(Cause::PeerFinished), "{way:?}");
            assert_eq!(error.ledger().accepted(), accepted, "{way:?}");
        }
        (Ok(taken), _) => panic!("{way:?} accepted {taken} octets after a FIN"),
    }
}

#[test]
fn a_write_after_a_fin_is_refused_though_the_transmit_queue_is_full() {
    for frames in [1, 2, 4] {
        for way in Way::ALL {
            let (mut us, id) = narrow(frames, secs(2), no_nagle());
            for _ in 0..frames {
                us.write(id, 10);
            }
            let accepted = 10 * frames as u64;
            us.world.peer().close(PORT);
            us.world.run_for(ms(50));
            let written = way.write(us.writer(id), b"more");
            assert_accepts_nothing(written, way, accepted);
            // Once there is room the reason is known.
            us.stack.run_for(secs(5));
            us.assert_refused(id, Cause::PeerFinished, accepted, accepted);
        }
    }
}

#[test]
fn a_write_that_waits_for_the_device_times_out_and_accepts_nothing() {
    let (mut us, id) = narrow(1, secs(3_600), no_nagle());
    us.write(id, 10);
    us.world.peer().close(PORT);
    us.world.run_for(ms(50));
    let from = us.now();
    let error = us.writer(id).write(b"more").expect_err("no room, no write");
    assert_call_timed_out(error, Timeout::Call);
    assert_eq!(us.now(), from + secs(10));
    assert_ledger(us.ledger(id), 10, 0);
}

#[test]
fn a_write_goes_on_once_a_full_device_without_a_fin_has_room() {
    for way in Way::ALL {
        let (mut us, id) = narrow(1, secs(1), no_nagle());
        us.write(id, 10);
        let from = us.now();
        let mut taken = 0;
        while taken == 0 {
            let bytes = pattern(10, 4);
            taken = accepted(way.write(us.writer(id), &bytes));
            us.stack.run_for(ms(10));
            assert!(us.now() < from + secs(5), "{way:?}");
        }
        us.writer(id).flush().expect("acknowledged");
        us.check(id);
    }
}

/// The room that was left when the write began is used for the answer to what the write
/// processes.
#[test]
fn a_fin_after_a_frame_whose_answer_fills_the_queue_counts() {
    for way in Way::ALL {
        let world = World::new(WorldConfig {
            queue_frames: 3,
            ..WorldConfig::instant()
        });
        let raw = world.raw();
        let mut us = Us::<1>::new(&world);
        let id = us.connect(no_nagle());
        let mut flow = raw.handshake(Handshake::default(), || {
            us.stack.poll();
        });
        world.set_latency(Direction::ToPeer, secs(2));
        us.write(id, 10);
        us.write(id, 10);
        // A keep-alive with an octet, which is answered at once, followed by the FIN.
        let probe = flow.ack().with_seq(flow.seq.wrapping_sub(1));
        raw.send(&probe.with_payload(*b"?"));
        raw.send(&flow.fin());
        let written = way.write(us.writer(id), b"more");
        assert_accepts_nothing(written, way, 20);
    }
}
