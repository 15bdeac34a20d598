//! A connection without a TCP stack, and time that the test advances.

use lastbyte::core::{Action, Connection, OptionsBuilder, Sent, Window};
use lastbyte::{Cause, Instant, Options, State};
use std::time::Duration;

pub const MICROSECOND: Duration = Duration::from_micros(1);

pub fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

pub fn secs(secs: u64) -> Instant {
    at(secs * 1_000)
}

pub fn just_before(instant: Instant) -> Instant {
    Instant::from_micros(instant.as_micros() - 1)
}

#[track_caller]
pub fn connecting(options: Options) -> Connection {
    let mut connection = Connection::new(1);
    let action = connection.handle_connect(options, at(0));
    assert_eq!(action, Action::StartConnect);
    connection
}

/// Open since the epoch.
#[track_caller]
pub fn open_with(options: Options) -> Connection {
    let mut connection = connecting(options);
    connection.handle_sent(Sent::Syn, at(0));
    let _ = connection.handle_established(at(0));
    assert_eq!(connection.state(), State::Open);
    connection
}

#[track_caller]
pub fn open() -> Connection {
    open_with(Options::default())
}

#[track_caller]
pub fn write(connection: &mut Connection, bytes: u64, now: Instant) {
    assert!(connection.handle_write().is_ok());
    connection.handle_accepted(bytes, now).unwrap();
}

/// The peer acknowledges all except `pending` bytes.
pub fn hear(connection: &mut Connection, pending: u64, window: Window, now: Instant) {
    connection.handle_pending(pending, now);
    connection.handle_heard(window, now);
}

/// Advances the time to `until`, from timer to timer. Returns the resulting actions.
#[track_caller]
pub fn pass_to(connection: &mut Connection, until: Instant) {
    for _ in 0..10_000 {
        let due = connection.poll_timeout();
        if due > until {
            return;
        }
        let _ = connection.handle_timeout(due);
    }
    panic!("the timers do not come to rest");
}

/// Asserts that it lives until just before `end`, and ends at `end` with this cause.
#[track_caller]
pub fn ends_at(connection: &mut Connection, end: Instant, cause: Cause) {
    pass_to(connection, just_before(end));
    assert!(!connection.state().is_closed(), "ended too early");
    let action = connection.handle_timeout(end);
    assert_eq!(action, Action::Reset);
    assert_eq!(connection.state(), State::Closed(cause));
}

#[track_caller]
pub fn options(set: impl FnOnce(OptionsBuilder) -> OptionsBuilder) -> Options {
    set(Options::builder()).build().unwrap()
}

pub fn patient(user_secs: u64) -> Options {
    options(|builder| builder.user_timeout(Duration::from_secs(user_secs)))
}
