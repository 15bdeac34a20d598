//! The guard around the device: what crosses the wire, noted per connection,
//! and held to the rules of [`guard`](super::guard) on its way in.
//!
//! smoltcp does not tell when a peer was last heard, whether its window is
//! closed, whether a segment left or was a retransmission, what a RST
//! acknowledged, what ICMP said. All of that is on the wire. [`Watch`] wraps a
//! device for the time of one poll step, reads each segment of a connection
//! that passes, and leaves facts in a [`Table`], to be collected after the step.

use super::ends::{Ends, Flow};
use super::guard::{Known, Verdict, judge, judge_behind_fin, judge_behind_our_fin};
use super::icmp::IcmpError;
use super::parse::{Checks, Parsed, parse, parse_sent};
use super::probe::{Probe, set_sequence};
use super::segment::Segment;
use super::seq::is_before;
use crate::facts::{Icmp, Sent, Window};
use core::cell::Cell;
use core::ops::Range;
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// What was seen of one connection since its facts were last taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// The peer was heard, and this was the last window it announced.
    pub(super) heard: Option<Window>,
    /// The last segment heard was a RST.
    pub(super) rst: bool,
    /// What left, the latest of the most telling kind.
    pub(super) sent: Option<Sent>,
    /// How many of the segments that left had been sent before.
    pub(super) resent: u8,
    /// A RST of ours left.
    pub(super) has_reset: bool,
    /// An ICMP error about one of our segments in flight.
    pub(super) icmp: Option<Icmp>,
}

/// What the receiving side of a connection took in and can still take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Receipt {
    /// Octets of sequence space that came in order since the last receipt.
    pub(super) in_order: u32,
    /// Octets of room in the receive buffer.
    pub(super) room: u32,
    /// Whether more will come.
    pub(super) peer: Sending,
}

/// Whether the peer may still send data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sending {
    /// Its SYN was not taken in yet.
    #[default]
    Unknown,
    Open,
    /// As before, and our FIN is acknowledged.
    Alone,
    /// Its FIN was taken in.
    Finished,
}

/// How far the two ends have agreed on sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no connection.
    Nobody,
    /// It has ended, and nothing more is to be said: what comes from its other end is
    /// nobody's. Who its ends were is still known, for the report.
    Over,
    /// Nothing was sent yet: nothing can be judged, or quoted by ICMP.
    Opening,
    /// Our SYN has left: ICMP errors may be about it.
    SynSent,
    /// The peer's SYN has come since; whether the stack below took it is still to
    /// be told. It has reasons of its own not to: a damaged link header, say.
    SynSeen,
    /// Both SYNs are known (RFC 9293, 3.10.7.4): the rules hold.
    Synchronised,
    /// Our FIN has left as well, and is not acknowledged.
    Finishing,
    /// The peer's FIN was taken in, whether ours has left or not.
    PeerFinished,
}

/// No row is touched.
const NONE: u16 = u16::MAX;
/// Several rows may be touched.
const SEVERAL: u16 = u16::MAX - 1;

/// What the guard knows of one connection.
#[derive(Debug)]
struct Row {
    /// That of the segments that arrive for it, from the handshake on; after the end,
    /// for the report.
    flow: Flow,
    facts: Cell<Facts>,
    phase: Cell<Phase>,
    /// What is known of its sequence numbers, from its SYN on.
    known: Cell<Known>,
    /// The most octets of sequence space that one segment had, as far as seen: the
    /// peer takes so many at once.
    largest: Cell<u16>,
    /// Whether there are facts to collect.
    is_touched: Cell<bool>,
}

// What one more connection costs in memory, of what is not free on a small
// machine. `./ci.sh budgets` prints what they add up to; the address families that are in it make
// the difference.
const _: () = assert!(size_of::<Row>() <= 96);

impl Row {
    fn new() -> Self {
        Self {
            flow: Flow::NONE,
            facts: Cell::new(Facts::default()),
            phase: Cell::new(Phase::Nobody),
            known: Cell::new(Known::UNKNOWN),
            largest: Cell::new(0),
            is_touched: Cell::new(false),
        }
    }
}

