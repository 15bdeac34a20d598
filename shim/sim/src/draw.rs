//! Draws a scenario from a seed.

use std::time::Duration;

use lastbyte::core::Nagle;
use lastbyte::{Instant, OnPeerFin, OnReceive, Options};

use super::dice::{Chance, Dice};
use super::draw_outside::draw_happenings;
use super::draw_path::{outage, slow};
use super::end::Over;
use super::happening::Happening;
use super::link::{Burst, Link, Links};
use super::model::{Lost, Overrun, PeerModel, Relic, Restart, Rogue};
use super::profile::Profile;
use super::scenario::{Beside, Bind, Family, Network, Opening, Scenario, Step};
use crate::loopback::Offload;
use smoltcp::phy::Medium;

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The streams of a seed: each part has its own, so that a change to one part does not
/// change the others.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Links = 1,
    Peer,
    Options,
    Plan,
    Happenings,
    Device,
    Beside,
    Coincidence,
    Calls,
}

fn dice(seed: u64, stream: Stream) -> Dice {
    Dice::new(seed, stream as u64)
}

pub(super) fn draw(profile: Profile, seed: u64) -> Scenario {
    match profile {
        Profile::Transfer => return transfer(seed),
        Profile::Slow => return slow(seed),
        Profile::Outage => return outage(seed),
        Profile::Calls => return calls(seed),
        _ => {}
    }
    let mut any = Dice::new(seed, 0);
    let peer = draw_peer(profile, &mut dice(seed, Stream::Peer));
    let overrun = match peer {
        PeerModel::Rogue(Rogue::Overruns(overrun)) => Some(overrun),
        _ => None,
    };
    let options = draw_options(overrun.is_some(), &mut dice(seed, Stream::Options));
    let mut plan = draw_plan(options, &mut dice(seed, Stream::Plan));
    if let Some(overrun) = overrun {
        plan.splice(..plan.len() - 1, overrun_plan(overrun));
    }
    let opening = draw_opening(profile, peer, &mut any);
    let family = any.pick(&[Family::V4, Family::V4, Family::V6]);
    let (medium, offload, transmit_frames) = draw_device(profile, &mut dice(seed, Stream::Device));
    let mut scenario = Scenario {
        seed,
        profile,
        over: Over::Stack,
        family,
        medium,
        offload,
        transmit_frames,
        network: Network::Links(Box::new(draw_links(
            profile,
            &mut dice(seed, Stream::Links),
        ))),
        peer,
        faults: Vec::new(),
        peer_buffer: any.pick(&[512, 1_460, 4_096, 8_192, 16_384]),
        options,
        tx_buffer: any.pick(&[64, 536, 1_460, 2_048, 4_096, 8_192]),
        rx_buffer: any.pick(&[64, 256, 512, 1_460, 2_048]),
        opening,
        plan,
        happenings: draw_happenings(profile, family, peer, &mut dice(seed, Stream::Happenings)),
        beside: draw_beside(profile, &mut dice(seed, Stream::Beside)),
    };
    coincide(&mut scenario, &mut dice(seed, Stream::Coincidence));
    scenario
}

