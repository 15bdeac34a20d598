//! The peer's receive window.

use crate::common::*;
use crate::rows;
use crate::script::{Family, Script, Setting};
use embedded_io::Write;
use lastbyte::core::{Nagle, Window};
use lastbyte::{Cause, Instant, Options, State, Timeout};
use lastbyte_sim::loopback::{Flow, Segment};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

rows!(
    row_27_zero_window_probe,
    row_28_zero_window_never_ends,
    row_29_window_shrink,
    row_30_lost_data_then_zero_window,
    row_30_lost_data_then_window_opens,
    row_30_lost_data_then_data_closes_the_window,
    row_30_lost_data_then_window_probe,
    row_42_nothing_buffered_without_bound,
);

/// Processes what the peer's TCP has received: answers everything, and accepts in order
/// what fits into its window.
#[derive(Clone)]
struct Taker {
    flow: Rc<Cell<Flow>>,
    probes: Rc<Cell<u32>>,
}

impl Taker {
    fn new(script: &Script) -> Self {
        let taker = Self {
            flow: Rc::new(Cell::new(script.flow)),
            probes: Rc::default(),
        };
        let (flow, probes) = (Rc::clone(&taker.flow), Rc::clone(&taker.probes));
        script.raw.respond(move |raw, segment: &Segment| {
            let mut at = flow.get();
            if segment.seq_len() == 0 {
                return;
            }
            let is_next = segment.seq == at.ack;
            let fits = segment.seq_len() <= u32::from(at.window);
            if is_next && fits {
                at.ack = at.ack.wrapping_add(segment.seq_len());
            } else {
                probes.set(probes.get() + 1);
            }
            flow.set(at);
            raw.send(&at.ack());
        });
        taker
    }

    fn set_window(&self, window: u16) {
        let mut at = self.flow.get();
        at.window = window;
        self.flow.set(at);
    }
}

/// A queue of 100 octets at a window that has closed, and a peer that answers.
#[track_caller]
fn closed(on: Setting, options: Options) -> (Script, Taker) {
    let mut script = Script::open_at(on, 10, options);
    script.write(110);
    script.expect_data(10);
    script.flow.window = 0;
    let taker = Taker::new(&script);
    script.acknowledge(10);
    taker.flow.set(script.flow);
    (script, taker)
}

/// RFC 9293, MUST-36, SHLD-29 and SHLD-30: a closed window is probed, first after one
/// retransmission timeout, then with growing pauses.
fn row_27_zero_window_probe(on: Setting) {
    let (script, taker) = closed(on, Options::default());
    script.raw.recv_nothing();
    let least = ms(900);
    assert_probed(script, &taker, least);

    // Written while the window was already closed: the first probe only has to be sent
    // soon.
    let mut script = Script::open(on, Options::default());
    script.write(10);
    script.expect_data(10);
    script.flow.window = 0;
    script.acknowledge(10);
    let taker = Taker::new(&script);
    script.write(100);
    assert_probed(script, &taker, secs(0));
}

/// Asserts that the window is probed with one octet, first after `least` or more, and
/// that the transfer continues once it opens.
#[track_caller]
fn assert_probed(mut script: Script, taker: &Taker, least: Duration) {
    let from = script.us.now();
    script.run(secs(600));
    let probes = script.take_all();
    assert!(probes.iter().all(|probe| probe.seq_len() == 1));
    let times: Vec<Instant> = probes.iter().map(|probe| probe.time).collect();
    assert_eq!(u32::try_from(times.len()), Ok(taker.probes.get()));
    assert!((5..=120).contains(&times.len()), "{} probes", times.len());
    let first = times[0].since(from);
    assert!((least..=secs(3)).contains(&first), "{times:?}");
    let pauses: Vec<Duration> = times.windows(2).map(|t| t[1].since(t[0])).collect();
    assert!(pauses.is_sorted(), "with growing pauses: {pauses:?}");
    let longest = pauses.last().expect("several");
    assert!((secs(10)..=secs(120)).contains(longest), "{pauses:?}");
    script.assert_open(110, 10);
    let progress = script.us.writer(script.id).progress().expect("ours");
    assert_eq!(progress.window, Window::Zero);
    // The window opens, and the window update is lost: the next probe detects it.
    taker.set_window(1_000);
    script.run(secs(120));
    script.assert_open(110, 110);
}

