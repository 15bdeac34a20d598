//! The reading end of a connection that keeps what it receives.

use crate::common::*;
use embedded_io::{BufRead, Error, ErrorKind, Read, ReadExactError, ReadReady, Write};
use lastbyte::stack::{ConnectionId, Reader, Stack};
use lastbyte::{Cause, OnReceive, Options, ReadError, Timeout};
use lastbyte_sim::loopback::{
    Behaviour, Direction, Drops, LoopClock, LoopDevice, Presence, World, WorldConfig,
};

fn keep() -> Options {
    options(|o| o.on_receive(OnReceive::Keep))
}

impl<const N: usize> Us<N> {
    #[track_caller]
    fn reader(&mut self, id: ConnectionId) -> Reader<'_, Stack<'static, LoopDevice, LoopClock, N>> {
        self.stack.reader(id).expect("a connection of ours")
    }
}

#[track_caller]
fn assert_ended(error: ReadError, cause: Cause) {
    let ReadError::Ended(inner) = error else {
        panic!("{error:?}");
    };
    assert_eq!(inner.cause(), Some(cause));
    assert_eq!(error.kind(), inner.kind());
}

#[test]
fn everything_up_to_the_fin_is_read_and_then_the_end() {
    for chunk in [1, 7, 100, 4_096] {
        let sent = pattern(0, 20_000);
        let behaviour = Behaviour::sink()
            .sending(sent.clone())
            .closing_after_sending();
        let (mut us, id) = connected(behaviour, keep());
        let mut read = Vec::<u8>::new();
        let mut buffer = vec![0; chunk];
        loop {
            match us.reader(id).read(&mut buffer).expect("a FIN ends it") {
                0 => break,
                len => read.extend(&buffer[..len]),
            }
            assert!(read.len() <= sent.len());
        }
        assert!(read == sent);
        for _ in 0..3 {
            assert_eq!(us.reader(id).read(&mut buffer), Ok(0));
            assert_eq!(us.reader(id).fill_buf(), Ok(&[][..]));
            assert_eq!(us.reader(id).read_ready(), Ok(true));
            assert_eq!(us.reader(id).try_read(&mut buffer), Ok(Some(0)));
        }
        us.assert_refused(id, Cause::PeerFinished, 0, 0);
        assert_eq!(us.report(id).discarded, 0);
    }
}

#[test]
fn a_read_waits_for_the_first_byte() {
    let (mut us, id) = connected(Behaviour::sink(), keep());
    let mut buffer = [0; 100];
    assert_eq!(us.reader(id).try_read(&mut buffer), Ok(None));
    assert_eq!(us.reader(id).read_ready(), Ok(false));
    assert_eq!(
        us.reader(id).read(&mut []),
        Ok(0),
        "an empty one never waits"
    );
    us.world.at(at_secs(20), |world| {
        world
            .peer()
            .change(PORT, |b| *b = b.clone().sending(*b"hello"));
        world.peer().set_presence(Presence::Present);
    });
    assert_eq!(us.reader(id).read(&mut buffer), Ok(5));
    assert_eq!(&buffer[..5], b"hello");
    assert!((at_secs(20)..at_secs(21)).contains(&us.now()));
}

#[test]
fn lines_are_read_through_the_buffer() {
    let behaviour = Behaviour::sink().sending(*b"first\nsecond\n");
    let (mut us, id) = connected(behaviour, keep());
    let mut reader = us.reader(id);
    assert_eq!(reader.fill_buf(), Ok(&b"first\nsecond\n"[..]));
    assert_eq!(reader.fill_buf(), Ok(&b"first\nsecond\n"[..]), "not taken");
    reader.consume(6);
    assert_eq!(reader.fill_buf(), Ok(&b"second\n"[..]));
    reader.consume(0);
    reader.consume(7);
    assert_eq!(reader.read_ready(), Ok(false));
}

#[test]
fn consuming_too_much_removes_everything() {
    let behaviour = Behaviour::sink().sending(*b"some");
    let (mut us, id) = connected(behaviour, keep());
    let mut reader = us.reader(id);
    assert_eq!(reader.fill_buf(), Ok(&b"some"[..]));
    reader.consume(usize::MAX);
    assert_eq!(reader.read_ready(), Ok(false));
}

#[test]
fn more_than_the_buffer_arrives_while_it_is_read() {
    // 2 KiB of receive buffer, 300,000 bytes.
    let (mut us, id) = connected(Behaviour::sink().flooding(), keep());
    let mut read = vec![0; 300_000];
    us.reader(id).read_exact(&mut read).expect("it floods");
    let expected = (0..300_000_u32).map(|n| (n % 251) as u8);
    assert!(read.into_iter().eq(expected));
    assert_eq!(us.report(id).discarded, 0);
}

