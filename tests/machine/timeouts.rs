//! Each limit on its own, in virtual time, to the microsecond.

use lastbyte::{
    Action, Advice, Cause, Connection, Instant, Nagle, OnPeerFin, OnReceive, Options,
    OptionsBuilder, OptionsError, Retry, Sent, Setting, State, Timeout, Window, WriteError,
};
use std::time::Duration;

const MICROSECOND: Duration = Duration::from_micros(1);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn secs(secs: u64) -> Instant {
    at(secs * 1_000)
}

fn just_before(instant: Instant) -> Instant {
    Instant::from_micros(instant.as_micros() - 1)
}

#[track_caller]
fn connecting(options: Options) -> Connection {
    let mut connection = Connection::new(1);
    let action = connection.handle_connect(options, at(0));
    assert_eq!(action, Action::StartConnect);
    connection
}

/// Open since the epoch.
#[track_caller]
fn open_with(options: Options) -> Connection {
    let mut connection = connecting(options);
    connection.handle_sent(Sent::Syn, at(0));
    let _ = connection.handle_established(at(0));
    assert_eq!(connection.state(), State::Open);
    connection
}

#[track_caller]
fn open() -> Connection {
    open_with(Options::default())
}

#[track_caller]
fn write(connection: &mut Connection, bytes: u64, now: Instant) {
    assert!(connection.handle_write().is_ok());
    connection.handle_accepted(bytes, now).unwrap();
}

/// The peer acknowledges all but `pending` bytes.
fn hear(connection: &mut Connection, pending: u64, window: Window, now: Instant) {
    connection.handle_pending(pending, now);
    connection.handle_heard(window, now);
}

/// Time passes to `until`, from timer to timer; what that led to.
#[track_caller]
fn pass_to(connection: &mut Connection, until: Instant) {
    for _ in 0..10_000 {
        let due = connection.poll_timeout();
        if due > until {
            return;
        }
        let _ = connection.handle_timeout(due);
    }
    panic!("the timers do not come to rest");
}

/// It lives until just before `end`, and ends at `end` with this cause.
#[track_caller]
fn ends_at(connection: &mut Connection, end: Instant, cause: Cause) {
    pass_to(connection, just_before(end));
    assert!(!connection.state().is_closed(), "ended too early");
    let action = connection.handle_timeout(end);
    assert_eq!(action, Action::Reset);
    assert_eq!(connection.state(), State::Closed(cause));
}

// ---- connect ----

#[test]
fn connecting_without_a_syn_on_the_wire_ends_as_unreachable() {
    let mut connection = connecting(Options::default());
    ends_at(&mut connection, secs(30), Cause::Unreachable);
}

#[test]
fn connecting_with_an_unanswered_syn_ends_as_connect_timeout() {
    let mut connection = connecting(Options::default());
    connection.handle_sent(Sent::Syn, at(1));
    connection.handle_sent(Sent::Syn, secs(29));
    ends_at(&mut connection, secs(30), Cause::ConnectTimeout);
}

#[test]
fn the_connect_timeout_ends_with_the_handshake() {
    let mut connection = open();
    assert_eq!(connection.poll_timeout(), Instant::NEVER);
    assert_eq!(connection.handle_timeout(secs(1_000_000)), Action::None);
    assert_eq!(connection.state(), State::Open);
}

#[test]
fn a_listener_drops_a_handshake_that_takes_too_long_and_gives_the_next_its_own_time() {
    let mut listener = Connection::new(1);
    let short = Options::builder().connect_timeout(Duration::from_secs(4));
    let _ = listener.handle_listen(short.build().expect("sound"), at(0));
    assert_eq!(listener.poll_timeout(), Instant::NEVER);
    for start in [100, 500] {
        listener.handle_handshake_started(secs(start));
        // A SYN that comes twice does not extend it.
        listener.handle_handshake_started(secs(start + 2));
        pass_to(&mut listener, just_before(secs(start + 4)));
        assert_eq!(listener.poll_timeout(), secs(start + 4));
        assert_eq!(listener.handle_timeout(secs(start + 4)), Action::Relisten);
        assert_eq!(listener.state(), State::Listening);
        assert_eq!(listener.poll_timeout(), Instant::NEVER);
    }
}

