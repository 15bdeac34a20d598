//! Bytes that will be followed by more (`write_more`), messages that must not be truncated,
//! and one value that reads and writes.

use crate::common::*;
use core::time::Duration;
use embedded_io::{BufRead, ErrorKind, Read, ReadReady, Write, WriteReady};
use lastbyte::stack::OpenError;
use lastbyte::{Cause, Error, OnReceive, Options, ReadError, Timeout, WriteError};
use lastbyte_sim::loopback::{Behaviour, Direction, Drops, Flow, RawPeer, World, WorldConfig};

/// How many segments with data were sent since the last call.
fn segments(tap: &Tap) -> usize {
    let sent = tap.take();
    sent.iter().filter(|sent| !sent.payload.is_empty()).count()
}

#[test]
fn announced_bytes_leave_with_the_next_plain_write() {
    let (mut us, id) = connected(Behaviour::sink(), options(|o| o));
    let tap = Tap::new(&us.world);
    for _ in 0..5 {
        assert_eq!(us.writer(id).write_more(b"some "), Ok(5));
    }
    assert_eq!((segments(&tap), us.ledger(id).accepted()), (0, 25));
    assert_eq!(us.writer(id).write(b"more"), Ok(4));
    assert_eq!(segments(&tap), 1);
    us.stack.run_for(secs(1));
    assert_eq!(
        us.world.peer().received(PORT),
        b"some some some some some more"
    );
}

#[test]
fn a_flush_a_poll_a_wait_and_a_finish_send_what_was_announced() {
    type Call = fn(&mut Us<1>, lastbyte::ConnectionId);
    let calls: [Call; 5] = [
        |us, id| us.writer(id).flush().expect("acknowledged"),
        |us, _| {
            us.stack.poll();
        },
        |us, _| us.stack.wait(us.now() + ms(1)),
        |us, id| us.writer(id).finish_writing().expect("open"),
        |us, id| us.writer(id).begin_finish(),
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let (mut us, id) = connected(Behaviour::sink(), options(|o| o));
        us.stack.run_for(secs(1));
        let tap = Tap::new(&us.world);
        assert_eq!(us.writer(id).write_more(b"announced"), Ok(9));
        assert_eq!(segments(&tap), 0, "call {number}");
        call(&mut us, id);
        assert_eq!(segments(&tap), 1, "call {number}");
    }
}

#[test]
fn half_of_the_buffer_is_sent_at_once() {
    let (mut us, id) = connected(Behaviour::sink(), options(|o| o));
    let tap = Tap::new(&us.world);
    let half = TX / 2;
    let bytes = pattern(0, half);
    assert_eq!(us.writer(id).write_more(&bytes[1..]), Ok(half - 1));
    assert_eq!(segments(&tap), 0);
    assert_eq!(us.writer(id).write_more(&bytes[..1]), Ok(1));
    assert!(segments(&tap) > 0);
}

/// With 1,000 octets in flight, the peer does `answer`. Returns how many segments an
/// announced write sends that processes this, and how many one sends after this time, with
/// nothing new.
#[track_caller]
fn sent_after(answer: impl Fn(&RawPeer, &mut Flow), later: Duration) -> [usize; 2] {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.write(id, 1_000);
    assert_eq!(raw.recv().payload.len(), 1_000);
    answer(&raw, &mut flow);
    [ms(0), later].map(|pause| {
        us.world.run_for(pause);
        assert_eq!(us.writer(id).write_more(b"announced"), Ok(9));
        core::iter::from_fn(|| raw.try_recv()).count()
    })
}

#[test]
fn an_acknowledgement_does_not_make_announced_bytes_leave_at_once() {
    for acknowledged in [400, 1_000] {
        let acknowledge = |raw: &RawPeer, flow: &mut Flow| {
            flow.take(acknowledged);
            raw.send(&flow.ack());
        };
        assert_eq!(sent_after(acknowledge, ms(5)), [0, 0], "{acknowledged}");
    }
}

