//! Every wish and every end: the waiting task is woken once, at the instant of the end, and
//! gets the right error.
//!
//! | | Open | Room | Flushed | Ended | Readable |
//! |---|---|---|---|---|---|
//! | FIN | - | x | goes on | x | x |
//! | RST | refused | x | x | x | x |
//! | refused, unreachable, connect timeout | x | | | | |
//! | silence | - | x | x | x | x |
//! | finish timeout | - | - | x | x | x |
//! | call timeout | x | x | x | no limit | x |
//! | address lost | x | x | x | x | x |
//! | abort by another task | - | x | x | x | x |
//! | release by another task | - | - | - | - | x |
//!
//! A dash: impossible. Timeouts are compared with the blocking calls in an equal world:
//! error and instant must be the same.

use crate::common::{PORT, Us, at_secs, ms, options, secs};
use crate::rig::{Net, Rig, Task};
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::time::Duration;
use embedded_io::Write as _;
use embedded_io_async::Write as _;
use lastbyte::asynch::{Reader, Writer};
use lastbyte::core::OptionsBuilder;
use lastbyte::{Cause, Error, Instant, OnReceive, Options, Timeout, WriteError};
use lastbyte_sim::loopback::{Behaviour, Direction, Drops, PEER_V4, Presence, World, WorldConfig};

/// The time of the end, after the beginning of the world.
const AT: Duration = secs(5);
/// The delay of a frame.
const LATENCY: Duration = ms(1);

/// What a task waits for, each with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Room,
    Flushed,
    /// By `finish`.
    Finished,
    /// By `wait_end` of the writing half.
    Ended,
    /// By `wait_end` of the reading half.
    EndedToo,
    Readable,
}

const WISHES: [Wish; 6] = [
    Wish::Room,
    Wish::Flushed,
    Wish::Finished,
    Wish::Ended,
    Wish::EndedToo,
    Wish::Readable,
];

/// How a call ended, and when.
#[derive(Debug, PartialEq, Eq)]
struct End {
    result: Result<(), Error>,
    at: Instant,
    /// Polls from [`AT`] on.
    late_polls: u32,
}

/// Makes the call, and records how it ends.
async fn note<T>(world: &World, call: impl Future<Output = Result<T, Error>>) -> End {
    let mut call = pin!(call);
    let mut late_polls = 0;
    poll_fn(|cx| {
        late_polls += u32::from(world.now() >= world.after(AT));
        let polled = call.as_mut().poll(cx);
        polled.map(|result| End {
            result: result.map(|_| ()),
            at: world.now(),
            late_polls,
        })
    })
    .await
}

type Halves = (Option<Writer<'static, Net>>, Reader<'static, Net>);

/// Waits for a wish, on a connection with a peer that never reads, and whose window is closed.
async fn wait(world: &World, wish: Wish, (writer, reader): &mut Halves) -> End {
    let writer = writer.as_mut();
    match (wish, writer) {
        (Wish::Readable, _) => note(world, reader.read(&mut [0; 9])).await,
        (Wish::EndedToo, _) => note(world, reader.wait_end()).await,
        (Wish::Room, Some(writer)) => note(world, writer.write_all(&[7; 20_000])).await,
        (Wish::Flushed, Some(writer)) => note(world, writer.flush()).await,
        (Wish::Finished, Some(writer)) => note(world, writer.finish()).await,
        (Wish::Ended, Some(writer)) => note(world, writer.wait_end()).await,
        (_, None) => panic!("the writer is elsewhere"),
    }
}

fn base(o: OptionsBuilder) -> OptionsBuilder {
    o.on_receive(OnReceive::Keep).call_timeout(secs(2_000))
}

