//! What our end accepts, answers and drops once the connection is open.

use crate::common::frames::fragments;
use crate::common::*;
use crate::rows;
use crate::script::{Script, Setting};
use embedded_io::Read;
use lastbyte::{Cause, OnReceive, Options, State};
use lastbyte_sim::loopback::{Flags, Segment};

rows!(
    row_46_tcp_fragments_dropped,
    row_46_fragments_while_connecting,
    row_47_old_ack_number_ignored_alone,
    row_61_data_after_our_finish,
    row_62_challenge_budget,
    row_62_repeated_fin_is_acknowledged,
    row_62_window_probes_are_answered,
    row_69_blind_segment_is_not_heard,
    row_69_limits_of_what_counts_as_heard,
);

/// Ways to fragment a segment; the header ends at 20.
const CUTS: [&[usize]; 4] = [&[8], &[16], &[24], &[8, 16, 24]];

/// Sends it in fragments: in order, in reverse order, and without the last one.
fn send_cut(script: &mut Script, segment: &Segment) {
    let medium = script.us.world.config().medium;
    for cuts in CUTS {
        let forward = fragments(segment, medium, cuts);
        let backward: Vec<_> = forward.iter().rev().cloned().collect();
        for frame in forward.into_iter().chain(backward) {
            script.raw.send_frame(frame);
            script.us.stack.poll();
        }
    }
}

/// The rules for segments cannot be applied to fragments: these are dropped, even if
/// smoltcp could reassemble them.
fn row_46_tcp_fragments_dropped(on: Setting) {
    let mut script = Script::open_at(on, 10, Options::default());
    script.write(100);
    script.expect_data(10);
    let long = vec![7; 20];
    let (rst, flow) = (script.flow.rst().with_payload(long.clone()), script.flow);
    let in_window = rst.clone().with_seq(flow.seq.wrapping_add(100));
    let beyond = flow.ack().with_payload(long.clone());
    let beyond = beyond.with_ack(flow.ack.wrapping_add(100));
    let plain = flow.ack().with_payload(long.clone());
    let plain = plain.with_ack(flow.ack.wrapping_add(10));
    let fin = flow
        .segment(Flags::FIN | Flags::ACK)
        .with_payload(long.clone());
    for segment in [rst, in_window, beyond, plain, fin] {
        send_cut(&mut script, &segment);
        let report = script.assert_open(100, 0);
        assert_eq!(report.discarded, 0, "{segment}");
        script.expect_silence(ms(20));
    }
    // A complete segment is accepted.
    script.acknowledge(10);
    script.assert_open(100, 10);
}

/// A fragment cannot open or refuse a connection, or reach a listener.
fn row_46_fragments_while_connecting(on: Setting) {
    let mut script = Script::connecting(on, Options::default());
    let long = vec![7; 20];
    for flags in [Flags::RST | Flags::ACK, Flags::SYN | Flags::ACK] {
        let answer = script.flow.segment(flags).with_payload(long.clone());
        send_cut(&mut script, &answer);
        assert_eq!(script.state(), State::Connecting, "{flags}");
        script.expect_silence(ms(20));
    }
    script.accept();
    script.assert_alive();

    let mut script = Script::listening(on, Options::default());
    let syn = script.flow.segment(Flags::SYN).with_payload(long);
    send_cut(&mut script, &syn);
    script.expect_silence(secs(2));
    assert_eq!(script.us.stack.endpoints(script.id), Ok(None));
}

/// RFC 9293, 3.10.7.4, step 5: an overtaken acknowledgement is ignored, but not the data
/// and the FIN in its segment.
fn row_47_old_ack_number_ignored_alone(on: Setting) {
    for old in [1, 10, 1_000] {
        let mut script = Script::open(on, Options::default());
        script.write(1_000);
        script.expect_data(1_000);
        script.acknowledge(1_000);
        script.write(10);
        script.expect_data(10);
        // Two segments were reordered on their way.
        let old_ack = script.flow.ack.wrapping_sub(old);
        let data = script.flow.data(*b"late").with_ack(old_ack);
        script.send(&data);
        let report = script.assert_open(1_010, 1_000);
        assert_eq!(report.discarded, 4, "{old}");
        script.expect_ack();
        let fin = script.flow.fin().with_ack(old_ack);
        script.raw.send(&fin);
        script.assert_refused(Cause::PeerFinished, 1_010, 1_000);
        script.expect_ack();
        script.acknowledge(10);
        script.assert_refused(Cause::PeerFinished, 1_010, 1_010);
    }
}