/// What the peer waits for is sent within 10 ms, even if nothing else arrives: an ACK of its
/// data (RFC 9293, 3.8.6.3), and what duplicate ACKs show to be lost (RFC 5681, 3.2).
#[test]
fn an_announced_write_after_10_ms_answers_what_an_earlier_one_received() {
    let data = |raw: &RawPeer, flow: &mut Flow| raw.send(&flow.data(vec![7; 10]));
    let duplicates = |raw: &RawPeer, flow: &mut Flow| (0..4).for_each(|_| raw.send(&flow.ack()));
    let [_, of_data] = sent_after(data, ms(11));
    assert!(of_data > 0);
    let [_, of_duplicates] = sent_after(duplicates, ms(11));
    assert!(of_duplicates > 0);
}

#[test]
fn announced_bytes_are_never_stuck_in_a_full_buffer() {
    let (mut us, id) = connected(Behaviour::sink(), options(|o| o));
    let bytes = pattern(0, 100_000);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let piece = &rest[..rest.len().min(700)];
        let accepted = us
            .writer(id)
            .write_more(piece)
            .expect("there will be room later");
        rest = &rest[accepted..];
    }
    us.writer(id).flush().expect("acknowledged");
    assert_eq!(us.world.peer().received(PORT), bytes);
    let report = us.check(id);
    assert_ledger(report.ledger, 100_000, 100_000);
}

/// The first write after the peer's FIN is refused, for every call that accepts bytes.
#[test]
fn announced_bytes_and_messages_are_refused_at_once_after_the_fin_of_the_peer() {
    for call in 0..4 {
        let (mut us, id) = connected(Behaviour::sink().closing_at(at_secs(5)), options(|o| o));
        us.world.run_for(secs(10));
        let mut writer = us.writer(id);
        let refused = match call {
            0 => writer.write_more(b"lost?").map(|_| ()),
            1 => writer.try_write_more(b"lost?").map(|_| ()),
            2 => writer.write_message(b"lost?"),
            _ => writer.try_write_message(b"lost?"),
        };
        assert_error(refused.expect_err("refused"), Cause::PeerFinished, 0, 0);
        assert_eq!(
            us.writer(id).room().map_err(|e| e.cause()),
            Err(Some(Cause::PeerFinished))
        );
        assert_eq!(us.report(id).writes_refused, 1);
    }
}