/// Combinations that are rare by chance.
fn coincide(scenario: &mut Scenario, dice: &mut Dice) {
    if dice.below(48) > 0 || matches!(scenario.peer, PeerModel::Rogue(_)) {
        return;
    }
    let Some(&last) = scenario.plan.last() else {
        return;
    };
    scenario.peer = PeerModel::HalfCloses(dice.below(600));
    scenario.opening = Opening::Connect;
    scenario.plan = dribble(dice);
    scenario.plan.push(last);
    let pick = dice.below(3);
    if pick == 0 {
        // A FIN waits in the device during a write.
        let at = Instant::ZERO + dice.time(ms(300));
        scenario.happenings = vec![(at, Happening::Stuck(ms(150)))];
    } else if let (1, Network::Links(links)) = (pick, &mut scenario.network) {
        // A FIN is overtaken by an ACK.
        links.to_us.reordering = Chance::percent(30);
        links.to_us.held_back = ms(200);
    } else {
        // A caller connects again while its last connection is in TIME-WAIT.
        scenario.peer = PeerModel::ReadsAll;
        scenario.opening = Opening::Listen(Bind::Port, Instant::ZERO);
        let once = [Step::Write(100), Step::Finish];
        scenario.plan = [&once[..], &[Step::Reopen], &once[..]].concat();
        scenario.happenings.clear();
        scenario.beside = vec![Beside {
            peer: PeerModel::ReadsAll,
            options: Options::default(),
            opening: Opening::Connect,
            plan: vec![Step::Finish],
        }];
    }
}

/// Writes in small pieces, so that some write happens while a FIN is late, or waits in
/// the device.
fn dribble(dice: &mut Dice) -> Vec<Step> {
    let mut plan = Vec::new();
    for _ in 0..dice.between(4, 12) {
        plan.push(Step::TryWrite(dice.between(1, 300) as usize));
        plan.push(Step::Pause(dice.time(ms(60))));
    }
    plan
}

fn draw_opening(profile: Profile, peer: PeerModel, any: &mut Dice) -> Opening {
    let listens = any.below(if profile == Profile::Hostile { 3 } else { 8 }) == 0;
    let at = Instant::ZERO + any.time(secs(5));
    let bind = match any.below(16) {
        0..10 => Bind::Port,
        10..13 => Bind::Ours,
        13 => Bind::Unspecified,
        14 => any.pick(&[Bind::Group, Bind::Loopback]),
        _ => Bind::Foreign,
    };
    match peer {
        PeerModel::Rogue(_) | PeerModel::Refuses | PeerModel::Reboots(..) => Opening::Connect,
        _ if listens => Opening::Listen(bind, at),
        _ => Opening::Connect,
    }
}

/// The medium, and the checksum offload and queue of our device.
fn draw_device(profile: Profile, dice: &mut Dice) -> (Medium, Offload, usize) {
    let medium = dice.pick(&[
        Medium::Ethernet,
        Medium::Ethernet,
        Medium::Ethernet,
        Medium::Ip,
    ]);
    let mut offload = Offload::default();
    if dice.below(4) == 0 {
        offload = Offload {
            ipv4_tx: dice.below(2) == 0,
            ipv4_rx: dice.below(2) == 0,
            tcp_tx: dice.below(2) == 0,
            tcp_rx: dice.below(2) == 0,
        };
    }
    // Frames stay in the device until they are at the peer: over a path with a long
    // delay, few are needed.
    let is_short = matches!(profile, Profile::Lan | Profile::Wifi);
    let frames = match dice.below(10) {
        0 if is_short => dice.pick(&[1, 2, 4]),
        _ => 1_024,
    };
    (medium, offload, frames)
}

fn draw_beside(profile: Profile, dice: &mut Dice) -> Vec<Beside> {
    let count = match dice.below(12) {
        0 => dice.between(1, Scenario::MOST_BESIDE as u64),
        _ => 0,
    };
    let one = |_| {
        let peer = match draw_peer(profile, dice) {
            PeerModel::Rogue(_) => PeerModel::ReadsAll,
            peer => peer,
        };
        let options = draw_options(false, dice);
        Beside {
            peer,
            options,
            opening: draw_opening(profile, peer, dice),
            plan: draw_plan(options, dice),
        }
    };
    (0..count).map(one).collect()
}

/// The same plan for every seed; only the network varies.
fn transfer(seed: u64) -> Scenario {
    let link = Link {
        jitter: ms(20),
        loss: Chance::percent(10),
        ..Link::with_latency(ms(1))
    };
    plain(Profile::Transfer, seed, Links::symmetric(link))
}

