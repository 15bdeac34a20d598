//! One direction of a bad network.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use lastbyte::Instant;
use smoltcp::phy::Medium;

use super::dice::{Chance, Dice};
use crate::loopback::{Damage, Direction, Fate, Loss, Path, World, ip_in_frame};

/// Losses in bursts (the model of Gilbert and Elliott): a link is good until it turns
/// bad, and stays bad for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// The probability, for each frame, that a good link turns bad.
    pub begins: Chance,
    /// The probability, for each frame, that a bad link turns good.
    pub ends: Chance,
    /// The probability that a frame is lost while the link is bad.
    pub loss: Chance,
}

/// What one direction does to frames. The default of the fields is a perfect link without
/// latency.
///
/// Frames keep their order (jitter delays later ones as well) unless
/// `reordering` holds one back. What happens to a frame depends only on the seed, the
/// direction and its number.
///
/// ```
/// use std::time::Duration;
/// use lastbyte_sim::{Chance, Link};
///
/// let dsl = Link {
///     latency: Duration::from_millis(15),
///     jitter: Duration::from_millis(5),
///     loss: Chance::per_million(500),
///     bandwidth: Some(125_000),
///     ..Link::default()
/// };
/// # let _ = dsl;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The minimum time that a frame travels.
    pub latency: Duration,
    /// The maximum additional time, evenly distributed.
    pub jitter: Duration,
    /// The probability that a frame is lost.
    pub loss: Chance,
    /// Losses in bursts.
    pub burst: Option<Burst>,
    /// The probability that a second copy arrives, up to `latency` + `jitter` later.
    pub duplication: Chance,
    /// The probability that a frame is held back and overtaken.
    pub reordering: Chance,
    /// The maximum time that such a frame is held back.
    pub held_back: Duration,
    /// The probability that one bit of the IP packet is inverted. (The checksums always
    /// detect one bit; a damaged Ethernet header or ARP packet never passes the Ethernet
    /// checksum.)
    pub corruption: Chance,
    /// The probability that a frame is truncated.
    pub truncation: Chance,
    /// Octets per second; `None`: no limit.
    pub bandwidth: Option<u64>,
    /// The maximum number of frames that wait for a line of limited bandwidth.
    pub queue_frames: usize,
    /// Longer frames are silently dropped: a path with a smaller MTU whose ICMP errors
    /// are filtered.
    pub black_hole_above: Option<usize>,
    /// The times when nothing passes.
    pub partitions: Vec<Range<Instant>>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Chance::NEVER,
            burst: None,
            duplication: Chance::NEVER,
            reordering: Chance::NEVER,
            held_back: Duration::ZERO,
            corruption: Chance::NEVER,
            truncation: Chance::NEVER,
            bandwidth: None,
            queue_frames: 100,
            black_hole_above: None,
            partitions: Vec::new(),
        }
    }
}

impl Link {
    /// A link without faults.
    #[must_use]
    pub fn with_latency(latency: Duration) -> Self {
        Self {
            latency,
            ..Self::default()
        }
    }

    /// Whether it does anything else than delay every frame by the same time.
    #[must_use]
    pub fn is_faultless(&self) -> bool {
        *self
            == Self {
                latency: self.latency,
                bandwidth: self.bandwidth,
                queue_frames: self.queue_frames,
                ..Self::default()
            }
    }

    /// The link at work, for [`World::set_path`]. The same seed and stream (one for each
    /// direction) give the same decisions.
    #[must_use]
    pub fn path(self, medium: Medium, seed: u64, stream: u64) -> LinkPath {
        LinkPath {
            link: self,
            medium,
            seed,
            stream,
            frames: 0,
            weather: Weather::Good,
            last_arrival: Instant::ZERO,
            departures: VecDeque::new(),
        }
    }
}

