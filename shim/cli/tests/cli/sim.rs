//! `lastbyte sim`, which needs no network.

use std::fs;

use crate::cases::cases;
use crate::common::{Done, has_program, lastbyte, run};

cases![
    a_short_run_has_no_findings_and_prints_its_numbers,
    a_seed_gives_the_same_run_again,
    seeds_and_threads_give_the_same_hash,
    a_ladder_is_an_svg,
    other_programs_can_read_a_capture,
    a_log_has_every_frame,
    coverage_is_a_table,
    the_last_possible_seeds_are_run_once,
    jobs_without_work_start_no_threads,
    bad_arguments_are_usage_errors,
    a_file_that_cannot_be_written_is_named,
];

fn sim(args: &[&str]) -> Done {
    run(lastbyte(&[&["sim"], args].concat()))
}

/// The hash that a run printed.
#[track_caller]
fn hash(done: &Done) -> String {
    let (_, after) = done.stdout.split_once("hash ").expect("a hash");
    let hash: String = after.chars().take_while(char::is_ascii_hexdigit).collect();
    assert_eq!(hash.len(), 16, "{done:#?}");
    hash
}

/// How many frames a replayed run reports.
#[track_caller]
fn frames(done: &Done) -> usize {
    let (before, _) = done.stdout.split_once(" frames in ").expect("frames");
    let number = before.rsplit(' ').next().and_then(|word| word.parse().ok());
    number.expect("a number")
}

fn a_short_run_has_no_findings_and_prints_its_numbers() {
    let done = sim(&["--seeds", "0..70", "--jobs", "2"]).ended_with(0, &[]);
    for words in [
        "70 seeds of lan, wifi, lte, satellite, rotten, hostile, slow, outage, calls, transfer",
        ": 0 findings",
        "seeds a second (",
        "of 2 threads)",
        "s of virtual time a second",
        "ends: ",
        "cells within reach were reached",
    ] {
        assert!(done.stdout.contains(words), "{words:?} in {done:#?}");
    }
    assert_eq!(done.stderr, "", "no progress bar into a pipe");
}

fn a_seed_gives_the_same_run_again() {
    let once = || sim(&["--profile", "rotten", "--seed", "7"]).ended_with(0, &[]);
    let (first, other) = (once(), sim(&["--profile", "rotten", "--seed", "8"]));
    assert_eq!(first.stdout, once().stdout);
    assert_ne!(hash(&first), hash(&other));
}

fn seeds_and_threads_give_the_same_hash() {
    let swept = |over, jobs| {
        let args = ["--over", over, "--seeds", "100..200", "--jobs", jobs];
        hash(&sim(&args).ended_with(0, &[]))
    };
    assert_eq!(swept("stack", "1"), swept("stack", "3"));
    assert_eq!(swept("async", "1"), swept("async", "3"));
    assert_ne!(swept("stack", "1"), swept("async", "1"));
}

fn a_ladder_is_an_svg() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("run.svg");
    let path = path.to_str().expect("a name");
    let done = sim(&["--profile", "wifi", "--seed", "3", "--ladder", path]).ended_with(0, &[]);
    let picture = fs::read_to_string(path).expect("the picture");
    let document = roxmltree::Document::parse(&picture).expect("well-formed");
    assert!(document.root_element().has_tag_name("svg"));
    assert!(picture.contains("seed 3 of wifi"), "{done:#?}");
}