/// 8 KiB and a close, to a peer that reads.
pub(super) fn plain(profile: Profile, seed: u64, links: Links) -> Scenario {
    Scenario {
        seed,
        profile,
        over: Over::Stack,
        family: Family::V4,
        medium: Medium::Ethernet,
        offload: Offload::default(),
        transmit_frames: 1_024,
        network: Network::Links(Box::new(links)),
        peer: PeerModel::ReadsAll,
        faults: Vec::new(),
        peer_buffer: 16_384,
        options: Options::default(),
        tx_buffer: 8_192,
        rx_buffer: 512,
        opening: Opening::Connect,
        plan: vec![Step::Write(8_192), Step::Finish],
        happenings: Vec::new(),
        beside: Vec::new(),
    }
}

fn draw_links(profile: Profile, dice: &mut Dice) -> Links {
    let kind = match profile {
        Profile::Hostile => dice.pick(&[Profile::Lan, Profile::Wifi, Profile::Rotten]),
        other => other,
    };
    let to_peer = draw_link(kind, dice);
    let to_us = draw_link(kind, dice);
    let mut links = Links { to_peer, to_us };
    if dice.below(20) == 0 && profile != Profile::Lan {
        // A path whose MTU is smaller than either end knows.
        links.to_peer.black_hole_above = Some(dice.pick(&[576, 1_000, 1_300]));
    }
    if dice.below(6) == 0 {
        let from = Instant::ZERO + dice.time(secs(20));
        let longest = dice.pick(&[secs(1), secs(10), secs(100), secs(1_000)]);
        let closed = from..from + dice.time(longest);
        match dice.below(3) {
            0 => links.to_peer.partitions.push(closed),
            1 => links.to_us.partitions.push(closed),
            _ => {
                links.to_peer.partitions.push(closed.clone());
                links.to_us.partitions.push(closed);
            }
        }
    }
    links
}

fn draw_link(kind: Profile, dice: &mut Dice) -> Link {
    match kind {
        Profile::Lan | Profile::Slow | Profile::Outage | Profile::Calls | Profile::Transfer => {
            Link {
                loss: Chance::per_million(dice.pick(&[0, 0, 100])),
                reordering: Chance::percent(dice.pick(&[0, 0, 0, 2])),
                held_back: ms(2),
                ..Link::with_latency(Duration::from_micros(dice.between(0, 500)))
            }
        }
        Profile::Wifi => Link {
            jitter: ms(dice.between(0, 20)),
            loss: Chance::per_million(dice.pick(&[0, 1_000, 10_000])),
            burst: Some(Burst {
                begins: Chance::percent(1),
                ends: Chance::percent(30),
                loss: Chance::percent(80),
            }),
            duplication: Chance::per_million(dice.pick(&[0, 1_000, 20_000])),
            reordering: Chance::percent(dice.pick(&[0, 0, 3])),
            held_back: ms(50),
            ..Link::with_latency(ms(dice.between(1, 5)))
        },
        Profile::Lte => Link {
            jitter: ms(dice.between(0, 100)),
            loss: Chance::per_million(dice.pick(&[0, 1_000, 20_000])),
            bandwidth: Some(dice.pick(&[4_000, 30_000, 500_000])),
            queue_frames: dice.pick(&[4, 20, 200]),
            reordering: Chance::percent(dice.pick(&[0, 1])),
            held_back: ms(200),
            ..Link::with_latency(ms(dice.between(20, 80)))
        },
        Profile::Satellite => Link {
            jitter: ms(dice.between(0, 30)),
            loss: Chance::per_million(dice.pick(&[0, 5_000, 30_000])),
            bandwidth: Some(dice.pick(&[10_000, 250_000])),
            ..Link::with_latency(ms(dice.between(250, 300)))
        },
        Profile::Rotten | Profile::Hostile => Link {
            jitter: ms(dice.pick(&[0, 20, 500])),
            loss: Chance::percent(dice.pick(&[0, 5, 10, 30, 60])),
            duplication: Chance::percent(dice.pick(&[0, 2, 20])),
            reordering: Chance::percent(dice.pick(&[0, 5, 30])),
            held_back: ms(dice.pick(&[10, 100, 3_000])),
            corruption: Chance::percent(dice.pick(&[0, 0, 1, 10])),
            truncation: Chance::percent(dice.pick(&[0, 0, 1, 5])),
            ..Link::with_latency(ms(dice.between(0, 50)))
        },
    }
}