/// A row for each of at most `N` connections.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    medium: Medium,
    /// Whether the device leaves it to us to fill in checksums.
    fills: bool,
    rows: [Row; N],
    /// The row that is touched, [`NONE`] or [`SEVERAL`].
    touched: Cell<u16>,
    /// Whether a connection waits for a peer: a segment for no known connection may open
    /// it.
    is_listening: Cell<bool>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(device: &DeviceCapabilities) -> Self {
        Self {
            medium: device.medium,
            fills: device.checksum.tcp.tx(),
            rows: core::array::from_fn(|_| Row::new()),
            touched: Cell::new(NONE),
            is_listening: Cell::new(false),
        }
    }

    pub(super) const fn medium(&self) -> Medium {
        self.medium
    }

    /// Says which segments belong to connection `slot` from now on. Where that
    /// is news, what was seen of the one before is forgotten.
    pub(super) fn assign(&mut self, slot: usize, ends: Option<Ends>) {
        if let Some(row) = self.rows.get_mut(slot) {
            let (flow, phase) = match ends.as_ref().and_then(Flow::arriving) {
                Some(flow) => (flow, Phase::Opening),
                None => (Flow::NONE, Phase::Nobody),
            };
            row.flow = flow;
            row.facts.set(Facts::default());
            row.phase.set(phase);
            row.known.set(Known::UNKNOWN);
            row.largest.set(0);
        }
    }

    /// The connection has nothing more to say: what comes from its other end is
    /// nobody's.
    pub(super) fn take_off(&mut self, slot: usize) {
        if let Some(row) = self.rows.get_mut(slot)
            && row.phase.get() != Phase::Nobody
        {
            row.phase.set(Phase::Over);
        }
    }

    /// Both ends of the connection, also after its end, as segments arrive.
    pub(super) fn flow(&self, slot: usize) -> Option<Flow> {
        let row = self.rows.get(slot)?;
        (row.phase.get() != Phase::Nobody).then_some(row.flow)
    }

    pub(super) fn set_listening(&self, is_listening: bool) {
        self.is_listening.set(is_listening);
    }

    /// Whether there is anything to collect.
    pub(super) fn is_touched(&self) -> bool {
        self.touched.get() != NONE
    }

    /// The connections that may have facts to collect, all of them now. Most steps touch
    /// one connection: the others are not looked at.
    pub(super) fn take_touched(&self) -> Range<usize> {
        match self.touched.replace(NONE) {
            slot if N > 1 && slot != SEVERAL => {
                let slot = usize::from(slot);
                slot..slot.wrapping_add(1)
            }
            _ => 0..N,
        }
    }

    /// The facts of a connection, if there are any to collect.
    pub(super) fn take(&self, slot: usize) -> Option<Facts> {
        let row = self.rows.get(slot)?;
        row.is_touched.take().then(|| row.facts.take())
    }

    /// The connection to which such segments belong.
    fn find(&self, arriving: Flow) -> Option<(usize, &Row)> {
        let slot = self.rows.iter().position(|row| {
            row.flow.ports == arriving.ports
                && row.flow.addresses == arriving.addresses
                && !matches!(row.phase.get(), Phase::Nobody | Phase::Over)
        })?;
        Some((slot, self.rows.get(slot)?))
    }

    /// There is something to collect for a connection.
    fn touch(&self, slot: usize, row: &Row) {
        row.is_touched.set(true);
        self.touched.set(match u16::try_from(slot) {
            Ok(slot) if N > 1 && matches!(self.touched.get(), NONE) => slot,
            _ => SEVERAL,
        });
    }

    /// A segment may open any connection that listens.
    fn touch_all(&self) {
        for (slot, row) in self.rows.iter().enumerate() {
            self.touch(slot, row);
        }
    }

    /// Tells how many octets of sequence space came in order since the last
    /// time, and how much room there is for more.
    pub(super) fn advance(&self, slot: usize, receipt: Receipt) {
        if let Some(row) = self.rows.get(slot) {
            let mut known = row.known.get();
            known.rcv_nxt = known.rcv_nxt.wrapping_add(receipt.in_order);
            known.rcv_wnd = receipt.room;
            row.known.set(known);
            match (receipt.peer, row.phase.get()) {
                (Sending::Finished, _) => row.phase.set(Phase::PeerFinished),
                (Sending::Open, Phase::SynSeen) | (Sending::Alone, _) => {
                    row.phase.set(Phase::Synchronised);
                }
                (Sending::Unknown | Sending::Open, _) => {}
            }
        }
    }

    /// How many octets of sequence space were sent and are not acknowledged.
    pub(super) fn in_flight(&self, slot: usize) -> usize {
        self.rows.get(slot).map_or(0, |row| {
            let known = row.known.get();
            usize::try_from(known.snd_nxt.wrapping_sub(known.snd_una)).unwrap_or(usize::MAX)
        })
    }

    /// The most octets of sequence space that a segment of ours had.
    pub(super) fn largest(&self, slot: usize) -> u16 {
        self.rows.get(slot).map_or(0, |row| row.largest.get())
    }

    /// Decides what goes on of a frame that arrived, and notes what it says.
    fn inspect(&self, frame: &[u8], checks: Checks) -> Onward {
        match &parse(self.medium, frame, checks) {
            Parsed::Tcp(segment) => return self.inspect_segment(frame, segment),
            Parsed::Withheld => return Onward::Nothing,
            Parsed::Icmp(error) => self.note_icmp(error),
            Parsed::Other => {}
        }
        Onward::Frame
    }

    fn inspect_segment(&self, frame: &[u8], segment: &Segment<'_>) -> Onward {
        let Some((slot, row)) = self.find(segment.flow()) else {
            if self.is_listening.get() {
                self.touch_all();
            }
            return Onward::Frame;
        };
        self.touch(slot, row);
        let known = row.known.get();
        let verdict = match row.phase.get() {
            Phase::Nobody | Phase::Over | Phase::Opening => Verdict::Drop,
            Phase::SynSent | Phase::SynSeen => row.take_syn(segment),
            Phase::Synchronised => judge(segment, &known),
            Phase::Finishing => judge_behind_our_fin(segment, &known),
            Phase::PeerFinished => judge_behind_fin(segment, &known),
        };
        if matches!(
            verdict,
            Verdict::Acceptable | Verdict::Textless | Verdict::Opened | Verdict::Answered
        ) {
            row.note_heard(segment);
        }
        let ack = segment.ack().unwrap_or(known.snd_una);
        let window = segment.window_len();
        let (seq, ack, window) = match verdict {
            Verdict::Acceptable | Verdict::Unproven => return Onward::Frame,
            Verdict::Drop => return Onward::Nothing,
            Verdict::Challenge | Verdict::Answered => {
                (known.rcv_nxt.wrapping_sub(1), known.snd_una, window)
            }
            Verdict::Textless => (known.rcv_nxt, ack, window),
            Verdict::Opened => (known.rcv_nxt, ack, 1),
        };
        let header = segment.bare_ack(seq, ack, window);
        Probe::new(self.medium, frame, segment, header).map_or(Onward::Nothing, Onward::Probe)
    }

    /// An error about a segment that is not in flight is not believed
    /// (RFC 5927, 4.1).
    fn note_icmp(&self, error: &IcmpError) {
        let Some((slot, row)) = self.find(error.quoted.reversed()) else {
            return;
        };
        let known = row.known.get();
        let oldest = match row.phase.get() {
            Phase::Nobody | Phase::Over | Phase::Opening => return,
            // The SYN itself, which counts as acknowledged elsewhere.
            Phase::SynSent | Phase::SynSeen => known.snd_una.wrapping_sub(1),
            Phase::Synchronised | Phase::Finishing | Phase::PeerFinished => known.snd_una,
        };
        if is_before(error.seq, oldest) || !is_before(error.seq, known.snd_nxt) {
            return;
        }
        let mut facts = row.facts.get();
        facts.icmp = Some(error.severity);
        row.facts.set(facts);
        self.touch(slot, row);
    }

    /// Looks at a frame on its way out.
    fn inspect_sent(&self, frame: &mut [u8]) {
        if let Some(seq) = self.note_sent(frame) {
            // It was read as a segment a moment ago.
            let moved = set_sequence(self.medium, frame, seq, self.fills);
            debug_assert!(moved.is_some());
        }
    }

    /// Takes note of a segment that leaves; the sequence number that it must
    /// have instead, if it must have another.
    fn note_sent(&self, frame: &[u8]) -> Option<u32> {
        let parsed = parse_sent(self.medium, frame);
        let Parsed::Tcp(segment) = &parsed else {
            return None;
        };
        let (slot, row) = self.find(segment.flow().reversed())?;
        if segment.is_rst() {
            let mut facts = row.facts.get();
            facts.has_reset = true;
            row.facts.set(facts);
            self.touch(slot, row);
            return None;
        }
        let len = segment.len();
        // A segment without sequence space (a bare ACK) asks for no answer.
        if len > 0 {
            self.touch(slot, row);
        }
        row.note_sent(segment, len)
    }
}

