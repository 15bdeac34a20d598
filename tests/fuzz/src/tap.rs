//! The world's device, which passes every frame to the tracks when our end receives or
//! sends it.

use super::track::Tracks;
use lastbyte_sim::loopback::{LoopDevice, World};
use smoltcp::phy::{self, Device, DeviceCapabilities};
use smoltcp::time::Instant;
use std::cell::RefCell;
use std::rc::Rc;

pub struct Tap {
    inner: LoopDevice,
    world: World,
    tracks: Rc<RefCell<Tracks>>,
}

impl Tap {
    pub fn new(world: &World, tracks: &Rc<RefCell<Tracks>>) -> Self {
        Self {
            inner: world.device(),
            world: world.clone(),
            tracks: Rc::clone(tracks),
        }
    }
}

type InnerRx<'a> = <LoopDevice as Device>::RxToken<'a>;
type InnerTx<'a> = <LoopDevice as Device>::TxToken<'a>;

pub struct RxToken<'a> {
    inner: InnerRx<'a>,
    tracks: &'a RefCell<Tracks>,
}

pub struct TxToken<'a> {
    inner: InnerTx<'a>,
    tracks: &'a RefCell<Tracks>,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let tracks = self.tracks;
        self.inner.consume(|frame| {
            tracks.borrow_mut().take_in(frame);
            f(frame)
        })
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let tracks = self.tracks;
        self.inner.consume(len, |frame| {
            let result = f(frame);
            tracks.borrow_mut().give_out(frame);
            result
        })
    }
}

impl Device for Tap {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, timestamp: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        self.tracks.borrow_mut().now = self.world.now();
        let (rx, tx) = self.inner.receive(timestamp)?;
        let tracks = &*self.tracks;
        Some((RxToken { inner: rx, tracks }, TxToken { inner: tx, tracks }))
    }

    fn transmit(&mut self, timestamp: Instant) -> Option<TxToken<'_>> {
        let inner = self.inner.transmit(timestamp)?;
        Some(TxToken {
            inner,
            tracks: &self.tracks,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.inner.capabilities()
    }
}
