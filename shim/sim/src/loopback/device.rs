//! The two ends of the wire as smoltcp devices.

use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities};
use smoltcp::time::Instant;

use super::frame::{TcpPeek, peek_tcp};
use super::peer::Presence;
use super::{Direction, World, WorldConfig, offload};

/// Our end of the wire, for the interface under test.
///
/// A full direction makes `transmit` return `None`; the clock's wait ends
/// when there is room again.
#[derive(Debug, Clone)]
pub struct LoopDevice {
    world: World,
}

impl LoopDevice {
    pub(super) fn new(world: World) -> Self {
        Self { world }
    }

    /// Whether the link has a carrier: for
    /// [`Stack::follow_link`](lastbyte::stack::Stack::follow_link).
    #[must_use]
    pub fn is_link_up(&self) -> bool {
        self.world.is_link_up()
    }

    /// The world this device is in.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }
}

impl Device for LoopDevice {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _timestamp: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let (world, direction) = (&self.world, Direction::ToPeer);
        if let Some(hook) = world.inner.on_poll.get() {
            hook(world.now());
        }
        // A frame is received only if an answer to it can be sent.
        if !world.has_arrived(Direction::ToUs) || !world.may_send(direction) {
            return None;
        }
        let frame = loop {
            let frame = world.take_frame(Direction::ToUs)?;
            if offload::lets_in(world.config(), &frame) {
                break frame;
            }
            world.recycle(frame);
        };
        let tx = TxToken {
            world,
            direction,
            presence: Presence::Present,
        };
        Some((RxToken { world, frame }, tx))
    }

    fn transmit(&mut self, _timestamp: Instant) -> Option<TxToken<'_>> {
        let direction = Direction::ToPeer;
        self.world.may_send(direction).then_some(TxToken {
            world: &self.world,
            direction,
            presence: Presence::Present,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let config = self.world.config();
        let mut capabilities = capabilities(config);
        if config.checksums {
            offload::announce(config.offload, &mut capabilities.checksum);
        }
        capabilities
    }
}

fn capabilities(config: &WorldConfig) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = config.medium;
    capabilities.max_transmission_unit = config.mtu;
    if !config.checksums {
        capabilities.checksum = ChecksumCapabilities::ignored();
    }
    capabilities
}

/// A frame that arrived.
#[derive(Debug)]
pub struct RxToken<'a> {
    world: &'a World,
    frame: Vec<u8>,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.frame);
        self.world.recycle(self.frame);
        result
    }
}

/// Room for a frame.
#[derive(Debug)]
pub struct TxToken<'a> {
    world: &'a World,
    direction: Direction,
    /// The end that sends the frame. What an absent end sends never reaches the wire, and
    /// neither do the TCP segments of a deaf end.
    presence: Presence,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = self.world.buffer(len);
        let result = f(&mut frame);
        if self.direction == Direction::ToPeer {
            offload::fill_in(self.world.config(), &mut frame);
        }
        let speaks = match self.presence {
            Presence::Present => true,
            Presence::Deaf => peek_tcp(&frame, self.world.config().medium).is_none(),
            Presence::Absent => false,
        };
        if speaks {
            self.world.transmit(self.direction, frame);
        } else {
            self.world.recycle(frame);
        }
        result
    }
}

/// The peer's end of the wire, for the duration of one poll.
pub(super) struct PeerDevice<'a> {
    world: &'a World,
    presence: Presence,
    /// The segment in the frame that was received last.
    pub(super) last: Option<TcpPeek>,
    /// Frames received.
    pub(super) received: u32,
}

impl<'a> PeerDevice<'a> {
    pub(super) fn new(world: &'a World, presence: Presence) -> Self {
        Self {
            world,
            presence,
            last: None,
            received: 0,
        }
    }

    /// The next frame that this peer can receive.
    fn hear(&mut self) -> Option<Vec<u8>> {
        loop {
            let frame = self.world.take_frame(Direction::ToPeer)?;
            self.last = peek_tcp(&frame, self.world.config().medium);
            let heard = match self.presence {
                Presence::Present => true,
                Presence::Deaf => self.last.is_none(),
                Presence::Absent => false,
            };
            if heard {
                self.received += 1;
                return Some(frame);
            }
            self.world.recycle(frame);
        }
    }
}

impl Device for PeerDevice<'_> {
    type RxToken<'a>
        = RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, timestamp: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let world = self.world;
        if !world.has_arrived(Direction::ToPeer) {
            return None;
        }
        // A frame is received only if an answer to it can be sent.
        if self.presence != Presence::Absent && !world.may_send(Direction::ToUs) {
            return None;
        }
        let frame = self.hear()?;
        let rx = RxToken { world, frame };
        self.transmit(timestamp).map(|tx| (rx, tx))
    }

    fn transmit(&mut self, _timestamp: Instant) -> Option<TxToken<'_>> {
        let (world, presence) = (self.world, self.presence);
        let direction = Direction::ToUs;
        let may_send = presence == Presence::Absent || world.may_send(direction);
        may_send.then_some(TxToken {
            world,
            direction,
            presence,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.world.config())
    }
}

/// A device without a wire, to make the peer's interface with.
pub(super) struct Unplugged {
    capabilities: DeviceCapabilities,
}

impl Unplugged {
    pub(super) fn new(config: &WorldConfig) -> Self {
        Self {
            capabilities: capabilities(config),
        }
    }
}

impl Device for Unplugged {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _timestamp: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, _timestamp: Instant) -> Option<TxToken<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}
