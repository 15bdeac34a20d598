//! The guard's table: a TCB for each connection, and the decision about each frame.

use super::flow::{Addresses, Flow};
#[cfg(any(feature = "address-conflicts", feature = "dns"))]
use super::notice::{self, Notice};
#[cfg(feature = "proto-ipv4")]
use super::rewrite::allow_fragments;
use super::rewrite::{Replacement, in_place_of, in_place_of_syn, set_sequence};
use super::rules::judge;
use super::tcb::{Facts, Phase, Receipt, Tcb};
use super::verdict::Verdict;
use super::wire::frame::{Parsed, parse, parse_sent};
use super::wire::icmp::IcmpError;
use super::wire::layout::{Checksums, IPV4_HEADER_LEN, Medium, TCP_HEADER_LEN};
use super::wire::segment::Segment;
use crate::core::facts::{Icmp, Sent};
use crate::sabotage::{Sabotage, is_on};
use core::cell::Cell;
use core::num::NonZeroU16;
use core::ops::Range;

/// No connection is touched.
const NONE: u16 = u16::MAX;
/// Several may be touched.
const SEVERAL: u16 = u16::MAX - 1;

/// What goes on in place of a frame that arrived.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is no heap to box it on")]
pub(crate) enum Onward {
    /// The frame itself.
    Frame,
    Nothing,
    /// A replacement.
    Replaced(Replacement),
}

/// The properties of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) medium: Medium,
    /// Which checksums of sent frames the device leaves to us.
    pub(crate) fills: Checksums,
    /// The maximum number of octets of an IP packet.
    pub(crate) mtu: usize,
}

/// A [`Tcb`] for each of at most `N` connections of a host with at most `A` addresses.
#[derive(Debug)]
pub(crate) struct Table<const N: usize, const A: usize> {
    medium: Medium,
    /// Which checksums of sent frames the device leaves to us.
    fills: Checksums,
    /// The identification of the next packet that routers may fragment.
    #[cfg(feature = "proto-ipv4")]
    ident: Cell<u16>,
    /// The meaning of the newest ICMP error about a segment in flight.
    icmp: Cell<Icmp>,
    /// What the newest frame reports that belongs to no connection.
    #[cfg(any(feature = "address-conflicts", feature = "dns"))]
    notice: Cell<Option<Notice>>,
    /// The maximum number of octets of data that the device has room for in one segment of
    /// ours.
    mss: u16,
    tcbs: [Tcb; N],
    /// The connection that is touched, [`NONE`] or [`SEVERAL`].
    touched: Cell<u16>,
    /// The directed broadcast addresses of our networks, padded with unspecified addresses.
    #[cfg(feature = "proto-ipv4")]
    broadcasts: [[u8; 4]; A],
}

impl<const N: usize, const A: usize> Table<N, A> {
    pub(crate) fn new(link: &Link) -> Self {
        Self {
            medium: link.medium,
            fills: link.fills,
            #[cfg(feature = "proto-ipv4")]
            ident: Cell::new(0),
            icmp: Cell::new(Icmp::Soft),
            #[cfg(any(feature = "address-conflicts", feature = "dns"))]
            notice: Cell::new(None),
            mss: longest_text(link.mtu),
            tcbs: core::array::from_fn(|_| Tcb::new()),
            touched: Cell::new(NONE),
            #[cfg(feature = "proto-ipv4")]
            broadcasts: [[0; 4]; A],
        }
    }

    pub(crate) const fn medium(&self) -> Medium {
        self.medium
    }

    /// Assigns the segments that arrive in this flow, and those in the other direction,
    /// to connection `slot`.
    pub(crate) fn assign(&mut self, slot: usize, arriving: Flow) {
        if let Some(tcb) = self.tcbs.get_mut(slot) {
            tcb.assign(arriving);
        }
    }

    /// Makes connection `slot` wait for a caller at this port.
    pub(crate) fn listen(&mut self, slot: usize, port: u16) {
        if let Some(tcb) = self.tcbs.get_mut(slot) {
            tcb.listen(port);
        }
    }

    /// Limits the octets of data in a segment of connection `slot`, which is about to be
    /// opened.
    pub(crate) fn limit(&mut self, slot: usize, max_segment: Option<NonZeroU16>) {
        if let Some(tcb) = self.tcbs.get_mut(slot) {
            tcb.max_segment = max_segment;
        }
    }