#[test]
fn a_listener_whose_address_is_lost_ends() {
    let mut listener = Connection::new(1);
    let _ = listener.handle_listen(Options::default(), at(0));
    listener.handle_handshake_started(at(0));
    assert_eq!(listener.handle_address_lost(at(1)), Action::Reset);
    assert_eq!(listener.state(), State::Closed(Cause::AddressLost));
    assert_eq!(listener.poll_timeout(), Instant::NEVER);
}

// ---- silence ----

#[test]
fn silence_runs_from_the_first_segment_that_got_no_answer() {
    let mut connection = open();
    // Idleness before the write does not count.
    write(&mut connection, 100, secs(500));
    connection.handle_sent(Sent::Demanding, secs(500));
    connection.handle_sent(Sent::Retransmission, secs(501));
    connection.handle_sent(Sent::Retransmission, secs(540));
    write(&mut connection, 100, secs(550));
    ends_at(&mut connection, secs(600), Cause::Vanished);
    let error = connection.handle_write().unwrap_err();
    assert_eq!(error.ledger().undelivered(), 200);
}

#[test]
fn a_peer_that_owes_no_answer_may_be_silent_for_ever() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    hear(&mut connection, 0, Window::Open, secs(1));
    assert_eq!(connection.poll_timeout(), Instant::NEVER);
    pass_to(&mut connection, secs(1_000_000));
    assert_eq!(connection.state(), State::Open);
}

#[test]
fn a_peer_that_answers_probes_but_does_not_read_never_vanishes() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    hear(&mut connection, 60, Window::Zero, secs(1));
    for round in 1..200 {
        // Probes come a minute apart, longer than which nothing is heard.
        connection.handle_sent(Sent::Demanding, secs(60 * round));
        hear(&mut connection, 60, Window::Zero, secs(60 * round + 1));
        pass_to(&mut connection, secs(60 * round + 59));
        assert_eq!(connection.state(), State::Open);
    }
}

#[test]
fn a_zero_window_probe_without_an_answer_starts_silence() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    hear(&mut connection, 60, Window::Zero, secs(1));
    connection.handle_sent(Sent::Demanding, secs(50));
    connection.handle_sent(Sent::Demanding, secs(110));
    // The next probe decides. It is due within 75 s, and has two seconds for its answer.
    let mut unsent = connection;
    ends_at(&mut unsent, secs(186), Cause::Vanished);
    pass_to(&mut connection, secs(169));
    connection.handle_sent(Sent::Demanding, secs(169));
    ends_at(&mut connection, secs(171), Cause::Vanished);
}

#[test]
fn a_write_into_a_zero_window_demands_no_answer_yet() {
    let mut connection = open();
    hear(&mut connection, 0, Window::Zero, at(0));
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, secs(70));
    ends_at(&mut connection, secs(170), Cause::Vanished);
}

#[test]
fn probes_that_cannot_leave_count_as_silence_in_the_end() {
    let mut connection = open();
    hear(&mut connection, 0, Window::Zero, at(0));
    write(&mut connection, 100, at(0));
    // A probe is due within 75 s; then the user timeout.
    ends_at(&mut connection, secs(75 + 100), Cause::Vanished);
}

#[test]
fn a_fin_of_ours_that_is_not_answered_is_silence() {
    let mut connection = open_with(limits(|b| b.finish_timeout(Duration::from_secs(300))));
    let _ = connection.handle_finish(at(0));
    connection.handle_sent(Sent::Demanding, secs(5));
    ends_at(&mut connection, secs(105), Cause::Vanished);
}

// ---- finish ----

#[test]
fn the_finish_timeout_is_absolute() {
    let mut connection = open();
    write(&mut connection, 1_000, secs(9));
    assert_eq!(connection.handle_finish(secs(10)), Action::SendFin);
    for second in 11..40 {
        hear(&mut connection, 1_000 - second, Window::Open, secs(second));
        // Asking again is no new time.
        let _ = connection.handle_finish(secs(second));
    }
    ends_at(&mut connection, secs(40), Cause::FinishTimeout);
    assert!(connection.ledger().undelivered() > 0);
}

/// The handshake and the finish share a timer.
#[test]
fn a_late_fact_of_the_handshake_does_not_stop_the_finish_timeout() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    let _ = connection.handle_finish(secs(10));
    assert_eq!(connection.handle_established(secs(11)), Action::Ignore);
    connection.handle_handshake_dropped();
    connection.handle_handshake_started(secs(12));
    ends_at(&mut connection, secs(40), Cause::FinishTimeout);
}

