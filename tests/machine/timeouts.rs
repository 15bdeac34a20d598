//! Each timeout on its own, in virtual time, to the microsecond.

use crate::support::*;
use lastbyte::core::{Action, Connection, Sent, Window};
use lastbyte::{Advice, Cause, Instant, Options, State, Timeout, WriteError};
use std::time::Duration;

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
        // A retransmitted SYN does not extend it.
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
fn a_peer_that_owes_no_answer_may_be_silent_without_bound() {
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
        // Probes are a minute apart, and the peer is silent in between.
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
    // A probe is due within 75 s; after that the user timeout is reached.
    ends_at(&mut connection, secs(75 + 100), Cause::Vanished);
}

#[test]
fn a_fin_of_ours_that_is_not_answered_is_silence() {
    let mut connection = open_with(options(|b| b.finish_timeout(Duration::from_secs(300))));
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
        // A second call does not restart it.
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
fn a_drain_after_the_peers_fin_is_bounded_and_reports_the_fin() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    let _ = connection.handle_fin(at(0));
    let _ = connection.handle_finish(at(0));
    ends_at(&mut connection, secs(30), Cause::PeerFinished);
    assert!(connection.outcome().is_some_and(|end| end.is_err()));
}

#[test]
fn a_finish_that_is_answered_stops_the_timeouts() {
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
fn three_retransmissions_without_progress_are_reported_once() {
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
fn ten_seconds_without_progress_are_reported() {
    let mut connection = open();
    write(&mut connection, 100, secs(1));
    write(&mut connection, 100, secs(5));
    pass_to(&mut connection, just_before(secs(11)));
    assert_eq!(connection.poll_advice(), None);
    pass_to(&mut connection, secs(11));
    assert_eq!(connection.poll_advice(), Some(Advice::Stalled));
}

#[test]
fn progress_restarts_the_stall_time_and_a_drained_connection_is_not_stalled() {
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

// ---- progress ----

/// The TCP stack probes the closed window each minute, and the peer answers.
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
fn a_peer_that_sends_but_acknowledges_nothing_ends_the_connection() {
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
fn acknowledged_bytes_and_a_closed_window_restart_the_user_timeout() {
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

/// RFC 9293, MUST-37. Only the TCP stack knows when it sends the next probe.
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
    // If no probe can be sent, the connection still ends.
    connection.handle_sent(Sent::Demanding, secs(1_000));
    pass_to(&mut connection, secs(1_100));
    assert_eq!(connection.state(), State::Closed(Cause::Vanished));
}

// ---- calls ----

#[test]
fn the_error_of_a_timed_out_call_shows_whether_the_peer_was_heard() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    let ledger = connection.ledger();
    let why = |why| WriteError::TimedOut { why, ledger };
    assert_eq!(connection.call_timed_out(secs(1)), why(Timeout::Call));
    connection.handle_heard(Window::Open, secs(2));
    // Heard, and its window is open: it reads.
    assert_eq!(connection.call_timed_out(secs(1)), why(Timeout::Call));
    // At a closed window the pause between answered probes does not count as silence.
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
fn a_vanished_peer_is_not_reported_as_not_reading() {
    let connection = connecting(Options::default());
    let ledger = connection.ledger();
    let why = Timeout::Call;
    let error = WriteError::TimedOut { why, ledger };
    assert_eq!(connection.call_timed_out(at(0)), error);
    // Not on a closed connection either.
    let mut ended = open();
    ended.handle_heard(Window::Open, at(2));
    let _ = ended.handle_rst(at(3));
    assert_eq!(ended.call_timed_out(at(1)), error);
}

// ---- link ----

#[test]
fn a_link_that_was_down_is_reported_besides_the_cause() {
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

// ---- the report ----

#[test]
fn the_elapsed_time_of_a_released_or_unopened_connection_does_not_grow() {
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
