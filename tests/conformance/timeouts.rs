//! When a connection ends for lack of answers, and what is tried before.

use crate::common::*;
use crate::rows;
use crate::script::{Script, Setting};
use lastbyte::{Cause, Instant, Options, State};
use lastbyte_sim::loopback::{Flags, Segment};

rows!(
    row_49_unacknowledged_ends,
    row_49_acknowledged_bytes_restart_the_timeout,
    row_50_one_lost_probe_does_not_end_it,
    row_51_dead_idle_peer_is_detected,
    row_52_last_try_of_data,
    row_52_last_try_of_a_syn,
    row_52_last_try_of_a_fin,
    row_52_link_up,
    row_52_time_without_polls,
    row_66_backoff_ends,
);

/// When segments were sent that demand an answer.
fn demands(sent: &[Segment]) -> Vec<Instant> {
    let demanding = sent.iter().filter(|s| s.seq_len() > 0 && !s.is(Flags::RST));
    demanding.map(|segment| segment.time).collect()
}

/// Asserts that tries are no further apart than a quarter of `limit`, from `since` on, and
/// the last one is 2 s before its end.
#[track_caller]
fn assert_tried(tries: &[Instant], since: Instant, limit: u64) {
    assert_eq!(tries.last(), Some(&(since + secs(limit - 2))), "{tries:?}");
    let mut last = since;
    for &at in tries {
        let pause = at.since(last);
        assert!(pause <= secs(limit) / 4, "{pause:?} before {at:?}");
        last = at;
    }
}

/// RFC 9293, MUST-20 and R2: the peer is heard, but acknowledges nothing.
fn row_49_unacknowledged_ends(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    for _ in 0..19 {
        script.run(secs(5));
        script.send_ack();
        assert_eq!(script.state(), State::Open);
    }
    script.run(secs(5));
    script.assert_refused(Cause::Unacknowledged, 10, 0);
}

fn row_49_acknowledged_bytes_restart_the_timeout(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    for _ in 0..9 {
        script.run(secs(90));
        script.acknowledge(1);
        assert_eq!(script.state(), State::Open);
    }
    script.run(secs(100));
    script.assert_refused(Cause::Vanished, 10, 9);
}

/// RFC 9293, MUST-29; with an interval above the user timeout.
fn row_50_one_lost_probe_does_not_end_it(on: Setting) {
    let idle = options(|o| o.keep_alive(secs(200)).user_timeout(secs(20)));
    let mut script = Script::open(on, idle);
    for _ in 0..3 {
        script.run(secs(201));
        let probe = script.take_all();
        assert!(!demands(&probe).is_empty(), "{probe:?}");
        // This probe is lost, and the next is answered.
        script.run(secs(5));
        assert!(!demands(&script.take_all()).is_empty());
        script.send_ack();
        assert_eq!(script.state(), State::Open);
    }
    script.run(secs(1_000));
    assert_eq!(script.state(), State::Closed(Cause::Vanished));
}

/// Even if no probe can be sent: the neighbour is forgotten after a minute.
fn row_51_dead_idle_peer_is_detected(on: Setting) {
    for interval in [10, 61, 200, 7_200] {
        let idle = options(|o| o.keep_alive(secs(interval)).user_timeout(secs(20)));
        let mut script = Script::open(on, idle);
        let heard = script.us.now();
        script.raw.answer_neighbours(false);
        script.run(secs(interval + 19));
        assert_eq!(script.state(), State::Open, "{interval} s");
        script.run(secs(1));
        let ended = script.us.now().since(heard);
        assert_eq!(script.state(), State::Closed(Cause::Vanished), "{ended:?}");
    }
}

fn row_52_last_try_of_data(on: Setting) {
    for limit in [8, 20, 100] {
        let mut script = Script::open(on, options(|o| o.user_timeout(secs(limit))));
        // The neighbour stays resolved.
        script.write(10);
        let since = script.us.now();
        script.run(secs(limit));
        assert_eq!(script.state(), State::Closed(Cause::Vanished));
        assert_tried(&demands(&script.take_all()), since, limit);
    }
}

fn row_52_last_try_of_a_syn(on: Setting) {
    let mut script = Script::connecting(on, Options::default());
    let since = Instant::from_micros(script.us.now().as_micros() - 10_000);
    script.run(secs(30));
    assert_eq!(script.state(), State::Closed(Cause::ConnectTimeout));
    assert_tried(&demands(&script.take_all()), since, 30);
}

fn row_52_last_try_of_a_fin(on: Setting) {
    let mut script = Script::open(on, Options::default());
    let since = script.us.now();
    script.us.writer(script.id).begin_finish();
    script.run(secs(30));
    assert_eq!(script.state(), State::Closed(Cause::FinishTimeout));
    assert_tried(&demands(&script.take_all()), since, 30);
}

/// What is in flight is retransmitted at once.
fn row_52_link_up(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    script.run(secs(40));
    script.take_all();
    script.us.stack.set_link(false);
    script.run(secs(3));
    script.take_all();
    script.us.stack.set_link(true);
    script.run(ms(20));
    assert!(!demands(&script.take_all()).is_empty());
    script.acknowledge(10);
    script.assert_open(10, 10);
}

/// After a time without polls, the try comes before the end.
fn row_52_time_without_polls(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    script.take_all();
    script.us.world.run_for(secs(3_600));
    script.us.stack.poll();
    script.run(ms(20));
    assert!(!demands(&script.take_all()).is_empty());
    script.acknowledge(10);
    script.assert_open(10, 10);
}

/// RFC 6298, 5: newly acknowledged data ends the back-off.
fn row_66_backoff_ends(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(10);
    script.run(secs(35));
    script.take_all();
    script.acknowledge(10);
    script.run(secs(30));
    script.write(10);
    let since = script.us.now();
    script.take_all();
    script.run(secs(4));
    let tries = demands(&script.take_all());
    assert!(tries.len() >= 2, "{tries:?} since {since:?}");
}