/// RFC 9293, MUST-37; RFC 1122, 4.2.2.17: as long as probes are answered, the connection
/// lives. A call that reaches its timeout does not end it.
fn row_28_zero_window_never_ends(on: Setting) {
    let limits = options(|o| o.call_timeout(secs(30)).user_timeout(secs(100)));
    let (mut script, taker) = closed(on, limits);
    for _ in 0..20 {
        let before = script.us.now();
        let bytes = pattern(script.us.ledger(script.id).accepted(), 2 * TX);
        let error = script.us.writer(script.id).write_all(&bytes);
        assert_call_timed_out(error.expect_err("no room"), Timeout::NotReading);
        assert!(script.us.now() >= before + secs(30));
        assert_eq!(script.state(), State::Open);
        script.run(secs(3_600));
    }
    let accepted = script.us.ledger(script.id).accepted();
    script.assert_open(accepted, 10);
    taker.set_window(u16::MAX);
    script
        .us
        .writer(script.id)
        .flush()
        .or_else(|error| {
            // The next probe may be a minute away.
            assert_call_timed_out(error, Timeout::NotReading);
            script.us.writer(script.id).flush()
        })
        .or_else(|error| {
            assert_call_timed_out(error, Timeout::NotReading);
            script.us.writer(script.id).flush()
        })
        .expect("acknowledged");
    script.assert_open(accepted, accepted);

    // Once the peer falls silent, the user timeout runs.
    taker.set_window(0);
    let now = taker.flow.get();
    script.raw.send(&now.ack());
    script.write(100);
    script.raw.respond(|_, _| {});
    script.run(secs(3_600));
    script.assert_refused(Cause::Vanished, accepted + 100, accepted);
}

/// RFC 9293, MUST-34, MUST-35, SHLD-16 and SHLD-17: a window that shrinks loses nothing
/// and ends nothing.
fn row_29_window_shrink(on: Setting) {
    let mut script = Script::open_at(on, 2_000, options(|o| o.nagle(Nagle::Off)));
    script.write(4_000);
    script.expect_data(2_000);
    // 500 octets are accepted, and the edge moves back from 2,000 to 1,500.
    script.flow.window = 1_000;
    script.acknowledge(500);
    script.assert_open(4_000, 500);
    script.raw.recv_nothing();
    // Back to what was acknowledged.
    script.flow.window = 0;
    script.send_ack();
    script.raw.recv_nothing();
    let taker = Taker::new(&script);
    script.run(secs(30));
    script.assert_open(4_000, 500);
    script.take_all();
    taker.set_window(700);
    script.run(secs(300));
    script.assert_open(4_000, 4_000);
}

/// RFC 9293, 3.8.6.1: data in flight is lost, then the window closes at the same ACK
/// number: probing continues, and everything arrives in the end.
fn row_30_lost_data_then_zero_window(on: Setting) {
    let mut script = Script::open(on, Options::default());
    script.write(1_000);
    script.expect_data(1_000);
    script.flow.window = 0;
    script.send_ack();
    let taker = Taker::new(&script);
    script.run(secs(3_600));
    script.assert_open(1_000, 0);
    assert!(taker.probes.get() >= 30, "{} probes", taker.probes.get());
    script.take_all();
    taker.set_window(u16::MAX);
    script.run(secs(200));
    script.assert_open(1_000, 1_000);
}

