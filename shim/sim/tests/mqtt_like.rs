//! A client like those of MQTT, at the level "at least once", with a deliberate bug: the simulator
//! finds it within 1,000 seeds, and the ladder shows where.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use embedded_io::{Read, Write};
use lastbyte::stack::smoltcp::phy::Device;
use lastbyte::stack::smoltcp::wire::IpEndpoint;
use lastbyte::stack::{ConnectionId, Stack};
use lastbyte::{Clock, OnReceive, Options};
use lastbyte_sim::loopback::Reply;
use lastbyte_sim::{self as sim, Harness, Note, Profile, Rule, Scenario};

const PORT: u16 = 1_883;

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;

/// The number of messages that a client publishes.
const MESSAGES: u8 = 12;

/// What a client does, once it is connected again, with a message that was not
/// acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InFlight {
    /// Publishes it again, as the protocol requires.
    Again,
    /// The bug: continues with the next one.
    Forgotten,
}

/// The firmware, as it would run on a board. A packet is a type, a length, and that many
/// octets.
struct Client {
    in_flight: InFlight,
    /// Messages that were written to the connection.
    sent: u8,
    /// Messages that the broker has acknowledged.
    acknowledged: u8,
}

impl Client {
    /// Publishes all messages. Returns how many are acknowledged.
    fn publish_all<D: Device, C: Clock>(
        mut self,
        stack: &mut Stack<'_, D, C, 1>,
        broker: IpEndpoint,
    ) -> u8 {
        for _attempt in 0..20 {
            let options = Options::builder()
                .on_receive(OnReceive::Keep)
                .call_timeout(Duration::from_secs(20))
                .build()
                .expect("sound");
            if let Ok(id) = stack.connect(broker, options) {
                let is_done = self.talk(stack, id).is_some();
                // Already released, if everything went well.
                let _ = stack.release(id);
                if is_done {
                    break;
                }
            }
            stack.run_for(Duration::from_secs(5));
        }
        self.acknowledged
    }

    /// One connection; `None` if it broke.
    fn talk<D: Device, C: Clock>(
        &mut self,
        stack: &mut Stack<'_, D, C, 1>,
        id: ConnectionId,
    ) -> Option<()> {
        send(stack, id, &[CONNECT, 2, b'i', b'd'])?;
        expect(stack, id, [CONNACK, 0])?;
        let mut next = match self.in_flight {
            InFlight::Again => self.acknowledged,
            InFlight::Forgotten => self.sent,
        };
        while next < MESSAGES {
            send(stack, id, &[PUBLISH, 3, next, b'2', b'1'])?;
            self.sent = next + 1;
            expect(stack, id, [PUBACK, 1])?;
            expect_octet(stack, id, next)?;
            next += 1;
            self.acknowledged = next;
            send(stack, id, &[PINGREQ, 0])?;
            expect(stack, id, [PINGRESP, 0])?;
            stack.run_for(Duration::from_secs(3));
        }
        send(stack, id, &[DISCONNECT, 0])?;
        stack.writer(id).ok()?.finish().ok().map(|_| ())
    }
}

fn send<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    id: ConnectionId,
    packet: &[u8],
) -> Option<()> {
    stack.writer(id).ok()?.write_all(packet).ok()
}

fn expect<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    id: ConnectionId,
    header: [u8; 2],
) -> Option<()> {
    header
        .into_iter()
        .try_for_each(|octet| expect_octet(stack, id, octet))
}

fn expect_octet<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    id: ConnectionId,
    wanted: u8,
) -> Option<()> {
    let mut octet = [0];
    stack.reader(id).ok()?.read_exact(&mut octet).ok()?;
    (octet[0] == wanted).then_some(())
}

/// The broker: it has every message, in order, some of them more than once.
#[derive(Debug, Default)]
struct Broker {
    /// Messages that it has.
    stored: u8,
}

impl Broker {
    fn answer(&mut self, received: &mut Vec<u8>, reply: &mut Reply<'_>) {
        while let Some(&len) = received.get(1) {
            let len = 2 + usize::from(len);
            if received.len() < len {
                return;
            }
            let packet: Vec<u8> = received.drain(..len).collect();
            match packet[0] {
                CONNECT => reply.send(&[CONNACK, 0]),
                PUBLISH => self.store(packet[2], reply),
                PINGREQ => reply.send(&[PINGRESP, 0]),
                DISCONNECT => reply.close(),
                other => panic!("a packet of type {other}"),
            }
        }
    }

    fn store(&mut self, number: u8, reply: &mut Reply<'_>) {
        sim::note(format!("PUBLISH {number}"));
        assert!(number <= self.stored, "message {} is missing", self.stored);
        self.stored = self.stored.max(number + 1);
        reply.send(&[PUBACK, 1, number]);
    }
}

fn trial(seed: u64, in_flight: InFlight) {
    let scenario = Scenario::new(Profile::ALL[seed as usize % Profile::ALL.len()], seed);
    let broker = Rc::new(RefCell::new(Broker::default()));
    let server = Rc::clone(&broker);
    let client = Client {
        in_flight,
        sent: 0,
        acknowledged: 0,
    };
    let visit = Harness::new(&scenario)
        .serve(PORT, move |received, reply| {
            server.borrow_mut().answer(received, reply);
        })
        .run(|stack, broker| client.publish_all(stack, broker));
    assert!(broker.borrow().stored >= visit.result);
    assert_eq!(visit.findings, []);
}

#[test]
fn a_sound_client_loses_no_message() {
    sim::explore(0..300, |seed| trial(seed, InFlight::Again)).unwrap();
}

#[test]
fn a_forgotten_message_is_found_and_the_ladder_shows_where() {
    let failure = sim::explore(0..1_000, |seed| trial(seed, InFlight::Forgotten))
        .expect_err("the bug is found");
    let missing = failure.message.strip_prefix("message ");
    let missing = missing.and_then(|text| text.strip_suffix(" is missing"));
    let missing: u8 = missing.expect(&failure.message).parse().expect("a number");

    let recording = failure.recording.as_ref().expect("a recording");
    let moments = &recording.moments;
    let finding = moments.last().expect("moments");
    let is_it = |note: &Note| matches!(note, Note::Found(found) if found.rule == Rule::Trial);
    assert!(is_it(&finding.note), "{finding}");
    // The message was written on a connection that ended, and never again.
    let is_written = |note: &Note| matches!(note, Note::Wrote(bytes) if bytes.starts_with(&[PUBLISH, 3, missing]));
    let written = moments.iter().filter(|moment| is_written(&moment.note));
    let written: Vec<_> = written.collect();
    assert!(written.len() <= 1, "{written:?}");
    let mut opened = moments
        .iter()
        .filter(|moment| matches!(moment.note, Note::Opened { .. }));
    let last_opened = opened.next_back().expect("a connection").at;
    assert!(written.iter().all(|moment| moment.at < last_opened));

    // Everything is drawn: the calls, the end of that connection, what the broker got.
    let ladder = failure.ladder();
    let next = format!("PUBLISH {}", missing + 1);
    for words in [
        &*failure.message,
        &*next,
        "broken-rule",
        "▸ connect",
        "Closed(",
    ] {
        assert!(ladder.contains(words), "{words}");
    }
}
