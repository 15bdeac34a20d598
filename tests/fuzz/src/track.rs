//! What the wire shows of a connection, as bounds.
//!
//! A track knows only what an observer at our device sees: the segments that our end
//! received and sent. It distinguishes two kinds of knowledge:
//!
//! - what *must* have been detected, because a segment was plain and had exactly the
//!   expected numbers. The stack has to act on it: a write after an end is refused, and
//!   there is a lower bound of what is acknowledged.
//! - what *may* have been detected. If the stack reports more than that, it is wrong or
//!   was deceived: there is an upper bound of what is acknowledged.
//!
//! In between is what depends on how a stack keeps segments out of order, on options, and
//! on unusual frames: this is not checked.
//!
//! It is written from RFC 9293 (3.10.7) and RFC 5961: a RST acknowledges nothing, whatever its
//! number; a SYN without ACK belongs to no connection while we connect; an overtaken ACK number
//! is ignored, and the rest of its segment counts.

use super::seen::{Seen, is_built_for, see};
use lastbyte::{Cause, Instant};
use lastbyte_sim::loopback::OUR_ADDRESSES;
use smoltcp::phy::Medium;
use smoltcp::wire::IpEndpoint;

fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn max(a: u32, b: u32) -> u32 {
    if is_before(a, b) { b } else { a }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Our SYN was sent.
    SynSent,
    /// The peer's SYN is known as well, its ACK of ours is not.
    SynReceived,
    /// Both SYNs are acknowledged.
    Established,
}

/// Whether it is still known what must have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Clear,
    /// Something may have ended the connection, or not.
    Blurred,
}

/// One connection, as seen at the device.
#[derive(Debug, Clone)]
pub struct Track {
    local: IpEndpoint,
    remote: IpEndpoint,
    phase: Phase,
    sight: Sight,
    /// Whether our end opened the connection.
    calls: bool,
    iss: u32,
    /// The number after the last octet that our end sent.
    pub snd_nxt: u32,
    /// The highest acknowledgement that may count, and the one that must.
    pub may_una: u32,
    must_una: u32,
    /// The largest number of octets that were in flight.
    largest_flight: u32,
    /// Whether our FIN was sent.
    has_finished: bool,
    /// The number of the peer's first octet.
    first: u32,
    /// The highest number that our end has acknowledged.
    announced: u32,
    /// RCV.NXT is one of these, or between them.
    rcv_lo: u32,
    pub rcv_hi: u32,
    /// Ranges of sequence space that our end may hold out of order.
    held: Vec<(u32, u32)>,
    /// The number after the window that our end announced last.
    pub window_edge: Option<u32>,
    /// The largest possible window.
    room: u32,
    may_fin: bool,
    may_rst: bool,
    may_refuse: bool,
    pub may_unreachable: bool,
    /// The first end that must have been detected.
    must_end: Option<Cause>,
    must_rst: bool,
    heard_at: Option<Instant>,
}

impl Track {
    fn new(syn: &Seen, room: u32) -> Self {
        let first = syn.seq.wrapping_add(1);
        Self {
            local: syn.from,
            remote: syn.to,
            phase: Phase::SynSent,
            sight: Sight::Clear,
            calls: syn.ack.is_none(),
            iss: syn.seq,
            snd_nxt: first,
            may_una: first,
            must_una: first,
            largest_flight: 0,
            has_finished: false,
            first: 0,
            announced: 0,
            rcv_lo: 0,
            rcv_hi: 0,
            held: Vec::new(),
            window_edge: None,
            room,
            may_fin: false,
            may_rst: false,
            may_refuse: false,
            may_unreachable: false,
            must_end: None,
            must_rst: false,
            heard_at: None,
        }
    }

    // ---- getters ----

    /// The maximum and, of `accepted`, the minimum number of acknowledged bytes.
    pub fn acknowledged(&self, accepted: u64) -> (u64, u64) {
        let first = self.iss.wrapping_add(1);
        let count = |una: u32| u64::from(una.wrapping_sub(first));
        let most = count(self.may_una).min(count(self.snd_nxt)).min(accepted);
        (count(self.must_una).min(accepted), most)
    }