#[test]
fn a_message_is_accepted_whole_or_not_at_all() {
    let (mut us, id) = connected(Behaviour::silent().rx_buffer(1_000), options(|o| o));
    us.fill(id);
    // The peer reads nothing, so there is no room from here on.
    let full = us.ledger(id);
    assert_eq!(us.writer(id).room(), Ok(0));
    assert_would_block(us.writer(id).try_write_message(b"x").map(|()| 1));
    assert_eq!(us.ledger(id), full);
    let error = us.writer(id).write_message(b"xy").expect_err("no room");
    assert!(
        matches!(
            error,
            WriteError::TimedOut {
                why: Timeout::NotReading,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(us.ledger(id).accepted(), full.accepted());
    let long = vec![0; TX + 1];
    let too_long = us
        .writer(id)
        .write_message(&long)
        .expect_err("it cannot fit");
    let capacity = u32::try_from(TX).expect("small");
    assert_eq!(
        too_long,
        WriteError::MessageTooLong {
            capacity,
            ledger: us.ledger(id)
        }
    );
    assert_eq!(us.writer(id).try_write_message(&long), Err(too_long));
}

#[test]
fn a_message_waits_until_there_is_room_for_all_of_it() {
    let (mut us, id) = connected(Behaviour::sink(), options(|o| o));
    us.world.set_drops(Direction::ToPeer, Drops::Next(3));
    let message = pattern(0, TX);
    for round in 1..=20_u64 {
        us.writer(id).write_message(&message).expect("room comes");
        assert_eq!(us.ledger(id).accepted(), round * TX as u64);
        // Nothing was pending: the buffer holds only this message.
        assert!(us.ledger(id).acknowledged() >= (round - 1) * TX as u64);
    }
    us.writer(id).flush().expect("acknowledged");
    assert_eq!(us.world.peer().received(PORT).len(), 20 * TX);
}

#[test]
fn there_is_no_room_before_the_connection_is_open() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let mut us = Us::<1>::new(&world);
    let id = us.connect(options(|o| o));
    assert_eq!(us.writer(id).room(), Ok(0));
    us.stack.wait_open(id).expect("the peer listens");
    assert_eq!(us.writer(id).room(), Ok(TX));
    us.write(id, 10);
    assert_eq!(us.writer(id).room(), Ok(TX - 10));
}

/// A crate that implements a protocol, generic over its connection.
fn request<S>(socket: &mut S) -> Result<Vec<u8>, Error>
where
    S: Read + BufRead + Write + ReadReady + WriteReady,
    S::Error: Into<Error>,
{
    assert!(socket.write_ready().map_err(Into::into)?);
    let path = "/status";
    write!(socket, "GET {path} HTTP/1.0\r\n\r\n")?;
    socket.flush().map_err(Into::into)?;
    while !socket.read_ready().map_err(Into::into)? {
        socket.fill_buf().map_err(Into::into)?;
    }
    let mut start = [0; 3];
    socket.read_exact(&mut start)?;
    let mut all = start.to_vec();
    loop {
        let found = socket.fill_buf().map_err(Into::into)?;
        if found.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(found);
        let found = found.len();
        socket.consume(found);
    }
}

#[test]
fn one_value_reads_and_writes() {
    let peer = Behaviour::sink()
        .sending(*b"200 OK")
        .closing_after_sending();
    let (mut us, id) = connected(
        peer,
        options(|o| {
            o.on_receive(OnReceive::Keep)
                .on_peer_fin(lastbyte::OnPeerFin::HalfClose)
        }),
    );
    let mut socket = us.stack.socket(id).expect("ours");
    assert_eq!(request(&mut socket), Ok(b"200 OK".to_vec()));
    let report = socket.into_writer().finish().expect("all is acknowledged");
    assert_ledger(report.ledger, 24, 24);
}

#[test]
fn every_error_converts_to_the_error_of_the_crate() {
    let peer = Behaviour::sink().sending(*b"2").closing_at(at_secs(5));
    let (mut us, id) = connected(peer, options(|o| o.on_receive(OnReceive::Keep)));
    us.stack.run_for(secs(10));
    let mut socket = us.stack.socket(id).expect("ours");
    let mut buffer = [0; 2];
    let end: Error = socket
        .read_exact(&mut buffer)
        .expect_err("one byte came")
        .into();
    assert_eq!(end, Error::UnexpectedEof);
    let refused: Error = write!(socket, "{}", 1).expect_err("refused").into();
    assert!(
        matches!(refused, Error::Write(WriteError::PeerClosed { .. })),
        "{refused}"
    );
    let refused: Error = write!(us.writer(id), "{}", 1).expect_err("refused").into();
    assert_eq!(embedded_io::Error::kind(&refused), ErrorKind::BrokenPipe);
    let discarding = Error::from(ReadError::Discarding);
    assert_eq!(
        embedded_io::Error::kind(&discarding),
        ErrorKind::Unsupported
    );
    assert_eq!(
        Error::from(OpenError::NoSlot),
        Error::Open(OpenError::NoSlot)
    );
    let _ = Options::DEFAULT;
}

#[test]
fn interface_and_sockets_are_lent_together() {
    let (mut us, id) = connected(Behaviour::sink(), options(|o| o));
    let network = us.stack.network_mut();
    let sockets = network.sockets.iter().count();
    assert_eq!(sockets, 1);
    assert!(network.interface.ip_addrs().len() > sockets);
    us.write(id, 10);
    us.writer(id).flush().expect("acknowledged");
}
