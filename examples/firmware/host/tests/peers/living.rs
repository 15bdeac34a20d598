//! Connections that live, and end normally.

use crate::Case;
use crate::bench::Bench;
use crate::network::Place;
use crate::peer::{LIMIT, Stream};
use std::thread;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    ("heartbeat", Place::User, heartbeat),
    ("heartbeat", Place::Tap, heartbeat),
    ("bulk", Place::User, bulk),
    ("bulk", Place::Tap, bulk),
    ("small_writes", Place::Tap, small_writes),
    ("slow_reader", Place::Tap, slow_reader),
    ("a_frame_wakes_the_chip", Place::Tap, a_frame_wakes_the_chip),
    ("idle_sleeps", Place::Tap, idle_sleeps),
    ("idle_runs_nothing", Place::User, idle_runs_nothing),
    ("time_is_accurate", Place::User, time_is_accurate),
];

fn heartbeat(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(peer.port(), &["count=3", "every=200ms", "message=tick"]);
    let received = peer.accept().read_to_end();
    assert_eq!(received, b"tick 1\ntick 2\ntick 3\n");
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, "finished");
    assert_eq!((ended.acknowledged, ended.undelivered), (21, 0));
    bench.wait_exit(0);
}

fn bulk(bench: &mut Bench) {
    transfer(bench, 300_000, &[]);
}

fn small_writes(bench: &mut Bench) {
    transfer(bench, 20_000, &["write=61", "nagle=off"]);
}

fn transfer(bench: &mut Bench, len: u64, settings: &[&str]) {
    let peer = bench.peer();
    let bytes = format!("bytes={len}");
    bench.boot(peer.port(), &[&["mode=bulk", &bytes], settings].concat());
    let mut connection = peer.accept();
    let mut stream = Stream::default();
    assert_eq!(stream.take(&connection.read_to_end()), 0);
    assert_eq!(stream.have(), len);
    let ended = bench.wait_ended();
    assert_eq!(ended.cause, "finished");
    assert_eq!((ended.acknowledged, ended.undelivered), (len + 8, 0));
    bench.wait_exit(0);
}

/// A peer that reads nothing for a while does not end the connection.
fn slow_reader(bench: &mut Bench) {
    let peer = bench.peer();
    let len = 2_000_000;
    bench.boot(peer.port(), &["mode=bulk", "bytes=2000000", "silence=3s"]);
    let mut connection = peer.accept();
    connection.wait_full();
    thread::sleep(Duration::from_secs(4));
    let mut stream = Stream::default();
    stream.take(&connection.read_to_end());
    assert_eq!(stream.have(), len);
    assert_eq!(bench.wait_ended().cause, "finished");
    bench.wait_exit(0);
}

/// The buffers are full and the chip sleeps, until a read of the peer opens the window.
/// The call timeout is so long that nothing else wakes it in time.
fn a_frame_wakes_the_chip(bench: &mut Bench) {
    let peer = bench.peer();
    peer.take_little();
    bench.boot(peer.port(), &["mode=bulk", "bytes=100000000", "call=15s"]);
    let mut connection = peer.accept();
    connection.wait_full();
    let start = Instant::now();
    let mut stream = connection.read_available();
    for _ in 0..40 {
        connection.wait_some();
        thread::sleep(Duration::from_millis(10));
        stream.extend(connection.read_available());
    }
    let took = start.elapsed();
    Stream::default().take(&stream);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// Between two beats the chip sleeps, and so does QEMU. A loop that polls would take a
/// whole core, or what is left of it.
fn idle_sleeps(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(peer.port(), &["every=1h"]);
    let mut connection = peer.accept();
    connection.read_exact(7);
    let process = i32::try_from(bench.process_id()).unwrap();
    let before = processor_ticks(process);
    let start = Instant::now();
    thread::sleep(Duration::from_secs(3));
    let used = processor_ticks(process) - before;
    let passed = start.elapsed().as_secs_f64() * procfs_ticks_per_second();
    assert!(used < passed / 20.0, "{used} of {passed} ticks");
    assert!(connection.is_alive());
}

/// Between two beats no instruction runs until something is due: no timer expires in
/// between. Something may be due in one window, but hardly in all of them.
fn idle_runs_nothing(bench: &mut Bench) {
    const WINDOW: Duration = Duration::from_secs(3);
    let peer = bench.peer();
    // A call timeout so long that the application checks nothing in between.
    bench.boot(peer.port(), &["every=1h", "call=1h"]);
    let mut connection = peer.accept();
    connection.read_exact(7);
    let log = tempfile::NamedTempFile::new().unwrap();
    let len = || log.path().metadata().unwrap().len();
    bench.monitor().log_execution(log.path()).unwrap();
    let ran: Vec<u64> = (0..3)
        .map(|_| {
            let before = len();
            thread::sleep(WINDOW);
            len() - before
        })
        .collect();
    assert!(
        ran.contains(&0),
        "a log of this length in {WINDOW:?}: {ran:?}"
    );
    // A frame shows that running code is logged.
    let before = len();
    connection.send_octet();
    let start = Instant::now();
    while len() == before {
        assert!(start.elapsed() < LIMIT, "nothing runs, or it is not logged");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Compares the firmware's time with the host's, over many sleeps.
fn time_is_accurate(bench: &mut Bench) {
    let peer = bench.peer();
    bench.boot(peer.port(), &["every=50ms", "count=100"]);
    let mut connection = peer.accept();
    connection.read_exact(7);
    let start = Instant::now();
    connection.read_to_end();
    let passed = start.elapsed().as_secs_f64();
    let mut time = |beat: &str| {
        let line = bench.wait_for(beat);
        line.time.parse::<f64>().unwrap()
    };
    let firmware = -time("beat 1: ") + time("beat 100: ");
    assert!(
        (firmware - passed).abs() < 0.25,
        "{firmware} s of the firmware in {passed} s"
    );
    bench.wait_exit(0);
}

fn processor_ticks(process: i32) -> f64 {
    let stat = procfs::process::Process::new(process)
        .unwrap()
        .stat()
        .unwrap();
    f64::from(u32::try_from(stat.utime + stat.stime).unwrap())
}

fn procfs_ticks_per_second() -> f64 {
    f64::from(u32::try_from(procfs::ticks_per_second()).unwrap())
}