    /// Removes connection `slot`.
    pub(crate) fn clear(&mut self, slot: usize) {
        if let Some(tcb) = self.tcbs.get_mut(slot) {
            tcb.clear();
        }
    }

    /// Records that the connection sends no more: later segments from its other end
    /// belong to no connection.
    pub(crate) fn take_off(&mut self, slot: usize) {
        if let Some(tcb) = self.tcbs.get(slot) {
            tcb.end();
        }
    }

    /// The flow of the connection's arriving segments, even after its end.
    pub(crate) fn flow(&self, slot: usize) -> Option<Flow> {
        self.tcbs.get(slot)?.flow()
    }

    /// The same, for a connection that has not ended.
    #[cfg(feature = "medium-ethernet")]
    pub(crate) fn living(&self, slot: usize) -> Option<Flow> {
        let tcb = self.tcbs.get(slot)?;
        tcb.flow().filter(|_| tcb.phase() != Phase::Over)
    }

    /// Sets the directed broadcast address of each of our networks that has one.
    #[cfg(feature = "proto-ipv4")]
    pub(crate) fn note_broadcasts(&mut self, mut addresses: impl Iterator<Item = [u8; 4]>) {
        for place in &mut self.broadcasts {
            *place = addresses.next().unwrap_or_default();
        }
    }

    /// Whether a segment may be sent between these addresses.
    pub(crate) fn may_talk(&self, flow: &Flow) -> bool {
        let is_between_hosts = match flow.addresses {
            #[cfg(feature = "proto-ipv4")]
            Addresses::V4(ends) => !ends.iter().any(|end| self.broadcasts.contains(end)),
            #[cfg(feature = "proto-ipv6")]
            Addresses::V6(_) => true,
        };
        flow.addresses.are_hosts() && is_between_hosts || is_on(Sabotage::GroupSyn)
    }

    /// Whether there are facts to collect.
    pub(crate) fn is_touched(&self) -> bool {
        self.touched.get() != NONE
    }

    /// The connections that may have facts to collect, all of which must be collected
    /// now. Most steps touch one connection, so the others are not checked.
    pub(crate) fn take_touched(&self) -> Range<usize> {
        match self.touched.replace(NONE) {
            slot if N > 1 && slot != SEVERAL => {
                let slot = usize::from(slot);
                slot..slot.wrapping_add(1)
            }
            _ => 0..N,
        }
    }

    /// The facts of a connection, if there are any to collect.
    pub(crate) fn take(&self, slot: usize) -> Option<Facts> {
        let tcb = self.tcbs.get(slot)?;
        tcb.is_touched.take().then(|| tcb.facts.take())
    }

    /// The meaning of the ICMP error that is among the facts of a connection.
    pub(crate) const fn icmp(&self) -> Icmp {
        self.icmp.get()
    }

    /// The connection that segments of this flow belong to.
    fn find(&self, arriving: Flow) -> Option<(usize, &Tcb)> {
        let slot = self.tcbs.iter().position(|tcb| tcb.is_for(arriving))?;
        Some((slot, self.tcbs.get(slot)?))
    }

    /// Records that there are facts to collect for a connection.
    fn touch(&self, slot: usize, tcb: &Tcb) {
        tcb.is_touched.set(true);
        self.touched.set(match u16::try_from(slot) {
            Ok(slot) if N > 1 && matches!(self.touched.get(), NONE) => slot,
            _ => SEVERAL,
        });
    }

    /// Records that more octets were queued for sending.
    #[inline]
    pub(crate) fn note_queued(&self, slot: usize, octets: usize) {
        if let Some(tcb) = self.tcbs.get(slot) {
            // A transmit buffer has at most 1 GiB.
            tcb.note_queued(u32::try_from(octets).unwrap_or(u32::MAX));
        }
    }

    /// Processes the receipt of the socket of a connection.
    pub(crate) fn advance(&self, slot: usize, receipt: Receipt) {
        if let Some(tcb) = self.tcbs.get(slot) {
            tcb.advance(receipt);
        }
    }