    /// The first end that must have been detected.
    pub fn must_end(&self) -> Option<Cause> {
        self.must_end
    }

    /// Whether a RST must have been detected.
    pub fn must_rst(&self) -> bool {
        self.must_rst
    }

    /// Whether the peer may have acknowledged our FIN.
    pub fn may_have_acknowledged_fin(&self) -> bool {
        self.has_finished && self.may_una == self.snd_nxt
    }

    /// Whether its acknowledgement of our FIN must have been detected.
    pub fn must_have_acknowledged_fin(&self) -> bool {
        self.has_finished && self.must_una == self.snd_nxt && self.sight == Sight::Clear
    }

    /// Whether the peer may have caused this.
    pub fn may_be(&self, cause: Cause) -> bool {
        match cause {
            Cause::PeerFinished => self.may_fin,
            Cause::PeerReset => self.may_rst,
            Cause::Refused => self.may_refuse,
            Cause::Unreachable => self.may_unreachable,
            _ => true,
        }
    }

    /// Whether both SYNs are known.
    pub fn is_synchronised(&self) -> bool {
        self.phase != Phase::SynSent
    }

    /// The number of the peer's octet that the reader gets first.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// How many octets of the peer our end has acknowledged: the reader gets them.
    pub fn readable(&self) -> u64 {
        if self.phase == Phase::SynSent || self.sight == Sight::Blurred {
            return 0;
        }
        let all = self.announced.wrapping_sub(self.first);
        u64::from(all.saturating_sub(u32::from(self.may_fin)))
    }

    /// Whether our end has sent this number, including that of the SYN.
    pub fn has_sent(&self, seq: u32) -> bool {
        !is_before(seq, self.iss) && is_before(seq, self.snd_nxt)
    }

    /// When a segment was received that is certainly the peer's.
    pub fn heard_at(&self) -> Option<Instant> {
        self.heard_at
    }

    /// Records that nothing must be detected from now on: our own end has done something
    /// to the connection that is not visible here.
    pub fn blur(&mut self) {
        self.sight = Sight::Blurred;
    }

    // ---- what our end sends ----

    fn give_out(&mut self, segment: &Seen) {
        if segment.rst {
            // Our end does not have the connection, or has given it up, like a listener
            // its caller.
            self.blur();
            (self.must_end, self.must_rst) = (None, false);
            return;
        }
        let end = segment.seq.wrapping_add(segment.len());
        self.snd_nxt = max(self.snd_nxt, end);
        let flight = self.snd_nxt.wrapping_sub(self.must_una);
        self.largest_flight = self.largest_flight.max(flight);
        self.has_finished |= segment.fin;
        let Some(ack) = segment.ack else { return };
        assert!(
            !(segment.syn && self.calls),
            "a SYN without ACK was answered while our end connects: {segment:?} {self:?}"
        );
        if self.phase == Phase::SynSent {
            self.expect(ack);
            self.phase = if segment.syn {
                Phase::SynReceived
            } else {
                Phase::Established
            };
        }
        assert!(
            !is_before(ack, self.rcv_lo) && !is_before(self.rcv_hi, ack),
            "our end acknowledges {ack}, but RCV.NXT is {} to {}: {segment:?} {self:?}",
            self.rcv_lo,
            self.rcv_hi,
        );
        // What it announced is exact. Data that would have followed at once is not held.
        self.rcv_lo = ack;
        self.rcv_hi = ack;
        self.announced = ack;
        self.held.retain(|(start, _)| is_before(ack, *start));
        self.window_edge = Some(ack.wrapping_add(u32::from(segment.window)));
    }

    fn expect(&mut self, first: u32) {
        self.rcv_lo = first;
        self.rcv_hi = first;
        self.first = first;
        self.announced = first;
    }

    // ---- what our end receives ----

