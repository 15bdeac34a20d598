//! The description of one run: what the network, the peer and the application do.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use lastbyte::{Instant, Options};
use smoltcp::phy::Medium;

use super::end::Over;
use super::happening::Happening;
use super::link::Links;
use super::model::PeerModel;
use super::profile::Profile;
use super::script::Script;
use crate::loopback::{Mark, Offload, StreamFault};

/// The family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which end opens the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Our end connects.
    Connect,
    /// Our end listens at this address, and the peer connects at this time, and again
    /// half a second after each [`Step::Reopen`].
    Listen(Bind, Instant),
}

/// The address at which our end listens; the port is always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// At any address.
    Port,
    /// At our own address.
    Ours,
    /// At 0.0.0.0 or `::`.
    Unspecified,
    /// At a group address.
    Group,
    /// At the loopback address.
    Loopback,
    /// At an address that is not ours.
    Foreign,
}

/// The next step of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Writes this many bytes, waiting for room at most for the call timeout.
    Write(usize),
    /// The same in one blocking call.
    WriteAll(usize),
    /// Writes what fits, once.
    TryWrite(usize),
    /// Does something else for this long; the stack is served.
    Pause(Duration),
    /// Does something else for this long; the stack is not served.
    Neglect(Duration),
    /// Flushes, in one blocking call.
    Flush,
    /// Reads what is available.
    Read,
    /// Writes what fits, once, and announces more.
    WriteMore(usize),
    /// Writes all of these bytes or nothing, once.
    Message(usize),
    /// Finishes its direction, and goes on with the plan.
    FinishWriting,
    /// Begins to finish, and goes on with the plan.
    BeginFinish,
    /// Finishes, and waits until that is complete.
    Finish,
    /// Aborts.
    Abort,
    /// Releases the slot, in any state.
    Release,
    /// Opens a new connection, once the last one has ended.
    Reopen,
}

/// The network between the ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Links with random faults.
    Links(Box<Links>),
    /// The fate of each frame, as a script.
    Script {
        /// From our end to the peer.
        to_peer: Script,
        /// From the peer to our end.
        to_us: Script,
    },
}

/// One more connection on the same stack, with a peer of its own on the same
/// machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The peer. What concerns its whole machine has no effect here.
    pub peer: PeerModel,
    /// The options of this connection.
    pub options: Options,
    /// Which end opens the connection.
    pub opening: Opening,
    /// The steps of the application, which alternate with those of the others.
    pub plan: Vec<Step>,
}

/// The description of one run. Two runs of one scenario are the same, bit for bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The seed of every random decision that is not described here.
    pub seed: u64,
    /// The profile from which it was drawn.
    pub profile: Profile,
    /// The layer of the library over which our connections are made.
    pub over: Over,
    /// The family of addresses.
    pub family: Family,
    /// The medium.
    pub medium: Medium,
    /// The checksum offload of our device.
    pub offload: Offload,
    /// How many frames our device's transmit queue holds.
    pub transmit_frames: usize,
    /// The network.
    pub network: Network,
    /// The peer.
    pub peer: PeerModel,
    /// The faults at exact bytes of each connection at the peer's first port.
    pub faults: Vec<(Mark, StreamFault)>,
    /// Size of the peer's receive buffer.
    pub peer_buffer: usize,
    /// The options of our connection.
    pub options: Options,
    /// Size of our transmit buffer.
    pub tx_buffer: usize,
    /// Size of our receive buffer.
    pub rx_buffer: usize,
    /// Which end opens the connection.
    pub opening: Opening,
    /// The application.
    pub plan: Vec<Step>,
    /// Happenings from outside, in the order of time.
    pub happenings: Vec<(Instant, Happening)>,
    /// Other connections at the same time, [`MOST_BESIDE`](Self::MOST_BESIDE) at
    /// most.
    pub beside: Vec<Beside>,
}

impl Scenario {
    /// The maximum number of connections besides the first.
    pub const MOST_BESIDE: usize = 2;

    /// The scenario of `seed` in this profile.
    #[must_use]
    pub fn new(profile: Profile, seed: u64) -> Self {
        super::draw::draw(profile, seed)
    }

    /// Its links, if it has any.
    pub(super) fn links_mut(&mut self) -> Option<&mut Links> {
        match &mut self.network {
            Network::Links(links) => Some(links),
            Network::Script { .. } => None,
        }
    }

