//! Applications of a user in the simulator: servers with code, several connections, UDP,
//! faults at one byte, the ladder, what the oracle finds.

#[path = "common/wild.rs"]
mod wild;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use embedded_io::{Read, Write};
use lastbyte::stack::Error;
use lastbyte::{Cause, OnReceive, Options, WriteError};
use lastbyte_sim::loopback::{Behaviour, Ending, Mark, OUR_V4, StreamFault, World};
use lastbyte_sim::{
    self as sim, Call, Chance, GuestStack, Harness, Link, Links, Network, Note, PeerModel, Profile,
    Scenario,
};
use smoltcp::socket::udp;
use smoltcp::wire::IpEndpoint;

use wild::{keeps, successors};

const SECOND: Duration = Duration::from_secs(1);

/// A network without faults, and a peer that reads everything.
fn calm(seed: u64) -> Scenario {
    Scenario {
        network: Network::Links(Box::new(Links::symmetric(Link::with_latency(
            Duration::from_millis(10),
        )))),
        peer: PeerModel::ReadsAll,
        tx_buffer: 4_096,
        rx_buffer: 4_096,
        peer_buffer: 8_192,
        transmit_frames: 1_024,
        ..Scenario::new(Profile::Lan, seed)
    }
}

/// There are no findings if nothing is wrong: on every kind of network, with every peer,
/// whatever the application does.
#[test]
fn a_correct_stack_has_no_findings() {
    let trial = |seed: u64| {
        let (scenario, findings) = wild::findings(seed);
        assert_eq!(findings, [], "{scenario}");
    };
    sim::explore(0..SEEDS, trial).unwrap();
}

/// A debug build is slow.
const SEEDS: u64 = 300;

fn request(stack: &mut GuestStack<'_>, server: IpEndpoint) -> Result<[u8; 4], Error> {
    let id = stack.connect(server, keeps())?;
    stack.writer(id)?.write_all(b"HAL\x00")?;
    let mut answer = [0; 4];
    let read = stack.reader(id)?.read_exact(&mut answer);
    if read.is_ok() {
        stack.writer(id)?.finish()?;
    }
    Ok(answer)
}

#[test]
fn a_server_with_code_answers_a_request() {
    let visit = Harness::new(&calm(1)).serve(7, successors).run(request);
    assert_eq!(visit.result.expect("an answer"), *b"IBM\x01");
    assert_eq!(visit.received, [b"HAL\x00"]);
    assert_eq!(visit.findings, []);
}

#[test]
fn two_runs_are_the_same_and_another_seed_is_another() {
    let run = |seed| Harness::new(&calm(seed)).serve(7, successors).run(request);
    let (one, two, other) = (run(5).hash, run(5).hash, run(6).hash);
    assert_eq!(one, two);
    assert_ne!(one, other, "the ports and numbers are those of the seed");
    let scenario = calm(5);
    let (recorded, _) = Harness::new(&scenario).serve(7, successors).record(request);
    assert_eq!(recorded.hash, one, "a recording changes nothing");
}

/// Three connections at a time, to two servers.
#[test]
fn several_connections_are_served_and_drawn() {
    let scenario = calm(3);
    let harness = Harness::new(&scenario)
        .connections::<3>()
        .serve(7, successors)
        .serve(8, |received, reply| {
            let mut answer = std::mem::take(received);
            answer.reverse();
            reply.send(&answer);
        });
    let (visit, recording) = harness.record(|stack, server| {
        let other = IpEndpoint { port: 8, ..server };
        let ids = [server, other, server].map(|to| stack.connect(to, keeps()).expect("a slot"));
        for (id, text) in ids.iter().zip(["abc", "def", "ghi"]) {
            let mut writer = stack.writer(*id).expect("held");
            writer.write_all(text.as_bytes()).expect("open");
        }
        ids.map(|id| {
            let mut answer = [0; 3];
            let mut reader = stack.reader(id).expect("held");
            reader.read_exact(&mut answer).expect("an answer");
            answer
        })
    });
    assert_eq!(visit.result, [*b"bcd", *b"fed", *b"hij"]);
    assert_eq!(visit.received, [b"abc", b"ghi"], "at the first server");
    assert_eq!(visit.findings, []);
    let connections: Vec<usize> = recording.moments.iter().map(|it| it.connection).collect();
    assert!((0..3).all(|number| connections.contains(&number)));
    let ladder = recording.ladder();
    for words in [
        "#0 ▸ write 3 B \"abc\"",
        "#1 ▸ write 3 B \"def\"",
        "#2 ▸ read 3 B",
    ] {
        let escaped = words.replace('"', "&quot;");
        assert!(
            ladder.contains(words) || ladder.contains(&escaped),
            "{words}"
        );
    }
    assert!(ladder.contains("<title>\n#1 Open") || ladder.contains("#1 Open"));
}

