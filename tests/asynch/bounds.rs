//! How often tasks are woken, at most.

use crate::common::{PORT, ms, options, pattern, secs};
use crate::rig::{Rig, poll_once, up_to};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use embedded_io_async::Write;
use lastbyte::asynch::Local;
use lastbyte::{Cause, OnReceive, Options};
use lastbyte_sim::loopback::{Behaviour, Flags, Handshake, PEER_V4, WorldConfig};

const HOUR: Duration = secs(3_600);

#[test]
fn an_idle_hour_wakes_no_task_and_not_the_runner() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep).call_timeout(HOUR * 2));
    let mut connection = rig.open(Behaviour::sink(), keep);
    let (_, reader) = connection.split();
    let counts = rig.run(vec![
        Box::pin(async {
            assert_eq!(reader.read(&mut [0; 9]).await, Ok(0));
        }),
        Box::pin(async {
            rig.timer.sleep(HOUR).await;
            rig.world.peer().close(PORT);
            rig.timer.sleep(secs(1)).await;
        }),
    ]);
    // Its first poll, one wake after the call was registered, and the FIN.
    assert!(rig.served.get().polls <= 4, "{:?}", rig.served.get());
    assert!(counts[0].wakes <= 1, "{counts:?}");
}

#[test]
fn an_hour_before_a_closed_window_costs_a_few_polls_a_minute() {
    let rig = Rig::new();
    let patient = options(|o| o.call_timeout(HOUR).user_timeout(secs(200)));
    let mut connection = rig.open(Behaviour::silent().rx_buffer(2_000), patient);
    let counts = rig.run(vec![Box::pin(async {
        let error = connection.write_all(&[7; 20_000]).await.unwrap_err();
        assert_eq!(error.cause(), None);
    })]);
    assert_eq!((counts[0].polls, counts[0].wakes), (3, 2));
    // Each minute a probe, its answer, and the timers of the connection.
    assert!(
        rig.served.get().polls <= 5 * 60 + 20,
        "{:?}",
        rig.served.get()
    );
}

#[test]
fn a_transfer_polls_a_task_once_for_each_wake() {
    let rig = Rig::new();
    let behaviour = Behaviour::sink().reading(1_000, ms(10)).rx_buffer(3_000);
    let mut connection = rig.open(behaviour, Options::default());
    let data = pattern(0, 100_000);
    let counts = rig.run(vec![Box::pin(async {
        connection.write_all(&data).await.unwrap();
        connection.flush().await.unwrap();
    })]);
    assert!(counts[0].polls <= counts[0].wakes + 1, "{counts:?}");
    // The peer's application reads 100 times. Each window update lets one write go on.
    assert!(counts[0].polls <= 250, "{counts:?}");
}

#[test]
fn a_call_that_was_dropped_is_woken_by_nothing() {
    let rig = Rig::new();
    let behaviour = Behaviour::silent().rx_buffer(2_000);
    let mut connection = rig.open(behaviour, Options::default());
    let counts = rig.run(vec![Box::pin(async {
        let mut polls = 0;
        while polls < 3 {
            polls += 1;
            let _ = up_to(1, connection.write(&[7; 9_000])).await;
        }
        // The end would wake a writer, and so would the call timeout.
        rig.timer.sleep(secs(100)).await;
        rig.world.peer().abort(PORT);
        rig.timer.sleep(secs(100)).await;
    })]);
    // The two sleeps.
    assert_eq!((counts[0].polls, counts[0].wakes), (3, 2));
}

#[test]
fn only_the_tasks_of_a_busy_connection_are_woken() {
    let rig = Rig::new();
    let keep = options(|o| o.on_receive(OnReceive::Keep).call_timeout(secs(900)));
    let busy = Behaviour::sink().reading(500, ms(10)).rx_buffer(3_000);
    let mut busy = rig.open(busy.sending(pattern(1, 20_000)).backlog(2), keep);
    let closed = Behaviour::silent().rx_buffer(1_000);
    rig.world.peer().listen(PORT + 1, closed);
    let blocked = rig.block_on(rig.net.connect((PEER_V4, PORT + 1), keep));
    let mut blocked = blocked.unwrap();
    let id = blocked.id();
    let (writer, reader) = busy.split();
    let data = pattern(0, 30_000);
    let counts = rig.run(vec![
        Box::pin(async {
            writer.write_all(&data).await.unwrap();
            writer.flush().await.unwrap();
            rig.net.abort(id).unwrap();
        }),
        Box::pin(async {
            let (mut read, mut into) = (0, [0; 900]);
            while read < 20_000 {
                read += reader.read(&mut into).await.unwrap();
            }
        }),
        Box::pin(async {
            let error = blocked.write_all(&[1; 9_000]).await.unwrap_err();
            assert_eq!(error.cause(), Some(Cause::Aborted));
        }),
    ]);
    assert_eq!(rig.world.peer().received(PORT), data);
    assert!(counts[0].polls > 20, "{counts:?}");
    // Room once for what the peer's buffer took, and the abort.
    assert!(counts[2].wakes <= 2, "{counts:?}");
}

#[test]
fn a_device_that_stands_still_costs_a_poll_a_millisecond_and_nothing_once_it_moves() {
    let rig = Rig::new();
    let mut connection = rig.open(Behaviour::sink(), Options::default());
    rig.world.set_stuck(true);
    let world = rig.world.clone();
    rig.world
        .at(rig.world.now() + ms(100), move |_| world.set_stuck(false));
    let counts = rig.run(vec![Box::pin(async {
        connection.write_all(b"hello").await.unwrap();
    })]);
    assert!(counts[0].polls <= 110, "{counts:?}");
    assert_eq!(rig.world.peer().received(PORT), b"");
    rig.block_on(connection.flush()).unwrap();
}

#[test]
fn forged_segments_wake_no_task() {
    let rig = Rig::<Local>::over(WorldConfig::instant(), 4_096);
    let raw = rig.world.raw();
    let keep = options(|o| o.on_receive(OnReceive::Keep).call_timeout(HOUR));
    let mut connecting = pin!(rig.net.connect((PEER_V4, PORT), keep));
    let mut connected = Poll::Pending;
    let flow = raw.handshake(Handshake::default(), || {
        if connected.is_pending() {
            connected = poll_once(&mut connecting);
        }
    });
    let Poll::Ready(Ok(mut connection)) = connected else {
        panic!("not connected");
    };
    let id = connection.id();
    let (writer, reader) = connection.split();
    let counts = rig.run(vec![
        Box::pin(async {
            writer.write_all(b"hello").await.unwrap();
            let error = writer.flush().await.unwrap_err();
            assert_eq!(error.cause(), Some(Cause::Aborted));
        }),
        Box::pin(async {
            let error = reader.read(&mut [0; 9]).await.unwrap_err();
            assert_eq!(error.cause(), Some(Cause::Aborted));
        }),
        Box::pin(async {
            for forged in 1..200_u32 {
                let far = flow.ack().seq.wrapping_add(100_000 * forged);
                for flags in [Flags::RST, Flags::SYN, Flags::ACK, Flags::FIN] {
                    let segment = flow.segment(flags).with_seq(far).with_ack(forged);
                    raw.send(&segment);
                }
                rig.timer.sleep(ms(1)).await;
            }
            rig.net.abort(id).unwrap();
        }),
    ]);
    assert_eq!((counts[0].polls, counts[0].wakes), (2, 1));
    assert_eq!((counts[1].polls, counts[1].wakes), (2, 1));
}