/// Shows only the effects that the link has, in their order.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.latency)?;
        if self.jitter > Duration::ZERO {
            write!(f, " to {:?}", self.latency + self.jitter)?;
        }
        for (chance, what) in [
            (self.loss, "loss"),
            (self.duplication, "duplicates"),
            (self.reordering, "held back"),
            (self.corruption, "damage"),
            (self.truncation, "cut"),
        ] {
            if chance != Chance::NEVER {
                write!(f, ", {chance} {what}")?;
            }
        }
        if let Some(burst) = self.burst {
            write!(f, ", bursts of {} loss", burst.loss)?;
        }
        if let Some(bandwidth) = self.bandwidth {
            write!(
                f,
                ", {bandwidth} B/s with a queue of {} frames",
                self.queue_frames
            )?;
        }
        if let Some(longest) = self.black_hole_above {
            write!(f, ", nothing above {longest} octets")?;
        }
        for closed in &self.partitions {
            let [from, until] = [closed.start, closed.end].map(|at| at.since(Instant::ZERO));
            write!(f, ", closed from {from:?} to {until:?}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Good,
    Bad,
}

/// A [`Link`] at work.
#[derive(Debug, Clone)]
pub struct LinkPath {
    link: Link,
    medium: Medium,
    seed: u64,
    stream: u64,
    /// The number of frames so far.
    frames: u64,
    weather: Weather,
    /// The arrival of the last frame in order.
    last_arrival: Instant,
    /// When the frames in the queue of the slow line leave it, in order.
    departures: VecDeque<Instant>,
}

impl Path for LinkPath {
    fn carry(&mut self, now: Instant, frame: &[u8]) -> Fate {
        let number = self.frames;
        self.frames += 1;
        let mut dice = Dice::new(self.seed ^ number.rotate_left(40), self.stream);
        if let Some(loss) = self.lose(now, frame.len(), &mut dice) {
            return Fate::Lost(loss);
        }
        let Some(departure) = self.depart(now, frame.len()) else {
            return Fate::Lost(Loss::QueueFull);
        };
        let link = &self.link;
        let travelled = departure + link.latency + dice.time(link.jitter);
        let at = if dice.happens(link.reordering) {
            travelled + dice.time(link.held_back)
        } else {
            self.last_arrival = self.last_arrival.max(travelled);
            self.last_arrival
        };
        let again_at = dice
            .happens(link.duplication)
            .then(|| at + dice.time(link.latency + link.jitter));
        Fate::Arrives {
            at,
            again_at,
            damage: damage(link, self.medium, frame, &mut dice),
        }
    }
}

impl LinkPath {
    fn lose(&mut self, now: Instant, len: usize, dice: &mut Dice) -> Option<Loss> {
        let link = &self.link;
        if link.partitions.iter().any(|closed| closed.contains(&now)) {
            return Some(Loss::Partition);
        }
        if link.black_hole_above.is_some_and(|longest| len > longest) {
            return Some(Loss::TooLong);
        }
        if let Some(burst) = link.burst {
            let (turns, next) = match self.weather {
                Weather::Good => (burst.begins, Weather::Bad),
                Weather::Bad => (burst.ends, Weather::Good),
            };
            if dice.happens(turns) {
                self.weather = next;
            }
            if self.weather == Weather::Bad && dice.happens(burst.loss) {
                return Some(Loss::Burst);
            }
        }
        dice.happens(link.loss).then_some(Loss::Random)
    }

    /// When the frame has left the line; `None` if the queue is full.
    fn depart(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(bandwidth) = self.link.bandwidth else {
            return Some(now);
        };
        while self.departures.front().is_some_and(|&at| at <= now) {
            self.departures.pop_front();
        }
        if self.departures.len() >= self.link.queue_frames.max(1) {
            return None;
        }
        let begins = self.departures.back().map_or(now, |&last| last.max(now));
        let micros = (len as u64).saturating_mul(1_000_000) / bandwidth.max(1);
        let departure = begins + Duration::from_micros(micros);
        self.departures.push_back(departure);
        Some(departure)
    }
}

fn damage(link: &Link, medium: Medium, frame: &[u8], dice: &mut Dice) -> Option<Damage> {
    let ip = frame.len() - ip_in_frame(frame, medium)?.len();
    if dice.happens(link.corruption) {
        let bits = (frame.len() - ip) as u64 * 8;
        return Some(Damage::Bit(ip * 8 + dice.below(bits) as usize));
    }
    let is_cut = dice.happens(link.truncation);
    is_cut.then(|| Damage::Cut(dice.below(frame.len() as u64) as usize))
}

/// The links of both directions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// From our end to the peer.
    pub to_peer: Link,
    /// From the peer to our end.
    pub to_us: Link,
}

impl Links {
    /// The same link in both directions.
    #[must_use]
    pub fn symmetric(link: Link) -> Self {
        Self {
            to_peer: link.clone(),
            to_us: link,
        }
    }

    /// Puts these links between the ends of a world.
    pub fn lay(self, world: &World, seed: u64) {
        let medium = world.config().medium;
        for (direction, link) in [
            (Direction::ToPeer, self.to_peer),
            (Direction::ToUs, self.to_us),
        ] {
            let stream = direction as u64;
            world.set_path(direction, link.path(medium, seed, stream));
        }
    }
}
