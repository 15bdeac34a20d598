//! The first write after the peer's end is refused in its first poll.

use crate::common::{PORT, assert_ledger, ms, options, secs};
use crate::rig::{Net, Rig, poll_once};
use core::pin::pin;
use core::task::Poll;
use embedded_io_async::Write;
use lastbyte::asynch::Writer;
use lastbyte::{Cause, Error, OnReceive, Options};
use lastbyte_sim::loopback::Behaviour;

type Way = fn(&mut Writer<'static, Net>) -> Poll<Result<usize, Error>>;

/// The ways to write, each polled once.
const WAYS: [Way; 5] = [
    |writer| poll_once(&mut pin!(writer.write(b"undelivered?"))),
    |writer| poll_once(&mut pin!(writer.write_more(b"undelivered?"))),
    |writer| {
        let never = |_: &mut [u8]| panic!("asked for bytes");
        poll_once(&mut pin!(writer.write_with(never)))
    },
    |writer| {
        let written = poll_once(&mut pin!(writer.write_message(b"undelivered?")));
        written.map_ok(|()| 0)
    },
    |writer| Poll::Ready(writer.try_write(b"undelivered?")),
];

fn assert_refused(written: Poll<Result<usize, Error>>, cause: Cause) {
    let Poll::Ready(Err(error)) = written else {
        panic!("not refused in the first poll: {written:?}");
    };
    assert_eq!(error.cause(), Some(cause));
    assert_ledger(error.ledger().unwrap(), 5, 5);
}

#[test]
fn the_first_write_after_a_fin_is_refused_even_if_no_task_has_run() {
    for way in WAYS {
        let rig = Rig::new();
        let behaviour = Behaviour::sink().closing_after(5);
        let mut connection = rig.open(behaviour, Options::default());
        rig.block_on(connection.write_all(b"hello")).unwrap();
        // The FIN arrives at the device; neither the runner nor a task runs.
        rig.world.run_for(secs(1));
        let (mut writer, _) = connection.into_split();
        assert_refused(way(&mut writer), Cause::PeerFinished);
        assert_refused(way(&mut writer), Cause::PeerFinished);
        assert_eq!(rig.world.peer().received(PORT), b"hello");
    }
}

#[test]
fn the_first_write_after_a_rst_is_refused_even_if_no_task_has_run() {
    for way in WAYS {
        let rig = Rig::new();
        let mut connection = rig.open(Behaviour::sink(), Options::default());
        rig.block_on(async {
            connection.write_all(b"hello").await.unwrap();
            connection.flush().await.unwrap();
        });
        rig.world.peer().abort(PORT);
        rig.world.run_for(ms(5));
        let (mut writer, _) = connection.into_split();
        assert_refused(way(&mut writer), Cause::PeerReset);
    }
}

#[test]
fn it_is_refused_too_if_the_call_of_another_task_has_received_the_fin() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let (mut writer, mut reader) = rig
        .open(Behaviour::sink().closing_after(5), keep)
        .into_split();
    rig.block_on(writer.write_all(b"hello")).unwrap();
    rig.world.run_for(secs(1));
    assert_eq!(reader.read_ready(), Ok(true));
    assert_refused(WAYS[0](&mut writer), Cause::PeerFinished);
}

#[test]
fn an_empty_write_never_waits_and_is_refused_after_the_end() {
    let rig = Rig::new();
    let mut connection = rig.open(Behaviour::sink().closing_after(5), Options::default());
    assert_eq!(rig.block_on(Write::write(&mut connection, b"")), Ok(0));
    rig.block_on(connection.write_all(b"hello")).unwrap();
    rig.world.run_for(secs(1));
    let (mut writer, _) = connection.into_split();
    let written = poll_once(&mut pin!(writer.write(b"")));
    assert_refused(written, Cause::PeerFinished);
}

#[test]
fn a_write_waits_while_the_device_accepts_no_frame() {
    let rig = Rig::new();
    let mut connection = rig.open(Behaviour::sink().closing_after(5), Options::default());
    rig.block_on(connection.write_all(b"hello")).unwrap();
    rig.world.set_stuck(true);
    rig.world.run_for(ms(500));
    let world = rig.world.clone();
    rig.world
        .at(rig.world.now() + ms(300), move |_| world.set_stuck(false));
    // The FIN waits in the device, and is found once there is room.
    let error = rig.block_on(Write::write(&mut connection, b"undelivered?"));
    let error = error.unwrap_err();
    assert_eq!(error.cause(), Some(Cause::PeerFinished));
    assert_ledger(error.ledger().unwrap(), 5, 5);
}
