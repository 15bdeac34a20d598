//! Draws what happens from outside.

use lastbyte::Instant;

use super::dice::Dice;
use super::draw::{ms, secs};
use super::happening::{Answer, Astray, Forgery, Fragmented, Happening, Layer};
use super::model::{PeerModel, Rogue};
use super::profile::Profile;
use super::scenario::Family;

pub(super) fn draw_happenings(
    profile: Profile,
    family: Family,
    peer: PeerModel,
    dice: &mut Dice,
) -> Vec<(Instant, Happening)> {
    let mut happenings = Vec::new();
    if dice.below(16) == 0 {
        let at = Instant::ZERO + dice.time(secs(30));
        happenings.push((at, Happening::AddressLost));
    }
    if dice.below(20) == 0 {
        let down = Instant::ZERO + dice.time(secs(10));
        let longest = dice.pick(&[ms(500), secs(20), secs(300)]);
        happenings.push((down, Happening::LinkDown));
        happenings.push((down + dice.time(longest), Happening::LinkUp));
    }
    if dice.below(8) == 0 {
        let longest = dice.pick(&[ms(50), secs(1), secs(20)]);
        let at = Instant::ZERO + dice.time(longest);
        happenings.push((at, draw_complaint(family, dice)));
    }
    if dice.below(8) == 0 {
        let longest = dice.pick(&[ms(50), secs(1), secs(5)]);
        let at = Instant::ZERO + dice.time(longest);
        let time = dice.pick(&[ms(5), ms(50), ms(50), ms(500)]);
        happenings.push((at, Happening::Stuck(time)));
    }
    if profile == Profile::Hostile {
        for _ in 0..dice.between(1, 12) {
            let longest = dice.pick(&[ms(3), ms(50), secs(1), secs(60)]);
            let at = Instant::ZERO + dice.time(longest);
            happenings.push((at, Happening::Forged(draw_forgery(dice))));
        }
        let probes = matches!(peer, PeerModel::Rogue(Rogue::KeepsAlive(_)));
        if probes || dice.below(8) == 0 {
            let at = Instant::ZERO + dice.time(secs(5));
            happenings.push((at, draw_storm(probes, dice)));
        }
    }
    happenings.sort_by_key(|(at, _)| *at);
    happenings
}

fn draw_complaint(family: Family, dice: &mut Dice) -> Happening {
    let codes = match family {
        Family::V4 => 14,
        Family::V6 => 7,
    };
    // Half of them are hard errors (RFC 1122, 4.2.3.9).
    let code = match (dice.below(2), family) {
        (0, Family::V4) => dice.between(2, 4),
        _ => dice.below(codes),
    } as u8;
    match (dice.below(6), family) {
        (0, _) => Happening::Misdirected(code),
        (1, Family::V6) => Happening::ParameterProblem(dice.below(3) as u8),
        _ => Happening::Unreachable(code),
    }
}

/// Many forged segments: fast, so that nothing else is answered; or slowly, so that the
/// peer seems to be reachable.
fn draw_storm(is_fast: bool, dice: &mut Dice) -> Happening {
    if !is_fast && dice.below(2) == 0 {
        let number = dice.number();
        let blind = Forgery::Blind {
            seq: number as u32,
            ack: (number >> 32) as u32,
        };
        let damaged = [Forgery::Damaged(Layer::Ip), Forgery::Damaged(Layer::Tcp)];
        return Happening::Storm {
            forgery: dice.pick(&[blind, blind, damaged[0], damaged[1]]),
            times: 100,
            every: ms(dice.between(500, 2_000)),
        };
    }
    let off = dice.between(1, 60) as u32;
    Happening::Storm {
        forgery: dice.pick(&[Forgery::Rst(off), Forgery::Syn(off), Forgery::Ack(off)]),
        times: 100,
        every: ms(dice.between(10, 50)),
    }
}

/// Its numbers are never exactly right: an off-path attacker cannot know them.
fn draw_forgery(dice: &mut Dice) -> Forgery {
    let ahead = dice.pick(&[4, 64, 2_048, u64::from(u32::MAX) / 2]);
    let off = dice.between(1, ahead) as u32;
    let number = dice.number();
    match dice.below(16) {
        0 | 1 => Forgery::Rst(off),
        2 => Forgery::Syn(off),
        3 => Forgery::Ack(off),
        // Beyond any window, so that its data is never accepted as the peer's.
        4 => Forgery::Fin(off.max(100_000)),
        // Older than all windows, so that it is never accepted as the peer's.
        5 => Forgery::OldAck(off.max(1 << 20)),
        6 => Forgery::Blind {
            seq: number as u32,
            ack: (number >> 32) as u32,
        },
        7 | 8 => Forgery::BareSyn(number as u32),
        9 => Forgery::WrongRst(match dice.below(2) {
            0 => 0,
            _ => off,
        }),
        10 | 11 => Forgery::WrongAnswer(
            dice.pick(&[Answer::SynAck, Answer::FinAck, Answer::PshAck, Answer::Ack]),
            off,
        ),
        12 => Forgery::Fragments(dice.pick(&[Fragmented::Rst, Fragmented::Ack]), off),
        13 => Forgery::Damaged(dice.pick(&[Layer::Ip, Layer::Tcp])),
        14 => Forgery::AstraySyn(
            dice.pick(&[
                Astray::Broadcast,
                Astray::LimitedBroadcast,
                Astray::Group,
                Astray::ToLoopback,
                Astray::FromLoopback,
                Astray::FromOurselves,
            ]),
            dice.below(4) == 0,
        ),
        _ => Forgery::HalfOpen,
    }
}
