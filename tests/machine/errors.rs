//! Every error: its cause, its kind, its text and its ledger.

use embedded_io::{Error as _, ErrorKind};
use lastbyte::core::{Connection, OptionsError, Setting};
use lastbyte::stack::{ConfigError, Error, UnknownConnection};
use lastbyte::{Cause, ClosedBy, How, Instant, Ledger, Options, ReadError, Timeout, WriteError};

/// 30 accepted, 20 of them acknowledged.
fn ledger() -> Ledger {
    let now = Instant::ZERO;
    let mut connection = Connection::new(1);
    let _ = connection.handle_connect(Options::default(), now);
    let _ = connection.handle_established(now);
    connection.handle_accepted(30, now).unwrap();
    connection.handle_pending(10, now);
    connection.ledger()
}

type Row = (WriteError, Option<Cause>, ErrorKind, &'static str);

/// The ends of a connection, each with a word of its text.
#[rustfmt::skip]
fn ends() -> [Row; 11] {
    let ledger = ledger();
    let closed = |how| WriteError::PeerClosed { how, ledger };
    let timed_out = |why| WriteError::TimedOut { why, ledger };
    let own = |by| WriteError::Closed { by, ledger };
    let refused = WriteError::Refused { ledger };
    let unreachable = WriteError::Unreachable { ledger };
    let lost = WriteError::AddressLost { ledger };
    [
        (closed(How::Fin), Some(Cause::PeerFinished), ErrorKind::BrokenPipe, "FIN"),
        (closed(How::Reset), Some(Cause::PeerReset), ErrorKind::ConnectionReset, "RST"),
        (refused, Some(Cause::Refused), ErrorKind::ConnectionRefused, "refused"),
        (unreachable, Some(Cause::Unreachable), ErrorKind::AddrNotAvailable, "reached"),
        (timed_out(Timeout::Connect), Some(Cause::ConnectTimeout), ErrorKind::TimedOut, "connecting"),
        (timed_out(Timeout::Vanished), Some(Cause::Vanished), ErrorKind::TimedOut, "vanished"),
        (timed_out(Timeout::Unacknowledged), Some(Cause::Unacknowledged), ErrorKind::TimedOut, "acknowledges"),
        (timed_out(Timeout::Finish), Some(Cause::FinishTimeout), ErrorKind::TimedOut, "finishing"),
        (lost, Some(Cause::AddressLost), ErrorKind::AddrNotAvailable, "address"),
        (own(ClosedBy::Finish), Some(Cause::Finished), ErrorKind::NotConnected, "finished"),
        (own(ClosedBy::Abort), Some(Cause::Aborted), ErrorKind::ConnectionAborted, "aborted"),
    ]
}

/// Errors that do not end a connection.
#[rustfmt::skip]
fn others() -> [Row; 6] {
    let ledger = ledger();
    let timed_out = |why| WriteError::TimedOut { why, ledger };
    let too_long = WriteError::MessageTooLong { capacity: 9, ledger };
    [
        (timed_out(Timeout::Call), None, ErrorKind::TimedOut, "the connection lives"),
        (timed_out(Timeout::NotReading), None, ErrorKind::TimedOut, "does not read"),
        (WriteError::NotOpen { ledger }, None, ErrorKind::NotConnected, "not open"),
        (WriteError::LedgerFull { ledger }, None, ErrorKind::OutOfMemory, "count"),
        (WriteError::WouldBlock { ledger }, None, ErrorKind::Other, "no room at present"),
        (too_long, None, ErrorKind::InvalidInput, "longer than the transmit buffer"),
    ]
}

fn errors() -> impl Iterator<Item = Row> {
    ends().into_iter().chain(others())
}

#[test]
fn every_error_has_its_kind_its_cause_and_its_ledger() {
    for (error, cause, kind, _) in errors() {
        assert_eq!(error.cause(), cause, "{error:?}");
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(error.ledger(), ledger(), "{error:?}");
    }
}

#[test]
fn the_text_of_every_error_has_the_reason_and_the_ledger() {
    let account = "30 bytes accepted, 20 acknowledged, 10 not known to be delivered";
    let mut texts = Vec::new();
    for (error, _, _, word) in errors() {
        let text = error.to_string();
        let (what, bytes) = text.split_once(": ").unwrap();
        assert!(what.contains(word), "{text}");
        assert_eq!(bytes, account);
        assert!(
            !texts.contains(&text),
            "two errors have the same text: {text}"
        );
        texts.push(text);
    }
}

#[test]
fn causes_and_the_errors_of_an_end_are_one_to_one() {
    let mut ends = Vec::from(ends());
    for cause in Cause::ALL {
        let position = ends.iter().position(|end| end.1 == Some(cause));
        let (error, ..) = ends.remove(position.unwrap());
        assert_eq!(WriteError::of_cause(cause, ledger()), error);
    }
    assert!(ends.is_empty());
}

#[test]
fn the_names_of_the_causes_are_the_documented_ones() {
    assert_eq!(
        Cause::ALL.map(Cause::name),
        [
            "peer_finished",
            "peer_reset",
            "refused",
            "unreachable",
            "connect_timeout",
            "vanished",
            "unacknowledged",
            "finish_timeout",
            "address_lost",
            "finished",
            "aborted",
        ]
    );
    for cause in Cause::ALL {
        assert_eq!(cause.to_string(), cause.name());
    }
}

#[test]
fn a_read_error_reports_the_end_of_the_connection_unchanged() {
    for (error, _, kind, _) in errors() {
        let read = ReadError::from(error);
        assert_eq!(read, ReadError::Ended(error));
        assert_eq!(read.kind(), kind);
        assert_eq!(read.to_string(), error.to_string());
    }
    assert_eq!(ReadError::Discarding.kind(), ErrorKind::Unsupported);
    assert!(
        ReadError::Discarding
            .to_string()
            .contains("OnReceive::Keep")
    );
}

#[test]
fn options_out_of_range_are_named_in_plain_words() {
    for (limit, name) in [
        (Setting::Connect, "connect timeout"),
        (Setting::User, "user timeout"),
        (Setting::Call, "call timeout"),
        (Setting::Finish, "finish timeout"),
        (Setting::StallAdvice, "stall advice time"),
        (Setting::KeepAlive, "keep-alive interval"),
    ] {
        assert_eq!(limit.name(), name);
        let zero = OptionsError::Zero(limit).to_string();
        assert_eq!(zero, format!("the {name} is zero; use at least 1 ms"));
        let long = OptionsError::TooLong(limit).to_string();
        assert_eq!(
            long,
            format!("the {name} is above 49 days; use a shorter one")
        );
    }
    let short = OptionsError::UserTimeoutWithinRetransmission.to_string();
    assert!(short.contains("more than 1 s"), "{short}");
    let small = OptionsError::MaxSegmentTooSmall.to_string();
    assert_eq!(
        small,
        "the largest segment is below 48 octets of data; use at least 48"
    );
}

#[test]
fn a_setup_that_does_not_fit_is_named_with_its_numbers() {
    let too_few = ConfigError::TooFewSockets {
        storage: 3,
        needed: 4,
    };
    for (error, words) in [
        (ConfigError::MtuTooSmall { mtu: 67 }, ["67", "68 octets"]),
        (
            ConfigError::HardwareAddressMismatch,
            ["hardware address", "medium"],
        ),
        (
            ConfigError::HardwareAddressNotUnicast,
            ["hardware address", "unicast"],
        ),
        (ConfigError::NoLocalPorts, ["local ports", "empty"]),
        (
            ConfigError::EmptyBuffer { slot: 7 },
            ["connection 7", "empty"],
        ),
        (
            ConfigError::BufferTooLarge { slot: 7 },
            ["connection 7", "1 GiB"],
        ),
        (too_few, ["4 connections", "only 3"]),
    ] {
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert_eq!(Error::from(error).to_string(), text);
    }
    let unknown = UnknownConnection.to_string();
    assert!(unknown.contains("released"), "{unknown}");
    assert_eq!(Error::from(UnknownConnection).to_string(), unknown);
}

#[test]
fn an_instant_is_printed_in_seconds() {
    let text = |micros| format!("{:?}", Instant::from_micros(micros));
    assert_eq!(text(0), "0.000000s");
    assert_eq!(text(3_000_007), "3.000007s");
    assert_eq!(text(12_345_678), "12.345678s");
    assert_eq!(format!("{:?}", Instant::NEVER), "never");
}