/// Opens, fills all buffers so that the window is closed, and waits for `wish` while `act`
/// happens at [`AT`].
fn blocked(
    wish: Wish,
    options: Options,
    act: impl AsyncFnOnce(&Rig, lastbyte::ConnectionId),
) -> End {
    let rig = Rig::new();
    let (mut writer, reader) = rig
        .open(Behaviour::silent().rx_buffer(2_000), options)
        .into_split();
    let id = writer.id();
    rig.block_on(async {
        let mut written = 0;
        while written < 6_000 {
            written += writer.write(&[7; 6_000][written..]).await.unwrap();
            rig.timer.sleep(ms(100)).await;
        }
        assert_eq!(writer.room(), Ok(96));
        writer.write_all(&[7; 96]).await.unwrap();
        rig.timer.sleep(ms(500)).await;
    });
    let mut halves = (Some(writer), reader);
    let end = RefCell::new(None);
    let tasks: Vec<Task<'_>> = vec![
        Box::pin(async {
            *end.borrow_mut() = Some(wait(&rig.world, wish, &mut halves).await);
        }),
        Box::pin(async {
            rig.timer
                .sleep(rig.world.after(AT).since(rig.world.now()))
                .await;
            act(&rig, id).await;
        }),
    ];
    rig.run(tasks);
    end.into_inner().expect("it has ended")
}

#[track_caller]
fn assert_end(what: &str, wish: Wish, end: &End, cause: Cause, at: Duration) {
    let found = match (wish, &end.result) {
        (Wish::Ended | Wish::EndedToo, Ok(())) => cause,
        (_, result) => match result {
            Err(error) => error
                .cause()
                .unwrap_or_else(|| panic!("{what}, {wish:?}: {error}")),
            Ok(()) => panic!("{what}, {wish:?}: it succeeded"),
        },
    };
    assert_eq!(found, cause, "{what}, {wish:?}");
    let world = World::new(WorldConfig::default());
    assert_eq!(end.at, world.after(at), "{what}, {wish:?}: {end:?}");
    assert_eq!(end.late_polls, 1, "{what}, {wish:?}: {end:?}");
}

#[test]
fn a_fin_wakes_writers_and_readers() {
    for wish in [Wish::Room, Wish::Readable] {
        let end = blocked(wish, options(base), async |rig, _| {
            rig.world.peer().close(PORT);
        });
        let at = rig_time(AT + LATENCY);
        match wish {
            Wish::Readable => assert_eq!(end.result, Ok(())),
            _ => assert_eq!(end.result.unwrap_err().cause(), Some(Cause::PeerFinished)),
        }
        assert_eq!((end.at, end.late_polls), (at, 1), "{wish:?}");
    }
}

/// The instant at this time after a world began.
fn rig_time(after: Duration) -> Instant {
    World::new(WorldConfig::default()).after(after)
}

#[test]
fn a_fin_does_not_wake_a_task_that_waits_for_the_drain() {
    for wish in [Wish::Flushed, Wish::Finished] {
        let end = blocked(wish, options(base), async |rig, _| {
            rig.world.peer().close(PORT);
            rig.timer.sleep(secs(3)).await;
            rig.world.peer().change(PORT, |behaviour| {
                behaviour.reads = lastbyte_sim::loopback::Reads::Everything;
            });
        });
        assert_eq!(end.result, Ok(()), "{wish:?}");
        assert!(end.at >= rig_time(AT + secs(3)), "{wish:?}: {end:?}");
        assert_eq!(end.late_polls, 1, "{wish:?}");
    }
}

#[test]
fn a_rst_wakes_every_call() {
    for wish in WISHES {
        let end = blocked(wish, options(base), async |rig, _| {
            rig.world.peer().abort(PORT);
        });
        assert_end("RST", wish, &end, Cause::PeerReset, AT + LATENCY);
    }
}

#[test]
fn a_lost_address_wakes_every_call() {
    for wish in WISHES {
        let end = blocked(wish, options(base), async |rig, _| rig.lose_addresses());
        assert_end("address lost", wish, &end, Cause::AddressLost, AT);
    }
}

#[test]
fn an_abort_by_another_task_wakes_every_call() {
    for wish in WISHES {
        let end = blocked(wish, options(base), async |rig, id| {
            rig.net.abort(id).unwrap();
        });
        assert_end("abort", wish, &end, Cause::Aborted, AT);
    }
}

