//! What a handle reports, and the one error of all calls.

use crate::common::{PORT, error_of, options, secs};
use crate::rig::{Mac, Rig, poll_once};
use core::pin::pin;
use embedded_io_async::{Error as _, ErrorKind, Read, ReadReady, Write, WriteReady};
use lastbyte::stack::OpenError;
use lastbyte::stack::smoltcp::wire::IpAddress;
use lastbyte::{Cause, Error, OnReceive, Options, ReadError, State};
use lastbyte_sim::loopback::{Behaviour, Direction, Drops, OUR_V4, PEER_V4};

#[test]
fn state_ends_and_account_are_those_of_the_connection() {
    let rig = Rig::new();
    let mut connection = rig.open(Behaviour::sink(), Options::default());
    let id = connection.id();
    let (local, remote) = connection.endpoints().unwrap().unwrap();
    assert_eq!(local.addr, OUR_V4.into());
    assert_eq!(remote, (PEER_V4, PORT).into());
    assert_eq!(connection.state(), State::Open);
    rig.block_on(connection.write_all(b"hello")).unwrap();
    let progress = connection.progress().unwrap();
    assert_eq!(progress.ledger.accepted(), 5);
    assert_eq!(rig.net.progress(id), Ok(progress));
    let report = rig.block_on(connection.finish()).unwrap();
    assert_eq!(rig.net.report(id), Ok(report));
    assert_eq!(report.cause, Some(Cause::Finished));
    drop(connection);
    // Until its slot is opened again.
    assert_eq!(rig.net.state(id), Ok(State::Closed(Cause::Finished)));
}

#[test]
fn readiness_is_that_of_the_next_call() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let mut connection = rig.open(Behaviour::silent().rx_buffer(100), keep);
    assert_eq!(connection.write_ready(), Ok(true));
    assert_eq!(connection.read_ready(), Ok(false));
    let filled = rig.block_on(async { connection.try_write(&[7; 9_000]) });
    assert_eq!(filled, Ok(4_096));
    assert_eq!(connection.write_ready(), Ok(false));
    rig.world.peer().abort(PORT);
    rig.world.run_for(secs(1));
    assert_eq!(connection.read_ready(), Ok(true));
    assert_eq!(connection.write_ready(), Ok(true));
    let (writer, reader) = connection.split();
    assert!(poll_once(&mut pin!(writer.write(b"x"))).is_ready());
    assert!(poll_once(&mut pin!(reader.read(&mut [0]))).is_ready());
}

#[test]
fn each_call_fails_with_the_one_error_and_its_kind() {
    let rig = Rig::new();
    let refused = rig.connect(Options::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(refused.cause(), Some(Cause::Refused));
    let nowhere = rig
        .net
        .connect((IpAddress::v4(192, 0, 2, 1), PORT), Options::default());
    let nowhere = rig.block_on(nowhere).unwrap_err();
    assert_eq!(nowhere, Error::Open(OpenError::NoRoute));
    assert_eq!(nowhere.kind(), ErrorKind::AddrNotAvailable);
    assert_eq!((nowhere.cause(), nowhere.ledger()), (None, None));

    let mut connection = rig.open(Behaviour::sink(), Options::default());
    let discarding = rig
        .block_on(Read::read(&mut connection, &mut [0]))
        .unwrap_err();
    assert_eq!(discarding, Error::Read(ReadError::Discarding));
    assert_eq!(discarding.kind(), ErrorKind::Unsupported);
    rig.world.peer().abort(PORT);
    rig.world.run_for(secs(1));
    let reset = rig
        .block_on(Write::write(&mut connection, b"x"))
        .unwrap_err();
    let (expected, kind) = error_of(Cause::PeerReset, reset.ledger().unwrap());
    assert_eq!((reset, reset.kind()), (Error::Write(expected), kind));
    // Nothing is pending, so a flush has nothing to fail with.
    assert_eq!(rig.block_on(Write::flush(&mut connection)), Ok(()));
    let finished = rig.block_on(connection.finish()).unwrap_err();
    assert_eq!(finished, reset);
    assert_eq!(rig.block_on(connection.wait_end()), Ok(Cause::PeerReset));
}

#[test]
fn an_aborted_connection_says_so_and_its_rst_leaves_in_the_call() {
    let rig = Rig::new();
    let mut connection = rig.open(Behaviour::sink(), Options::default());
    rig.block_on(connection.write_all(b"hello")).unwrap();
    let report = connection.abort().unwrap();
    assert_eq!(report.cause, Some(Cause::Aborted));
    rig.world.run_for(secs(1));
    assert!(rig.world.peer().saw_rst(PORT).is_some());
    let error = rig
        .block_on(Write::write(&mut connection, b"x"))
        .unwrap_err();
    assert_eq!(error.cause(), Some(Cause::Aborted));
}

#[test]
fn a_link_that_was_down_is_in_the_report_of_a_call_that_waited() {
    let rig = Rig::new();
    let limited = options(|o| o.user_timeout(secs(5)));
    let mut connection = rig.open(Behaviour::sink(), limited);
    rig.net.follow_link(Mac::is_link_up).unwrap();
    rig.world.set_drops(Direction::ToPeer, Drops::All);
    let world = rig.world.clone();
    rig.world
        .at(rig.world.now() + secs(1), move |_| world.set_link(false));
    let error = rig.block_on(async {
        connection.write_all(b"hello").await.unwrap();
        connection.flush().await.unwrap_err()
    });
    assert_eq!(error.cause(), Some(Cause::Vanished));
    assert!(connection.report().unwrap().link_was_down);
}

#[test]
fn a_runner_that_was_dropped_can_be_run_again() {
    let rig = Rig::new();
    // Each run of the rig has a runner of its own, and drops it.
    let mut connection = rig.open(Behaviour::sink(), Options::default());
    for _ in 0..3 {
        rig.block_on(connection.write_all(b"hello")).unwrap();
        // No runner: time passes, and nothing is woken.
        rig.world.run_for(secs(5));
    }
    let report = rig.block_on(connection.finish()).unwrap();
    assert_eq!(report.ledger.acknowledged(), 15);
}
