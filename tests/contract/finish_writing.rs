//! Our direction is finished and reading goes on: `finish_writing`.

use crate::common::*;
use embedded_io::{Read, Write};
use lastbyte::core::Incoming;
use lastbyte::{Cause, ClosedBy, How, OnPeerFin, OnReceive, Options, State, Timeout};
use lastbyte::{ReadError, WriteError};
use lastbyte_sim::loopback::{Behaviour, Direction, Drops, World, WorldConfig};

const HALF: State = State::WriteFinished(Incoming::Open);

fn reading(on_peer_fin: OnPeerFin) -> Options {
    options(|o| o.on_receive(OnReceive::Keep).on_peer_fin(on_peer_fin))
}

/// Opens a connection to this peer, writes 1,000 bytes and finishes writing.
fn half_closed(peer: Behaviour) -> (Us<1>, lastbyte::ConnectionId) {
    let (mut us, id) = connected(peer, reading(OnPeerFin::Refuse));
    us.write(id, 1_000);
    us.writer(id).finish_writing().expect("open");
    assert_eq!(us.state(id), HALF);
    (us, id)
}

fn read_to_end(us: &mut Us<1>, id: lastbyte::ConnectionId) -> Result<Vec<u8>, ReadError> {
    let mut all = Vec::new();
    let mut buffer = [0; 4];
    loop {
        match us.stack.reader(id).expect("ours").read(&mut buffer)? {
            0 => return Ok(all),
            read => all.extend_from_slice(&buffer[..read]),
        }
    }
}

#[test]
fn the_answer_is_read_up_to_its_end() {
    let (mut us, id) = half_closed(Behaviour::sink().sending(*b"21 degrees"));
    assert_eq!(read_to_end(&mut us, id), Ok(b"21 degrees".to_vec()));
    assert_eq!(us.world.peer().received(PORT).len(), 1_000);
    let report = us.writer(id).finish().expect("all is acknowledged");
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_ledger(report.ledger, 1_000, 1_000);
    assert_eq!(report.discarded, 0);
}

#[test]
fn writes_are_refused_as_after_our_own_finish() {
    let (mut us, id) = half_closed(Behaviour::sink().staying_open());
    us.writer(id).flush().expect("the drain goes on");
    for way in Way::ALL {
        let error = way.write(us.writer(id), b"more").expect_err("refused");
        assert_error(error, Cause::Finished, 1_000, 1_000);
    }
    assert_eq!(us.report(id).writes_refused, 4);
    assert_eq!(us.report(id).cause, None, "it goes on");
    us.writer(id)
        .finish_writing()
        .expect("again, without effect");
    assert_eq!(us.state(id), HALF);
}

#[test]
fn the_peer_may_send_for_hours_after_our_fin() {
    let peer = Behaviour::sink().staying_open().closing_at(at_secs(7_200));
    let (mut us, id) = half_closed(peer);
    us.stack.run_for(secs(7_000));
    assert!(us.world.peer().saw_fin(PORT).is_some());
    assert_eq!(us.state(id), HALF);
    us.stack.run_for(secs(300));
    assert_eq!(us.state(id), State::Closed(Cause::Finished));
    assert_eq!(read_to_end(&mut us, id), Ok(Vec::new()));
    assert!(us.writer(id).finish().is_ok());
}

#[test]
fn the_end_of_the_stream_is_read_however_late() {
    let (mut us, id) = half_closed(Behaviour::sink().sending(*b"late"));
    us.stack.run_for(secs(1_000));
    assert_eq!(us.state(id), State::Closed(Cause::Finished));
    assert_eq!(read_to_end(&mut us, id), Ok(b"late".to_vec()));
    us.stack.run_for(secs(1_000));
    assert_eq!(read_to_end(&mut us, id), Ok(Vec::new()));
    let (mut us, id) = half_closed(Behaviour::sink());
    us.stack.run_for(secs(1_000));
    assert_eq!(read_to_end(&mut us, id), Ok(Vec::new()));
}

#[test]
fn finishing_does_not_wait_for_the_fin_of_the_peer() {
    let (mut us, id) = half_closed(Behaviour::sink().staying_open().backlog(2));
    us.stack.run_for(secs(1));
    let began = us.now();
    let report = us.writer(id).finish().expect("our FIN is acknowledged");
    assert_eq!((report.cause, us.now()), (Some(Cause::Finished), began));
    // The slot, and after the finish timeout the socket, are free.
    us.stack.run_for(secs(100));
    us.open(Options::default());
}