#[test]
fn a_call_timeout_wakes_with_its_reason_and_the_connection_lives() {
    for wish in [Wish::Room, Wish::Flushed, Wish::Readable] {
        let limited = options(|o| base(o).call_timeout(secs(30)));
        let end = blocked(wish, limited, async |_, _| ());
        let Err(Error::Write(error) | Error::Read(lastbyte::ReadError::Ended(error))) = end.result
        else {
            panic!("{wish:?}: {end:?}");
        };
        let is_timeout = matches!(
            error,
            WriteError::TimedOut {
                why: Timeout::NotReading,
                ..
            }
        );
        assert!(is_timeout, "{wish:?}: {error}");
        // The wait began when the buffers were full.
        let began = end.at.since(rig_time(Duration::ZERO)) - secs(30);
        assert!(began < secs(2), "{wish:?}: {end:?}");
        assert_eq!(end.late_polls, 1, "{wish:?}");
    }
}

#[test]
fn silence_wakes_every_call_and_the_user_timeout_ends_the_connection() {
    let limited = options(|o| base(o).user_timeout(secs(40)).finish_timeout(secs(900)));
    let mut ends = Vec::new();
    for wish in WISHES {
        let end = blocked(wish, limited, async |rig, _| {
            rig.world.set_drops(Direction::ToPeer, Drops::All);
        });
        match wish {
            Wish::Ended | Wish::EndedToo => assert_eq!(end.result, Ok(())),
            _ => {
                let cause = end.result.as_ref().unwrap_err().cause();
                assert_eq!(cause, Some(Cause::Vanished), "{wish:?}");
            }
        }
        assert_eq!(end.late_polls, 1, "{wish:?}");
        if wish != Wish::Finished {
            ends.push(end.at);
        }
    }
    // The blocking writer, in an equal world.
    let world = World::new(WorldConfig::default());
    world
        .peer()
        .listen(PORT, Behaviour::silent().rx_buffer(2_000));
    let mut us = Us::<1>::new(&world);
    let id = us.open(limited);
    us.world.at(at_secs(5), |world| {
        world.set_drops(Direction::ToPeer, Drops::All);
    });
    us.write(id, 6_096);
    let error = us.writer(id).write_all(&[7; 20_000]).unwrap_err();
    assert_eq!(error.cause(), Some(Cause::Vanished));
    let blocking = us.now();
    for at in ends {
        // Both probe by smoltcp's timer, which began some milliseconds apart.
        let apart = at.since(blocking).max(blocking.since(at));
        assert!(apart < secs(2), "{at:?}, blocking {blocking:?}");
    }
}

#[test]
fn a_finish_timeout_wakes_tasks_that_wait_for_the_drain_or_read() {
    let limited = options(|o| base(o).finish_timeout(secs(20)));
    for wish in [Wish::Flushed, Wish::Finished, Wish::Ended, Wish::Readable] {
        let rig = Rig::new();
        let (mut writer, reader) = rig
            .open(Behaviour::silent().rx_buffer(2_000), limited)
            .into_split();
        let began = Cell::new(Instant::ZERO);
        rig.block_on(async {
            writer.write_all(&[7; 6_000]).await.unwrap();
            began.set(rig.world.now());
            writer.finish_writing().await.unwrap();
        });
        let mut halves = (Some(writer), reader);
        let end = rig.block_on(wait(&rig.world, wish, &mut halves));
        match wish {
            Wish::Ended => assert_eq!(end.result, Ok(())),
            _ => {
                let cause = end.result.as_ref().unwrap_err().cause();
                assert_eq!(cause, Some(Cause::FinishTimeout), "{wish:?}");
            }
        }
        // `finish` begins the timeout again, in the same instant.
        assert_eq!(end.at, began.get() + secs(20), "{wish:?}: {end:?}");
        assert_eq!(end.late_polls, 1, "{wish:?}: {end:?}");
    }
}

/// Connects by the blocking calls, in an equal world.
fn blocking_connect(set_up: impl Fn(&World), options: Options) -> (WriteError, Instant) {
    let world = World::new(WorldConfig::default());
    set_up(&world);
    let mut us = Us::<1>::new(&world);
    let id = us.connect(options);
    let error = us.stack.wait_open(id).unwrap_err();
    (error, us.now())
}

