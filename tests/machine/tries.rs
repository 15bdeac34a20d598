//! When a segment is due before smoltcp's own timer would send it: tries and keep-alive
//! probes.

use crate::support::*;
use lastbyte::core::{Action, Connection, Retry, Sent, Window};
use lastbyte::{Advice, Cause, Instant, Options};
use std::time::Duration;

// ---- tries ----

/// Advances the time to `until`. Returns what is to be sent again, and when. None of it is
/// sent.
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
fn after_a_time_without_polls_a_try_comes_before_the_end() {
    let mut connection = open_with(patient(40));
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    assert_eq!(connection.handle_timeout(secs(500)), Action::None);
    assert_eq!(connection.poll_retry(), Retry::Resend);
    assert_eq!(connection.poll_retry(), Retry::None);
    ends_at(&mut connection, secs(502), Cause::Vanished);
    // The same with the handshake and with finishing.
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

/// A neighbour may have answered while the stack was not polled: the SYN is sent once
/// before the end.
#[test]
fn a_syn_that_could_not_leave_is_due_once_more_after_a_time_without_polls() {
    let mut connection = connecting(Options::default());
    assert_eq!(connection.handle_timeout(secs(28)), Action::None);
    assert_eq!(connection.poll_retry(), Retry::Resend);
    assert_eq!(connection.handle_timeout(secs(90)), Action::None);
    assert_eq!(connection.poll_retry(), Retry::Resend);
    let mut unsent = connection;
    ends_at(&mut unsent, secs(92), Cause::Unreachable);
    // However late the end is checked, there is no third one.
    let mut late = connection;
    assert_eq!(late.handle_timeout(secs(900)), Action::Reset);
    connection.handle_sent(Sent::Syn, secs(91));
    ends_at(&mut connection, secs(93), Cause::ConnectTimeout);
}

/// A SYN that is sent late, because the neighbour was not resolved, has the full time for its
/// answer.
#[test]
fn the_first_syn_has_the_time_for_an_answer_however_late_it_leaves() {
    for (timeout, last) in [(30, 2_000), (2, 1_000)] {
        let mut connection =
            connecting(options(|o| o.connect_timeout(Duration::from_secs(timeout))));
        let late = just_before(secs(timeout));
        while connection.poll_timeout() < late {
            let _ = connection.handle_timeout(connection.poll_timeout());
        }
        connection.handle_sent(Sent::Syn, late);
        ends_at(
            &mut connection,
            late + Duration::from_millis(last),
            Cause::ConnectTimeout,
        );
    }
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

/// The TCP stack backs off to a minute and stays there until it has measured a round trip
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
    // Sent once, and acknowledged: the TCP stack has measured the round trip again.
    write(&mut connection, 100, secs(65));
    connection.handle_sent(Sent::Demanding, secs(65));
    hear(&mut connection, 0, Window::Open, secs(66));
    write(&mut connection, 100, secs(70));
    connection.handle_sent(Sent::Demanding, secs(70));
    assert_eq!(resends_to(&mut connection, secs(94)), []);
    assert_eq!(resends_to(&mut connection, secs(95)), [secs(95)]);
}

/// A fast retransmission does not show the retransmission timeout.
#[test]
fn a_retransmission_after_the_peer_was_heard_is_no_back_off() {
    let mut connection = open();
    write(&mut connection, 100, at(0));
    connection.handle_sent(Sent::Demanding, at(0));
    connection.handle_heard(Window::Open, at(100));
    connection.handle_sent(Sent::Retransmission, at(200));
    assert_eq!(resends_to(&mut connection, secs(24)), []);
}

#[test]
fn a_link_that_comes_back_makes_a_try_due_at_once() {
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

// ---- keep-alive ----

#[test]
fn an_idle_connection_is_probed_at_the_interval_and_not_without_one() {
    let mut connection = open();
    assert_eq!(tries_to(&mut connection, secs(100_000)), []);
    let interval = Duration::from_secs(45);
    let mut connection = open_with(options(|builder| builder.keep_alive(interval)));
    assert_eq!(resends_to(&mut connection, secs(45)), [secs(45)]);
    connection.handle_sent(Sent::Demanding, secs(45));
    connection.handle_heard(Window::Open, secs(46));
    assert_eq!(resends_to(&mut connection, secs(91)), [secs(91)]);
}

#[test]
fn a_late_answer_to_a_probe_does_not_delay_the_next() {
    let interval = Duration::from_secs(5);
    let mut connection = open_with(options(|builder| builder.keep_alive(interval)));
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
        let mut connection = open_with(options(|builder| builder.keep_alive(hours)));
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