#[test]
fn finishing_with_unread_bytes_resets() {
    let peer = Behaviour::sink().staying_open().sending(*b"unread");
    let (mut us, id) = half_closed(peer);
    us.stack.run_for(secs(1));
    us.writer(id)
        .finish()
        .expect("all our bytes are acknowledged");
    us.stack.run_for(secs(1));
    assert!(us.world.peer().saw_rst(PORT).is_some());
}

#[test]
fn a_fin_without_acknowledgement_ends_it_at_the_finish_timeout() {
    let peer = Behaviour::sink().staying_open();
    let (mut us, id) = connected(peer, reading(OnPeerFin::Refuse));
    us.stack.run_for(secs(1_000));
    us.world.set_drops(Direction::ToPeer, Drops::All);
    us.writer(id).finish_writing().expect("open");
    let began = us.now();
    let error = read_to_end(&mut us, id).expect_err("no end of the stream");
    let ReadError::Ended(error) = error else {
        panic!("{error:?}")
    };
    assert!(
        matches!(
            error,
            WriteError::TimedOut {
                why: Timeout::Finish,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(us.now().since(began), secs(30));
}

#[test]
fn a_reset_of_the_peer_ends_it() {
    let peer = Behaviour::sink().staying_open().aborting_at(at_secs(9));
    let (mut us, id) = half_closed(peer);
    us.stack.run_for(secs(10));
    assert_eq!(us.state(id), State::Closed(Cause::PeerReset));
    assert!(read_to_end(&mut us, id).is_err());
}

#[test]
fn an_abort_ends_it() {
    let (mut us, id) = half_closed(Behaviour::sink().staying_open());
    us.stack.run_for(secs(1));
    let report = us.writer(id).abort().expect("ours");
    assert_eq!(report.cause, Some(Cause::Aborted));
    us.stack.run_for(secs(1));
    assert!(us.world.peer().saw_rst(PORT).is_some());
}

#[test]
fn after_the_fin_of_the_peer_the_policy_decides() {
    let peer = || Behaviour::sink().sending(*b"bye").closing_after_sending();
    let (mut us, id) = connected(peer(), reading(OnPeerFin::Refuse));
    us.stack.run_for(secs(1));
    let error = us
        .writer(id)
        .finish_writing()
        .expect_err("the peer finished");
    assert!(
        matches!(error, WriteError::PeerClosed { how: How::Fin, .. }),
        "{error:?}"
    );
    assert_eq!(us.report(id).writes_refused, 0, "it is not a write");

    let (mut us, id) = connected(peer(), reading(OnPeerFin::HalfClose));
    us.stack.run_for(secs(1));
    us.write(id, 10);
    us.writer(id).finish_writing().expect("half-closed");
    us.stack.run_for(secs(1));
    assert_eq!(us.state(id), State::Closed(Cause::Finished));
    assert_eq!(read_to_end(&mut us, id), Ok(b"bye".to_vec()));
}

#[test]
fn it_waits_for_the_handshake() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let id = us.connect(reading(OnPeerFin::Refuse));
    us.writer(id).finish_writing().expect("it opens");
    assert_eq!(read_to_end(&mut us, id), Ok(Vec::new()));
    let report = us.writer(id).finish().expect("nothing was lost");
    assert_eq!(report.cause, Some(Cause::Finished));
    let closed = WriteError::Closed {
        by: ClosedBy::Finish,
        ledger: report.ledger,
    };
    assert_eq!(us.writer(id).finish_writing(), Err(closed));
}

#[test]
fn keep_alives_detect_a_peer_that_vanishes_after_our_fin() {
    let peer = Behaviour::sink().staying_open();
    let options = options(|o| {
        o.on_receive(OnReceive::Keep)
            .keep_alive(secs(5))
            .user_timeout(secs(20))
    });
    let (mut us, id) = connected(peer, options);
    us.writer(id).finish_writing().expect("open");
    us.stack.run_for(secs(1_000));
    assert_eq!(us.state(id), HALF, "its answers keep it open");
    us.world.set_drops(Direction::ToUs, Drops::All);
    us.stack.run_for(secs(60));
    assert_eq!(us.state(id), State::Closed(Cause::Vanished));
}