#[test]
fn each_failure_to_connect_wakes_the_task_that_connects() {
    type SetUp = fn(&World);
    let cases: [(&str, SetUp, Options, Option<Cause>); 5] = [
        ("refused", |_| (), options(base), Some(Cause::Refused)),
        (
            "no neighbour",
            |world| world.peer().set_presence(Presence::Absent),
            options(|o| base(o).connect_timeout(secs(7))),
            Some(Cause::Unreachable),
        ),
        (
            "no answer",
            |world| world.peer().set_presence(Presence::Deaf),
            options(|o| base(o).connect_timeout(secs(7))),
            Some(Cause::ConnectTimeout),
        ),
        (
            "call timeout",
            |world| world.peer().set_presence(Presence::Deaf),
            options(|o| base(o).call_timeout(secs(4))),
            None,
        ),
        (
            "a slow wire",
            |world| world.set_latency(Direction::ToPeer, secs(2)),
            options(base),
            Some(Cause::Refused),
        ),
    ];
    for (name, set_up, options, cause) in cases {
        let (expected, at) = blocking_connect(set_up, options);
        assert_eq!(expected.cause(), cause, "{name}");
        let rig = Rig::new();
        set_up(&rig.world);
        let error = rig.connect(options).unwrap_err();
        assert_eq!(
            (error, rig.world.now()),
            (Error::Write(expected), at),
            "{name}"
        );
    }
}

#[test]
fn a_lost_address_wakes_the_task_that_connects() {
    let rig = Rig::new();
    rig.world.peer().set_presence(Presence::Deaf);
    let error = RefCell::new(None);
    rig.run(vec![
        Box::pin(async {
            let connected = rig.net.connect((PEER_V4, PORT), options(base)).await;
            *error.borrow_mut() = Some((connected.unwrap_err(), rig.world.now()));
        }),
        Box::pin(async {
            rig.timer.sleep(AT).await;
            rig.lose_addresses();
        }),
    ]);
    let (error, at) = error.into_inner().unwrap();
    assert_eq!(error.cause(), Some(Cause::AddressLost));
    assert_eq!(at, rig_time(AT));
}

#[test]
fn only_the_last_ack_wakes_a_flush() {
    let rig = Rig::new();
    let mut connection = rig.open(Behaviour::sink(), Options::default());
    rig.world.set_latency(Direction::ToUs, secs(1));
    let counts = rig.run(vec![Box::pin(async {
        connection.write_all(&[7; 4_000]).await.unwrap();
        connection.flush().await.unwrap();
    })]);
    assert_eq!(connection.report().unwrap().ledger.acknowledged(), 4_000);
    assert_eq!((counts[0].polls, counts[0].wakes), (2, 1));
}

#[test]
fn acks_do_not_wake_a_reader_but_the_fin_does() {
    let rig = Rig::new();
    let (mut writer, mut reader) = rig
        .open(Behaviour::sink().closing_after(50_000), options(base))
        .into_split();
    let counts = rig.run(vec![
        Box::pin(async {
            assert_eq!(reader.read(&mut [0; 9]).await, Ok(0));
        }),
        Box::pin(async {
            writer.write_all(&[7; 50_000]).await.unwrap();
            writer.flush().await.unwrap();
        }),
    ]);
    assert_eq!((counts[0].polls, counts[0].wakes), (2, 1));
}

/// Writes are refused from the FIN on, so the connection has ended for its writer.
#[test]
fn a_task_that_waits_for_the_end_is_woken_by_a_fin() {
    let rig = Rig::new();
    let closes_at = rig.world.now() + secs(5);
    let closes = Behaviour::sink().closing_at(closes_at);
    let connection = rig.open(closes, Options::default());
    let (mut writer, mut reader) = connection.into_split();
    rig.run(vec![
        Box::pin(async {
            assert_eq!(writer.wait_end().await, Ok(Cause::PeerFinished));
        }),
        Box::pin(async {
            assert_eq!(reader.wait_end().await, Ok(Cause::PeerFinished));
        }),
    ]);
    assert!(rig.world.now() < closes_at + ms(100));
}