#[test]
fn datagrams_pass_the_same_network() {
    let lossy = |loss| Scenario {
        network: Network::Links(Box::new(Links::symmetric(Link {
            loss,
            ..Link::with_latency(Duration::from_millis(10))
        }))),
        ..calm(1)
    };
    let answered = |scenario: &Scenario| {
        let harness = Harness::new(scenario).serve_udp(53, |datagram, reply| {
            reply.send(&[b"re: ", datagram].concat());
        });
        let visit = harness.run(|stack, server| {
            let buffer =
                || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 4_096]);
            let mut socket = udp::Socket::new(buffer(), buffer());
            socket.bind(5_000).expect("free");
            let handle = stack.sockets_mut().add(socket);
            for number in 0..50_u8 {
                let socket = stack.sockets_mut().get_mut::<udp::Socket<'_>>(handle);
                socket
                    .send_slice(&[number], (server.addr, 53))
                    .expect("room");
                stack.run_for(SECOND);
            }
            let socket = stack.sockets_mut().get_mut::<udp::Socket<'_>>(handle);
            std::iter::from_fn(|| socket.recv().ok().map(|(bytes, _)| bytes.to_vec()))
                .inspect(|bytes| assert!(bytes.starts_with(b"re: ")))
                .count()
        });
        visit.result
    };
    assert_eq!(answered(&lossy(Chance::NEVER)), 50);
    let some = answered(&lossy(Chance::percent(30)));
    assert!((5..45).contains(&some), "{some}");
    assert_eq!(answered(&lossy(Chance::ALWAYS)), 0);
}

#[test]
fn a_listener_is_called_and_served() {
    let scenario = calm(1);
    let answer: Rc<RefCell<Vec<u8>>> = Rc::default();
    let sink = Rc::clone(&answer);
    let client = Behaviour::serving(move |received, reply| {
        if reply.now().as_micros() < 1_100_000 {
            reply.send(b"GET /");
        }
        sink.borrow_mut().append(received);
    });
    let visit = Harness::new(&scenario)
        .prepare(move |world| {
            let call = move |world: &World| world.peer().connect(4_000, (OUR_V4, 80), client);
            world.at(world.after(SECOND), call);
        })
        .run(|stack, _| -> Result<[u8; 5], Error> {
            let id = stack.listen(80, keeps())?;
            stack.wait_open(id)?;
            let mut request = [0; 5];
            stack
                .reader(id)?
                .read_exact(&mut request)
                .expect("a request");
            stack.writer(id)?.write_all(b"200")?;
            stack.writer(id)?.finish()?;
            Ok(request)
        });
    assert_eq!(visit.result.expect("served"), *b"GET /");
    assert_eq!(*answer.borrow(), b"200");
    assert_eq!(visit.findings, []);
}

/// The peer of a listener has exactly what was written, whatever the network does, even if an
/// earlier connection of it was lost.
#[test]
fn writes_of_a_listener_are_compared_with_what_its_callers_received() {
    let trial = |seed: u64| {
        let scenario = Scenario::new(Profile::ALL[seed as usize % Profile::ALL.len()], seed);
        let harness = Harness::new(&scenario).prepare(|world| {
            for (number, port) in (4_001..4_004).enumerate() {
                let at = world.after(20 * SECOND * number as u32);
                let caller = match number {
                    0 => Behaviour::sink().aborting_after(50),
                    _ => Behaviour::sink(),
                };
                world.at(at, move |world| {
                    world.peer().try_connect(port, (OUR_V4, 80), caller);
                });
            }
        });
        let visit = harness.run(|stack, _| {
            for round in 0..3 {
                let Ok(id) = stack.listen(80, Options::default()) else {
                    return;
                };
                let mut writer = stack.writer(id).expect("held");
                let _ = writer
                    .write_all(&[round; 100])
                    .and_then(|()| writer.flush());
                let _ = stack.writer(id).expect("held").finish();
            }
        });
        assert_eq!(visit.findings, [], "{scenario}");
    };
    sim::explore(0..SEEDS, trial).unwrap();
}