fn draw_peer(profile: Profile, dice: &mut Dice) -> PeerModel {
    if profile == Profile::Hostile && dice.below(2) == 0 {
        return PeerModel::Rogue(draw_rogue(dice));
    }
    let soon = Instant::ZERO + dice.time(secs(10));
    match dice.below(20) {
        0..4 => PeerModel::ReadsAll,
        4 => PeerModel::StaysOpen,
        5 => PeerModel::ReadsSlowly {
            bytes: dice.between(1, 2_000) as usize,
            every: ms(dice.between(1, 2_000)),
        },
        6 => PeerModel::ReadsFrom(match dice.below(2) {
            0 => Instant::NEVER,
            _ => Instant::ZERO + dice.time(secs(1_000)),
        }),
        7 | 8 => PeerModel::HalfCloses(draw_bytes(dice)),
        9 | 10 => PeerModel::Exits(draw_bytes(dice)),
        11 => PeerModel::Resets(dice.below(10_000)),
        12 => PeerModel::ResetsAt(soon),
        13 => PeerModel::Refuses,
        14 => dice.pick(&[PeerModel::NeverAnswers, PeerModel::Absent]),
        15 => PeerModel::Vanishes(
            soon,
            match dice.below(2) {
                0 => Instant::NEVER,
                _ => soon + dice.time(secs(200)),
            },
        ),
        16 => PeerModel::Reboots(soon, dice.pick(&[7, 8])),
        17 => PeerModel::Floods(dice.between(1_000, 60_000) as usize),
        18 => PeerModel::Answers(dice.below(6_000) as usize),
        // Hours, for the few bytes of a plan.
        _ => PeerModel::ReadsSlowly {
            bytes: 50,
            every: secs(dice.between(30, 90)),
        },
    }
}

/// The number of bytes after which a peer ends.
fn draw_bytes(dice: &mut Dice) -> u64 {
    let most = dice.pick(&[1_000, 10_000]);
    dice.below(most)
}

fn draw_rogue(dice: &mut Dice) -> Rogue {
    match dice.below(14) {
        0 => Rogue::ShrinksWindow,
        1 => Rogue::TakesParts,
        2 => Rogue::RepeatsItself,
        3 => Rogue::FinsEarly(dice.below(6_000)),
        4 => Rogue::Narrow,
        5 => Rogue::Duplicates,
        6 => Rogue::StaleWindows,
        7 => Rogue::OldAcks(dice.below(6_000)),
        8 => Rogue::Overruns(dice.pick(&[Overrun::Fin, Overrun::Rst])),
        9 => Rogue::KeepsAlive(ms(dice.between(1_100, 20_000))),
        _ => Rogue::Restarts(Restart {
            when: match dice.below(4) {
                0 => Lost::AtFin,
                1 => Lost::BehindItsFin(dice.below(2_000)),
                _ => Lost::After(dice.pick(&[0, 1, 100, 4_000])),
            },
            like: dice.pick(&[Relic::Lwip, Relic::Uip, Relic::Linux]),
        }),
    }
}

/// Happenings that cause such a peer to act: it sends more every other second.
fn overrun_plan(overrun: Overrun) -> Vec<Step> {
    match overrun {
        // Half of our window is full; to read a part is too little for a window update.
        Overrun::Fin => vec![
            Step::Write(100),
            Step::Pause(ms(500)),
            Step::Read,
            Step::Pause(secs(5)),
            Step::Read,
        ],
        // Our window is full, and our end does not read.
        Overrun::Rst => vec![Step::Write(100), Step::Pause(secs(5)), Step::Write(100)],
    }
}

