//! The observer around the device: what crosses the wire, noted per
//! connection, changed in nothing.
//!
//! smoltcp does not tell when a peer was last heard, whether its window is
//! closed, whether a segment left or was a retransmission. All of that is on
//! the wire. [`Watch`] wraps a device for the time of one poll step, reads each
//! TCP segment that passes, and leaves facts in a [`Table`], to be collected
//! after the step.

use super::parse::{Parsed, Segment, parse};
use crate::facts::{Sent, Window};
use core::cell::Cell;
use heapless::Vec;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::IpEndpoint;

/// Both ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) local: IpEndpoint,
    pub(super) remote: IpEndpoint,
}

/// What was seen of one connection since its facts were last taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// The peer was heard, and this was the last window it announced.
    pub(super) heard: Option<Window>,
    /// The last segment heard was a RST, and its ACK number acknowledged this
    /// many octets more than any segment before it.
    pub(super) rst: Option<u32>,
    /// What left, the latest of the most telling kind.
    pub(super) sent: Option<Sent>,
    /// How many of the segments that left had been sent before.
    pub(super) resent: u8,
}

/// Which connections a step may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dirty {
    /// Only those in the chain.
    Chained,
    /// Any: a frame could not be told apart.
    Any,
}

/// The end of the chain of changed rows.
const END: u16 = u16::MAX;
/// A row that is not in the chain.
const UNCHAINED: u16 = u16::MAX - 1;

/// What the observer knows of one connection.
#[derive(Debug)]
struct Row {
    ends: Cell<Option<Ends>>,
    facts: Cell<Facts>,
    /// The highest sequence number sent, plus one.
    sent_up_to: Cell<u32>,
    /// The highest sequence number the peer acknowledged.
    acknowledged_up_to: Cell<u32>,
    /// The row behind this one in the chain, [`END`] or [`UNCHAINED`].
    next: Cell<u16>,
}

impl Row {
    fn new() -> Self {
        Self {
            ends: Cell::new(None),
            facts: Cell::new(Facts::default()),
            sent_up_to: Cell::new(0),
            acknowledged_up_to: Cell::new(0),
            next: Cell::new(UNCHAINED),
        }
    }
}

