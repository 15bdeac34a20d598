//! Dropped connections: a RST or nothing on the wire, and the slot is free.

use crate::common::{PORT, Tap, ms, options, secs};
use crate::rig::{Rig, SLOTS, Task, up_to};
use core::cell::{Cell, RefCell};
use embedded_io_async::{Error as _, ErrorKind, Read, Write};
use lastbyte::{Cause, Error, OnReceive, Options, State};
use lastbyte_sim::loopback::{Behaviour, Flags, PEER_V4, Presence};

/// The call that is waiting when its connection is dropped.
#[derive(Debug, Clone, Copy)]
enum Under {
    Write,
    Flush,
    Read,
    Finish,
    WaitEnd,
}

#[test]
fn a_connection_dropped_at_any_await_is_reset_and_its_slot_is_free() {
    for under in [
        Under::Write,
        Under::Flush,
        Under::Read,
        Under::Finish,
        Under::WaitEnd,
    ] {
        for polls in 0..4 {
            if matches!(under, Under::WaitEnd) && polls > 1 {
                // Only the end wakes it.
                continue;
            }
            let rig = Rig::new();
            let keep = options(|o| o.on_receive(OnReceive::Keep));
            let mut connection = rig.open(Behaviour::silent().rx_buffer(2_000), keep);
            let tap = Tap::new(&rig.world);
            let has_completed = rig.block_on(async {
                let filled = up_to(2, connection.write_all(&[7; 9_000])).await;
                assert!(filled.is_none());
                let done = match under {
                    Under::Write => up_to(polls, Write::write(&mut connection, b"x"))
                        .await
                        .is_some(),
                    Under::Flush => up_to(polls, connection.flush()).await.is_some(),
                    Under::Read => up_to(polls, Read::read(&mut connection, &mut [0]))
                        .await
                        .is_some(),
                    Under::Finish => up_to(polls, connection.finish()).await.is_some(),
                    Under::WaitEnd => up_to(polls, connection.wait_end()).await.is_some(),
                };
                drop(connection);
                done
            });
            assert!(
                polls > 1 || !has_completed,
                "{under:?}: the peer reads nothing"
            );
            rig.run_for(secs(1));
            let resets = tap
                .take()
                .iter()
                .filter(|segment| segment.is(Flags::RST))
                .count();
            assert_eq!(resets, 1, "{under:?} after {polls} polls");
            assert!(rig.world.peer().saw_rst(PORT).is_some());
            assert_eq!(rig.free_slots(), SLOTS, "{under:?} after {polls} polls");
        }
    }
}

#[test]
fn a_finished_connection_is_dropped_without_a_segment() {
    let rig = Rig::new();
    let mut connection = rig.open(Behaviour::sink(), Options::default());
    rig.block_on(async {
        connection.write_all(b"hello").await.unwrap();
        connection.finish().await.unwrap();
    });
    let tap = Tap::new(&rig.world);
    drop(connection);
    assert!(tap.take().is_empty());
    assert_eq!(rig.free_slots(), SLOTS);
}

#[test]
fn a_connect_dropped_at_any_await_leaves_nothing() {
    for presence in [Presence::Present, Presence::Deaf, Presence::Absent] {
        for polls in 0..4 {
            let rig = Rig::new();
            rig.world.peer().listen(PORT, Behaviour::sink());
            rig.world.peer().set_presence(presence);
            for _ in 0..3 * SLOTS {
                let connected = up_to(polls, rig.net.connect((PEER_V4, PORT), Options::default()));
                if let Some(connected) = rig.block_on(connected) {
                    let is_open = connected.is_ok_and(|open| open.state() == State::Open);
                    assert_eq!(is_open, presence == Presence::Present);
                }
                assert_eq!(rig.free_slots(), SLOTS, "{presence:?} after {polls} polls");
                rig.run_for(ms(50));
            }
            // The peer has no half-open connection: it could still accept one.
            if presence == Presence::Present {
                rig.connect(Options::default()).unwrap();
            }
        }
    }
}

#[test]
fn a_connection_dropped_while_the_network_is_lent_is_released_after_that() {
    let rig = Rig::new();
    let mut first = rig.open(Behaviour::sink().backlog(2), Options::default());
    let second = rig.connect(Options::default()).unwrap();
    rig.block_on(first.write_all(b"hello")).unwrap();
    let (tap, id) = (Tap::new(&rig.world), first.id());
    let is_lent = rig.net.with_network(|_| {
        drop(first);
        drop(second);
        // Both are still there.
        assert_eq!(rig.net.abort(id), Err(Error::Busy));
    });
    assert_eq!(is_lent, Ok(()));
    let resets = tap
        .take()
        .iter()
        .filter(|segment| segment.is(Flags::RST))
        .count();
    assert_eq!(resets, 2);
    assert_eq!(rig.free_slots(), SLOTS);
}

