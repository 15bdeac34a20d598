//! Events for observers of the wire, and a log that can be compared.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use lastbyte::Instant;
use smoltcp::phy::Medium;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Damage, Direction, Fate, Segment, World};

/// The sender of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The end that is the source of the direction.
    End,
    /// A third host, with the address of that end: see [`World::inject`].
    Stranger,
}

/// One frame handed to the wire.
#[derive(Debug, Clone, Copy)]
pub struct FrameEvent<'a> {
    /// Counts the frames of both directions, from 0.
    pub number: u64,
    /// When its sender handed it to the wire.
    pub sent_at: Instant,
    /// What the wire does to the frame.
    pub fate: Fate,
    /// The direction of the frame.
    pub direction: Direction,
    /// The sender of the frame.
    pub sender: Sender,
    /// The medium of `frame`.
    pub medium: Medium,
    /// The whole frame.
    pub frame: &'a [u8],
}

impl FrameEvent<'_> {
    /// The TCP segment in the frame, if it holds one.
    #[must_use]
    pub fn segment(&self) -> Option<Segment> {
        Segment::parse(self.frame, self.medium, self.sent_at)
    }

    /// One line about the frame: flags, numbers, length.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.segment() {
            Some(segment) => segment.to_string(),
            None => format!("{} ({} bytes)", self.kind(), self.frame.len()),
        }
    }

    fn kind(&self) -> &'static str {
        let (arp, ip) = match self.medium {
            Medium::Ethernet => (self.frame.get(12..14) == Some(&[0x08, 0x06]), 14),
            Medium::Ip => (false, 0),
        };
        if arp {
            return "ARP";
        }
        match self.frame.get(ip).map(|version| version >> 4) {
            Some(4) => "IPv4",
            Some(6) => "IPv6",
            _ => "frame",
        }
    }
}

/// One line of an [`EventLog`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When it was sent.
    pub sent_at: Instant,
    /// What the wire did to the frame.
    pub fate: Fate,
    /// The direction.
    pub direction: Direction,
    /// Length of the frame in bytes.
    pub len: usize,
    /// [`FrameEvent::summary`].
    pub summary: String,
}

#[derive(Debug)]
struct Log {
    entries: Vec<LogEntry>,
    capacity: usize,
    frames: u64,
    hash: u64,
}

/// A recording of the wire: see [`World::record`].
///
/// The hash covers every frame (times, direction, fate and all bytes). The number of
/// entries is limited, so that a long run cannot fill the memory.
#[derive(Debug, Clone)]
pub struct EventLog {
    log: Rc<RefCell<Log>>,
}

/// The hash of the previous hash and of these bytes: the same on every platform.
fn mix(hash: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, hash)
}

fn hash_fate(hash: u64, fate: Fate) -> u64 {
    let Fate::Arrives {
        at,
        again_at,
        damage,
    } = fate
    else {
        return mix(hash, &[0]);
    };
    let (kind, number) = match damage {
        None => (1, 0),
        Some(Damage::Bit(bit)) => (2, bit),
        Some(Damage::Cut(len)) => (3, len),
    };
    let hash = mix(hash, &[kind]);
    let hash = mix(hash, &(number as u64).to_le_bytes());
    let times = [Some(at), again_at].into_iter().flatten();
    times.fold(hash, |hash, time| {
        mix(hash, &time.as_micros().to_le_bytes())
    })
}

impl EventLog {
    pub(super) fn attach(world: &World, capacity: usize) -> Self {
        let log = Rc::new(RefCell::new(Log {
            entries: Vec::new(),
            capacity,
            frames: 0,
            hash: 0,
        }));
        let sink = Rc::clone(&log);
        world.observe(move |_, event| sink.borrow_mut().push(event));
        Self { log }
    }

    /// XXH3 over everything that was sent so far: two runs are the same if
    /// their hashes are.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.log.borrow().hash
    }

    /// How many frames were sent so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.log.borrow().frames
    }

    /// The first frames, up to the capacity.
    #[must_use]
    pub fn entries(&self) -> Vec<LogEntry> {
        self.log.borrow().entries.clone()
    }
}

impl Log {
    fn push(&mut self, event: &FrameEvent<'_>) {
        self.frames += 1;
        let mut hash = mix(self.hash, &event.sent_at.as_micros().to_le_bytes());
        hash = hash_fate(hash, event.fate);
        hash = mix(hash, &[event.direction.index() as u8]);
        self.hash = mix(hash, event.frame);
        if self.entries.len() < self.capacity {
            self.entries.push(LogEntry {
                sent_at: event.sent_at,
                fate: event.fate,
                direction: event.direction,
                len: event.frame.len(),
                summary: event.summary(),
            });
        }
    }
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match (self.direction, self.fate.is_lost()) {
            (Direction::ToPeer, false) => "-->",
            (Direction::ToPeer, true) => "--x",
            (Direction::ToUs, false) => "<--",
            (Direction::ToUs, true) => "x--",
        };
        let micros = self.sent_at.as_micros();
        let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
        write!(f, "{seconds:>6}.{rest:06} {arrow} {}", self.summary)
    }
}

impl fmt::Display for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = self.log.borrow();
        for entry in &log.entries {
            writeln!(f, "{entry}")?;
        }
        match log.frames - log.entries.len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "... and {more} more"),
        }
    }
}