#[test]
fn a_drain_behind_the_peers_fin_is_bounded_and_tells_the_fin() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    let _ = connection.handle_fin(at(0));
    let _ = connection.handle_finish(at(0));
    ends_at(&mut connection, secs(30), Cause::PeerFinished);
    assert!(connection.outcome().is_some_and(|end| end.is_err()));
}

#[test]
fn a_finish_that_is_answered_ends_the_limits() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    let _ = connection.handle_finish(at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    assert_eq!(connection.handle_fin_acknowledged(secs(29)), Action::None);
    assert_eq!(connection.outcome(), Some(Ok(())));
    assert_eq!(connection.poll_timeout(), Instant::NEVER);
    let report = connection.report(secs(50));
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_eq!(report.ledger.acknowledged(), 100);
    assert_eq!(report.elapsed, Duration::from_secs(29));
}

// ---- stall advice ----

#[test]
fn three_retransmissions_without_progress_are_told_once() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    for time in [1, 2] {
        connection.handle_sent(Sent::Retransmission, secs(time));
        assert_eq!(connection.poll_advice(), None);
    }
    connection.handle_sent(Sent::Retransmission, secs(3));
    assert!(connection.progress(false).is_stalled);
    assert_eq!(connection.poll_advice(), Some(Advice::Stalled));
    connection.handle_sent(Sent::Retransmission, secs(4));
    pass_to(&mut connection, secs(20));
    assert_eq!(connection.poll_advice(), None);
    // Being heard is not progress; an acknowledgement is.
    hear(&mut connection, 100, Window::Open, secs(21));
    assert!(connection.progress(false).is_stalled);
    hear(&mut connection, 99, Window::Open, secs(22));
    assert!(!connection.progress(false).is_stalled);
    for time in [23, 24, 25] {
        assert_eq!(connection.poll_advice(), None);
        connection.handle_sent(Sent::Retransmission, secs(time));
    }
    assert_eq!(connection.poll_advice(), Some(Advice::Stalled));
    assert_eq!(connection.state(), State::Open);
}

#[test]
fn ten_seconds_without_progress_are_told() {
    let mut connection = open();
    write(&mut connection, 100, secs(1));
    write(&mut connection, 100, secs(5));
    pass_to(&mut connection, just_before(secs(11)));
    assert_eq!(connection.poll_advice(), None);
    pass_to(&mut connection, secs(11));
    assert_eq!(connection.poll_advice(), Some(Advice::Stalled));
}

#[test]
fn progress_gives_new_time_and_a_drained_connection_is_not_stalled() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    hear(&mut connection, 50, Window::Open, secs(9));
    pass_to(&mut connection, just_before(secs(19)));
    assert_eq!(connection.poll_advice(), None);
    hear(&mut connection, 0, Window::Open, just_before(secs(19)));
    pass_to(&mut connection, secs(100));
    assert_eq!(connection.poll_advice(), None);
    assert!(!connection.progress(false).is_stalled);
}

// ---- tries ----

/// Time passes to `until`; what is to be sent again, and when. Nothing of that leaves.
#[track_caller]
fn tries_to(connection: &mut Connection, until: Instant) -> Vec<(Instant, Retry)> {
    let mut tries = Vec::new();
    for _ in 0..10_000 {
        let due = connection.poll_timeout();
        if due > until {
            return tries;
        }
        let _ = connection.handle_timeout(due);
        match connection.poll_retry() {
            Retry::None => {}
            retry => tries.push((due, retry)),
        }
    }
    panic!("the timers do not come to rest");
}

/// When the oldest segment is to be sent again.
fn resends_to(connection: &mut Connection, until: Instant) -> Vec<Instant> {
    let tries = tries_to(connection, until).into_iter();
    tries
        .filter(|(_, retry)| *retry == Retry::Resend)
        .map(|(at, _)| at)
        .collect()
}

fn patient(user_secs: u64) -> Options {
    limits(|builder| builder.user_timeout(Duration::from_secs(user_secs)))
}

#[test]
fn tries_are_a_quarter_of_the_user_timeout_apart_and_the_last_is_two_seconds_before_its_end() {
    let mut connection = open_with(patient(40));
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    let due = [10, 20, 30, 38].map(secs);
    assert_eq!(resends_to(&mut connection, just_before(secs(40))), due);
    ends_at(&mut connection, secs(40), Cause::Vanished);
}