impl Row {
    /// Takes in the answer to our SYN, if this is one (RFC 9293, 3.10.7.3).
    /// What becomes of anything else is for the stack below.
    fn take_syn(&self, segment: &Segment<'_>) -> Verdict {
        let mut known = self.known.get();
        let is_answer = segment.ack().is_none_or(|ack| ack == known.snd_nxt);
        // The stack below goes on to other rules with the peer's own SYN, before
        // the guard knows whether it took it.
        if segment.is_rst() && segment.ack() != Some(known.snd_nxt) {
            return Verdict::Drop;
        }
        if !is_answer {
            return Verdict::Unproven;
        }
        if segment.is_syn() && !segment.is_rst() {
            known.rcv_nxt = segment.seq().wrapping_add(1);
            self.known.set(known);
            self.phase.set(Phase::SynSeen);
        }
        Verdict::Acceptable
    }

    /// Takes in a segment that is the peer's. The ACK number of a RST counts for
    /// nothing: some stacks acknowledge in it what they threw away.
    #[inline]
    fn note_heard(&self, segment: &Segment<'_>) {
        let mut known = self.known.get();
        if let Some(ack) = segment.ack()
            && is_before(known.snd_una, ack)
            && !is_before(known.snd_nxt, ack)
            && !segment.is_rst()
        {
            known.snd_una = ack;
        }
        self.known.set(known);
        let mut facts = self.facts.get();
        facts.heard = Some(segment.window());
        facts.rst = segment.is_rst();
        self.facts.set(facts);
    }