#[test]
fn data_before_a_rst_is_read_and_then_the_error() {
    let (mut us, id, raw, mut flow) = scripted(keep());
    raw.send(&flow.data(*b"precious"));
    raw.send(&flow.rst());
    us.stack.poll();
    let mut buffer = [0; 100];
    assert_eq!(us.reader(id).read_ready(), Ok(true));
    assert_eq!(us.reader(id).read(&mut buffer), Ok(8));
    assert_eq!(&buffer[..8], b"precious");
    for _ in 0..3 {
        let error = us.reader(id).read(&mut buffer).expect_err("reset");
        assert_ended(error, Cause::PeerReset);
        let error = us.reader(id).fill_buf().expect_err("reset");
        assert_ended(error, Cause::PeerReset);
        assert_eq!(us.reader(id).read_ready(), Ok(true), "with an error");
    }
    let exact = us.reader(id).read_exact(&mut buffer);
    assert!(matches!(exact, Err(ReadExactError::Other(_))));
}

#[test]
fn a_blocked_read_is_woken_by_every_end() {
    type End = fn(&World);
    let ends: [(Option<Cause>, End); 3] = [
        (None, |world| world.peer().close(PORT)),
        (Some(Cause::PeerReset), |world| world.peer().abort(PORT)),
        (Some(Cause::Vanished), |world| {
            world.set_drops(Direction::ToUs, Drops::All);
        }),
    ];
    for (cause, end) in ends {
        let limits = options(|o| {
            o.on_receive(OnReceive::Keep)
                .call_timeout(secs(10_000))
                .keep_alive(secs(5))
                .user_timeout(secs(10))
        });
        let (mut us, id) = connected(Behaviour::sink(), limits);
        us.world.at(at_secs(33), end);
        let woken = us.reader(id).read(&mut [0; 10]);
        match (woken, cause) {
            (Ok(0), None) => {}
            (Err(error), Some(cause)) => assert_ended(error, cause),
            (woken, cause) => panic!("{woken:?} instead of {cause:?}"),
        }
        assert!((at_secs(33)..at_secs(49)).contains(&us.now()));
    }
}

#[test]
fn the_call_timeout_ends_a_read_and_not_the_connection() {
    let limit = options(|o| o.on_receive(OnReceive::Keep).call_timeout(secs(9)));
    let (mut us, id) = connected(Behaviour::sink(), limit);
    let from = us.now();
    let error = us.reader(id).read(&mut [0; 10]).expect_err("nothing comes");
    assert_eq!(us.now(), from + secs(9));
    let ReadError::Ended(inner) = error else {
        panic!("{error:?}");
    };
    assert_call_timed_out(inner, Timeout::Call);
    us.write(id, 10);
    us.writer(id).flush().expect("acknowledged");
}

#[test]
fn reading_goes_on_after_our_own_finish() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink().staying_open());
    let mut us = Us::<1>::new(&world);
    let id = us.open(keep());
    us.write(id, 100);
    us.writer(id).begin_finish();
    us.stack.run_for(secs(1));
    assert_eq!(us.report(id).cause, Some(Cause::Finished));
    world.peer().change(PORT, |b| {
        *b = b.clone().sending(*b"answer").closing_after_sending();
    });
    let mut buffer = [0; 100];
    assert_eq!(us.reader(id).read(&mut buffer), Ok(6));
    assert_eq!(&buffer[..6], b"answer");
    assert_eq!(us.reader(id).read(&mut buffer), Ok(0));
    us.assert_refused(id, Cause::Finished, 100, 100);
}

#[test]
fn a_discarding_connection_has_nothing_to_read() {
    let (mut us, id) = connected(Behaviour::sink().sending(*b"unread"), Options::default());
    us.stack.run_for(secs(1));
    let mut buffer = [0; 100];
    let error = us.reader(id).read(&mut buffer).expect_err("discarding");
    assert_eq!(error, ReadError::Discarding);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(us.reader(id).fill_buf(), Err(ReadError::Discarding));
    assert_eq!(us.reader(id).read_ready(), Err(ReadError::Discarding));
    assert_eq!(
        us.reader(id).try_read(&mut buffer),
        Err(ReadError::Discarding)
    );
    us.reader(id).consume(3);
    assert_eq!(us.report(id).discarded, 6);
}

#[test]
fn unread_data_does_not_keep_a_connection_from_finishing() {
    let (mut us, id) = connected(Behaviour::sink().sending(pattern(0, 100)), keep());
    us.write(id, 100);
    us.stack.run_for(secs(1));
    let report = us.writer(id).finish().expect("finished");
    assert_ledger(report.ledger, 100, 100);
}

#[test]
fn a_reopened_slot_holds_nothing_of_the_previous_connection() {
    let world = World::new(WorldConfig::default());
    let behaviour = Behaviour::sink().sending(*b"old");
    world.peer().listen(PORT, behaviour.backlog(2));
    let mut us = Us::<1>::new(&world);
    let id = us.open(keep());
    us.stack.run_for(secs(1));
    us.writer(id).abort().expect("ours");
    world.peer().listen(PORT, Behaviour::sink());
    let id = us.open(keep());
    us.stack.run_for(secs(1));
    assert_eq!(us.reader(id).try_read(&mut [0; 10]), Ok(None));
}
