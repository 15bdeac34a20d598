//! Calls that are dropped before they have completed, at each of their awaits.
//!
//! For each pair of calls: the first is dropped after k polls, for k = 0, 1, 2 ... until it
//! completes; then the second is made. After each, the test's account must equal the
//! connection's, and in the end each byte must have arrived once, in both directions.

use crate::common::{PORT, assert_ledger, ms, options, pattern};
use crate::rig::{OurConnection, Rig, up_to};
use core::cell::Cell;
use embedded_io_async::{BufRead, Error as _, ErrorKind, Read, Write};
use lastbyte::{Cause, Error, OnReceive, Options};
use lastbyte_sim::loopback::{Behaviour, Reply};

const TX: usize = 1_000;
/// What the peer sends.
const SENT: usize = 6_000;

/// What the peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    /// Reads slowly, so that writes wait, and sends.
    Slow,
    /// Answers each byte with itself, so that reads wait.
    Echo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Write,
    WriteMore,
    WriteWith,
    WriteMessage,
    WriteAll,
    Flush,
    Read,
    ReadWith,
    FinishWriting,
    Finish,
}

const CALLS: [Call; 10] = [
    Call::Write,
    Call::WriteMore,
    Call::WriteWith,
    Call::WriteMessage,
    Call::WriteAll,
    Call::Flush,
    Call::Read,
    Call::ReadWith,
    Call::FinishWriting,
    Call::Finish,
];

/// The test's account of the connection.
#[derive(Debug, Default)]
struct Account {
    accepted: u64,
    read: Vec<u8>,
    is_finished: bool,
}

/// Writes, by a call that accepts as many bytes as it returns, or nothing.
async fn write(
    call: Call,
    connection: &mut OurConnection,
    bytes: &[u8],
    polls: u32,
) -> Option<Result<usize, Error>> {
    match call {
        Call::WriteMore => up_to(polls, connection.write_more(bytes)).await,
        Call::WriteWith => {
            let was_called = Cell::new(false);
            let fill = |room: &mut [u8]| {
                was_called.set(true);
                let len = room.len().min(bytes.len());
                room[..len].copy_from_slice(&bytes[..len]);
                len
            };
            let written = up_to(polls, connection.write_with(fill)).await;
            assert_eq!(was_called.get(), matches!(written, Some(Ok(_))));
            written
        }
        Call::WriteMessage => {
            let written = up_to(polls, connection.write_message(bytes)).await;
            written.map(|written| written.map(|()| bytes.len()))
        }
        _ => up_to(polls, Write::write(connection, bytes)).await,
    }
}

/// Writes all, by a call that may accept a part before it is dropped: only the ledger shows how
/// much.
async fn write_all(
    connection: &mut OurConnection,
    bytes: &[u8],
    polls: u32,
) -> Option<Result<usize, Error>> {
    let before = connection.report().unwrap().ledger.accepted();
    let written = up_to(polls, connection.write_all(bytes)).await;
    let accepted = connection.report().unwrap().ledger.accepted() - before;
    let accepted = usize::try_from(accepted).unwrap();
    assert!(accepted <= bytes.len());
    if written == Some(Ok(())) {
        assert_eq!(accepted, bytes.len());
    }
    written.map(|written| written.map(|()| accepted))
}

/// Reads, and returns what it has read.
async fn read(
    call: Call,
    connection: &mut OurConnection,
    polls: u32,
) -> Option<Result<Vec<u8>, Error>> {
    if call == Call::ReadWith {
        let mut taken = Vec::new();
        let take = |bytes: &[u8]| {
            taken = bytes[..bytes.len().min(200)].to_vec();
            taken.len()
        };
        let read = up_to(polls, connection.read_with(take)).await;
        return read.map(|read| read.map(|_| taken));
    }
    let mut into = [0; 300];
    let read = up_to(polls, Read::read(connection, &mut into)).await;
    read.map(|read| read.map(|read| into[..read].to_vec()))
}

/// Makes a call, and drops it after this many polls. Returns whether it has completed.
async fn make(
    call: Call,
    connection: &mut OurConnection,
    account: &mut Account,
    polls: u32,
) -> bool {
    let before = connection.report().unwrap().ledger.accepted();
    assert_eq!(before, account.accepted);
    let bytes = pattern(account.accepted, 900);
    let ended = match call {
        Call::Write | Call::WriteMore | Call::WriteWith | Call::WriteMessage => {
            let written = write(call, connection, &bytes, polls).await;
            if let Some(Ok(accepted)) = written {
                account.accepted += accepted as u64;
            }
            written.map(|written| written.map(|_| ()))
        }
        Call::WriteAll => {
            let written = write_all(connection, &bytes, polls).await;
            account.accepted = connection.report().unwrap().ledger.accepted();
            written.map(|written| written.map(|_| ()))
        }
        Call::Read | Call::ReadWith => {
            let read = read(call, connection, polls).await;
            read.map(|read| read.map(|bytes| account.read.extend(bytes)))
        }
        Call::Flush => {
            let flushed = up_to(polls, connection.flush()).await;
            if flushed == Some(Ok(())) {
                assert_eq!(connection.report().unwrap().ledger.pending(), 0);
            }
            flushed
        }
        Call::FinishWriting => {
            let finished = up_to(polls, connection.finish_writing()).await;
            account.is_finished |= finished == Some(Ok(()));
            finished
        }
        Call::Finish => {
            let finished = up_to(polls, connection.finish()).await;
            account.is_finished |= polls > 0;
            finished.map(|finished| finished.map(|_| ()))
        }
    };
    if let Some(Err(error)) = ended {
        // A write is refused only after the test has finished. There may be nothing to read.
        let is_read = matches!(call, Call::Read | Call::ReadWith);
        let has_timed_out = error.kind() == ErrorKind::TimedOut && error.cause().is_none();
        let is_right = account.is_finished || is_read && has_timed_out;
        assert!(is_right, "{call:?}: {error}");
    }
    let after = connection.report().unwrap().ledger.accepted();
    assert_eq!(after, account.accepted, "{call:?} after {polls} polls");
    ended.is_some()
}