#[test]
fn a_short_timeout_has_its_last_try_at_half_of_it() {
    let mut connection = open_with(patient(3));
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    let due = [1_000, 1_500, 2_500].map(at);
    assert_eq!(resends_to(&mut connection, at(2_999)), due);
    ends_at(&mut connection, secs(3), Cause::Vanished);
}

#[test]
fn after_a_time_without_polls_a_try_comes_before_the_verdict() {
    let mut connection = open_with(patient(40));
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    assert_eq!(connection.handle_timeout(secs(500)), Action::None);
    assert_eq!(connection.poll_retry(), Retry::Resend);
    assert_eq!(connection.poll_retry(), Retry::None);
    ends_at(&mut connection, secs(502), Cause::Vanished);
    // So it is with the handshake and with finishing.
    let mut connection = connecting(Options::default());
    connection.handle_sent(Sent::Syn, at(0));
    assert_eq!(connection.handle_timeout(secs(500)), Action::None);
    assert_eq!(connection.poll_retry(), Retry::Resend);
    ends_at(&mut connection, secs(502), Cause::ConnectTimeout);
    let mut connection = open_with(patient(1_000));
    let _ = connection.handle_finish(at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    assert_eq!(connection.handle_timeout(secs(500)), Action::None);
    assert_eq!(connection.poll_retry(), Retry::Resend);
    ends_at(&mut connection, secs(502), Cause::FinishTimeout);
}

#[test]
fn connecting_and_finishing_try_again_in_quarters_and_before_their_end() {
    let mut connection = connecting(Options::default());
    for time in [0, 1, 3, 7] {
        connection.handle_sent(Sent::Syn, secs(time));
    }
    let due = [14_500, 22_000, 28_000].map(at);
    assert_eq!(resends_to(&mut connection, just_before(secs(30))), due);
    ends_at(&mut connection, secs(30), Cause::ConnectTimeout);

    let mut connection = open();
    let _ = connection.handle_finish(at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    let due = [7_500, 15_000, 22_500, 28_000].map(at);
    assert_eq!(resends_to(&mut connection, just_before(secs(30))), due);
    ends_at(&mut connection, secs(30), Cause::FinishTimeout);
}

/// The stack below backs off to a minute and stays there until it has measured a round trip
/// (RFC 6298, 5.7).
#[test]
fn acknowledged_bytes_end_the_back_off() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    for time in [1, 3, 7, 15, 31] {
        connection.handle_sent(Sent::Retransmission, secs(time));
    }
    hear(&mut connection, 0, Window::Open, secs(32));
    write(&mut connection, 100, secs(60));
    connection.handle_sent(Sent::Demanding, secs(60));
    assert_eq!(resends_to(&mut connection, secs(61)), [secs(61)]);
    connection.handle_sent(Sent::Retransmission, secs(61));
    assert_eq!(resends_to(&mut connection, secs(63)), [secs(63)]);
    connection.handle_sent(Sent::Retransmission, secs(63));
    hear(&mut connection, 0, Window::Open, secs(64));
    // Sent once, and acknowledged: the stack below knows the round trip again.
    write(&mut connection, 100, secs(65));
    connection.handle_sent(Sent::Demanding, secs(65));
    hear(&mut connection, 0, Window::Open, secs(66));
    write(&mut connection, 100, secs(70));
    connection.handle_sent(Sent::Demanding, secs(70));
    assert_eq!(resends_to(&mut connection, secs(94)), []);
    assert_eq!(resends_to(&mut connection, secs(95)), [secs(95)]);
}

/// A fast retransmission says nothing of the timeout.
#[test]
fn what_is_repeated_after_the_peer_was_heard_is_no_back_off() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    connection.handle_heard(Window::Open, at(100));
    connection.handle_sent(Sent::Retransmission, at(200));
    assert_eq!(resends_to(&mut connection, secs(24)), []);
}

#[test]
fn a_link_that_comes_back_asks_for_a_try_at_once() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    connection.handle_link(true);
    assert_eq!(connection.poll_retry(), Retry::None);
    connection.handle_link(false);
    assert_eq!(connection.poll_retry(), Retry::None);
    connection.handle_link(true);
    assert_eq!(connection.poll_retry(), Retry::Resend);
    assert_eq!(connection.poll_retry(), Retry::None);
}

