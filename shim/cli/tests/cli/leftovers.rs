//! What a run leaves on a TAP, and at a server.

use crate::cases::cases;
use crate::cases::taps::with_tap;
use crate::common::{Done, peer_at};

cases![
    a_server_that_answers_late_gets_a_rst,
    a_server_that_reads_late_gets_every_byte,
    offload_that_a_killed_run_left_is_found_and_repaired_by_the_next,
    offload_that_a_killed_run_left_is_found_and_repaired_by_doctor,
    a_run_that_ends_leaves_no_offload,
];

const TO: &str = "--tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000";

fn send_to(mode: &str) -> Done {
    let peer = peer_at("0.0.0.0", mode);
    with_tap(&format!(
        "ip link set tap0 up
         ({peer}) >&2 & peer=$!
         until_it_listens
         $lastbyte send --json {TO} Cargo.toml
         wait $peer"
    ))
}

fn a_server_that_answers_late_gets_a_rst() {
    let report = send_to("late").reports(0, "finished");
    let stderr = &report.done.stderr;
    assert!(stderr.contains("peer got an error"), "{report:#?}");
}

fn a_server_that_reads_late_gets_every_byte() {
    let report = send_to("crawl").reports(0, "finished");
    let len = std::fs::metadata("Cargo.toml").expect("ours").len();
    let stderr = &report.done.stderr;
    assert!(stderr.contains(&format!("peer got {len}")), "{report:#?}");
}

/// A run that is killed during a transfer. After it, `has_offload` returns whether the
/// interface has offload switched on.
fn killed_run() -> String {
    let peer = peer_at("0.0.0.0", "all");
    format!(
        "ip link set tap0 up
         has_offload() {{ python3 -c '
import array, fcntl, socket, struct
value = array.array(\"I\", [0x16, 0])
request = struct.pack(\"16sP\", b\"tap0\", value.buffer_info()[0])
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8946, request)
raise SystemExit(value[1] == 0)'; }}
         ({peer}) >&2 & peer=$!
         until_it_listens
         $lastbyte send --quiet {TO} /dev/zero & run=$!
         sleep 1
         kill -9 $run
         wait $run || true
         kill $peer; wait $peer || true"
    )
}

fn offload_that_a_killed_run_left_is_found_and_repaired_by_the_next() {
    let killed = killed_run();
    let peer = peer_at("0.0.0.0", "all");
    for offload in ["none", "tso"] {
        let report = with_tap(&format!(
            "{killed}
             has_offload || echo 'the premise is wrong' >&2
             ({peer}) >&2 &
             until_it_listens
             $lastbyte send --json --offload {offload} {TO} Cargo.toml
             if has_offload; then echo 'it is still there' >&2; fi"
        ))
        .reports(0, "finished");
        let stderr = &report.done.stderr;
        assert!(!stderr.contains("the premise is wrong"), "{report:#?}");
        assert!(stderr.contains("killed"), "{report:#?}");
        assert!(stderr.contains("repaired"), "{report:#?}");
        assert!(!stderr.contains("it is still there"), "{report:#?}");
    }
}

fn offload_that_a_killed_run_left_is_found_and_repaired_by_doctor() {
    let killed = killed_run();
    let done = with_tap(&format!(
        "{killed}
         has_offload || exit 7
         $lastbyte doctor
         echo again
         $lastbyte doctor
         if has_offload; then exit 8; fi"
    ));
    assert_eq!(done.code, Some(0), "{done:#?}");
    let (first, second) = done.stdout.split_once("again").expect("both");
    assert!(
        first.contains("left offload switched on at tap0"),
        "{first}"
    );
    assert!(first.contains("repaired"), "{first}");
    assert!(!second.contains("repaired"), "{second}");
}

fn a_run_that_ends_leaves_no_offload() {
    let peer = peer_at("0.0.0.0", "all");
    let killed = killed_run();
    let done = with_tap(&format!(
        "{killed}
         for signal in none INT; do
             ({peer}) >&2 & peer=$!
             until_it_listens
             if [ $signal = none ]; then
                 $lastbyte send --quiet {TO} Cargo.toml
             else
                 $lastbyte send --quiet {TO} /dev/zero & run=$!
                 sleep 1; kill -$signal $run; wait $run || true
             fi
             kill $peer 2>/dev/null || true; wait $peer || true
             if has_offload; then exit 8; fi
         done"
    ));
    assert_eq!(done.code, Some(0), "{done:#?}");
}