/// Runs the pair, with the first call dropped after this many polls. Returns whether it has
/// completed.
fn pair(other: Other, first: Call, second: Call, polls: u32) -> bool {
    let rig = Rig::sized(TX);
    let (behaviour, begin) = match other {
        Other::Slow => {
            let slow = Behaviour::sink().reading(250, ms(20)).rx_buffer(1_500);
            (slow.sending(pattern(9, SENT)), 9)
        }
        Other::Echo => {
            let echo = |received: &mut Vec<u8>, reply: &mut Reply<'_>| {
                reply.send(received);
                received.clear();
            };
            (Behaviour::serving(echo), 0)
        }
    };
    let mut connection = rig.open(behaviour, options(|o| o.on_receive(OnReceive::Keep)));
    let mut account = Account::default();
    let has_completed = rig.block_on(async {
        // The transmit buffer is full, and the peer reads slowly; nothing is left to read.
        while account.accepted < 3_000 {
            make(Call::Write, &mut connection, &mut account, 1).await;
            make(Call::Read, &mut connection, &mut account, 1).await;
            rig.timer.sleep(ms(1)).await;
        }
        let has_completed = make(first, &mut connection, &mut account, polls).await;
        rig.timer.sleep(ms(1)).await;
        make(second, &mut connection, &mut account, u32::MAX).await;
        rig.timer.sleep(ms(30)).await;
        while !account.is_finished && account.accepted < 6_000 {
            make(Call::Write, &mut connection, &mut account, u32::MAX).await;
        }
        let sent = match other {
            Other::Slow => SENT,
            Other::Echo => account.accepted as usize,
        };
        if ![first, second].contains(&Call::Finish) {
            while account.read.len() < sent {
                make(Call::Read, &mut connection, &mut account, u32::MAX).await;
            }
        }
        let _ = connection.finish().await;
        has_completed
    });
    let report = connection.report().unwrap();
    let total = account.accepted;
    assert_eq!(report.ledger.accepted(), total);
    let read = account.read.len();
    assert!(
        account.read == pattern(begin, read),
        "read {first:?} {second:?}"
    );
    let received = rig.world.peer().received(PORT);
    assert!(
        received == pattern(0, received.len()),
        "{first:?} {second:?}"
    );
    if report.cause == Some(Cause::Finished) {
        assert_ledger(report.ledger, total, total);
        assert_eq!(received.len() as u64, total);
    }
    has_completed
}

#[test]
fn a_call_dropped_at_any_await_has_done_nothing_and_the_next_is_right() {
    let mut dropped = 0;
    for other in [Other::Slow, Other::Echo] {
        for first in CALLS {
            for second in CALLS {
                for polls in 0.. {
                    assert!(polls < 50, "{first:?} never completes");
                    if pair(other, first, second, polls) {
                        break;
                    }
                    dropped += 1;
                }
            }
        }
    }
    // Before the first poll, and for most calls after one that has found no result.
    assert!(dropped > 300, "{dropped}");
}

#[test]
fn a_finish_that_was_dropped_goes_on_and_can_be_awaited_again() {
    let rig = Rig::new();
    let mut connection = rig.open(Behaviour::sink(), Options::default());
    rig.block_on(connection.write_all(&pattern(0, 3_000)))
        .unwrap();
    assert!(rig.block_on(up_to(1, connection.finish())).is_none());
    rig.run_for(ms(500));
    let report = connection.report().unwrap();
    assert_eq!(report.cause, Some(Cause::Finished));
    let again = rig.block_on(connection.finish()).unwrap();
    assert_eq!(again.ledger, report.ledger);
    assert_ledger(report.ledger, 3_000, 3_000);
}

#[test]
fn a_fill_buf_that_was_dropped_has_consumed_nothing() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let behaviour = Behaviour::sink().sending(pattern(3, 100));
    let mut buffer = [0; 30];
    let mut connection = rig.open(behaviour, keep).buffered(&mut buffer);
    let mut received = Vec::new();
    rig.block_on(async {
        let mut turn = 0;
        while received.len() < 100 {
            turn += 1;
            if let Some(bytes) = up_to(turn % 2 + 1, connection.fill_buf()).await {
                let bytes = bytes.unwrap();
                received.extend_from_slice(bytes);
                let len = bytes.len();
                connection.consume(len);
            }
        }
    });
    assert!(received == pattern(3, 100));
}
