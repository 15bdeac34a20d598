//! The linker's proof that the core of `lastbyte` cannot panic.
//!
//! The panic handler of this program calls an undefined symbol. The program calls every
//! public function of the core, with values that the compiler cannot know. If the
//! optimiser can show that none of them panics, the handler is unreachable and removed,
//! and the program links. If one panic path is left, such as an index, an overflow or an
//! `unwrap`, linking fails with `undefined symbol: a_panic_path_is_left`.
//!
//! Overflow checks are on, so arithmetic is part of the proof. One thing is left out: the
//! derived `Debug` of a struct with six fields or more, which contains an assertion of
//! the standard library. The program is never run.
//!
//! The layer over smoltcp is checked in another way: see `stack.rs`.
#![no_std]
#![no_main]

#[path = "../pipe.rs"]
mod pipe;

use core::fmt::Write as _;
use core::hint::black_box;
use core::panic::PanicInfo;
use core::time::Duration;
use embedded_io::Error as _;
use lastbyte::core::transition::{Table, transition};
use lastbyte::core::{Connection, Event, Nagle, OptionsBuilder, Sent, Setting, Window};
use lastbyte::{
    Cause, Clock, ClosedBy, How, Instant, Ledger, OnPeerFin, OnReceive, Options, ReadError, State,
    Timeout, WriteError,
};

unsafe extern "C" {
    fn a_panic_path_is_left() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: the symbol does not exist, so a program that could reach this does not
    // link.
    unsafe { a_panic_path_is_left() }
}

/// The entry point, from which the linker finds what is used.
///
/// The connection persists between the rounds and `call` is unknown to the compiler, so
/// every function is compiled for every state.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let mut connection = black_box(Connection::new(black_box(1)));
    let mut board = Board;
    loop {
        let now = board.now();
        make_calls(&mut connection, now);
        take_facts(&mut connection, now);
        query(&mut connection, now);
        decide();
        build_options();
        errors(connection.ledger());
        time(now);
        pipe::calls();
        #[cfg(feature = "sabotage")]
        sabotage();
        board.wait(Some(connection.poll_timeout()));
    }
}

/// A value that the compiler does not know.
fn any<T: Copy>(some: T) -> T {
    black_box(some)
}

fn any_u64() -> u64 {
    any(0)
}

fn any_duration() -> Duration {
    any(Duration::ZERO)
}

fn any_policy() -> OnPeerFin {
    any(OnPeerFin::Refuse)
}

/// Makes a computed value count as used.
fn used<T>(value: T) {
    let _ = black_box(value);
}

struct Board;

impl Clock for Board {
    fn now(&mut self) -> Instant {
        Instant::from_micros(any_u64())
    }

    fn wait(&mut self, until: Option<Instant>) {
        used(until);
    }
}

/// Accepts text and discards it.
struct Sink;

impl core::fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        used(text);
        if any(false) {
            Err(core::fmt::Error)
        } else {
            Ok(())
        }
    }
}

fn print(what: impl core::fmt::Display) {
    used(write!(Sink, "{what}"));
}

fn print_debug(what: impl core::fmt::Debug) {
    used(write!(Sink, "{what:?}"));
}

fn make_calls(connection: &mut Connection, now: Instant) {
    let options = any(Options::default());
    match any(0_u8) {
        0 => used(connection.handle_connect(options, now)),
        1 => used(connection.handle_listen(options, now)),
        2 => used(connection.handle_write()),
        3 => used(connection.handle_accepted(any_u64(), now)),
        4 => used(connection.handle_finish(now)),
        5 => used(connection.handle_abort(now)),
        _ => used(connection.handle_release(now)),
    }
    used(&mut *connection);
}

