//! The factories of connections that crates with protocols of their own take.

use crate::common::{PORT, ms, options, secs};
use crate::rig::{Net, Rig, SLOTS, up_to};
use core::net::{IpAddr, SocketAddr};
use edge_nal::{Close, Readable, TcpAccept, TcpBind, TcpConnect, TcpShutdown, TcpSplit};
use embedded_io_async::{Error as _, ErrorKind, Read, Write};
use lastbyte::asynch::Client;
use lastbyte::stack::OpenError;
use lastbyte::{Cause, Error, OnReceive, Options, State};
use lastbyte_sim::loopback::{Behaviour, OUR_V4, PEER_V4, PEER_V6};

const HERE: u16 = 7;

fn keep() -> Options {
    options(|o| o.on_receive(OnReceive::Keep))
}

fn client(rig: &Rig) -> Client<'static, Net> {
    Client::new(rig.net, keep())
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(PEER_V4), port)
}

fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port)
}

/// Calls us from this port, at that time.
fn call(rig: &Rig, from: u16, after: core::time::Duration) {
    let behaviour = Behaviour::sink().sending(*b"hello");
    rig.world.at(rig.world.now() + after, move |world| {
        world.peer().connect(from, (OUR_V4, HERE), behaviour);
    });
}

#[test]
fn both_traits_connect_over_both_ip_versions() {
    for ip in [IpAddr::V4(PEER_V4), IpAddr::V6(PEER_V6)] {
        let rig = Rig::new();
        rig.world
            .peer()
            .listen(PORT, Behaviour::sink().sending(*b"hi").backlog(2));
        let remote = SocketAddr::new(ip, PORT);
        rig.block_on(async {
            let client = client(&rig);
            let mut nal = embedded_nal_async::TcpConnect::connect(&client, remote).await?;
            let mut edge = TcpConnect::connect(&client, remote).await?;
            for connection in [&mut nal, &mut edge] {
                let mut text = [0; 2];
                connection.readable().await?;
                connection.read_exact(&mut text).await?;
                assert_eq!(&text, b"hi");
                connection.write_all(b"ho").await?;
                connection.flush().await?;
            }
            Ok::<(), Error>(())
        })
        .unwrap();
        assert_eq!(rig.free_slots(), SLOTS);
    }
}

#[test]
fn errors_reach_the_caller_with_their_kind() {
    let rig = Rig::new();
    let client = client(&rig);
    let refused = rig.block_on(client.connect(peer(PORT))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(refused.cause(), Some(Cause::Refused));
    let nowhere = "192.0.2.1:80".parse().unwrap();
    let unroutable = rig.block_on(client.connect(nowhere)).unwrap_err();
    assert_eq!(unroutable, Error::Open(OpenError::NoRoute));
    assert_eq!(rig.free_slots(), SLOTS);
}

/// The halves are used at once: one task reads, another writes.
#[test]
fn the_halves_work_in_two_tasks() {
    let rig = Rig::new();
    let echo = Behaviour::sink().sending([7; 3_000]);
    rig.world.peer().listen(PORT, echo);
    let mut connection = rig.block_on(client(&rig).connect(peer(PORT))).unwrap();
    let (reader, writer) = TcpSplit::split(&mut connection);
    rig.run(vec![
        Box::pin(async {
            let mut read = 0;
            let mut buffer = [0; 700];
            while read < 3_000 {
                reader.readable().await.unwrap();
                read += reader.read(&mut buffer).await.unwrap();
            }
        }),
        Box::pin(async {
            writer.write_all(&[1; 5_000]).await.unwrap();
            writer.flush().await.unwrap();
        }),
    ]);
    assert_eq!(rig.world.peer().received(PORT).len(), 5_000);
}

#[test]
fn closing_the_write_half_sends_a_fin_and_reading_goes_on() {
    let rig = Rig::new();
    // The peer answers what came before our FIN.
    let answers = Behaviour::serving(|_, reply| {
        reply.send(b"answer");
    })
    .staying_open();
    rig.world.peer().listen(PORT, answers);
    rig.block_on(async {
        let mut connection = client(&rig).connect(peer(PORT)).await?;
        connection.write_all(b"request").await?;
        connection.close(Close::Write).await?;
        assert!(matches!(connection.state(), State::WriteFinished(_)));
        assert_eq!(connection.report()?.ledger.acknowledged(), 7);
        let mut text = [0; 6];
        connection.read_exact(&mut text).await?;
        assert_eq!(&text, b"answer");
        connection.write(b"more").await.unwrap_err();
        TcpShutdown::abort(&mut connection).await?;
        Ok::<(), Error>(())
    })
    .unwrap();
}

#[test]
fn closing_both_halves_gives_the_slot_back() {
    let rig = Rig::new();
    let behaviour = Behaviour::sink().sending([7; 2_000]).closing_after(7);
    rig.world.peer().listen(PORT, behaviour);
    rig.block_on(async {
        let mut connection = client(&rig).connect(peer(PORT)).await?;
        connection.write_all(b"request").await?;
        connection.close(Close::Both).await?;
        assert_eq!(connection.report()?.ledger.undelivered(), 0);
        Ok::<(), Error>(())
    })
    .unwrap();
    assert_eq!(rig.free_slots(), SLOTS);
}

#[test]
fn one_acceptor_serves_several_tasks() {
    let rig = Rig::new();
    for caller in 0..6 {
        call(&rig, 1_000 + caller, ms(5 + 50 * u64::from(caller)));
    }
    let acceptor = rig.block_on(client(&rig).bind(anywhere(HERE))).unwrap();
    let served = core::cell::Cell::new(0);
    let worker = async || {
        for _ in 0..3 {
            let (remote, mut connection) = acceptor.accept().await.unwrap();
            assert_eq!(remote.ip(), IpAddr::V4(PEER_V4));
            let mut text = [0; 5];
            connection.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"hello");
            connection.finish().await.unwrap();
            served.set(served.get() + 1);
        }
    };
    rig.run(vec![Box::pin(worker()), Box::pin(worker())]);
    assert_eq!(served.get(), 6);
    // One place goes on listening.
    assert_eq!(rig.free_slots(), SLOTS - 1);
    drop(acceptor);
    assert_eq!(rig.free_slots(), SLOTS);
}