/// RFC 9293, SHLD-3: data that arrives after our FIN and is never read is lost, and a RST
/// informs the peer. Data that is read is not lost.
fn row_61_data_after_our_finish(on: Setting) {
    let finished = |is_acknowledged: bool| {
        let keep = options(|o| o.on_receive(OnReceive::Keep));
        let mut script = Script::open(on, keep);
        script.us.writer(script.id).begin_finish();
        script.expect_fin();
        if is_acknowledged {
            script.acknowledge(1);
            assert_eq!(script.state(), State::Closed(Cause::Finished));
        }
        script.send_data(*b"an answer");
        script.expect_ack();
        script
    };
    let mut script = finished(true);
    let mut read = [0; 64];
    let mut reader = script.us.stack.reader(script.id).expect("ours");
    assert_eq!(reader.read(&mut read), Ok(9));
    assert_eq!(&read[..9], b"an answer");
    script.send_fin();
    script.expect_ack();

    for is_acknowledged in [true, false] {
        let mut script = finished(is_acknowledged);
        script.us.stack.release(script.id).expect("ours");
        script.run(secs(31));
        let sent = script.take_all();
        let rsts: Vec<_> = sent.iter().filter(|s| s.is(Flags::RST)).collect();
        let [rst] = rsts.as_slice() else {
            panic!("one RST was expected, not {sent:?}");
        };
        let fin = u32::from(!is_acknowledged);
        assert_eq!(rst.seq, script.flow.ack.wrapping_add(fin), "{rst}");
    }
}

/// Sends a hundred segments in a second that are not the peer's, made by `forge` from
/// their number. Returns how many ACKs answered them.
fn flood(script: &mut Script, forge: impl Fn(&Script, u32) -> Segment) -> usize {
    for number in 0..100 {
        script.raw.send(&forge(script, number));
        script.run(ms(10));
    }
    script.take_all().len()
}

/// Forged segments of each kind that is challenged.
const FORGERIES: [fn(&Script, u32) -> Segment; 3] = [
    |script, number| {
        let seq = script.flow.seq.wrapping_add(1 + number);
        script.flow.rst().with_seq(seq)
    },
    |script, number| {
        let seq = script.flow.seq.wrapping_add(number << 20);
        script.flow.segment(Flags::SYN).with_seq(seq)
    },
    |script, number| {
        let ack = script.flow.ack.wrapping_add(1 + number);
        script.flow.ack().with_ack(ack)
    },
];

/// Asserts that in a flood of each kind, `probe` is always answered with an ACK.
#[track_caller]
fn assert_answered(mut make: impl FnMut() -> Script, probe: impl Fn(&Script) -> Segment) {
    for forge in FORGERIES {
        let mut script = make();
        for second in 0..15 {
            let challenges = flood(&mut script, forge);
            assert!(challenges <= 10, "{challenges} answers to a flood");
            let probe = probe(&script);
            script.send(&probe);
            script.run(ms(20));
            let sent = script.take_all();
            let is_answer = |s: &Segment| (s.flags, s.ack) == (Flags::ACK, script.flow.seq);
            assert!(sent.iter().any(is_answer), "second {second}: {probe}");
        }
    }
}

/// RFC 5961, 7, limits the number of challenge ACKs; forged segments must not use up the
/// answers to the peer's own keep-alives (RFC 9293, 3.8.4).
fn row_62_challenge_budget(on: Setting) {
    let keep_alive = |script: &Script| {
        let ack = script.flow.ack();
        ack.with_seq(script.flow.seq.wrapping_sub(1))
    };
    assert_answered(|| Script::open(on, Options::default()), keep_alive);
}