    /// What a frame said since this was last taken that belongs to no connection.
    #[cfg(any(feature = "address-conflicts", feature = "dns"))]
    pub(crate) fn take_notice(&self) -> Option<Notice> {
        self.notice.take()
    }

    /// How many octets of sequence space were sent and are not acknowledged.
    pub(crate) fn in_flight(&self, slot: usize) -> usize {
        self.tcbs.get(slot).map_or(0, |tcb| {
            usize::try_from(tcb.known.in_flight()).unwrap_or(usize::MAX)
        })
    }

    /// Whether the oldest segment, or the SYN, was retransmitted since the facts were last
    /// taken.
    pub(crate) fn has_resent(&self, slot: usize) -> bool {
        self.tcbs.get(slot).is_some_and(|tcb| {
            let facts = tcb.facts.get();
            facts.resent > 0 || facts.sent == Some(Sent::Syn)
        })
    }

    /// The largest number of octets of sequence space in a segment of ours so far.
    pub(crate) fn largest(&self, slot: usize) -> u16 {
        self.tcbs.get(slot).map_or(0, |tcb| tcb.largest.get())
    }

    /// Decides what goes on in place of a frame that arrived, and records its fields.
    /// Verifies the checksums that `checks` selects.
    pub(crate) fn inspect(&self, frame: &[u8], checks: Checksums) -> Onward {
        match &parse(self.medium, frame, checks) {
            Parsed::Tcp(segment) => return self.inspect_segment(frame, segment),
            Parsed::Withheld => return Onward::Nothing,
            Parsed::Icmp(error) => self.note_icmp(error),
            #[cfg(any(feature = "address-conflicts", feature = "dns"))]
            Parsed::Other => self.notice.set(notice::read(self.medium, frame)),
            #[cfg(not(any(feature = "address-conflicts", feature = "dns")))]
            Parsed::Other => {}
        }
        Onward::Frame
    }

    fn inspect_segment(&self, frame: &[u8], segment: &Segment<'_>) -> Onward {
        let Some((slot, tcb)) = self.find(segment.flow()) else {
            return self.inspect_stranger(frame, segment);
        };
        self.touch(slot, tcb);
        match tcb.take_plain(segment) {
            true => Onward::Frame,
            false => self.inspect_rare(frame, segment, tcb),
        }
    }

    /// The connection whose peer was heard since facts were last collected, if there was
    /// only one.
    #[cfg(feature = "medium-ethernet")]
    pub(crate) fn heard(&self) -> Option<usize> {
        let slot = usize::from(self.touched.get());
        let tcb = self.tcbs.get(slot)?;
        tcb.facts.get().heard.is_some().then_some(slot)
    }

    // tuning: rare-apart
    #[inline(never)]
    fn inspect_rare(&self, frame: &[u8], segment: &Segment<'_>, tcb: &Tcb) -> Onward {
        let verdict = judge(segment, tcb, self.mss.into());
        tcb.note_received(segment, verdict);
        match verdict {
            Verdict::Acceptable if segment.is_syn() => self.tailor(frame, segment, tcb.max_segment),
            Verdict::Acceptable | Verdict::Unproven => Onward::Frame,
            Verdict::Drop | Verdict::Taken | Verdict::Spare | Verdict::Reopens => Onward::Nothing,
            Verdict::Textless
            | Verdict::Overtaken
            | Verdict::Opened
            | Verdict::Answered
            | Verdict::Refuted
            | Verdict::Challenge => self.replace(frame, segment, tcb, verdict),
        }
    }

    /// Makes the replacement for a segment.
    fn replace(&self, frame: &[u8], segment: &Segment<'_>, tcb: &Tcb, verdict: Verdict) -> Onward {
        let (header, payload) = in_place_of(segment, tcb, verdict);
        self.put_in_place(frame, segment, header, payload)
    }

    /// Makes a replacement from this header and what follows it: the options, if the header
    /// has any, otherwise the payload.
    // tuning: place-once
    #[inline(never)]
    fn put_in_place(
        &self,
        frame: &[u8],
        segment: &Segment<'_>,
        header: [u8; TCP_HEADER_LEN],
        rest: &[u8],
    ) -> Onward {
        let mut replacement = Replacement::EMPTY;
        match replacement.fill(self.medium, frame, segment, header, rest) {
            Some(()) => Onward::Replaced(replacement),
            None => Onward::Nothing,
        }
    }

