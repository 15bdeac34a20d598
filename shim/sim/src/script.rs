//! What a link did, frame by frame: replays a run without randomness.

use std::collections::BTreeMap;
use std::time::Duration;

use lastbyte::Instant;

use super::recording::RecordedFrame;
use crate::loopback::{Damage, Direction, Fate, Loss, Path, Sender};

/// The fault of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It was lost.
    Lost(Loss),
    /// It arrived late, twice or damaged.
    Odd {
        /// How long it travelled.
        after: Duration,
        /// How long the second copy travelled, if there was one.
        again_after: Option<Duration>,
        /// The damage to the first copy.
        damage: Option<Damage>,
    },
}

/// Faults by the number of the frame in its direction; every other frame
/// arrives after `latency`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    /// How long a frame travels.
    pub latency: Duration,
    /// The faults, by frame.
    pub faults: BTreeMap<u64, Fault>,
}

impl Script {
    /// The fates of the frames of one direction.
    #[must_use]
    pub fn of(frames: &[RecordedFrame], direction: Direction) -> Self {
        let is_ours =
            |frame: &&RecordedFrame| frame.direction == direction && frame.sender == Sender::End;
        let frames = || frames.iter().filter(is_ours);
        let travelled = |frame: &RecordedFrame| {
            let at = frame.fate.arrives_at();
            at.map(|at| at.since(frame.sent_at))
        };
        let latency = frames().filter_map(travelled).min().unwrap_or_default();
        let faults = (0..)
            .zip(frames())
            .filter_map(|(number, frame)| fault(frame, latency).map(|fault| (number, fault)));
        Self {
            latency,
            faults: faults.collect(),
        }
    }

    /// The script, ready to use.
    #[must_use]
    pub fn path(self) -> ScriptPath {
        ScriptPath {
            script: self,
            frames: 0,
        }
    }
}

fn fault(frame: &RecordedFrame, latency: Duration) -> Option<Fault> {
    let since = |at: Instant| at.since(frame.sent_at);
    match frame.fate {
        Fate::Lost(loss) => Some(Fault::Lost(loss)),
        Fate::Arrives {
            at,
            again_at: None,
            damage: None,
        } if since(at) == latency => None,
        Fate::Arrives {
            at,
            again_at,
            damage,
        } => Some(Fault::Odd {
            after: since(at),
            again_after: again_at.map(since),
            damage,
        }),
    }
}

/// A [`Script`] at work.
#[derive(Debug, Clone)]
pub struct ScriptPath {
    script: Script,
    /// The number of frames so far.
    frames: u64,
}

impl Path for ScriptPath {
    fn carry(&mut self, now: Instant, frame: &[u8]) -> Fate {
        let number = self.frames;
        self.frames += 1;
        match self.script.faults.get(&number) {
            None => Fate::sound(now + self.script.latency),
            Some(Fault::Lost(loss)) => Fate::Lost(*loss),
            Some(Fault::Odd {
                after,
                again_after,
                damage,
            }) => Fate::Arrives {
                at: now + *after,
                again_at: again_after.map(|after| now + after),
                // The frame may be another than the recorded one.
                damage: damage.filter(|damage| match damage {
                    Damage::Bit(bit) => bit / 8 < frame.len(),
                    Damage::Cut(len) => *len < frame.len(),
                }),
            },
        }
    }
}