/// The same if the window is open again before a probe was sent: only the written octets
/// may be sent in their place.
fn row_30_lost_data_then_window_opens(on: Setting) {
    for (writes, taken) in [(3, 1), (2, 0), (1, 0)] {
        let mut script = Script::open(on, options(|o| o.nagle(Nagle::Off)));
        for _ in 0..writes {
            script.write(1);
        }
        script.expect_data(writes);
        // All but the first are lost, and the window closes and opens.
        script.flow.window = 0;
        script.flow.take(taken);
        script.send_ack();
        script.flow.window = 1_000;
        script.send_ack();
        let _taker = Taker::new(&script);
        script.run(secs(300));
        script.assert_open(u64::from(writes), u64::from(writes));
    }
}

/// The same if data of the peer closes the window.
fn row_30_lost_data_then_data_closes_the_window(on: Setting) {
    for taken in [0, 1] {
        let mut script = Script::open(on, options(|o| o.nagle(Nagle::Off)));
        for _ in 0..2 {
            script.write(1);
        }
        script.expect_data(2);
        script.flow.window = 0;
        script.flow.take(taken);
        script.send_data(vec![7; 10]);
        script.run(ms(20));
        script.take_all();
        script.flow.window = 1_000;
        script.send_ack();
        let _taker = Taker::new(&script);
        script.run(secs(300));
        script.assert_open(2, 2);
    }
}

/// The same if more is written meanwhile: the lost octet itself probes the window.
fn row_30_lost_data_then_window_probe(on: Setting) {
    let mut script = Script::open(on, options(|o| o.nagle(Nagle::Off)));
    for _ in 0..2 {
        script.write(1);
    }
    script.expect_data(2);
    script.flow.take(1);
    for window in [0, 1_000, 0] {
        script.flow.window = window;
        script.send_ack();
    }
    script.write(60);
    script.run(secs(90));
    let lost = script.flow.ack;
    let sent = script.take_all();
    let keep_alive = lost.wrapping_sub(1);
    let data = || {
        sent.iter()
            .filter(|s| s.seq_len() > 0 && s.seq != keep_alive)
    };
    assert!(data().count() >= 3);
    assert!(
        data().all(|s| s.seq == lost && s.seq_len() == 1),
        "{sent:?}"
    );
    script.flow.window = 1;
    script.send_ack();
    let _taker = Taker::new(&script);
    script.run(secs(600));
    script.assert_open(62, 62);
}

/// RFC 9293, MUST-60 and MUST-61: the last byte is sent without another write, whatever
/// held it back.
fn row_42_nothing_buffered_without_bound(on: Setting) {
    for nagle in [Nagle::On, Nagle::Off] {
        let mss = match on.family {
            Family::V4 => 1_460,
            Family::V6 => 1_440,
        };
        // After a full segment, with nothing acknowledged yet.
        let mut script = Script::open(on, options(|o| o.nagle(nagle)));
        script.write(mss + 1);
        let sent: usize = script.take_all().iter().map(|s| s.payload.len()).sum();
        assert_eq!(sent, if nagle == Nagle::On { mss } else { mss + 1 });
        script.acknowledge(sent as u32);
        let rest: usize = script.take_all().iter().map(|s| s.payload.len()).sum();
        assert_eq!(sent + rest, mss + 1);
        script.acknowledge(rest as u32);
        let all = mss as u64 + 1;
        script.assert_open(all, all);

        // Beyond the window, one octet at a time.
        let mut script = Script::open_at(on, 1, options(|o| o.nagle(nagle)));
        let taker = Taker::new(&script);
        script.write(3);
        script.run(secs(30));
        script.assert_open(3, 3);
        assert_eq!(taker.flow.get().ack, script.flow.ack.wrapping_add(3));

        // Lost, and lost again.
        let mut script = Script::open(on, options(|o| o.nagle(nagle)));
        script.write(1);
        script.run(secs(20));
        let copies = script.take_all();
        assert!(copies.iter().filter(|s| s.payload.len() == 1).count() >= 3);
        script.acknowledge(1);
        script.assert_open(1, 1);
    }
}