/// The same for a FIN that is retransmitted because its ACK was lost.
fn row_62_repeated_fin_is_acknowledged(on: Setting) {
    let closed = || {
        let mut script = Script::open(on, Options::default());
        script.send_fin();
        script.expect_ack();
        script
    };
    assert_answered(closed, |script| {
        let fin = script.flow.segment(Flags::FIN | Flags::ACK);
        fin.with_seq(script.flow.seq.wrapping_sub(1))
    });
}

/// The same for probes of our closed window (RFC 9293, 3.10.7.4, step 1).
fn row_62_window_probes_are_answered(on: Setting) {
    let full = || {
        let mut script = Script::open(on, options(|o| o.on_receive(OnReceive::Keep)));
        script.send_data(vec![7; RX / 2]);
        script.send_data(vec![7; RX / 2]);
        script.run(ms(20));
        script.take_all();
        script
    };
    assert_answered(full, |script| script.flow.ack().with_payload(*b"?"));
}

/// Whether a connection with ten pending octets outlives the user timeout because of a
/// segment at 60 of its 100 seconds.
fn is_heard(on: Setting, make: impl Fn(&mut Script) -> Vec<Segment>) -> bool {
    let mut script = Script::open(on, Options::default());
    // Usual traffic: a thousand octets in each direction.
    script.write(1_000);
    script.expect_data(1_000);
    script.flow.take(1_000);
    for _ in 0..4 {
        script.send_data(vec![7; 1_000]);
    }
    script.run(ms(20));
    script.take_all();
    script.write(10);
    script.run(secs(60));
    for segment in make(&mut script) {
        script.send(&segment);
        script.take_all();
    }
    script.run(secs(41));
    assert_ledger(script.us.ledger(script.id), 1_010, 1_000);
    match script.state() {
        State::Closed(Cause::Unacknowledged) => true,
        State::Closed(Cause::Vanished) => false,
        other => panic!("{other}"),
    }
}

/// RFC 5961, 5.2: an ACK number out of range is not the peer's. Segments with random
/// numbers do not count as hearing the peer: they would keep a dead connection open.
fn row_69_blind_segment_is_not_heard(on: Setting) {
    for seed in 0..8 {
        let forged = |script: &mut Script| {
            // SplitMix64.
            let mut state: u64 = seed;
            let mut random = move || {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (mixed ^ (mixed >> 31)) as u32
            };
            let flow = script.flow;
            let mut forge = |payload: &[u8]| {
                let segment = flow.ack().with_payload(payload);
                segment.with_seq(random()).with_ack(random())
            };
            (0..50).flat_map(|_| [forge(b""), forge(b"x")]).collect()
        };
        assert!(!is_heard(on, forged), "seed {seed}");
    }
}

/// What the peer can have sent counts as hearing it: data older by up to one receive
/// buffer and one octet, and ACK numbers older by up to the most that was in flight.
/// Anything older does not.
fn row_69_limits_of_what_counts_as_heard(on: Setting) {
    let at = |seq: u32, ack: u32| {
        is_heard(on, move |script| {
            let flow = script.flow;
            let segment = flow.ack().with_seq(flow.seq.wrapping_sub(seq));
            vec![segment.with_ack(flow.ack.wrapping_sub(ack))]
        })
    };
    let back = RX as u32;
    assert!(at(0, 0), "what comes next");
    assert!(at(1, 0), "a keep-alive");
    assert!(at(back, 0), "data sent again");
    assert!(at(0, 1_000), "it was overtaken");
    assert!(!at(back + 2, 0), "older than any window");
    assert!(!at(3_999, 0), "older than any window");
    assert!(!at(1 << 20, 0), "older than any window");
    assert!(!at(0, 1_010), "an older acknowledgement than any in flight");
    assert!(
        !at(0, 1 << 20),
        "an older acknowledgement than any in flight"
    );
    assert!(!at(1 << 20, 1 << 20));
}