fn other_programs_can_read_a_capture() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("run.pcap");
    let path = path.to_str().expect("a name");
    // Nothing is lost on the way to us or arrives twice, so the capture has all frames.
    let done = sim(&["--profile", "lan", "--seed", "9", "--pcap", path]).ended_with(0, &[]);
    let readers: [(&str, &[&str]); 2] = [
        (
            "tshark",
            &["-o", "tcp.check_checksum:TRUE", "-nr", path, "-Y"],
        ),
        ("tcpdump", &["-nr", path]),
    ];
    let mut read = 0;
    for (program, args) in readers {
        if !has_program(program) {
            eprintln!("SKIPPED: reading the capture with {program}, which is not here");
            continue;
        }
        let read_with = |more: &[&str]| {
            let mut command = std::process::Command::new(program);
            command.args(args).args(more);
            run(command).ended_with(0, &[])
        };
        let lines = if program == "tshark" {
            let bad = "_ws.malformed || tcp.checksum.status == Bad";
            assert_eq!(read_with(&[bad]).stdout, "", "what {program} minds");
            read_with(&["frame"]).stdout.lines().count()
        } else {
            read_with(&[]).stdout.lines().count()
        };
        assert_eq!(lines, frames(&done), "{program}, {done:#?}");
        read += 1;
    }
    // Without either, only the header is checked.
    let bytes = fs::read(path).expect("the capture");
    assert_eq!(bytes[..4], 0xa1b2_c3d4_u32.to_ne_bytes());
    assert!(bytes.len() > 24 + 16 * frames(&done), "{read} readers");
}

fn a_log_has_every_frame() {
    let done = sim(&["--profile", "lan", "--seed", "9", "--log"]).ended_with(0, &[]);
    let arrows = ["-->", "<--", "<<<"];
    let lines = done.stdout.lines();
    let shown = lines.filter(|line| arrows.iter().any(|arrow| line.contains(arrow)));
    assert_eq!(shown.count(), frames(&done), "{done:#?}");
}

fn coverage_is_a_table() {
    let done = sim(&["--seeds", "0..70", "--coverage"]).ended_with(0, &[]);
    for row in ["T001", "T153"] {
        assert!(done.stdout.contains(row), "{row} in {done:#?}");
    }
}

fn the_last_possible_seeds_are_run_once() {
    let last = ["--seeds", "18446744073709551577..18446744073709551615"];
    let done = sim(&[&last, &["--jobs", "1"][..]].concat()).ended_with(0, &[]);
    assert!(done.stdout.contains("38 seeds of"), "{done:#?}");
    let other = sim(&[&last, &["--jobs", "3"][..]].concat()).ended_with(0, &[]);
    assert_eq!(hash(&done), hash(&other));
}

fn jobs_without_work_start_no_threads() {
    // A thread gets 32 seeds at a time.
    let done = sim(&["--seeds", "0..70", "--jobs", "1000000000"]).ended_with(0, &[]);
    assert!(done.stdout.contains("of 3 threads)"), "{done:#?}");
    assert!(done.stdout.contains("70 seeds of"), "{done:#?}");
}

fn bad_arguments_are_usage_errors() {
    let cases: [(&[&str], &str); 16] = [
        (&["--seed", "3", "--pcap", "-"], "./-"),
        (&["--seed", "3", "--ladder", "-"], "./-"),
        (&["--seeds", "9..3"], "no seed from 9 up to 3"),
        (&["--seeds", "7..7"], "no seed from 7 up to 7"),
        (&["--seeds", "many"], "0..10000"),
        (&["--seed", "one"], "a seed is a number from 0 to"),
        (
            &["--seed", "18446744073709551616"],
            "0 to 18446744073709551615",
        ),
        (&["--seeds", "0..18446744073709551616"], "0..10000"),
        (&["--patience", "0"], "use a number from 1"),
        (&["--seed", "-1"], "-1"),
        (&["--profile", "moon"], "there is no profile \"moon\""),
        (&["--jobs", "0"], "use a number from 1"),
        (&["--ladder", "x.svg"], "--seed"),
        (&["--pcap", "x.pcap"], "--seed"),
        (&["--seed", "1", "--seeds", "0..9"], "--seeds"),
        (&["--seed", "1", "--coverage"], "--coverage"),
    ];
    for (args, word) in cases {
        let done = sim(args).ended_with(2, &[word]);
        assert_eq!(done.stdout, "", "{args:?}");
    }
}

fn a_file_that_cannot_be_written_is_named() {
    for flag in ["--ladder", "--pcap"] {
        let path = "/no/such/place/file";
        sim(&["--seed", "1", flag, path]).ended_with(1, &["cannot write", path]);
    }
}
