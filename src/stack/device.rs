//! The guard around the device: each frame passes the [`Table`] in both directions.
//!
//! [`Watch`] wraps a device for one poll step. It decides nothing: it translates between
//! smoltcp's tokens and octets, and records which connection used the room for a frame, and
//! whose neighbour was heard. The facts that the guard has collected are read after the step.

#[cfg(feature = "medium-ethernet")]
use super::neighbours::Neighbours;
use super::room::Room;
use crate::guard::table::{Link, Onward, Table};
use crate::guard::wire::layout::{Checksums, Medium};
use smoltcp::config::{IFACE_MAX_ADDR_COUNT, IFACE_NEIGHBOR_CACHE_COUNT};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// The guard of a host that has as many addresses as smoltcp keeps.
pub(super) type Guard<const N: usize> = Table<N, IFACE_MAX_ADDR_COUNT>;

/// The guard, and what else is recorded of the frames that pass.
#[derive(Debug)]
pub(super) struct Wire<const N: usize> {
    pub(super) guard: Guard<N>,
    pub(super) room: Room,
    #[cfg(feature = "medium-ethernet")]
    pub(super) neighbours: Neighbours<N>,
}

impl<const N: usize> Wire<N> {
    /// Whether there may be more neighbours than smoltcp's cache holds. Only then does the
    /// stack have to give smoltcp addresses that its cache dropped.
    pub(super) const IS_CROWD: bool =
        cfg!(feature = "medium-ethernet") && N > IFACE_NEIGHBOR_CACHE_COUNT;

    pub(super) fn new(link: &Link) -> Self {
        Self {
            guard: Guard::new(link),
            room: Room::new(),
            #[cfg(feature = "medium-ethernet")]
            neighbours: Neighbours::new(),
        }
    }

    /// Records a frame that has arrived and that the guard has inspected.
    fn note_arrived(&self, frame: &[u8]) {
        #[cfg(feature = "medium-ethernet")]
        if Self::IS_CROWD
            && self.guard.medium() == Medium::Ethernet
            && let Some(slot) = self.guard.heard()
        {
            self.neighbours.note_heard(slot, frame);
        }
        #[cfg(not(feature = "medium-ethernet"))]
        let _ = frame;
    }

    /// Records a frame that is sent, with a segment of this connection in it.
    fn note_left(&self, slot: Option<usize>, frame: &[u8]) {
        // A single connection does not share the device.
        self.room.note_used(slot.filter(|_| N > 1));
        #[cfg(feature = "medium-ethernet")]
        self.neighbours.note_frame(frame);
        #[cfg(not(feature = "medium-ethernet"))]
        let _ = frame;
    }
}

/// What the guard has to know of a device. `None` if lastbyte was built without its
/// medium.
pub(super) fn link_of(device: &DeviceCapabilities) -> Option<Link> {
    let medium = match device.medium {
        #[cfg(feature = "medium-ethernet")]
        phy::Medium::Ethernet => Medium::Ethernet,
        #[cfg(feature = "medium-ip")]
        phy::Medium::Ip => Medium::Ip,
        #[allow(unreachable_patterns, reason = "other crates may enable more media")]
        _ => return None,
    };
    Some(Link {
        medium,
        fills: Checksums {
            ipv4: device.checksum.ipv4.tx(),
            tcp: device.checksum.tcp.tx(),
        },
        // smoltcp's own subtraction could go below zero.
        mtu: device
            .max_transmission_unit
            .saturating_sub(medium.header_len()),
    })
}

/// A device on which the guard, not smoltcp, verifies the checksums of received IPv4
/// headers and TCP segments.
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

/// What smoltcp still has to do for a checksum, given that received ones are already verified.
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
    wire: &'w Wire<N>,
    outlet: Outlet,
    /// The frame that arrives next, in place of what the device has received.
    introduction: Option<&'w [u8]>,
}

/// How much may be sent in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlet {
    /// Everything that the device has room for.
    Wide,
    /// One frame.
    Narrow,
    /// Nothing.
    Shut,
}

impl<'w, D: ?Sized, const N: usize> Watch<'w, D, N> {
    pub(super) const fn new(device: &'w mut D, wire: &'w Wire<N>) -> Self {
        Self {
            device,
            wire,
            outlet: Outlet::Wide,
            introduction: None,
        }
    }

    /// The same device, with room for one frame to send at most.
    pub(super) const fn narrowed(self) -> Self {
        Self {
            outlet: Outlet::Narrow,
            ..self
        }
    }

    /// The same device, which receives this frame, if there is one. Nothing answers it.
    pub(super) const fn introducing(self, introduction: Option<&'w [u8]>) -> Self {
        Self {
            introduction,
            ..self
        }
    }

    /// The same device, with no room for a frame to send.
    pub(super) const fn shut(self) -> Self {
        Self {
            outlet: Outlet::Shut,
            ..self
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
        let checksum = self.device.capabilities().checksum;
        let checks = Checksums {
            ipv4: checksum.ipv4.rx(),
            tcp: checksum.tcp.rx(),
        };
        let wire = self.wire;
        let introduction = self.introduction.filter(|_| Wire::<N>::IS_CROWD);
        let (inner, tx) = match introduction {
            Some(frame) => (Incoming::Made(frame), self.device.transmit(timestamp)?),
            None => {
                let (received, tx) = self.device.receive(timestamp)?;
                (Incoming::Received(received), tx)
            }
        };
        let rx = WatchRx {
            inner,
            wire,
            checks,
        };
        let tx = WatchTx { inner: tx, wire };
        Some((rx, tx))
    }

    fn transmit(&mut self, timestamp: Instant) -> Option<Self::TxToken<'_>> {
        let wire = self.wire;
        let room = match self.outlet {
            Outlet::Shut => return None,
            Outlet::Narrow if wire.room.is_used() => None,
            Outlet::Narrow | Outlet::Wide => self.device.transmit(timestamp),
        };
        match &room {
            None => wire.room.note_short(),
            #[cfg(feature = "medium-ethernet")]
            Some(_) => wire.neighbours.note_room(),
            #[cfg(not(feature = "medium-ethernet"))]
            Some(_) => {}
        }
        room.map(|inner| WatchTx { inner, wire })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

/// The source of a frame.
#[derive(Debug)]
enum Incoming<'w, T> {
    Received(T),
    Made(&'w [u8]),
}

/// A received frame.
#[derive(Debug)]
pub struct WatchRx<'w, T, const N: usize> {
    inner: Incoming<'w, T>,
    wire: &'w Wire<N>,
    checks: Checksums,
}

impl<T: RxToken, const N: usize> RxToken for WatchRx<'_, T, N> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let Self {
            inner,
            wire,
            checks,
        } = self;
        match inner {
            Incoming::Made(frame) => f(frame),
            Incoming::Received(inner) => inner.consume(|frame| {
                let onward = wire.guard.inspect(frame, checks);
                wire.note_arrived(frame);
                // One call for all sources, so that it is compiled in once.
                f(match &onward {
                    Onward::Frame => frame,
                    // smoltcp silently drops an empty frame.
                    Onward::Nothing => &[],
                    Onward::Replaced(replacement) => replacement.frame(),
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

/// Room for a frame to send.
#[derive(Debug)]
pub struct WatchTx<'w, T, const N: usize> {
    inner: T,
    wire: &'w Wire<N>,
}

impl<T: TxToken, const N: usize> TxToken for WatchTx<'_, T, N> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let wire = self.wire;
        self.inner.consume(len, |frame| {
            let result = f(frame);
            wire.note_left(wire.guard.inspect_sent(frame), frame);
            result
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.inner.set_meta(meta);
    }
}