    /// Makes the replacement for a SYN.
    fn tailor(
        &self,
        frame: &[u8],
        segment: &Segment<'_>,
        max_segment: Option<NonZeroU16>,
    ) -> Onward {
        let (header, options) = in_place_of_syn(segment, max_segment);
        self.put_in_place(frame, segment, header, &options)
    }

    /// Decides about a segment of no known connection. The SYN of a caller is for a
    /// connection that listens at its port. While all connections that serve the port are
    /// busy, it is dropped: the caller retransmits it (RFC 9293, 3.8.1).
    // tuning: stranger-apart
    #[inline(never)]
    fn inspect_stranger(&self, frame: &[u8], segment: &Segment<'_>) -> Onward {
        let flow = segment.flow();
        // A segment to or from a group address is not answered (RFC 9293, MUST-57, MUST-63).
        if !self.may_talk(&flow) {
            return Onward::Nothing;
        }
        if !segment.is_syn() || segment.is_rst() || segment.ack().is_some() {
            return Onward::Frame;
        }
        let [_, port] = flow.ports;
        let mut is_served = false;
        let mut is_heard = false;
        // If several connections listen, the TCP stack chooses one of them: the smallest
        // maximum counts.
        let mut max_segment: Option<NonZeroU16> = None;
        for (slot, tcb) in self.tcbs.iter().enumerate() {
            if tcb.serves(port) {
                is_served = true;
                if tcb.phase() == Phase::Listening {
                    is_heard = true;
                    tcb.note_peer_shift(segment.syn_options().shift);
                    max_segment = match max_segment {
                        Some(least) => tcb.max_segment.map(|most| most.min(least)).or(max_segment),
                        None => tcb.max_segment,
                    };
                    self.touch(slot, tcb);
                }
            }
        }
        if is_heard {
            self.tailor(frame, segment, max_segment)
        } else if is_served && !is_on(Sabotage::HalfOpen) {
            Onward::Nothing
        } else {
            Onward::Frame
        }
    }

    fn note_icmp(&self, error: &IcmpError) {
        if let Some((slot, tcb)) = self.find(error.quoted.reversed())
            && tcb.note_icmp(error.seq)
        {
            self.icmp.set(error.icmp);
            self.touch(slot, tcb);
        }
    }

    /// Records the fields of a frame that is sent, and changes the frame where necessary.
    /// Returns the connection that its segment belongs to.
    pub(crate) fn inspect_sent(&self, frame: &mut [u8]) -> Option<usize> {
        #[cfg(feature = "proto-ipv4")]
        {
            let ident = self.ident.get();
            if let Some(pieces) = allow_fragments(self.medium, frame, ident, self.fills.ipv4) {
                self.ident.set(ident.wrapping_add(pieces));
            }
        }
        let (slot, seq) = self.note_sent(frame)?;
        if let Some(seq) = seq {
            // It was just read as a segment.
            let moved = set_sequence(self.medium, frame, seq, self.fills.tcp);
            debug_assert!(moved.is_some());
        }
        Some(slot)
    }

    /// Records a segment that is sent. Returns the connection that it belongs to, and the
    /// sequence number that it must have instead, if it must have another.
    fn note_sent(&self, frame: &[u8]) -> Option<(usize, Option<u32>)> {
        let parsed = parse_sent(self.medium, frame);
        let Parsed::Tcp(segment) = &parsed else {
            return None;
        };
        let (slot, tcb) = self.find(segment.flow().reversed())?;
        if segment.is_rst() {
            self.touch(slot, tcb);
            return Some((slot, tcb.note_rst_sent(segment)));
        }
        let len = segment.len();
        // A segment without sequence space (a pure ACK) demands no answer.
        if len > 0 {
            self.touch(slot, tcb);
        }
        Some((slot, tcb.note_sent(segment, len)))
    }
}

/// The maximum number of octets of data in an IP packet of this length, with the shortest
/// headers.
fn longest_text(mtu: usize) -> u16 {
    const HEADERS: usize = IPV4_HEADER_LEN + TCP_HEADER_LEN;
    u16::try_from(mtu.saturating_sub(HEADERS)).unwrap_or(u16::MAX)
}