#[test]
fn a_call_dropped_while_the_network_is_lent_costs_one_wake_at_most() {
    let rig = Rig::new();
    let mut connection = rig.open(Behaviour::silent().rx_buffer(2_000), Options::default());
    let counts = rig.run(vec![Box::pin(async {
        let mut write = Box::pin(connection.write_all(&[7; 9_000]));
        for _ in 0..3 {
            assert!(up_to(1, write.as_mut()).await.is_none());
        }
        rig.net.with_network(|_| drop(write)).unwrap();
        rig.timer.sleep(secs(200)).await;
    })]);
    assert!(counts[0].wakes <= 4, "{counts:?}");
}

#[test]
fn the_reader_of_a_connection_whose_writer_was_dropped_gets_its_end() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let (writer, mut reader) = rig.open(Behaviour::sink(), keep).into_split();
    let writer = RefCell::new(Some(writer));
    let tasks: Vec<Task<'_>> = vec![
        Box::pin(async {
            let error = reader.read(&mut [0; 10]).await.unwrap_err();
            assert_eq!(error.cause(), Some(Cause::Aborted));
            assert_eq!(reader.wait_end().await, Ok(Cause::Aborted));
        }),
        Box::pin(async {
            rig.timer.sleep(secs(3)).await;
            drop(writer.take());
        }),
    ];
    rig.run(tasks);
    // Another connection uses its slot; the id is stale.
    let _first = rig.connect(Options::default()).unwrap();
    rig.world.peer().listen(PORT + 1, Behaviour::sink());
    let _second = rig.block_on(rig.net.connect((PEER_V4, PORT + 1), Options::default()));
    let stale = rig.block_on(reader.read(&mut [0; 10])).unwrap_err();
    assert_eq!(stale.cause(), None);
    assert!(matches!(
        rig.block_on(reader.wait_end()),
        Err(Error::Unknown(_))
    ));
}

#[test]
fn dropping_a_network_resets_its_connections() {
    // The rig's network lives as long as the program, so this one is made by hand.
    use crate::common::{buffers, config, storage};
    use crate::rig::poll_once;
    use core::pin::pin;
    use core::task::Poll;
    use lastbyte::asynch::{Now, Shared};
    use lastbyte_sim::loopback::{OUR_ADDRESSES, World, WorldConfig};
    struct Time(World);
    impl Now for Time {
        fn now(&self) -> lastbyte::Instant {
            self.0.now()
        }
    }
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let net = Shared::<_, _, 1>::new(
        world.device(),
        Time(world.clone()),
        config(&world),
        buffers(2_048, 512),
        storage(1),
    );
    let net = net.unwrap();
    net.with_network(|network| {
        network
            .interface
            .update_ip_addrs(|own| own.extend(OUR_ADDRESSES));
    })
    .unwrap();
    {
        let mut connected = pin!(net.connect((PEER_V4, PORT), Options::default()));
        let connection = loop {
            match poll_once(&mut connected) {
                Poll::Ready(connection) => break connection.unwrap(),
                Poll::Pending => world.run_for(ms(1)),
            }
        };
        // Forgotten, not dropped: the network still has it.
        core::mem::forget(connection);
    }
    let tap = Tap::new(&world);
    drop(net);
    assert!(tap.take().iter().any(|segment| segment.is(Flags::RST)));
}

#[test]
fn a_reader_that_waits_is_woken_when_its_slot_is_used_by_another_connection() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let mut never_closes = Behaviour::sink().backlog(3);
    never_closes.closes_on_fin = false;
    let (mut writer, mut reader) = rig.open(never_closes, keep).into_split();
    let opened = Cell::new(None);
    rig.run(vec![
        Box::pin(async {
            // The connection is finished, and the peer may still send.
            let error = reader.read(&mut [0; 9]).await.unwrap_err();
            assert_eq!(error.cause(), None);
            assert_eq!(Some(rig.world.now()), opened.get());
            assert_eq!(error.kind(), ErrorKind::NotConnected);
        }),
        Box::pin(async {
            writer.finish().await.unwrap();
            drop(writer);
            rig.timer.sleep(secs(1)).await;
            let connect = || rig.net.connect((PEER_V4, PORT), Options::default());
            let _first = connect().await.unwrap();
            opened.set(Some(rig.world.now()));
            let _second = connect().await.unwrap();
        }),
    ]);
}
