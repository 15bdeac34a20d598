//! Draws slow paths, and paths with an outage.

use std::time::Duration;

use lastbyte::{Instant, Options};
use smoltcp::phy::Medium;

use super::dice::{Chance, Dice};
use super::draw::{ms, plain, secs};
use super::happening::Happening;
use super::link::{Link, Links};
use super::model::PeerModel;
use super::profile::Profile;
use super::scenario::{Beside, Family, Opening, Scenario, Step};

/// How much shorter than a timeout an outage is: the last try is sent two seconds before its
/// end, and the answer takes a round trip.
const BEFORE_THE_END: Duration = Duration::from_secs(3);

/// A line of limited bandwidth with a short queue, shared by up to three connections.
pub(super) fn slow(seed: u64) -> Scenario {
    let mut dice = Dice::new(seed, 0);
    let line = Link {
        loss: Chance::percent(dice.pick(&[0, 0, 1])),
        bandwidth: Some(dice.pick(&[8_000, 125_000])),
        queue_frames: dice.pick(&[5, 8, 20]),
        ..Link::with_latency(ms(dice.between(1, 100)))
    };
    let mut scenario = plain(Profile::Slow, seed, Links::symmetric(line));
    draw_ends(&mut scenario, &mut dice);
    scenario.tx_buffer = dice.pick(&[1_460, 4_096, 16_384, 65_536]);
    scenario.peer_buffer = dice.pick(&[4_096, 16_384, 65_535]);
    let plan = |dice: &mut Dice| {
        let len = dice.pick(&[1_000, 20_000, 60_000]);
        vec![Step::Write(dice.between(1, len) as usize), Step::Finish]
    };
    scenario.plan = plan(&mut dice);
    for _ in 0..dice.pick(&[0, 0, 1, 2]) {
        scenario.beside.push(Beside {
            peer: PeerModel::ReadsAll,
            options: Options::default(),
            opening: Opening::Connect,
            plan: plan(&mut dice),
        });
    }
    scenario
}

/// The timeout that runs during the outage.
#[derive(Debug, Clone, Copy)]
enum During {
    Connecting,
    Open,
    Finishing,
}

/// A path without faults, but with an outage: in one direction, in both, or because the link
/// is down.
pub(super) fn outage(seed: u64) -> Scenario {
    let mut dice = Dice::new(seed, 0);
    let link = Link {
        jitter: ms(dice.pick(&[0, 20])),
        ..Link::with_latency(ms(dice.between(0, 180)))
    };
    let mut scenario = plain(Profile::Outage, seed, Links::symmetric(link));
    draw_ends(&mut scenario, &mut dice);
    let [connect, user, finish] = [
        secs(dice.between(8, 60)),
        secs(dice.between(8, 120)),
        secs(dice.between(8, 60)),
    ];
    let mut limits = Options::builder()
        .connect_timeout(connect)
        .user_timeout(user)
        .finish_timeout(finish)
        .call_timeout(secs(300));
    // From a second to three hours, below the user timeout and above it.
    let longest = dice.pick(&[10, 100, 10_800]);
    let keep_alive = (dice.below(4) == 0).then(|| secs(dice.between(1, longest)));
    if let Some(interval) = keep_alive {
        limits = limits.keep_alive(interval);
    }
    // Every value is within its bounds.
    scenario.options = limits.build().unwrap_or_default();
    let during = dice.pick(&[During::Connecting, During::Open, During::Finishing]);
    // Several probes, with the outage in the middle of them.
    let idle = match keep_alive {
        Some(interval) => dice.time(interval * 3),
        None => Duration::ZERO,
    };
    let (limit, from) = match during {
        During::Connecting => (connect, Duration::ZERO),
        During::Open => (user, ms(800) + dice.time(secs(6)) + dice.time(idle)),
        During::Finishing => (user.min(finish), ms(800) + dice.time(secs(3))),
    };
    let from = Instant::ZERO + from;
    let closed = from..from + dice.time(limit - BEFORE_THE_END);
    scenario.plan = outage_plan(during, user, &mut dice);
    if matches!(during, During::Open) {
        scenario.plan.insert(1, Step::Pause(idle));
    }
    let Some(links) = scenario.links_mut() else {
        return scenario;
    };
    // The peer, in SYN-RECEIVED, does not answer a retransmitted SYN: it retransmits its own at
    // its own times.
    let both_ways = matches!(during, During::Connecting);
    match dice.below(4) {
        0 => links.to_peer.partitions.push(closed),
        1 if !both_ways => links.to_us.partitions.push(closed),
        1 | 2 => {
            links.to_peer.partitions.push(closed.clone());
            links.to_us.partitions.push(closed);
        }
        _ => {
            scenario.happenings = vec![
                (closed.start, Happening::LinkDown),
                (closed.end, Happening::LinkUp),
            ];
        }
    }
    scenario
}

fn outage_plan(during: During, user: Duration, dice: &mut Dice) -> Vec<Step> {
    let mut plan = Vec::new();
    let write = |dice: &mut Dice| Step::Write(dice.between(1, 4_000) as usize);
    for _ in 0..dice.between(1, 4) {
        plan.push(write(dice));
        plan.push(Step::Pause(dice.time(secs(2))));
    }
    if matches!(during, During::Open) {
        // Our end does not finish before the outage is over.
        plan.push(Step::Pause(user + secs(8)));
        plan.push(write(dice));
    }
    plan.push(Step::Finish);
    plan
}

fn draw_ends(scenario: &mut Scenario, dice: &mut Dice) {
    scenario.family = dice.pick(&[Family::V4, Family::V6]);
    scenario.medium = dice.pick(&[Medium::Ethernet, Medium::Ip]);
}