/// Whether sequence number `a` is behind `b` (RFC 9293, 3.4: modulo 2^32).
const fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// A row for each of at most `N` connections, and the chain of those with
/// facts to collect.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    medium: Medium,
    rows: Vec<Row, N>,
    first: Cell<u16>,
    dirty: Cell<Dirty>,
    /// How many connections wait for a peer: while it is not zero, a segment
    /// for no known connection may open one.
    listening: Cell<u16>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(medium: Medium) -> Self {
        let mut rows = Vec::new();
        while rows.push(Row::new()).is_ok() {}
        Self {
            medium,
            rows,
            first: Cell::new(END),
            dirty: Cell::new(Dirty::Chained),
            listening: Cell::new(0),
        }
    }

    pub(super) const fn medium(&self) -> Medium {
        self.medium
    }

    /// Says which segments belong to connection `slot` from now on, and
    /// forgets what was seen of the one before.
    pub(super) fn assign(&self, slot: usize, ends: Option<Ends>) {
        if let Some(row) = self.rows.get(slot) {
            row.ends.set(ends);
            row.facts.set(Facts::default());
            row.sent_up_to.set(0);
            row.acknowledged_up_to.set(0);
        }
    }

    pub(super) fn set_listening(&self, connections: u16) {
        self.listening.set(connections);
    }

    /// The connection whose facts are to be collected next, and the facts.
    pub(super) fn take_dirty(&self) -> Option<(usize, Facts)> {
        let slot = usize::from(self.first.get());
        let row = self.rows.get(slot)?;
        self.first.set(row.next.replace(UNCHAINED));
        Some((slot, row.facts.take()))
    }

    /// Whether every connection has to be looked at; told once.
    pub(super) fn take_any(&self) -> bool {
        self.dirty.replace(Dirty::Chained) == Dirty::Any
    }

    fn find(&self, ends: Ends) -> Option<(usize, &Row)> {
        self.rows
            .iter()
            .enumerate()
            .find(|(_, row)| row.ends.get() == Some(ends))
    }

    /// Puts a row into the chain, unless it is there already.
    fn chain(&self, slot: usize, row: &Row) {
        if row.next.get() == UNCHAINED
            && let Ok(index) = u16::try_from(slot)
        {
            row.next.set(self.first.replace(index));
        }
    }

    fn note_received(&self, frame: &[u8]) {
        match parse(self.medium, frame) {
            Parsed::Tcp(segment) => self.note_heard(&segment),
            Parsed::Opaque => self.dirty.set(Dirty::Any),
            Parsed::Other => {}
        }
    }

    fn note_heard(&self, segment: &Segment) {
        let ends = Ends {
            local: segment.to,
            remote: segment.from,
        };
        let Some((slot, row)) = self.find(ends) else {
            if self.listening.get() > 0 {
                self.dirty.set(Dirty::Any);
            }
            return;
        };
        let mut newly_acknowledged = 0;
        if let Some(ack) = segment.ack {
            let before = row.acknowledged_up_to.get();
            // What was never sent cannot have been received.
            if is_before(before, ack) && !is_before(row.sent_up_to.get(), ack) {
                newly_acknowledged = ack.wrapping_sub(before);
                row.acknowledged_up_to.set(ack);
            }
        }
        let mut facts = row.facts.get();
        facts.heard = Some(segment.window);
        facts.rst = segment.rst.then_some(newly_acknowledged);
        row.facts.set(facts);
        self.chain(slot, row);
    }

    fn note_sent(&self, frame: &[u8]) {
        let Parsed::Tcp(segment) = parse(self.medium, frame) else {
            return;
        };
        let ends = Ends {
            local: segment.from,
            remote: segment.to,
        };
        // A segment without sequence space (a bare ACK, a RST) asks for no
        // answer.
        if segment.len == 0 || segment.rst {
            return;
        }
        let Some((slot, row)) = self.find(ends) else {
            return;
        };
        let end = segment.seq.wrapping_add(segment.len);
        let mut facts = row.facts.get();
        if segment.syn {
            row.sent_up_to.set(end);
            row.acknowledged_up_to.set(segment.seq);
            facts.sent = Some(Sent::Syn);
        } else if is_before(row.sent_up_to.get(), end) {
            row.sent_up_to.set(end);
            facts.sent = Some(Sent::Demanding);
        } else if is_before(segment.seq, row.acknowledged_up_to.get()) {
            // Behind what the peer acknowledged: a keep-alive probe, which
            // repeats an old octet (RFC 9293, 3.8.4).
            facts.sent = Some(Sent::Demanding);
        } else {
            facts.resent = facts.resent.saturating_add(1);
            facts.sent = facts.sent.or(Some(Sent::Demanding));
        }
        row.facts.set(facts);
        self.chain(slot, row);
    }
}

/// A device with the observer around it, for the time of one poll step.
///
/// Made by [`Tracker::watch`](super::Tracker::watch).
#[derive(Debug)]
pub struct Watch<'w, D: ?Sized, const N: usize> {
    pub(super) device: &'w mut D,
    pub(super) table: &'w Table<N>,
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
        let (rx, tx) = self.device.receive(timestamp)?;
        let table = self.table;
        Some((WatchRx { inner: rx, table }, WatchTx { inner: tx, table }))
    }

    fn transmit(&mut self, timestamp: Instant) -> Option<Self::TxToken<'_>> {
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
}

impl<T: RxToken, const N: usize> RxToken for WatchRx<'_, T, N> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let table = self.table;
        self.inner.consume(|frame| {
            table.note_received(frame);
            f(frame)
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
            table.note_sent(frame);
            result
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.inner.set_meta(meta);
    }
}
