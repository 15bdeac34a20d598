//! Devices of our end with other capabilities.

use core::time::Duration;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::rc::Rc;

use lastbyte::stack::smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, RxToken};
use lastbyte::stack::smoltcp::time::Instant;
use lastbyte_sim::loopback::{LoopDevice, World};

/// A device that announces other checksum capabilities than it was made with.
#[derive(Clone)]
pub struct Checking {
    inner: LoopDevice,
    checksums: Rc<RefCell<ChecksumCapabilities>>,
}

impl Checking {
    pub fn new(world: &World, checksums: ChecksumCapabilities) -> Self {
        Self {
            inner: world.device(),
            checksums: Rc::new(RefCell::new(checksums)),
        }
    }

    /// Sets the announced capabilities.
    pub fn set(&self, checksums: ChecksumCapabilities) {
        self.checksums.replace(checksums);
    }
}

impl Device for Checking {
    type RxToken<'t> = <LoopDevice as Device>::RxToken<'t>;
    type TxToken<'t> = <LoopDevice as Device>::TxToken<'t>;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.inner.receive(now)
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        self.inner.transmit(now)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.checksum = self.checksums.borrow().clone();
        capabilities
    }
}

/// A device that announces segmentation offload, and sends long segments unsegmented. Its
/// world has to compute the checksums, as smoltcp requires ([`Offload::tcp_tx`]).
///
/// [`Offload::tcp_tx`]: lastbyte_sim::loopback::Offload::tcp_tx
pub struct Cutting(LoopDevice);

impl Cutting {
    pub fn new(world: &World) -> Self {
        Self(world.device())
    }
}

impl Device for Cutting {
    type RxToken<'t> = <LoopDevice as Device>::RxToken<'t>;
    type TxToken<'t> = <LoopDevice as Device>::TxToken<'t>;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.0.receive(now)
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        self.0.transmit(now)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(u16::MAX.into());
        capabilities
    }
}

/// A device in an endless flood: at every poll it has a frame that is for no socket, and
/// each one takes time. Its queue is always full, so that other frames wait after this
/// many.
pub struct Flooded {
    inner: LoopDevice,
    /// How long each frame takes.
    every: Duration,
    /// How many frames are always ahead of the next that arrives.
    ahead: u64,
    /// How many frames were received.
    taken: u64,
    /// Frames of the world, each with the number of frames that are received before it.
    waiting: VecDeque<(u64, Vec<u8>)>,
}

impl Flooded {
    pub fn new(world: &World, every: Duration, ahead: u64) -> Self {
        Self {
            inner: world.device(),
            every,
            ahead,
            taken: 0,
            waiting: VecDeque::new(),
        }
    }

    pub fn world(&self) -> &World {
        self.inner.world()
    }
}

/// LLDP, which neither end here uses.
const FOR_NO_SOCKET: [u8; 60] = {
    let mut frame = [0; 60];
    frame[0] = 0x01;
    frame[6] = 0x02;
    frame[12] = 0x88;
    frame[13] = 0xcc;
    frame
};

/// A frame of a [`Flooded`] device.
pub struct Frame(Vec<u8>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

impl Device for Flooded {
    type RxToken<'t> = Frame;
    type TxToken<'t> = <LoopDevice as Device>::TxToken<'t>;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.inner.world().run_for(self.every);
        while let Some((frame, _)) = self.inner.receive(now) {
            let frame = frame.consume(<[u8]>::to_vec);
            self.waiting.push_back((self.taken + self.ahead, frame));
        }
        let room = self.inner.transmit(now)?;
        let is_next = self.waiting.front().is_some_and(|at| at.0 <= self.taken);
        self.taken += 1;
        let frame = match is_next {
            true => self.waiting.pop_front()?.1,
            false => FOR_NO_SOCKET.to_vec(),
        };
        Some((Frame(frame), room))
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        self.inner.transmit(now)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.inner.capabilities()
    }
}
