//! Bytes in both directions, and their account.

use crate::common::PORT;
use crate::common::{assert_ledger, ms, options, pattern};
use crate::rig::Rig;
use embedded_io_async::{BufRead, Read, Write};
use lastbyte::{Cause, OnReceive, Options};
use lastbyte_sim::loopback::Behaviour;
use std::cell::RefCell;

#[test]
fn two_tasks_write_and_read_and_every_byte_is_accounted_for() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let mut connection = rig.open(Behaviour::sink().sending(pattern(7, 50_000)), keep);
    let (writer, reader) = connection.split();
    let data = pattern(0, 100_000);
    let received = RefCell::new(Vec::new());
    let counts = rig.run(vec![
        Box::pin(async {
            writer.write_all(&data).await.unwrap();
            writer.flush().await.unwrap();
        }),
        Box::pin(async {
            let mut into = [0; 700];
            while received.borrow().len() < 50_000 {
                let read = reader.read(&mut into).await.unwrap();
                assert_ne!(read, 0);
                received.borrow_mut().extend_from_slice(&into[..read]);
            }
        }),
    ]);
    let report = rig.block_on(connection.finish()).unwrap();
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_ledger(report.ledger, 100_000, 100_000);
    assert!(rig.world.peer().received(PORT) == data);
    assert!(received.into_inner() == pattern(7, 50_000));
    // Each poll except the first follows a wake.
    for count in counts {
        assert!(count.polls <= count.wakes + 1, "{count:?}");
    }
}

#[test]
fn halves_live_in_two_tasks_and_the_reader_sees_the_end() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let behaviour = Behaviour::sink()
        .sending(pattern(7, 3_000))
        .closing_after_sending();
    let (mut writer, mut reader) = rig.open(behaviour, keep).into_split();
    let received = RefCell::new(Vec::new());
    rig.run(vec![
        Box::pin(async {
            while writer.write(b"beat").await.is_ok() {
                rig.timer.sleep(ms(3)).await;
            }
            let report = writer.finish().await.unwrap();
            assert_eq!(report.cause, Some(Cause::PeerFinished));
        }),
        Box::pin(async {
            let mut into = [0; 100];
            loop {
                match reader.read(&mut into).await.unwrap() {
                    0 => break,
                    read => received.borrow_mut().extend_from_slice(&into[..read]),
                }
            }
        }),
    ]);
    assert!(received.into_inner() == pattern(7, 3_000));
}

#[test]
fn bytes_are_written_and_read_without_a_copy() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let mut connection = rig.open(
        Behaviour::sink().sending(*b"hello").closing_after_sending(),
        keep,
    );
    rig.block_on(async {
        let filled = connection.write_with(|room| {
            room[..3].copy_from_slice(b"abc");
            3
        });
        assert_eq!(filled.await, Ok(3));
        let taken = connection.read_with(|bytes| {
            assert_eq!(bytes, b"hello");
            2
        });
        assert_eq!(taken.await, Ok(2));
        let taken = connection.read_with(|bytes| {
            assert_eq!(bytes, b"llo");
            99
        });
        assert_eq!(taken.await, Ok(3));
        let taken = connection.read_with(|_| panic!("there is nothing to read"));
        assert_eq!(taken.await, Ok(0));
        connection.finish().await.unwrap();
    });
    assert_eq!(rig.world.peer().received(PORT), b"abc");
}

#[test]
fn a_buffered_connection_lends_what_it_has_read() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let behaviour = Behaviour::sink()
        .sending(*b"one\ntwo\n")
        .closing_after_sending();
    let mut buffer = [0; 5];
    let mut connection = rig.open(behaviour, keep).buffered(&mut buffer);
    rig.block_on(async {
        connection.write_all(b"both?").await.unwrap();
        connection.flush().await.unwrap();
        assert_eq!(connection.fill_buf().await.unwrap(), b"one\nt");
        connection.consume(4);
        assert_eq!(connection.fill_buf().await.unwrap(), b"t");
        let mut into = [0; 9];
        assert_eq!(connection.read(&mut into).await, Ok(1));
        assert_eq!(connection.read(&mut into).await, Ok(3));
        assert_eq!(&into[..3], b"wo\n");
        assert_eq!(connection.fill_buf().await.unwrap(), b"");
    });
}

#[test]
fn a_message_waits_for_room_and_is_never_split() {
    let rig = Rig::sized(1_000);
    let mut connection = rig.open(
        Behaviour::sink().reading(100, ms(50)).rx_buffer(400),
        Options::default(),
    );
    let message = pattern(0, 700);
    let counts = rig.run(vec![Box::pin(async {
        for _ in 0..6 {
            let before = connection.report().unwrap().ledger.accepted();
            connection.write_message(&message).await.unwrap();
            let after = connection.report().unwrap().ledger.accepted();
            assert_eq!(after, before + 700);
        }
        connection.finish().await.unwrap();
    })]);
    // Woken when the whole message fits, not by each earlier ACK.
    assert!(counts[0].wakes <= 8, "{counts:?}");
    assert_eq!(rig.world.peer().received(PORT), message.repeat(6));
    let error = rig
        .block_on(connection.write_message(&[0; 1_001]))
        .unwrap_err();
    assert_eq!(error.cause(), Some(Cause::Finished));
}

#[test]
fn announced_bytes_are_sent_once_the_runner_runs() {
    let rig = Rig::new();
    let mut connection = rig.open(Behaviour::sink(), Options::default());
    rig.block_on(async {
        for part in [&b"POST "[..], b"/path ", b"HTTP/1.0\r\n"] {
            assert_eq!(connection.write_more(part).await, Ok(part.len()));
        }
        rig.timer.sleep(ms(2)).await;
        assert_eq!(rig.world.peer().received(PORT), b"POST /path HTTP/1.0\r\n");
    });
}