// ---- progress ----

/// The stack below probes the closed window each minute, and the peer answers.
fn answered_probes_to(connection: &mut Connection, pending: u64, end: Instant) {
    while connection.poll_timeout() < end {
        let probe_at = connection.poll_timeout() + Duration::from_secs(55);
        pass_to(connection, probe_at);
        assert_eq!(connection.state(), State::Open);
        connection.handle_sent(Sent::Demanding, probe_at);
        hear(connection, pending, Window::Zero, probe_at);
    }
}

#[test]
fn a_peer_that_chats_and_acknowledges_nothing_ends_the_connection() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    for time in 1..100 {
        pass_to(&mut connection, secs(time));
        hear(&mut connection, 100, Window::Open, secs(time));
    }
    ends_at(&mut connection, secs(100), Cause::Unacknowledged);
}

#[test]
fn acknowledged_bytes_and_a_closed_window_set_the_user_timeout_anew() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    hear(&mut connection, 50, Window::Open, secs(90));
    hear(&mut connection, 50, Window::Zero, secs(180));
    answered_probes_to(&mut connection, 50, secs(1_000));
    hear(&mut connection, 50, Window::Open, secs(1_000));
    hear(&mut connection, 50, Window::Open, secs(1_099));
    ends_at(&mut connection, secs(1_100), Cause::Unacknowledged);
}

/// RFC 9293, MUST-37. Only the stack below knows when it sends the next probe.
#[test]
fn one_lost_answer_to_a_probe_of_a_closed_window_ends_nothing() {
    let mut connection = open_with(patient(20));
    write(&mut connection, 100, at(0));
    hear(&mut connection, 100, Window::Zero, at(0));
    connection.handle_sent(Sent::Demanding, secs(60));
    pass_to(&mut connection, secs(119));
    assert_eq!(connection.state(), State::Open);
    connection.handle_sent(Sent::Demanding, secs(120));
    hear(&mut connection, 100, Window::Zero, secs(120));
    answered_probes_to(&mut connection, 100, secs(1_000));
    // Where none can leave, it ends all the same.
    connection.handle_sent(Sent::Demanding, secs(1_000));
    pass_to(&mut connection, secs(1_100));
    assert_eq!(connection.state(), State::Closed(Cause::Vanished));
}

// ---- keep-alive ----

#[test]
fn an_idle_connection_is_probed_at_the_interval_and_not_without_one() {
    let mut connection = open();
    assert_eq!(tries_to(&mut connection, secs(100_000)), []);
    let interval = Duration::from_secs(45);
    let mut connection = open_with(limits(|builder| builder.keep_alive(interval)));
    assert_eq!(resends_to(&mut connection, secs(45)), [secs(45)]);
    connection.handle_sent(Sent::Demanding, secs(45));
    connection.handle_heard(Window::Open, secs(46));
    assert_eq!(resends_to(&mut connection, secs(91)), [secs(91)]);
}

#[test]
fn a_late_answer_to_a_probe_does_not_delay_the_next() {
    let interval = Duration::from_secs(5);
    let mut connection = open_with(limits(|builder| builder.keep_alive(interval)));
    assert_eq!(resends_to(&mut connection, secs(5)), [secs(5)]);
    connection.handle_sent(Sent::Demanding, secs(5));
    assert_eq!(resends_to(&mut connection, secs(8)), []);
    connection.handle_heard(Window::Open, secs(8));
    assert_eq!(resends_to(&mut connection, secs(13)), [secs(13)]);
}

/// The advice that was given before bytes were acknowledged is given again.
#[test]
fn advice_after_late_progress_is_due_as_early_as_any() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    pass_to(&mut connection, secs(10));
    assert_eq!(connection.poll_advice(), Some(Advice::Stalled));
    hear(&mut connection, 50, Window::Open, secs(10));
    pass_to(&mut connection, secs(20));
    assert_eq!(connection.poll_advice(), Some(Advice::Stalled));
}