    /// Takes in a segment that left, with `len` octets of sequence space.
    #[inline]
    fn note_sent(&self, segment: &Segment<'_>, len: u32) -> Option<u32> {
        let known = self.known.get();
        let end = segment.seq().wrapping_add(len);
        if segment.is_syn() {
            self.note_syn_sent(segment, end);
            return None;
        }
        if is_before(known.snd_nxt, end) {
            self.known.set(Known {
                snd_nxt: end,
                ..known
            });
            // A packet has fewer than 2^16 octets.
            let len = u16::try_from(len).unwrap_or(u16::MAX);
            self.largest.set(self.largest.get().max(len));
            if segment.is_fin() && self.phase.get() == Phase::Synchronised {
                self.phase.set(Phase::Finishing);
            }
        } else if len == 0 {
            return None;
        } else if is_before(segment.seq(), known.snd_una) {
            // A keep-alive probe, which repeats an old octet (RFC 9293, 3.8.4).
        } else if segment.is_keep_alive() {
            // The octet it repeats is not old: a peer that lacks it would take
            // this one, which has any value, for ours. It need not be the last
            // in flight: a window probe may have left behind it.
            self.note_demanding();
            return Some(known.snd_una.wrapping_sub(1));
        } else {
            self.note_resent();
            return None;
        }
        self.note_demanding();
        None
    }

    fn note_demanding(&self) {
        let mut facts = self.facts.get();
        facts.sent = Some(Sent::Demanding);
        self.facts.set(facts);
    }

    fn note_resent(&self) {
        let mut facts = self.facts.get();
        facts.resent = facts.resent.saturating_add(1);
        facts.sent = facts.sent.or(Some(Sent::Demanding));
        self.facts.set(facts);
    }

    fn note_syn_sent(&self, segment: &Segment<'_>, end: u32) {
        let mut known = self.known.get();
        if let Some(ack) = segment.ack() {
            // The peer's SYN came to a listener, unknown until now.
            known.rcv_nxt = ack;
            self.phase.set(Phase::Synchronised);
        } else {
            self.phase.set(Phase::SynSent);
        }
        known.snd_nxt = end;
        // No octet of data is acknowledged by what follows the SYN.
        known.snd_una = end;
        self.known.set(known);
        let mut facts = self.facts.get();
        facts.sent = Some(Sent::Syn);
        self.facts.set(facts);
    }
}

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

/// What goes on of a frame that arrived.
#[derive(Debug)]
enum Onward {
    /// The frame itself.
    Frame,
    Nothing,
    /// This one in its place.
    Probe(Probe),
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
