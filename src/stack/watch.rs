//! The guard around the device: each frame passes the [`Table`] on its way in and out.
//!
//! smoltcp reports neither when a peer was heard, nor whether its window is closed,
//! whether a segment left or was a retransmission, or what ICMP said. All of that is on
//! the wire. [`Watch`] wraps a device for the time of one poll step, reads each segment of
//! a connection that passes, holds it to the rules of [`guard`](super::guard), and leaves
//! facts in the table, to be collected after the step.

use super::parse::Checks;
use super::table::{Onward, Table};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// A device of whose packets the guard checks the headers of IPv4 and the segments of
/// TCP, and nobody else does.
pub(super) struct Checked<'d, D>(pub(super) &'d mut D);

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
    /// Whether nothing may leave.
    is_deaf: bool,
}

impl<'w, D: ?Sized, const N: usize> Watch<'w, D, N> {
    pub(super) const fn new(device: &'w mut D, table: &'w Table<N>) -> Self {
        Self {
            device,
            table,
            is_deaf: false,
        }
    }

    /// The same, and the device seems to have no room for a frame to send.
    pub(super) const fn deaf(device: &'w mut D, table: &'w Table<N>) -> Self {
        Self {
            device,
            table,
            is_deaf: true,
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
        let (inner, tx) = self.device.receive(timestamp)?;
        let table = self.table;
        let rx = WatchRx {
            inner,
            table,
            checks,
        };
        Some((rx, WatchTx { inner: tx, table }))
    }

    fn transmit(&mut self, timestamp: Instant) -> Option<Self::TxToken<'_>> {
        if self.is_deaf {
            return None;
        }
        let inner = self.device.transmit(timestamp)?;
        Some(WatchTx {
            inner,
            table: self.table,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

/// A frame on its way in.
#[derive(Debug)]
pub struct WatchRx<'w, T, const N: usize> {
    inner: T,
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
        inner.consume(|frame| {
            let onward = table.inspect(frame, checks);
            // One call for all, so that it is compiled in once.
            f(match &onward {
                Onward::Frame => frame,
                // smoltcp drops an empty frame without a word.
                Onward::Nothing => &[],
                Onward::Probe(probe) => probe.frame(),
            })
        })
    }

    fn meta(&self) -> PacketMeta {
        self.inner.meta()
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