/// The peer resets at every single byte of the request. The firmware gets the number of
/// acknowledged bytes, which is never more than arrived.
#[test]
fn a_scenario_can_have_a_fault_at_exactly_one_byte() {
    for bytes in 0..=40 {
        let scenario = Scenario {
            faults: vec![(Mark::Received(bytes), StreamFault::End(Ending::Reset))],
            ..calm(bytes)
        };
        let visit = sim::run_app(&scenario, |stack, server| {
            let id = stack.connect(server, Options::default()).expect("a slot");
            let mut writer = stack.writer(id).expect("held");
            writer.write_all(&[7; 40]).expect("room");
            writer.flush()
        });
        assert_eq!(visit.received, [vec![7; bytes as usize]]);
        let error = visit.result.expect_err("a reset");
        assert!(matches!(error, WriteError::PeerClosed { .. }), "{error:?}");
        assert!(error.ledger().acknowledged() <= bytes);
        assert_eq!(visit.findings, []);
    }
}

/// A FIN of ours after `finish_writing`, without `finish`, is no end of the connection's own.
#[test]
fn an_application_may_finish_one_direction() {
    for seed in 0..9 {
        let visit = sim::run_app(&calm(seed), |stack, server| {
            let id = stack.connect(server, Options::default()).expect("a slot");
            let mut writer = stack.writer(id).expect("held");
            writer.write_all(&[7; 40]).expect("room");
            writer.finish_writing().expect("open");
            stack.run_for(3 * SECOND);
        });
        assert_eq!(visit.received, [vec![7; 40]]);
        assert_eq!(visit.findings, []);
    }
}

#[test]
fn the_firmware_detects_that_its_link_is_down() {
    let scenario = Scenario {
        faults: vec![(Mark::Received(10), StreamFault::LinkDown(20 * SECOND))],
        ..calm(1)
    };
    let (visit, recording) = sim::record_app(&scenario, |stack, server| {
        let id = stack.connect(server, Options::default()).expect("a slot");
        stack
            .writer(id)
            .expect("held")
            .write_all(&[7; 40])
            .expect("room");
        let writer = stack.writer(id).expect("held");
        writer.finish()
    });
    let report = visit.result.expect("it survives");
    assert!(report.link_was_down);
    assert!(
        (20..25).contains(&visit.elapsed.as_secs()),
        "{:?}",
        visit.elapsed
    );
    assert_eq!(visit.received, [[7; 40]]);
    let is_cut = |frame: &sim::RecordedFrame| frame.fate.is_lost();
    assert!(recording.frames.iter().any(is_cut), "the outage is drawn");
}

/// Makes each call once.
fn make_every_call(stack: &mut GuestStack<'_>, server: IpEndpoint) {
    let id = stack.connect(server, keeps()).expect("a slot");
    let mut writer = stack.writer(id).expect("held");
    writer.write_all(b"HAL").expect("open");
    writer.flush().expect("acknowledged");
    let mut reader = stack.reader(id).expect("held");
    reader.read_exact(&mut [0; 3]).expect("an answer");
    sim::note("the answer is there");
    let writer = stack.writer(id).expect("held");
    writer.finish().expect("a clean end");
    let after = stack.writer(id).expect("held").write_all(b"more");
    assert!(after.is_err());
}

/// The recording has the states, ledger and calls of the firmware, at their times.
#[test]
fn the_recording_has_states_ledger_and_calls() {
    let scenario = calm(1);
    let harness = Harness::new(&scenario).serve(7, successors);
    let (_, recording) = harness.record(make_every_call);
    let notes: Vec<Note> = recording.moments.iter().map(|it| it.note.clone()).collect();
    let place = |wanted: &dyn Fn(&Note) -> bool| notes.iter().position(wanted).expect("noted");
    let order = [
        place(&|note| {
            matches!(
                note,
                Note::Opened {
                    remote_port: Some(7),
                    ..
                }
            )
        }),
        place(&|note| *note == Note::Wrote(b"HAL".to_vec())),
        place(&|note| *note == Note::Called(Call::Flush)),
        place(&|note| *note == Note::Called(Call::Flushed)),
        place(&|note| *note == Note::Read(b"IBM".to_vec())),
        place(&|note| *note == Note::Said("the answer is there".to_owned())),
        place(&|note| *note == Note::Called(Call::Finish)),
        place(&|note| matches!(note, Note::Failed(_))),
    ];
    assert!(order.is_sorted(), "{order:?}");
    let served = Note::Served {
        port: 7,
        number: 0,
        took: b"HAL".to_vec(),
        said: b"IBM".to_vec(),
    };
    assert!(notes.contains(&served), "{notes:?}");
    // The handshake takes a round trip, and one to resolve the neighbour; the flush takes
    // another.
    let opened = recording
        .moments
        .iter()
        .find(|it| it.state == lastbyte::State::Open);
    let acknowledged = recording
        .moments
        .iter()
        .find(|it| it.ledger.acknowledged() == 3);
    let (opened, acknowledged) = (opened.expect("open").at, acknowledged.expect("3").at);
    assert!(acknowledged.since(opened) >= Duration::from_millis(20));
    let ladder = recording.ladder();
    for words in ["Connecting", "Open", "Finishing(Us)", "Closed(Finished)"] {
        assert!(ladder.contains(words), "{words}");
    }
    assert!(ladder.contains("accepted 3 · acknowledged 3 · pending 0"));
    assert!(
        !ladder.contains("Idle, accepted"),
        "it was idle all along before"
    );
}