/// The interval may be longer than the user timeout: RFC 9293, MUST-29.
#[test]
fn an_idle_peer_has_four_probes_before_it_counts_as_vanished() {
    let hours = Duration::from_secs(2 * 3_600);
    for leaves in [false, true] {
        let mut connection = open_with(limits(|builder| builder.keep_alive(hours)));
        for time in [7_200, 7_225, 7_250, 7_275, 7_298] {
            let due = secs(time);
            assert_eq!(resends_to(&mut connection, due), [due]);
            if leaves {
                connection.handle_sent(Sent::Demanding, due);
            }
        }
        ends_at(&mut connection, secs(7_300), Cause::Vanished);
    }
}

// ---- calls ----

#[test]
fn a_call_that_took_too_long_says_whether_the_peer_was_heard() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    let ledger = connection.ledger();
    let why = |why| WriteError::TimedOut { why, ledger };
    assert_eq!(connection.call_timed_out(secs(1)), why(Timeout::Call));
    connection.handle_heard(Window::Open, secs(2));
    // Heard, and its window is open: it reads.
    assert_eq!(connection.call_timed_out(secs(1)), why(Timeout::Call));
    // At a closed window the pause between answered probes is no silence.
    connection.handle_heard(Window::Zero, secs(3));
    assert_eq!(connection.call_timed_out(secs(4)), why(Timeout::NotReading));
    connection.handle_sent(Sent::Demanding, secs(5));
    assert_eq!(connection.call_timed_out(secs(4)), why(Timeout::Call));
    connection.handle_heard(Window::Zero, secs(6));
    assert_eq!(connection.call_timed_out(secs(6)), why(Timeout::NotReading));
    assert_eq!(connection.call_timed_out(secs(1)).cause(), None);
    assert_eq!(connection.state(), State::Open);
}

#[test]
fn a_call_is_not_blamed_on_a_peer_that_is_not_there() {
    let connection = connecting(Options::default());
    let ledger = connection.ledger();
    let why = Timeout::Call;
    let error = WriteError::TimedOut { why, ledger };
    assert_eq!(connection.call_timed_out(at(0)), error);
    // Nor on one that has gone.
    let mut ended = open();
    ended.handle_heard(Window::Open, at(2));
    let _ = ended.handle_rst(at(3));
    assert_eq!(ended.call_timed_out(at(1)), error);
}

// ---- link ----

#[test]
fn a_link_that_was_down_is_told_beside_the_cause() {
    let mut connection = open();
    connection.handle_link(true);
    assert!(!connection.report(at(1)).link_was_down);
    connection.handle_link(false);
    connection.handle_link(true);
    let _ = connection.handle_rst(at(2));
    assert!(connection.report(at(3)).link_was_down);
    assert_eq!(connection.state(), State::Closed(Cause::PeerReset));

    let mut ended = open();
    let _ = ended.handle_rst(at(2));
    ended.handle_link(false);
    assert!(!ended.report(at(3)).link_was_down);
}

// ---- options ----

#[track_caller]
// ---- the report ----
#[test]
fn a_connection_that_was_released_or_never_opened_is_not_getting_older() {
    let never = Connection::new(1);
    assert_eq!(never.report(secs(50)).elapsed, Duration::ZERO);
    let mut connection = open();
    hear(&mut connection, 0, Window::Open, secs(7));
    let _ = connection.handle_abort(secs(20));
    let elapsed = Duration::from_secs(20);
    assert_eq!(connection.report(secs(50)).elapsed, elapsed);
    let _ = connection.handle_release(secs(60));
    assert_eq!(connection.report(secs(90)).elapsed, elapsed);
}

fn limits(set: impl FnOnce(OptionsBuilder) -> OptionsBuilder) -> Options {
    set(Options::builder()).build().unwrap()
}

type Setter = fn(OptionsBuilder, Duration) -> OptionsBuilder;
type Getter = fn(&Options) -> Option<Duration>;

const SETTINGS: [(Setting, Setter, Getter); 6] = [
    (Setting::Connect, OptionsBuilder::connect_timeout, |o| {
        Some(o.connect_timeout())
    }),
    (Setting::User, OptionsBuilder::user_timeout, |o| {
        Some(o.user_timeout())
    }),
    (Setting::Call, OptionsBuilder::call_timeout, |o| {
        Some(o.call_timeout())
    }),
    (Setting::Finish, OptionsBuilder::finish_timeout, |o| {
        Some(o.finish_timeout())
    }),
    (
        Setting::StallAdvice,
        OptionsBuilder::stall_advice_after,
        |o| Some(o.stall_advice_after()),
    ),
    (
        Setting::KeepAlive,
        OptionsBuilder::keep_alive,
        Options::keep_alive,
    ),
];

