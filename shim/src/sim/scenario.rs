//! One run, written down: what the network, the peer and the application do.

use std::fmt;
use std::time::Duration;

use lastbyte::{Instant, Options};

use super::link::Links;
use super::profile::Profile;
use super::script::Script;

/// The family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Our end connects.
    Connect,
    /// Our end listens, and the peer connects at that time.
    Listen(Instant),
}

/// What the peer is and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerModel {
    /// Reads everything, and closes after our FIN.
    ReadsAll,
    /// Reads everything and never closes its direction.
    StaysOpen,
    /// Reads so many bytes, then pauses.
    ReadsSlowly {
        /// Bytes read at once.
        bytes: usize,
        /// Pause after each read.
        every: Duration,
    },
    /// Does not read before that time; [`Instant::NEVER`]: never.
    ReadsFrom(Instant),
    /// Half-closes after so many bytes and keeps reading.
    HalfCloses(u64),
    /// Exits after so many bytes; what arrives later is answered with a RST.
    Exits(u64),
    /// Sends a RST after so many bytes.
    Resets(u64),
    /// Sends a RST at that time.
    ResetsAt(Instant),
    /// Nobody listens.
    Refuses,
    /// Its machine answers neighbour discovery, but never TCP.
    NeverAnswers,
    /// Its machine is not there.
    Absent,
    /// It falls silent at one time and is back at the other.
    Vanishes(Instant, Instant),
    /// Its machine starts anew at that time, with this seed.
    Reboots(Instant, u64),
    /// Sends so many bytes as fast as it may, and never closes.
    Floods(usize),
    /// Answers with this, half-closes, and keeps reading.
    Answers(usize),
    /// A TCP of its own that bends the rules: see [`Rogue`].
    Rogue(Rogue),
}

/// A scripted peer that misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rogue {
    /// Its window grows and shrinks at will, zero included.
    ShrinksWindow,
    /// Takes a part of each segment.
    TakesParts,
    /// Says everything twice, old ACKs included.
    RepeatsItself,
    /// Sends FINs behind holes before the right one, after so many bytes.
    FinsEarly(u64),
}

/// A segment that somebody else sends in the peer's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// A RST that many numbers behind RCV.NXT.
    Rst(u32),
    /// A SYN at that distance.
    Syn(u32),
    /// An ACK that far beyond SND.NXT.
    Ack(u32),
    /// A FIN with data at that distance.
    Fin(u32),
}

/// Something that happens to our end from outside, at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The addresses of our interface are removed.
    AddressLost,
    /// The driver reports that the link is down; nothing passes.
    LinkDown,
    /// The driver reports that the link is up again.
    LinkUp,
    /// A forged segment arrives.
    Forged(Forgery),
    /// A router says with ICMP that a segment in flight cannot be
    /// delivered; the code is that of "destination unreachable".
    Unreachable(u8),
}

/// What the application does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Writes so many bytes, waiting for room for the call limit at most.
    Write(usize),
    /// The same in one blocking call.
    WriteAll(usize),
    /// Writes what fits, once.
    TryWrite(usize),
    /// Does something else for so long; the stack is served.
    Pause(Duration),
    /// Does something else for so long; nobody serves the stack.
    Neglect(Duration),
    /// Flushes, in one blocking call.
    Flush,
    /// Reads what is there.
    Read,
    /// Begins to finish, and goes on with the plan.
    BeginFinish,
    /// Finishes, and waits until that is done.
    Finish,
    /// Aborts.
    Abort,
    /// Gives the slot back, whatever is going on.
    Release,
    /// Opens a new connection, once the last one has ended.
    Reopen,
}

/// What lies between the ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Links that leave it to chance.
    Links(Box<Links>),
    /// What befalls each frame, written down.
    Script {
        /// From our end to the peer.
        to_peer: Script,
        /// From the peer to our end.
        to_us: Script,
    },
}

/// One run, written down. Two runs of one scenario are the same, bit for bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Of every random decision that is not written down here.
    pub seed: u64,
    /// What it was drawn from.
    pub profile: Profile,
    /// The family of addresses.
    pub family: Family,
    /// The network.
    pub network: Network,
    /// The peer.
    pub peer: PeerModel,
    /// Size of the peer's receive buffer.
    pub peer_buffer: usize,
    /// Limits and policies of our connection.
    pub options: Options,
    /// Size of our transmit buffer.
    pub tx_buffer: usize,
    /// Size of our receive buffer.
    pub rx_buffer: usize,
    /// Who begins.
    pub opening: Opening,
    /// The application.
    pub plan: Vec<Step>,
    /// What else happens, in the order of time.
    pub happenings: Vec<(Instant, Happening)>,
}

impl Scenario {
    /// The scenario that `seed` stands for in this profile.
    #[must_use]
    pub fn new(profile: Profile, seed: u64) -> Self {
        super::draw::draw(profile, seed)
    }

    /// Bytes the application would like to write.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let steps = self.plan.iter();
        steps
            .map(|step| match *step {
                Step::Write(len) | Step::WriteAll(len) | Step::TryWrite(len) => len,
                Step::Pause(_)
                | Step::Neglect(_)
                | Step::Flush
                | Step::Read
                | Step::BeginFinish
                | Step::Finish
                | Step::Abort
                | Step::Release
                | Step::Reopen => 0,
            })
            .sum()
    }

    /// How long the run may take: every step has its limit, and so has what
    /// comes behind the last one.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let options = &self.options;
        let call = options.call_limit();
        let opening = options.connect_limit();
        let arrival = match self.opening {
            Opening::Connect => Duration::ZERO,
            Opening::Listen(at) => at.since(Instant::ZERO) + call,
        };
        let steps: Duration = self
            .plan
            .iter()
            .map(|step| match *step {
                // Each of its calls may wait as long, for one byte.
                Step::WriteAll(len) => call.saturating_mul(len as u32),
                Step::Write(_) | Step::Flush => call,
                Step::Pause(time) | Step::Neglect(time) => time,
                Step::BeginFinish | Step::Finish => options.finish_limit(),
                Step::Reopen => opening + call,
                Step::Abort => Duration::from_secs(1),
                Step::TryWrite(_) | Step::Read | Step::Release => Duration::ZERO,
            })
            .sum();
        opening + arrival + steps + Duration::from_secs(10)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {} of {}, {:?}",
            self.seed, self.profile, self.family
        )?;
        match &self.network {
            Network::Links(links) => {
                writeln!(f, "  to the peer  {}", links.to_peer)?;
                writeln!(f, "  to us        {}", links.to_us)?;
            }
            Network::Script { to_peer, to_us } => {
                writeln!(
                    f,
                    "  to the peer  {:?}, {:?}",
                    to_peer.latency, to_peer.faults
                )?;
                writeln!(f, "  to us        {:?}, {:?}", to_us.latency, to_us.faults)?;
            }
        }
        writeln!(
            f,
            "  peer         {:?}, buffer {}",
            self.peer, self.peer_buffer
        )?;
        writeln!(
            f,
            "  our buffers  {} out, {} in",
            self.tx_buffer, self.rx_buffer
        )?;
        writeln!(f, "  limits       {:?}", self.options)?;
        writeln!(f, "  opening      {:?}", self.opening)?;
        writeln!(f, "  plan         {:?}", self.plan)?;
        write!(f, "  happenings   {:?}", self.happenings)
    }
}