fn take_facts(connection: &mut Connection, now: Instant) {
    match any(0_u8) {
        0 => connection.handle_handshake_started(now),
        1 => connection.handle_handshake_dropped(),
        2 => used(connection.handle_established(now)),
        3 => connection.handle_pending(any_u64(), now),
        4 => connection.handle_heard(any(Window::Open), now),
        5 => connection.handle_sent(any(Sent::Syn), now),
        6 => used(connection.handle_fin(now)),
        7 => used(connection.handle_rst(now)),
        8 => used(connection.handle_fin_acknowledged(now)),
        9 => used(connection.handle_unreachable(now)),
        10 => used(connection.handle_address_lost(now)),
        11 => connection.handle_link(any(true)),
        12 => connection.handle_discarded(any_u64()),
        _ => used(connection.handle_timeout(now)),
    }
    used(&mut *connection);
}

fn query(connection: &mut Connection, now: Instant) {
    used(connection.poll_timeout());
    used(connection.poll_advice());
    used(connection.state());
    used(connection.ledger());
    used(connection.options());
    used(connection.poll_retry());
    used(connection.is_flushed());
    used(connection.error());
    used(connection.call_timed_out(now));
    used(connection.outcome());
    used(connection.progress(any(true)));
    used(connection.report(now));
}

fn decide() {
    let (state, event) = (any(State::Idle), any(Event::Connect));
    let cell = any(transition(state, event));
    used((state.is_closed(), state.is_established(), state.cause()));
    used((State::ALL, Event::ALL, Cause::ALL));
    print(state);
    print(event);
    print(cell.action);
    print(Table);
    print_debug(cell);
    let cause = any(Cause::Finished);
    used(cause.name());
    print(cause);
}

fn build_options() {
    let set = |builder: OptionsBuilder| match any(0_u8) {
        0 => builder.connect_timeout(any_duration()),
        1 => builder.user_timeout(any_duration()),
        2 => builder.call_timeout(any_duration()),
        3 => builder.finish_timeout(any_duration()),
        4 => builder.stall_advice_after(any_duration()),
        5 => builder.keep_alive(any_duration()),
        6 => builder.on_peer_fin(any_policy()),
        7 => builder.on_receive(any(OnReceive::Keep)),
        _ => builder.nagle(any(Nagle::On)),
    };
    match set(set(any(Options::builder()))).build() {
        Ok(options) => {
            let options = any(options);
            used((options.connect_timeout(), options.user_timeout()));
            used((options.call_timeout(), options.finish_timeout()));
            used((options.stall_advice_after(), options.keep_alive()));
            used((options.on_peer_fin(), options.on_receive()));
            used(options.nagle());
        }
        Err(error) => {
            print(error);
            print_debug(error);
        }
    }
    used(any(Setting::Call).name());
}

fn errors(ledger: Ledger) {
    let ledger = any(ledger);
    used((ledger.accepted(), ledger.acknowledged()));
    used((ledger.pending(), ledger.undelivered()));
    used(Ledger::default());
    let error = match any(0_u8) {
        0 => WriteError::of_cause(any(Cause::Finished), ledger),
        1 => WriteError::PeerClosed {
            how: any(How::Fin),
            ledger,
        },
        2 => WriteError::TimedOut {
            why: any(Timeout::Call),
            ledger,
        },
        3 => WriteError::Closed {
            by: any(ClosedBy::Abort),
            ledger,
        },
        4 => WriteError::NotOpen { ledger },
        _ => WriteError::LedgerFull { ledger },
    };
    let error = any(error);
    used((error.ledger(), error.cause(), error.kind()));
    print(error);
    print_debug(error);
    let read = any(ReadError::from(error));
    used(read.kind());
    print(read);
    print_debug(read);
}

fn time(now: Instant) {
    let other = Instant::from_millis(any_u64());
    used(now.since(other));
    used(now + any_duration());
    used((now.as_micros(), now == Instant::NEVER, now < Instant::ZERO));
    print_debug(now);
}

/// An index without a check.
#[cfg(feature = "sabotage")]
fn sabotage() {
    let table = any([0_u8; 4]);
    used(table[any(0_usize)]);
}
