//! Tests of the simulator itself: runs are reproducible, and links do what they promise.

use std::time::Duration;

use lastbyte::Instant;
use smoltcp::phy::Medium;

use super::*;
use crate::loopback::{Damage, Fate, Loss, Path};

/// The number of seeds that a test runs; a debug build is slow.
const SEEDS: u64 = 10;

const MS: Duration = Duration::from_millis(1);

/// The fates of `count` frames of a hundred octets, one a millisecond.
fn fates(link: Link, seed: u64, count: u64) -> Vec<Fate> {
    let mut path = link.path(Medium::Ip, seed, 0);
    let frame = [0x45; 100];
    (0..count)
        .map(|number| path.carry(Instant::from_millis(number), &frame))
        .collect()
}

fn lost(fates: &[Fate], why: Loss) -> usize {
    fates
        .iter()
        .filter(|fate| **fate == Fate::Lost(why))
        .count()
}

#[test]
fn a_faultless_link_only_delays() {
    let fates = fates(Link::with_latency(7 * MS), 1, 100);
    for (number, fate) in (0..).zip(fates) {
        assert_eq!(fate, Fate::sound(Instant::from_millis(number + 7)));
    }
}

#[test]
fn faults_are_as_frequent_as_configured() {
    let tenth = Chance::percent(10);
    let link = Link {
        loss: tenth,
        duplication: tenth,
        corruption: tenth,
        truncation: tenth,
        ..Link::with_latency(MS)
    };
    let fates = fates(link, 3, 100_000);
    let near = |what: &str, count: usize, wanted: usize| {
        let per_mille = count / 100;
        let is_near = per_mille.abs_diff(wanted) <= 4;
        assert!(is_near, "{what}: {per_mille} per mille, not {wanted}");
    };
    near("lost", lost(&fates, Loss::Random), 100);
    let is_double = |fate: &&Fate| {
        matches!(
            fate,
            Fate::Arrives {
                again_at: Some(_),
                ..
            }
        )
    };
    near("doubled", fates.iter().filter(is_double).count(), 90);
    let damages = fates.iter().filter_map(|fate| match fate {
        Fate::Arrives { damage, .. } => *damage,
        Fate::Lost(_) => None,
    });
    let (mut turned, mut cut) = (0, 0);
    for damage in damages {
        match damage {
            Damage::Bit(bit) => turned += usize::from(bit < 800),
            Damage::Cut(len) => cut += usize::from(len < 100),
        }
    }
    near("turned", turned, 90);
    near("cut", cut, 81);
}

#[test]
fn losses_of_a_burst_are_consecutive() {
    let link = Link {
        burst: Some(Burst {
            begins: Chance::percent(1),
            ends: Chance::percent(20),
            loss: Chance::ALWAYS,
        }),
        ..Link::default()
    };
    let fates = fates(link, 5, 100_000);
    let losses = lost(&fates, Loss::Burst);
    // A share of 1 in 21, in runs of 5 on average.
    assert!((4_000..=5_500).contains(&losses), "{losses}");
    let bursts = fates
        .windows(2)
        .filter(|two| !two[0].is_lost() && two[1].is_lost());
    let length = losses / bursts.count();
    assert!((4..=6).contains(&length), "{length} on average");
}

#[test]
fn frames_keep_their_order_unless_held_back() {
    let jitter = Link {
        jitter: 20 * MS,
        ..Link::default()
    };
    let times: Vec<_> = fates(jitter.clone(), 1, 1_000)
        .iter()
        .map(|fate| fate.arrives_at().expect("not lost"))
        .collect();
    assert!(times.is_sorted());
    let reordering = Link {
        reordering: Chance::percent(10),
        held_back: 50 * MS,
        ..jitter
    };
    let times: Vec<_> = fates(reordering, 1, 1_000)
        .iter()
        .map(|fate| fate.arrives_at().expect("not lost"))
        .collect();
    let overtaken = times.windows(2).filter(|two| two[0] > two[1]).count();
    assert!((40..=110).contains(&overtaken), "{overtaken}");
}

#[test]
fn a_slow_line_queues_and_then_drops() {
    let line = Link {
        bandwidth: Some(10_000),
        queue_frames: 5,
        ..Link::default()
    };
    // 100 octets take 10 ms, and one comes every millisecond.
    let fates = fates(line, 1, 100);
    assert_eq!(fates[0].arrives_at(), Some(Instant::from_millis(10)));
    assert_eq!(fates[4].arrives_at(), Some(Instant::from_millis(50)));
    assert_eq!(fates[5], Fate::Lost(Loss::QueueFull));
    assert_eq!(fates[10].arrives_at(), Some(Instant::from_millis(60)));
    let through = fates.iter().filter(|fate| !fate.is_lost()).count();
    assert_eq!(through, 14);
}