    fn take_in(&mut self, segment: &Seen, now: Instant) {
        if self.must_rst || segment.is_nonsense() {
            return;
        }
        if self.phase == Phase::SynSent && self.sight == Sight::Blurred {
            self.take_anything(segment);
        } else if self.phase == Phase::SynSent {
            self.take_answer(segment);
        } else if segment.rst {
            self.take_rst(segment);
        } else if !segment.syn {
            self.take_ordinary(segment, now);
        }
    }

    /// RFC 9293, 3.10.7.3. Only a segment that acknowledges our SYN counts.
    fn take_answer(&mut self, segment: &Seen) {
        if segment.ack != Some(self.iss.wrapping_add(1)) {
            return;
        }
        if segment.rst {
            self.may_refuse = true;
        } else if segment.syn {
            if !segment.plain {
                // This one may have been accepted, or the next one may be: only what our
                // end then acknowledges shows which.
                self.blur();
                return self.take_anything(segment);
            }
            self.expect(segment.seq.wrapping_add(1));
            self.phase = Phase::Established;
        }
    }

    /// Before the peer's SYN is certainly known, every segment may count.
    fn take_anything(&mut self, segment: &Seen) {
        (self.may_fin, self.may_rst, self.may_refuse) = (true, true, true);
        let start = segment.seq.wrapping_add(u32::from(segment.syn));
        let end = segment.seq.wrapping_add(segment.len());
        self.held.push((start, end));
    }

    /// RFC 5961, 3.2: a RST counts exactly at RCV.NXT, with or without data, whatever the
    /// window; and it acknowledges nothing.
    fn take_rst(&mut self, segment: &Seen) {
        let seq = segment.seq;
        if is_before(seq, self.rcv_lo) || is_before(self.rcv_hi, seq) {
            return;
        }
        self.may_rst = true;
        let is_certain = segment.plain
            && self.sight == Sight::Clear
            && self.phase == Phase::Established
            && self.rcv_lo == self.rcv_hi;
        if is_certain {
            self.must_rst = true;
            self.must_end.get_or_insert(Cause::PeerReset);
        } else {
            self.blur();
        }
    }

    fn take_ordinary(&mut self, segment: &Seen, now: Instant) {
        let Some(ack) = segment.ack else { return };
        if self.phase == Phase::SynReceived && is_before(ack, self.snd_nxt) {
            return;
        }
        let text_end = segment.seq.wrapping_add(segment.text);
        // After a FIN at the edge of the window, which may have been lost.
        let furthest = self.rcv_hi.wrapping_add(self.room).wrapping_add(1);
        let is_acceptable = !is_before(self.snd_nxt, ack)
            && !is_before(furthest, segment.seq)
            && !is_before(text_end, self.rcv_lo);
        if !is_acceptable {
            return;
        }
        let has_finished = self.must_end == Some(Cause::PeerFinished);
        let must = self.must_take(segment, ack) && !has_finished;
        let is_overtaken = is_before(ack, self.may_una);
        self.may_una = max(self.may_una, ack);
        if has_finished {
            // There is nothing after a FIN. But our end may have accepted only a part of the
            // segment with the FIN, and what is retransmitted may contradict it.
            self.hold(segment.seq, text_end.wrapping_add(u32::from(segment.fin)));
            return;
        }
        let may_fin = segment.fin
            && !is_before(text_end, self.rcv_lo)
            && !is_before(furthest, text_end)
            && !is_before(self.rcv_hi, segment.seq);
        self.may_fin |= may_fin;
        let end = text_end.wrapping_add(u32::from(may_fin));
        self.hold(segment.seq, text_end);
        if may_fin && is_before(self.rcv_hi, text_end) {
            self.hold(text_end, end);
        } else if may_fin {
            // At least after the data; after everything in order, if the peer contradicts
            // itself and has sent data after its FIN.
            self.rcv_hi = self.rcv_hi.wrapping_add(1);
        }
        if must {
            self.phase = Phase::Established;
            self.must_una = max(self.must_una, ack);
            self.heard_at = Some(now);
            // With an overtaken ACK number, a part of the data may have to be
            // retransmitted.
            if segment.text == 0 || !is_overtaken {
                self.rcv_lo = end;
            }
        }
        if may_fin {
            if must {
                self.must_end.get_or_insert(Cause::PeerFinished);
            } else {
                self.blur();
            }
        }
    }

