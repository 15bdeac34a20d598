//! The peer is silent: retransmission, advice, timeouts, keep-alive.

use crate::common::*;
use crate::rows;
use crate::script::{Script, Setting};
use lastbyte::core::OptionsError;
use lastbyte::{Advice, Cause, Instant, Options, State};
use lastbyte_sim::loopback::Segment;
use std::time::Duration;

rows!(
    row_20_user_timeout_settable,
    row_21_stall_advice,
    row_22_silence_default_100s,
    row_24_vanished_reports_queue,
    row_25_silence_not_idle,
    row_26_silence_above_rto,
    row_31_keep_alive_policy,
    row_41_retransmission_timer,
);

/// The pauses between these segments.
fn pauses(segments: &[Segment]) -> Vec<Duration> {
    let times: Vec<Instant> = segments.iter().map(|segment| segment.time).collect();
    times.windows(2).map(|two| two[1].since(two[0])).collect()
}

/// Asserts that silence with bytes pending ends the connection at `limit`, not before.
#[track_caller]
fn assert_vanishes_at(mut script: Script, limit: Duration) {
    script.write(10);
    script.expect_data(10);
    script.run(limit - ms(1));
    script.assert_open(10, 0);
    script.run(ms(1));
    assert_eq!(script.state(), State::Closed(Cause::Vanished));
    script.assert_refused(Cause::Vanished, 10, 0);
    let sent = script.take_all();
    let (rst, repeated) = sent.split_last().expect("it was repeated");
    assert!(rst.is(lastbyte_sim::loopback::Flags::RST), "{rst}");
    assert!(repeated.iter().all(|s| s.payload.len() <= 10));
    script.expect_silence(secs(1_000));
}

/// RFC 9293, MUST-20 and MUST-21: the application sets how long silence is tolerated.
fn row_20_user_timeout_settable(on: Setting) {
    for seconds in [3, 20, 300, 10_000] {
        let set = options(|o| o.user_timeout(secs(seconds)));
        assert_vanishes_at(Script::open(on, set), secs(seconds));
    }
}

/// RFC 9293, SHLD-11: by default it is at least 100 seconds.
fn row_22_silence_default_100s(on: Setting) {
    assert_vanishes_at(Script::open(on, Options::default()), secs(100));
}

/// RFC 9293, SHLD-9 and SHLD-10: after three retransmissions the application gets advice,
/// and the connection stays open.
fn row_21_stall_advice(on: Setting) {
    let later = options(|o| o.stall_advice_after(secs(90)));
    let mut script = Script::open(on, later);
    script.write(10);
    script.expect_data(10);
    let mut repeated = 0;
    for _ in 0..90_000 {
        script.run(ms(1));
        let data = |s: &Segment| s.seq == script.flow.ack && s.payload.len() == 10;
        let sent: Vec<_> = std::iter::from_fn(|| script.raw.try_recv()).collect();
        repeated += sent.into_iter().filter(data).count();
        if repeated == 3 {
            break;
        }
        assert_eq!(script.us.stack.poll_advice(script.id), Ok(None));
    }
    assert_eq!(repeated, 3);
    assert_eq!(
        script.us.stack.poll_advice(script.id),
        Ok(Some(Advice::Stalled))
    );
    script.assert_open(10, 0);
    script.acknowledge(10);
    script.assert_alive();
}

/// RFC 9293, 3.10.8: everything in the queue is counted, sent or not.
fn row_24_vanished_reports_queue(on: Setting) {
    let mut script = Script::open_at(on, 1_000, Options::default());
    script.write(TX);
    script.expect_data(1_000);
    script.acknowledge(600);
    script.run(secs(100));
    script.assert_refused(Cause::Vanished, TX as u64, 600);
    let ledger = script.us.ledger(script.id);
    assert_eq!(ledger.undelivered(), TX as u64 - 600);
}

/// RFC 5482 (a timeout of user data): an idle connection has none.
fn row_25_silence_not_idle(on: Setting) {
    let mut script = Script::open(on, Options::default());
    for _ in 0..3 {
        script.expect_silence(secs(100_000));
        script.assert_alive();
    }
    assert_vanishes_with_account_at(script, 30);
}