#[test]
fn partitions_and_paths_with_a_small_mtu_drop() {
    let link = Link {
        partitions: vec![Instant::from_millis(10)..Instant::from_millis(20)],
        ..Link::default()
    };
    assert_eq!(lost(&fates(link, 1, 100), Loss::Partition), 10);
    let above = |longest| Link {
        black_hole_above: Some(longest),
        ..Link::default()
    };
    assert_eq!(lost(&fates(above(99), 1, 10), Loss::TooLong), 10);
    assert_eq!(lost(&fates(above(100), 1, 10), Loss::TooLong), 0);
}

#[test]
fn a_seed_gives_the_same_run_everywhere() {
    let hashes = Profile::ALL.map(|profile| {
        (0..SEEDS).fold(0, |sum: u64, seed| {
            sum.wrapping_add(run(&Scenario::new(profile, seed)).hash)
        })
    });
    assert_eq!(hashes, HASHES, "{hashes:#018x?}");
}

/// The hashes of the first seeds of each profile. They change with the scenarios and with
/// what our end sends, and with nothing else.
const HASHES: [u64; 10] = [
    0x019a_3bcc_1471_32e7,
    0x5051_cb23_7a78_3115,
    0x7a9f_b8cd_8c67_3818,
    0xd152_fa4a_ad84_e431,
    0x3a12_3a13_8323_0c7e,
    0x909f_af60_fbcd_4234,
    0x0841_b03e_efb8_a6be,
    0x4005_bdc3_9fd6_ef1b,
    0x8303_be8b_bdf7_ef7a,
    0xb050_b2f5_fdcd_571b,
];

#[test]
fn a_recorded_run_is_the_same_run() {
    for seed in 0..SEEDS {
        let scenario = Scenario::new(Profile::Rotten, seed);
        let (recorded, recording) = record(&scenario);
        assert_eq!(recorded, run(&scenario));
        assert_eq!(recording.frames.len() as u64, recorded.frames);
        assert!(recording.to_string().lines().count() > recording.frames.len());
    }
}

#[test]
fn the_script_of_a_run_replays_it() {
    use crate::loopback::Direction::{ToPeer, ToUs};
    for seed in 0..SEEDS {
        let scenario = Scenario::new(Profile::Rotten, seed);
        let (outcome, recording) = record(&scenario);
        let frames = &recording.frames;
        let scripted = Scenario {
            network: Network::Script {
                to_peer: Script::of(frames, ToPeer),
                to_us: Script::of(frames, ToUs),
            },
            ..scenario
        };
        assert_eq!(run(&scripted).hash, outcome.hash, "seed {seed}");
    }
}

#[test]
fn threads_change_nothing() {
    let sweep = |jobs| Sweep {
        over: Over::Stack,
        profiles: Profile::ALL.to_vec(),
        seeds: 0..70,
        jobs,
        patience: 1_000,
    };
    let (one, three) = (sweep(1).run(|_| ()), sweep(3).run(|_| ()));
    assert_eq!((one.seeds, one.hash), (70, three.hash));
    assert_eq!(one.causes, three.causes);
    assert_eq!(one.failing, three.failing);
}

/// A share of what `lastbyte sim` runs in a release build.
#[test]
fn the_first_thousands_of_seeds_break_no_rule() {
    let sweep = Sweep {
        over: Over::Stack,
        profiles: Profile::ALL.to_vec(),
        seeds: 0..3_000,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        patience: 1,
    };
    let summary = sweep.run(|_| ());
    let replays: Vec<String> = summary.failing.iter().map(Failing::replay).collect();
    assert_eq!(replays, [""; 0], "{:?}", summary.failing);
    assert_eq!(summary.seeds, 3_000);
}

/// smoltcp forgets the window that its keep-alive announces, and truncates at the previous one.
#[test]
fn a_fin_beyond_what_only_a_keep_alive_announced_waits_for_its_data() {
    for seed in [5_328_139, 5_809_592] {
        let findings = run(&Scenario::new(Profile::Hostile, seed)).findings;
        assert!(findings.is_empty(), "seed {seed}: {findings:?}");
    }
}

#[test]
fn a_panic_is_a_finding() {
    // A write of more than the run has content for: the ledger cannot be right.
    let scenario = Scenario {
        tx_buffer: 0,
        ..Scenario::new(Profile::Transfer, 1)
    };
    let findings = run(&scenario).findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].rule, Rule::Panic);
    assert!(findings[0].detail.contains("no stack"), "{findings:?}");
}

/// The check of outages detects one that no connection can survive, and a try that is late.
#[test]
fn an_outage_longer_than_the_limits_is_found() {
    let mut scenario = Scenario::new(Profile::Outage, 0);
    scenario.happenings.clear();
    let links = scenario.links_mut().expect("links");
    let from = Instant::from_millis(100);
    for link in [&mut links.to_peer, &mut links.to_us] {
        link.partitions = vec![from..from + Duration::from_secs(10_000)];
    }
    let rules: Vec<Rule> = run(&scenario)
        .findings
        .iter()
        .map(|found| found.rule)
        .collect();
    assert_eq!(rules, [Rule::Survives]);
}