#[test]
fn two_connections_in_one_slot_are_recorded_as_two() {
    let scenario = calm(1);
    let (visit, recording) = sim::record_app(&scenario, |stack, server| {
        for text in [&b"one"[..], b"two"] {
            let id = stack.connect(server, Options::default()).expect("a slot");
            stack
                .writer(id)
                .expect("held")
                .write_all(text)
                .expect("open");
            stack
                .writer(id)
                .expect("held")
                .finish()
                .expect("a clean end");
        }
    });
    assert_eq!(visit.received, [b"one", b"two"]);
    assert_eq!(visit.findings, []);
    let opened = |it: &&sim::Moment| matches!(it.note, Note::Opened { .. });
    assert_eq!(recording.moments.iter().filter(opened).count(), 2);
    let ends = recording
        .moments
        .iter()
        .filter(|it| it.state.cause() == Some(Cause::Finished));
    assert!(ends.count() >= 2);
}

// ---- exploring ----

#[test]
fn the_lowest_seed_that_fails_is_reported_with_its_ladder() {
    let trial = |seed: u64| {
        let visit = Harness::new(&calm(seed)).serve(7, successors).run(request);
        assert!(visit.result.is_ok());
        assert!(seed % 1_000 < 700, "a bug in {seed}");
    };
    for _ in 0..3 {
        let failure = sim::explore(0..2_000, trial).expect_err("a bug");
        assert_eq!((failure.seed, &*failure.message), (700, "a bug in 700"));
        let text = failure.to_string();
        assert!(
            text.contains("write 4 B") && text.contains("Closed(Finished)"),
            "{text}"
        );
        assert!(failure.ladder().contains("a bug in 700"));
    }
    assert!(sim::explore(0..700, trial).is_ok());
    assert!(sim::explore(0..0, |_| panic!("never called")).is_ok());
}

/// A server that asserts stops the run where the assertion fails.
#[test]
fn a_panic_in_a_server_shows_when() {
    let trial = |seed: u64| {
        let harness_scenario = calm(seed);
        let harness = Harness::new(&harness_scenario).serve(7, |received, _| {
            assert!(received.len() < 4, "four bytes have come");
        });
        let visit = harness.run(|stack, server| {
            let id = stack.connect(server, Options::default()).expect("a slot");
            for _ in 0..100 {
                stack
                    .writer(id)
                    .expect("held")
                    .write_all(b"x")
                    .expect("open");
                stack.run_for(SECOND);
            }
        });
        assert_eq!(visit.findings, []);
    };
    let failure = sim::explore(0..10, trial).expect_err("a panic");
    assert_eq!(failure.seed, 0);
    let recording = failure.recording.as_ref().expect("a recording");
    let last = recording.moments.last().expect("moments");
    assert!(matches!(&last.note, Note::Found(finding) if finding.detail.contains("four bytes")));
    assert_eq!(
        last.at.as_micros() / 1_000_000,
        3,
        "when the fourth byte came"
    );
    assert_eq!(last.state, lastbyte::State::Open);
    assert_eq!(last.ledger.accepted(), 4);
}

#[test]
fn a_trial_that_hangs_fails_quickly() {
    let trial = |seed: u64| {
        sim::run_app(&calm(seed), |stack, server| {
            let options = Options::builder()
                .call_timeout(Duration::from_secs(1 << 22))
                .on_receive(OnReceive::Keep)
                .build()
                .expect("sound");
            let id = stack.connect(server, options).expect("a slot");
            // The peer does not answer.
            let _ = stack.reader(id).expect("held").read(&mut [0]);
        });
    };
    let failure = sim::explore(0..1, trial).expect_err("it hangs");
    assert!(failure.message.contains("hung"), "{failure}");
}

#[test]
fn a_trial_that_depends_on_more_than_its_seed_is_found() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let is_first = AtomicBool::new(true);
    let trial = |_| assert!(!is_first.swap(false, Ordering::Relaxed), "once");
    let failure = sim::explore(0..1, trial).expect_err("the first time");
    assert!(failure.message.contains("not the second time"), "{failure}");
    assert!(failure.recording.is_none());
}