    /// The outage, in [`Profile::Outage`].
    pub(super) fn outage(&self) -> Option<Range<Instant>> {
        if let [(down, Happening::LinkDown), (up, Happening::LinkUp)] = self.happenings[..] {
            return Some(down..up);
        }
        let Network::Links(links) = &self.network else {
            return None;
        };
        let partitions = [&links.to_peer.partitions, &links.to_us.partitions];
        partitions.into_iter().flatten().next().cloned()
    }

    /// The longest frame.
    pub(super) const fn mtu(&self) -> usize {
        match self.medium {
            Medium::Ethernet => 1_514,
            Medium::Ip => 1_500,
        }
    }

    /// The first connection and the others.
    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane<'_>> {
        let first = Lane {
            peer: self.peer,
            options: self.options,
            opening: self.opening,
            plan: &self.plan,
        };
        let most = match self.peer {
            // The first peer determines the whole machine.
            PeerModel::Rogue(_) => 0,
            _ => Self::MOST_BESIDE,
        };
        let beside = self.beside.iter().take(most);
        let others = beside.map(|other| Lane {
            peer: other.peer,
            options: other.options,
            opening: other.opening,
            plan: &other.plan,
        });
        std::iter::once(first).chain(others)
    }

    /// The number of bytes that the applications try to write.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lanes().map(|lane| lane.bytes()).sum()
    }

    /// How long the run may take: every step has its timeout, and so has what follows the
    /// last one.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.lanes().map(|lane| lane.longest()).sum()
    }
}

/// One connection of a scenario.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane<'s> {
    pub(super) peer: PeerModel,
    pub(super) options: Options,
    pub(super) opening: Opening,
    pub(super) plan: &'s [Step],
}

impl Lane<'_> {
    pub(super) fn bytes(&self) -> usize {
        let steps = self.plan.iter();
        steps
            .map(|step| match *step {
                Step::Write(len)
                | Step::WriteAll(len)
                | Step::TryWrite(len)
                | Step::WriteMore(len)
                | Step::Message(len) => len,
                Step::Pause(_)
                | Step::Neglect(_)
                | Step::Flush
                | Step::Read
                | Step::FinishWriting
                | Step::BeginFinish
                | Step::Finish
                | Step::Abort
                | Step::Release
                | Step::Reopen => 0,
            })
            .sum()
    }

    fn longest(&self) -> Duration {
        let options = &self.options;
        let call = options.call_timeout();
        let opening = options.connect_timeout();
        let arrival = match self.opening {
            Opening::Connect => Duration::ZERO,
            Opening::Listen(_, at) => at.since(Instant::ZERO) + call,
        };
        let steps: Duration = self
            .plan
            .iter()
            .map(|step| match *step {
                // Each of its calls may wait that long for one byte.
                Step::WriteAll(len) => call.saturating_mul(len as u32),
                Step::Write(_) | Step::Flush => call,
                Step::Pause(time) | Step::Neglect(time) => time,
                Step::FinishWriting => call + options.finish_timeout(),
                Step::BeginFinish | Step::Finish => options.finish_timeout(),
                Step::Reopen => opening + call,
                Step::Abort => Duration::from_secs(1),
                Step::TryWrite(_)
                | Step::WriteMore(_)
                | Step::Message(_)
                | Step::Read
                | Step::Release => Duration::ZERO,
            })
            .sum();
        opening + arrival + steps + Duration::from_secs(10)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {} of {}, {:?} over {:?}",
            self.seed, self.profile, self.family, self.medium
        )?;
        if self.over != Over::Stack {
            writeln!(f, "  our end      over {:?}", self.over)?;
        }
        if !self.offload.is_none() || self.transmit_frames < 1_024 {
            let (frames, offload) = (self.transmit_frames, self.offload);
            writeln!(f, "  our device   holds {frames} frames, {offload:?}")?;
        }
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
        if !self.faults.is_empty() {
            writeln!(f, "  faults       {:?}", self.faults)?;
        }
        write!(
            f,
            "  our buffers  {} out, {} in",
            self.tx_buffer, self.rx_buffer
        )?;
        if self.plan.is_empty() {
            // The application is not one of the simulator's.
            return Ok(());
        }
        writeln!(f)?;
        writeln!(f, "  limits       {:?}", self.options)?;
        writeln!(f, "  opening      {:?}", self.opening)?;
        writeln!(f, "  plan         {:?}", self.plan)?;
        write!(f, "  happenings   {:?}", self.happenings)?;
        for (number, other) in (1..).zip(&self.beside) {
            write!(f, "\n  beside {number}     {other:?}")?;
        }
        Ok(())
    }
}