#[test]
fn the_defaults_are_those_of_the_contract() {
    let options = Options::default();
    let limits = SETTINGS.map(|(_, _, get)| get(&options).map(|limit| limit.as_secs()));
    assert_eq!(
        limits,
        [Some(30), Some(100), Some(60), Some(30), Some(10), None]
    );
    assert_eq!(options.on_peer_fin(), OnPeerFin::Refuse);
    assert_eq!(options.on_receive(), OnReceive::Discard);
    assert_eq!(options.nagle(), Nagle::On);
    assert_eq!(Options::builder().build(), Ok(options));
}

#[test]
fn each_limit_is_set_alone_and_never_shorter_than_asked_for() {
    for (limit, set, get) in SETTINGS {
        let asked = Duration::from_secs(7) + MICROSECOND;
        let options = limits(|builder| set(builder, asked));
        let given = get(&options).unwrap();
        assert_eq!(given, Duration::from_millis(7_001), "{limit:?}");
        let defaults = Options::default();
        for (other, _, get) in SETTINGS.iter().filter(|row| row.0 != limit) {
            assert_eq!(get(&options), get(&defaults), "{limit:?} set {other:?}");
        }
    }
    let options = limits(|builder| {
        builder
            .on_peer_fin(OnPeerFin::HalfClose)
            .on_receive(OnReceive::Keep)
            .nagle(Nagle::Off)
    });
    assert_eq!(options.on_peer_fin(), OnPeerFin::HalfClose);
    assert_eq!(options.on_receive(), OnReceive::Keep);
    assert_eq!(options.nagle(), Nagle::Off);
}

#[test]
fn a_limit_out_of_range_is_refused_by_name() {
    let longest = Duration::from_millis(u32::MAX.into());
    for (limit, set, get) in SETTINGS {
        let built = |duration| set(Options::builder(), duration).build();
        assert_eq!(built(Duration::ZERO), Err(OptionsError::Zero(limit)));
        assert_eq!(
            built(longest + MICROSECOND),
            Err(OptionsError::TooLong(limit))
        );
        assert_eq!(built(Duration::MAX), Err(OptionsError::TooLong(limit)));
        assert_eq!(get(&built(longest).unwrap()), Some(longest));
        let text = OptionsError::Zero(limit).to_string();
        assert!(text.contains(limit.name()), "{text}");
        let text = OptionsError::TooLong(limit).to_string();
        assert!(text.contains(limit.name()), "{text}");
    }
}

#[test]
fn the_first_mistake_is_told_and_setting_it_right_later_does_not_hide_it() {
    let built = Options::builder()
        .call_timeout(Duration::ZERO)
        .finish_timeout(Duration::MAX)
        .call_timeout(Duration::from_secs(1))
        .build();
    assert_eq!(built, Err(OptionsError::Zero(Setting::Call)));
}

#[test]
fn silence_must_outlast_one_retransmission_timeout() {
    let built = |millis| {
        let limit = Duration::from_millis(millis);
        Options::builder().user_timeout(limit).build().map(|_| ())
    };
    assert_eq!(
        built(1_000),
        Err(OptionsError::UserTimeoutWithinRetransmission)
    );
    assert_eq!(built(1_001), Ok(()));
    let text = OptionsError::UserTimeoutWithinRetransmission.to_string();
    assert!(text.contains("user timeout"), "{text}");
}

/// The stack below makes no segment of fewer octets.
#[test]
fn the_largest_segment_has_at_least_48_octets() {
    assert_eq!(Options::default().max_segment(), None);
    let built = |octets| {
        let options = Options::builder().max_segment(octets).build();
        options.map(|options| options.max_segment())
    };
    for octets in [0, 1, 47] {
        assert_eq!(built(octets), Err(OptionsError::MaxSegmentTooSmall));
    }
    for octets in [48, 1_220, u16::MAX] {
        assert_eq!(built(octets), Ok(Some(octets)));
    }
    // The first error counts.
    let both = Options::builder()
        .max_segment(1)
        .call_timeout(Duration::ZERO)
        .build();
    assert_eq!(both, Err(OptionsError::MaxSegmentTooSmall));
}
