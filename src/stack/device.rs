//! The guard around the device: each frame passes the [`Table`] on its way in and out.
//!
//! smoltcp reports neither when a peer was heard, nor whether its window is closed,
//! whether a segment left or was a retransmission, or what ICMP said. All of that is on
//! the wire. [`Watch`] wraps a device for the time of one poll step, reads each segment of
//! a connection that passes, holds it to the rules of [`guard`](crate::guard::rules), and leaves
//! facts in the table, to be collected after the step.

use crate::guard::table::{Onward, Table};
use crate::guard::wire::frame::Checks;
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// A device of whose packets the guard checks the headers of IPv4 and the segments of
/// TCP, and nobody else does.
pub(crate) struct Checked<'d, D>(pub(crate) &'d mut D);

impl<D: Device> Device for Checked<'_, D> {
    type RxToken<'t>
        = D::RxToken<'t>
    where
        Self: 't;
    type TxToken<'t>
        = D::TxToken<'t>
    where
        Self: 't;

    fn receive(&mut self, timestamp: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.0.receive(timestamp)
    }

    fn transmit(&mut self, timestamp: Instant) -> Option<Self::TxToken<'_>> {
        self.0.transmit(timestamp)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.0.capabilities();
        let checksum = &mut capabilities.checksum;
        checksum.ipv4 = unchecked(checksum.ipv4);
        checksum.tcp = unchecked(checksum.tcp);
        capabilities
    }
}

/// What is left to do of a checksum, where received ones are checked already.
fn unchecked(checksum: Checksum) -> Checksum {
    match checksum.tx() {
        true => Checksum::Tx,
        false => Checksum::None,
    }
}

/// A device with the guard around it, for the time of one poll step.
///
/// Made by [`Tracker::watch`](super::Tracker::watch).
#[derive(Debug)]
pub struct Watch<'w, D: ?Sized, const N: usize> {
    device: &'w mut D,
    table: &'w Table<N>,
    outlet: Outlet,
    /// What arrives next, in place of what the device has received.
    introduction: Option<&'w [u8]>,
}

/// What may leave in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlet {
    /// Whatever the device has room for.
    Wide,
    /// One frame.
    Narrow,
    /// Nothing.
    Shut,
}

impl<'w, D: ?Sized, const N: usize> Watch<'w, D, N> {
    pub(crate) const fn new(device: &'w mut D, table: &'w Table<N>) -> Self {
        Self {
            device,
            table,
            outlet: Outlet::Wide,
            introduction: None,
        }
    }

    /// The same, and the device seems to have room for one frame to send.
    pub(crate) fn narrowed(self) -> Self {
        Self {
            outlet: Outlet::Narrow,
            ..self
        }
    }

    /// The same, and this frame has arrived, if there is one. Nothing answers it.
    pub(crate) fn introducing(self, introduction: Option<&'w [u8]>) -> Self {
        Self {
            introduction,
            ..self
        }
    }

    /// The same, and the device seems to have no room for a frame to send.
    pub(crate) const fn deaf(device: &'w mut D, table: &'w Table<N>) -> Self {
        Self {
            device,
            table,
            outlet: Outlet::Shut,
            introduction: None,
        }
    }
}

impl<D: Device + ?Sized, const N: usize> Device for Watch<'_, D, N> {
    type RxToken<'t>
        = WatchRx<'t, D::RxToken<'t>, N>
    where
        Self: 't;
    type TxToken<'t>
        = WatchTx<'t, D::TxToken<'t>, N>
    where
        Self: 't;

    fn receive(&mut self, timestamp: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let checks = Checks::of(&self.device.capabilities().checksum);
        let table = self.table;
        let introduction = self.introduction.filter(|_| Table::<N>::IS_CROWD);
        let (inner, tx) = match introduction {
            Some(frame) => (Incoming::Made(frame), self.device.transmit(timestamp)?),
            None => {
                let (received, tx) = self.device.receive(timestamp)?;
                (Incoming::Received(received), tx)
            }
        };
        let rx = WatchRx {
            inner,
            table,
            checks,
        };
        Some((rx, WatchTx { inner: tx, table }))
    }

    fn transmit(&mut self, timestamp: Instant) -> Option<Self::TxToken<'_>> {
        let table = self.table;
        let room = match self.outlet {
            Outlet::Shut => return None,
            Outlet::Narrow if table.room.is_used() => None,
            Outlet::Narrow | Outlet::Wide => self.device.transmit(timestamp),
        };
        match &room {
            None => table.room.note_short(),
            #[cfg(feature = "medium-ethernet")]
            Some(_) => table.neighbours.note_room(),
            #[cfg(not(feature = "medium-ethernet"))]
            Some(_) => {}
        }
        room.map(|inner| WatchTx { inner, table })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

/// Where a frame comes from.
#[derive(Debug)]
enum Incoming<'w, T> {
    Received(T),
    Made(&'w [u8]),
}

/// A frame on its way in.
#[derive(Debug)]
pub struct WatchRx<'w, T, const N: usize> {
    inner: Incoming<'w, T>,
    table: &'w Table<N>,
    checks: Checks,
}

impl<T: RxToken, const N: usize> RxToken for WatchRx<'_, T, N> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let Self {
            inner,
            table,
            checks,
        } = self;
        match inner {
            Incoming::Made(frame) => f(frame),
            Incoming::Received(inner) => inner.consume(|frame| {
                let onward = table.inspect(frame, checks);
                // One call for all, so that it is compiled in once.
                f(match &onward {
                    Onward::Frame => frame,
                    // smoltcp drops an empty frame without a word.
                    Onward::Nothing => &[],
                    Onward::Probe(probe) => probe.frame(),
                })
            }),
        }
    }

    fn meta(&self) -> PacketMeta {
        match &self.inner {
            Incoming::Received(inner) => inner.meta(),
            Incoming::Made(_) => PacketMeta::default(),
        }
    }
}

/// Room for a frame on its way out.
#[derive(Debug)]
pub struct WatchTx<'w, T, const N: usize> {
    inner: T,
    table: &'w Table<N>,
}

impl<T: TxToken, const N: usize> TxToken for WatchTx<'_, T, N> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let table = self.table;
        self.inner.consume(len, |frame| {
            let result = f(frame);
            table.inspect_sent(frame);
            result
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.inner.set_meta(meta);
    }
}
