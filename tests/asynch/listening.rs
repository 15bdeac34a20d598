//! Callers, one after another and several at once, at one port.

use crate::common::{PORT, ms, options, secs};
use crate::rig::{Rig, SLOTS, up_to};
use embedded_io_async::{Error as _, ErrorKind, Read, Write};
use lastbyte::stack::OpenError;
use lastbyte::{Cause, Error, OnReceive, Options, Timeout, WriteError};
use lastbyte_sim::loopback::{Behaviour, OUR_V4};

const HERE: u16 = 7;

/// Calls us from this port, at that time.
fn call(rig: &Rig, from: u16, after: core::time::Duration, text: &'static [u8]) {
    let behaviour = Behaviour::sink().sending(text).closing_after_sending();
    rig.world.at(rig.world.now() + after, move |world| {
        world.peer().connect(from, (OUR_V4, HERE), behaviour);
    });
}

#[test]
fn callers_are_accepted_one_after_another() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let mut listener = rig.net.listen(HERE, keep).unwrap();
    for caller in 0..5 {
        call(&rig, 1_000 + caller, ms(20), b"hello");
        rig.block_on(async {
            let mut connection = listener.accept().await.unwrap();
            let (_, remote) = connection.endpoints().unwrap().unwrap();
            assert_eq!(remote.port, 1_000 + caller);
            let mut text = [0; 5];
            connection.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"hello");
            let report = connection.finish().await.unwrap();
            assert!(matches!(
                report.cause,
                Some(Cause::PeerFinished | Cause::Finished)
            ));
        });
    }
}

#[test]
fn two_tasks_serve_two_callers_at_once() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    for caller in 0..6 {
        call(&rig, 1_000 + caller, ms(5 + u64::from(caller)), b"hello");
    }
    let worker = async || {
        for _ in 0..3 {
            let mut listener = rig.net.listen(HERE, keep).unwrap();
            let mut connection = listener.accept().await.unwrap();
            drop(listener);
            let mut text = [0; 5];
            connection.read_exact(&mut text).await.unwrap();
            // The other is served meanwhile.
            rig.timer.sleep(ms(100)).await;
            connection.write_all(b"bye").await.unwrap_err();
            connection.finish().await.unwrap();
        }
    };
    rig.run(vec![Box::pin(worker()), Box::pin(worker())]);
    assert_eq!(rig.free_slots(), SLOTS);
}

#[test]
fn a_caller_that_comes_while_no_accept_waits_is_kept() {
    let rig = Rig::new();
    let mut listener = rig.net.listen(HERE, Options::default()).unwrap();
    for polls in 0..3 {
        call(&rig, 1_000 + polls as u16, ms(20), b"hello");
        assert!(
            rig.block_on(up_to(polls.min(1), listener.accept()))
                .is_none()
        );
        rig.run_for(secs(1));
        let connection = rig.block_on(listener.accept()).unwrap();
        let (_, remote) = connection.endpoints().unwrap().unwrap();
        assert_eq!(remote.port, 1_000 + polls as u16);
    }
}

#[test]
fn an_accept_without_a_caller_times_out_and_can_be_repeated() {
    let rig = Rig::new();
    let limited = options(|o| o.call_timeout(secs(10)));
    let mut listener = rig.net.listen(HERE, limited).unwrap();
    let began = rig.world.now();
    for turn in 1..4 {
        let error = rig.block_on(listener.accept()).unwrap_err();
        let is_timeout = matches!(
            error,
            Error::Write(WriteError::TimedOut {
                why: Timeout::Call,
                ..
            })
        );
        assert!(is_timeout, "{error}");
        assert_eq!(rig.world.now(), began + secs(10 * turn));
    }
    call(&rig, 1_000, ms(20), b"hello");
    rig.block_on(listener.accept()).unwrap();
}

#[test]
fn a_listener_holds_one_slot_and_releases_it() {
    let rig = Rig::new();
    let listener = rig.net.listen(HERE, Options::default()).unwrap();
    assert_eq!(rig.free_slots(), SLOTS - 1);
    drop(listener);
    assert_eq!(rig.free_slots(), SLOTS);
    // The port is closed: the caller is refused.
    call(&rig, 1_000, ms(20), b"hello");
    rig.run_for(secs(1));
    assert_ne!(rig.world.peer().saw_rst(1_000), None);
    // A listener that is dropped with a caller that no task has accepted resets it.
    let listener = rig.net.listen(HERE, Options::default()).unwrap();
    call(&rig, 1_001, ms(20), b"hello");
    rig.run_for(ms(100));
    drop(listener);
    rig.run_for(ms(100));
    assert_ne!(rig.world.peer().saw_rst(1_001), None);
}

#[test]
fn each_failure_to_listen_is_an_error_with_its_kind() {
    let rig = Rig::new();
    let error = rig.net.listen(0, Options::default()).unwrap_err();
    assert_eq!(error, Error::Open(OpenError::InvalidLocal));
    let all: Vec<_> = (0..SLOTS)
        .map(|_| rig.net.listen(HERE, Options::default()).unwrap())
        .collect();
    let error = rig.net.listen(HERE, Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    let error = rig.connect(Options::default()).unwrap_err();
    assert_eq!(error, Error::Open(OpenError::NoSlot));
    drop(all);
    rig.open(Behaviour::sink(), Options::default());
    assert_eq!(rig.world.peer().received(PORT), b"");
}

#[test]
fn a_lost_address_ends_the_accept_and_the_next_listens_again() {
    let rig = Rig::new();
    let local = (OUR_V4, HERE);
    let mut listener = rig.net.listen(local, Options::default()).unwrap();
    rig.run(vec![
        Box::pin(async {
            let error = listener.accept().await.unwrap_err();
            assert_eq!(error.cause(), Some(Cause::AddressLost));
        }),
        Box::pin(async {
            rig.timer.sleep(secs(5)).await;
            rig.lose_addresses();
        }),
    ]);
    rig.set_addresses();
    call(&rig, 1_000, ms(20), b"hello");
    rig.block_on(listener.accept()).unwrap();
}