#[test]
fn an_accept_waits_without_bound_and_one_that_is_dropped_keeps_its_caller() {
    let rig = Rig::new();
    let hurried = options(|o| o.on_receive(OnReceive::Keep).call_timeout(secs(2)));
    let client = Client::new(rig.net, hurried);
    let acceptor = rig.block_on(client.bind(anywhere(HERE))).unwrap();
    call(&rig, 1_000, secs(100));
    let (remote, connection) = rig.block_on(acceptor.accept()).unwrap();
    assert_eq!(remote.port(), 1_000);
    drop(connection);
    call(&rig, 1_001, ms(20));
    assert!(rig.block_on(up_to(1, acceptor.accept())).is_none());
    rig.run_for(secs(1));
    let (remote, _connection) = rig.block_on(acceptor.accept()).unwrap();
    assert_eq!(remote.port(), 1_001);
}

#[test]
fn an_address_that_is_not_ours_cannot_be_bound() {
    let rig = Rig::new();
    let error = rig.block_on(client(&rig).bind(peer(HERE))).unwrap_err();
    assert_eq!(error, Error::Open(OpenError::InvalidLocal));
    let ours = SocketAddr::new(IpAddr::V4(OUR_V4), HERE);
    rig.block_on(client(&rig).bind(ours)).unwrap();
}

/// A port scan does not end a server.
#[test]
fn a_caller_that_has_reset_is_not_the_error_of_an_accept() {
    for polls in 0..2 {
        let rig = Rig::new();
        let acceptor = rig.block_on(client(&rig).bind(anywhere(HERE))).unwrap();
        // It resets before the accept is polled again.
        let scan = Behaviour::sink().aborting_at(rig.world.now() + ms(40));
        rig.world.at(rig.world.now() + ms(20), move |world| {
            world.peer().connect(1_000, (OUR_V4, HERE), scan);
        });
        assert!(rig.block_on(up_to(polls, acceptor.accept())).is_none());
        rig.run_for(ms(100));
        call(&rig, 1_001, ms(20));
        let (remote, _connection) = rig.block_on(acceptor.accept()).unwrap();
        assert_eq!(remote.port(), 1_001, "{polls}");
    }
}

#[test]
fn a_lost_address_is_the_error_of_an_accept() {
    let rig = Rig::new();
    let ours = SocketAddr::new(IpAddr::V4(OUR_V4), HERE);
    let acceptor = rig.block_on(client(&rig).bind(ours)).unwrap();
    rig.lose_addresses();
    let error = rig.block_on(acceptor.accept()).unwrap_err();
    assert_eq!(error.cause(), Some(Cause::AddressLost));
}

/// A server does so with a client that has its answer and has closed.
#[test]
fn a_connection_that_the_peer_has_finished_can_be_closed() {
    for what in [Close::Write, Close::Both] {
        let rig = Rig::new();
        let answer = Behaviour::sink().sending(*b"hello");
        rig.world
            .peer()
            .listen(PORT, answer.closing_after_sending());
        rig.block_on(async {
            let mut connection = client(&rig).connect(peer(PORT)).await.unwrap();
            // Before the FIN has arrived.
            connection.write_all(b"request").await.unwrap();
            rig.timer.sleep(secs(1)).await;
            let error = connection.write(b"more").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            for _ in 0..2 {
                connection.close(what).await.unwrap();
            }
            let report = connection.report().unwrap();
            assert_eq!(report.ledger.acknowledged(), 7);
            assert!(report.cause.is_some(), "{report:?}");
            let mut text = [0; 5];
            if what == Close::Write {
                connection.read_exact(&mut text).await.unwrap();
                assert_eq!(&text, b"hello");
            }
        });
        assert_eq!(rig.world.peer().received(PORT), b"request");
        assert_eq!(rig.world.peer().saw_rst(PORT), None);
        assert_eq!(rig.free_slots(), SLOTS);
    }
}

#[test]
fn a_direction_that_is_closed_can_be_closed_again() {
    let rig = Rig::new();
    let behaviour = Behaviour::sink().sending([7; 2_000]).closing_after(7);
    rig.world.peer().listen(PORT, behaviour);
    rig.block_on(async {
        let mut connection = client(&rig).connect(peer(PORT)).await.unwrap();
        connection.write_all(b"request").await.unwrap();
        for what in [Close::Write, Close::Read, Close::Both] {
            for _ in 0..2 {
                connection.close(what).await.unwrap();
            }
        }
        assert_eq!(connection.report().unwrap().ledger.undelivered(), 0);
    });
    assert_eq!(rig.free_slots(), SLOTS);
}
