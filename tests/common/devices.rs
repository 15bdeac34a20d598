//! Our end's device with another face.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use lastbyte::stack::smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities};
use lastbyte::stack::smoltcp::time::Instant;
use lastbyte_shim::loopback::{LoopDevice, World};

/// A device that says it checks other checksums than it was made with.
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

    /// From now on it says this.
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

/// A device that says it cuts long segments, and puts them on the wire uncut. Its
/// world has to sum them up, as smoltcp demands ([`Offload::tcp_tx`]).
///
/// [`Offload::tcp_tx`]: lastbyte_shim::loopback::Offload::tcp_tx
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