/// But it does once something is pending.
#[track_caller]
fn assert_vanishes_with_account_at(mut script: Script, account: u64) {
    script.write(10);
    script.run(secs(100) - ms(1));
    script.assert_open(account + 10, account);
    script.run(ms(1));
    script.assert_refused(Cause::Vanished, account + 10, account);
}

/// RFC 5482, 3.1: a timeout that is not above the retransmission timeout is refused; the
/// smallest accepted one works.
fn row_26_silence_above_rto(on: Setting) {
    for short in [ms(1), ms(500), ms(1_000)] {
        let built = Options::builder().user_timeout(short).build();
        assert_eq!(
            built.err(),
            Some(OptionsError::UserTimeoutWithinRetransmission)
        );
    }
    let least = options(|o| o.user_timeout(ms(1_001)));
    let mut script = Script::open(on, least);
    script.write(10);
    script.expect_data(10);
    script.run(ms(1_000));
    let again = script.take_all();
    assert_eq!(again.len(), 1, "it was retransmitted within the timeout");
    script.assert_open(10, 0);
    script.run(ms(1));
    script.assert_refused(Cause::Vanished, 10, 0);
}

/// RFC 9293, MUST-24 to MUST-29: keep-alive is off by default; one probe without an
/// answer does not end the connection, many do.
fn row_31_keep_alive_policy(on: Setting) {
    let mut off = Script::open(on, Options::default());
    off.expect_silence(secs(100_000));
    off.assert_open(0, 0);

    let probing = options(|o| o.keep_alive(secs(20)).user_timeout(secs(60)));
    let mut script = Script::open(on, probing);
    script.assert_alive();
    // Every other probe is lost.
    for round in 0..100 {
        script.run(secs(20));
        let probes = script.take_all();
        let is_probe =
            |s: &Segment| s.seq == script.flow.ack.wrapping_sub(1) && s.payload.len() <= 1;
        assert!(
            !probes.is_empty() && probes.iter().all(is_probe),
            "{probes:?}"
        );
        if round % 2 == 0 {
            script.send_ack();
        }
        script.assert_open(10, 10);
    }
    script.send_ack();
    script.take_all();
    // From here on all of them are lost.
    let heard = script.us.now();
    while script.state() == State::Open {
        assert!(script.us.now() < heard + secs(200), "it lives");
        script.run(secs(1));
    }
    let after = script.us.now().since(heard);
    // The first probe is sent after 20 s, and then the user timeout runs.
    assert!((secs(79)..=secs(81)).contains(&after), "{after:?}");
    script.assert_refused(Cause::Vanished, 10, 10);
}

/// RFC 6298, 2 and 5.5: the first timeout is one second, each further one doubles, and
/// what was sent twice does not measure the round trip (Karn).
fn row_41_retransmission_timer(on: Setting) {
    let mut script = Script::open(on, options(|o| o.user_timeout(secs(10_000))));
    script.write(10);
    let first = script.raw.recv();
    script.run(secs(100));
    let mut sent = vec![first];
    let next = script.flow.ack;
    let is_data = |s: &Segment| !s.payload.is_empty() && s.seq == next;
    sent.extend(script.take_all().into_iter().filter(is_data));
    let pauses = pauses(&sent);
    assert!(pauses.len() >= 5, "{pauses:?}");
    assert_eq!(pauses[0], secs(1), "{pauses:?}");
    for two in pauses.windows(2) {
        let is_capped = two[1] == two[0] && two[0] >= secs(60);
        assert!(two[1] == two[0] * 2 || is_capped, "{pauses:?}");
    }
    // The ACK arrives long after the first copy, which must not make the timeout long,
    // and just after the last copy, which must not count as a round trip of zero.
    script.acknowledge(10);
    script.take_all();
    script.write(10);
    let first = script.raw.recv();
    script.run(secs(300));
    let again = script.take_all();
    let again = again
        .iter()
        .find(|s| s.seq == script.flow.ack)
        .expect("repeated");
    let pause = again.time.since(first.time);
    assert!((secs(1)..=secs(120)).contains(&pause), "{pause:?}");
}