/// `keeps`: the application reads what is received.
fn draw_options(keeps: bool, dice: &mut Dice) -> Options {
    let mut options = Options::builder();
    if dice.below(2) == 0 {
        options = options
            .connect_timeout(secs(dice.between(1, 40)))
            .user_timeout(secs(dice.between(2, 120)))
            .call_timeout(ms(dice.between(100, 60_000)))
            .finish_timeout(ms(dice.between(500, 60_000)));
    }
    if dice.below(6) == 0 {
        options = options.keep_alive(secs(dice.between(1, 30)));
    }
    if dice.below(4) == 0 {
        options = options.on_peer_fin(OnPeerFin::HalfClose);
    }
    if dice.below(4) == 0 || keeps {
        options = options.on_receive(OnReceive::Keep);
    }
    if dice.below(3) == 0 {
        options = options.nagle(Nagle::Off);
    }
    // Every value above is within its bounds.
    options.build().unwrap_or_default()
}

/// The run of another profile, with an application that makes other calls.
fn calls(seed: u64) -> Scenario {
    let mut dice = dice(seed, Stream::Calls);
    let profile = dice.pick(&[
        Profile::Lan,
        Profile::Wifi,
        Profile::Lte,
        Profile::Satellite,
        Profile::Rotten,
        Profile::Hostile,
    ]);
    let mut scenario = Scenario {
        profile: Profile::Calls,
        ..draw(profile, seed)
    };
    let beside = scenario.beside.iter_mut().map(|beside| &mut beside.plan);
    for plan in [&mut scenario.plan].into_iter().chain(beside) {
        for step in &mut *plan {
            *step = match (*step, dice.below(4)) {
                (Step::Write(len) | Step::TryWrite(len), 0 | 1) => Step::WriteMore(len),
                (Step::Write(len) | Step::TryWrite(len), 2) => Step::Message(len),
                (Step::BeginFinish, 0..3) => Step::FinishWriting,
                (step, _) => step,
            };
        }
        if dice.below(2) == 0 {
            let pause = dice.pick(&[ms(0), ms(50), secs(2), secs(100)]);
            let end = plan.len().saturating_sub(1);
            let rest = [
                Step::FinishWriting,
                Step::Pause(dice.time(pause)),
                Step::Read,
            ];
            plan.splice(end..end, rest);
        }
    }
    scenario
}

fn draw_plan(options: Options, dice: &mut Dice) -> Vec<Step> {
    let keeps = options.on_receive() == OnReceive::Keep;
    let mut plan = Vec::new();
    for _ in 0..dice.between(1, 6) {
        let len = dice.pick(&[1, 10, 100, 1_000, 3_000, 8_192]);
        let len = dice.between(1, len) as usize;
        let pause = dice.pick(&[ms(10), ms(300), secs(5), secs(200)]);
        plan.push(match dice.below(17) {
            0..5 => Step::Write(len),
            5..7 => Step::WriteAll(len),
            7..9 => Step::TryWrite(len),
            9..12 => Step::Pause(dice.time(pause)),
            12 => Step::Neglect(dice.time(pause)),
            13 if keeps => Step::Read,
            13 => Step::Flush,
            14 => Step::Read,
            15 => Step::BeginFinish,
            _ => Step::Reopen,
        });
        if plan.last() == Some(&Step::Reopen) && dice.below(2) == 0 {
            plan.insert(plan.len() - 1, Step::Finish);
        }
    }
    plan.push(match dice.below(10) {
        0..7 => Step::Finish,
        7 | 8 => Step::Abort,
        _ => Step::Release,
    });
    plan
}