    /// Whether it is in order and within the window, and its ACK number no older than RFC
    /// 5961, 5.2 allows. If it acknowledges our FIN and closes the window, the rest of it
    /// may be dropped: nothing is written any more.
    fn must_take(&self, segment: &Seen, ack: u32) -> bool {
        let fits = self
            .window_edge
            .is_some_and(|edge| !is_before(edge, segment.seq.wrapping_add(segment.text)));
        let may_be_left = self.has_finished && segment.window == 0 && ack == self.snd_nxt;
        segment.plain
            && !may_be_left
            && self.sight == Sight::Clear
            && self.rcv_lo == self.rcv_hi
            && segment.seq == self.rcv_lo
            && !is_before(ack, self.may_una.wrapping_sub(self.largest_flight))
            && fits
    }

    fn hold(&mut self, start: u32, end: u32) {
        if start != end {
            self.held.push((start, end));
        }
        // The next acknowledgement of ours shows whether any of it counts.
        while let Some((_, end)) = self
            .held
            .iter()
            .find(|(start, end)| !is_before(self.rcv_hi, *start) && is_before(self.rcv_hi, *end))
        {
            self.rcv_hi = *end;
        }
    }
}

/// A track for each pair of ends.
#[derive(Debug)]
pub struct Tracks {
    medium: Medium,
    room: u32,
    pub now: Instant,
    tracks: Vec<Track>,
}

impl Tracks {
    pub fn new(medium: Medium, room: usize) -> Self {
        Self {
            medium,
            room: room as u32,
            now: Instant::ZERO,
            tracks: Vec::new(),
        }
    }

    pub fn get(&mut self, (local, remote): (IpEndpoint, IpEndpoint)) -> Option<&mut Track> {
        let mut tracks = self.tracks.iter_mut();
        tracks.find(|track| track.local == local && track.remote == remote)
    }

    pub fn forget(&mut self, ends: (IpEndpoint, IpEndpoint)) {
        self.tracks
            .retain(|track| (track.local, track.remote) != ends);
    }

    /// What happened to our end affects all of them.
    pub fn blur_all(&mut self) {
        self.tracks.iter_mut().for_each(Track::blur);
    }

    pub fn take_in(&mut self, frame: &[u8]) {
        let now = self.now;
        if let Some(segment) = see(self.medium, frame)
            && is_built_for(segment.from.addr)
            && let Some(track) = self.get((segment.to, segment.from))
        {
            track.take_in(&segment, now);
        }
    }

    /// The end that must be detected once the device has delivered these frames.
    pub fn foresee(&mut self, ends: (IpEndpoint, IpEndpoint), frames: &[Vec<u8>]) -> Option<Track> {
        let (medium, now) = (self.medium, self.now);
        let mut track = self.get(ends)?.clone();
        for frame in frames {
            if let Some(segment) = see(medium, frame)
                && (segment.to, segment.from) == ends
            {
                track.take_in(&segment, now);
            }
        }
        Some(track)
    }

    pub fn give_out(&mut self, frame: &[u8]) {
        // One finding is enough: what a stack sends while it is dropped is not another one.
        let segment = see(self.medium, frame).filter(|_| !std::thread::panicking());
        let Some(segment) = segment else { return };
        let is_ours = OUR_ADDRESSES
            .iter()
            .any(|own| own.address() == segment.from.addr);
        assert!(
            is_ours,
            "it comes from an address that is not ours: {segment:?}"
        );
        assert!(
            is_built_for(segment.from.addr),
            "our end was not built for this version of IP: {segment:?}"
        );
        let ends = (segment.from, segment.to);
        if segment.syn {
            let is_known = self.get(ends).is_some_and(|track| track.iss == segment.seq);
            if !is_known {
                self.forget(ends);
                self.tracks.push(Track::new(&segment, self.room));
            }
        }
        if let Some(track) = self.get(ends) {
            track.give_out(&segment);
        }
    }
}
