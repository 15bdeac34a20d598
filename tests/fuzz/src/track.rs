//! What the wire says about a connection, in bounds.
//!
//! A track knows no more than an observer at our device: the segments our end
//! took and those it gave. It keeps two kinds of knowledge apart:
//!
//! - what *must* have been noticed, because a segment was plain and exactly
//!   where it had to be. The stack is held to that: C1, and a lower bound of
//!   what is acknowledged.
//! - what *may* have been noticed. Whatever the stack claims beyond that, it
//!   made up or let in: C9, and an upper bound of what is acknowledged.
//!
//! In between lies what depends on how a stack keeps segments out of order,
//! on options, on odd frames: nothing is asked there.

use super::seen::{Seen, see};
use lastbyte::{Cause, Instant};
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
    /// Our SYN has left.
    SynSent,
    /// The peer's SYN is known as well, its ACK of ours is not.
    SynReceived,
    /// Both SYNs are acknowledged.
    Established,
}

/// Whether what must have happened can still be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Clear,
    /// Something may have ended the connection, or not.
    Blurred,
}

/// One connection, as seen at the device.
#[derive(Debug)]
pub struct Track {
    local: IpEndpoint,
    remote: IpEndpoint,
    phase: Phase,
    sight: Sight,
    iss: u32,
    /// Behind the last octet our end sent.
    pub snd_nxt: u32,
    /// The highest acknowledgement that may count, and the one that must.
    pub may_una: u32,
    must_una: u32,
    /// RCV.NXT is one of these, and of those between.
    rcv_lo: u32,
    pub rcv_hi: u32,
    /// Stretches of sequence space that our end may hold out of order.
    held: Vec<(u32, u32)>,
    /// Behind the window our end announced last.
    pub window_edge: Option<u32>,
    /// The largest window there can be.
    room: u32,
    may_fin: bool,
    may_rst: bool,
    may_refuse: bool,
    pub may_unreachable: bool,
    /// The first end that must have been noticed.
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
            iss: syn.seq,
            snd_nxt: first,
            may_una: first,
            must_una: first,
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

    // ---- what it tells ----

    /// The bytes that are acknowledged at most and, of `accepted`, at least.
    pub fn acknowledged(&self, accepted: u64) -> (u64, u64) {
        let first = self.iss.wrapping_add(1);
        let count = |una: u32| u64::from(una.wrapping_sub(first));
        let most = count(self.may_una).min(count(self.snd_nxt)).min(accepted);
        (count(self.must_una).min(accepted), most)
    }

    /// The end that must have been noticed: the first.
    pub fn must_end(&self) -> Option<Cause> {
        self.must_end
    }

    /// Whether a RST must have been noticed.
    pub fn must_rst(&self) -> bool {
        self.must_rst
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

    /// Whether this number was sent by our end, the SYN's included.
    pub fn has_sent(&self, seq: u32) -> bool {
        !is_before(seq, self.iss) && is_before(seq, self.snd_nxt)
    }

    /// When a segment was taken in that is the peer's without doubt.
    pub fn heard_at(&self) -> Option<Instant> {
        self.heard_at
    }

    /// From now on nothing must have been noticed: our own end has done
    /// something to the connection that cannot be seen from here.
    pub fn blur(&mut self) {
        self.sight = Sight::Blurred;
    }

    // ---- what our end sends ----

    fn give_out(&mut self, segment: &Seen) {
        if segment.rst {
            // Our end knows nothing of the connection, or no more: a listener
            // that has given up its caller, say.
            self.blur();
            (self.must_end, self.must_rst) = (None, false);
            return;
        }
        self.snd_nxt = max(self.snd_nxt, segment.seq.wrapping_add(segment.len()));
        let Some(ack) = segment.ack else { return };
        if self.phase == Phase::SynSent {
            self.rcv_lo = ack;
            self.rcv_hi = ack;
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
        // What it told is exact. What would have followed at once is not held.
        self.rcv_lo = ack;
        self.rcv_hi = ack;
        self.held.retain(|(start, _)| is_before(ack, *start));
        self.window_edge = Some(ack.wrapping_add(u32::from(segment.window)));
    }

    // ---- what our end takes ----

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

    fn take_answer(&mut self, segment: &Seen) {
        let is_ours = segment.ack == Some(self.iss.wrapping_add(1));
        if segment.rst {
            self.may_refuse |= is_ours;
        } else if segment.syn && (is_ours || segment.ack.is_none()) {
            if !segment.plain {
                // It may have been taken, or the next one may be instead: only
                // what our end then acknowledges will tell.
                self.blur();
                return self.take_anything(segment);
            }
            self.rcv_lo = segment.seq.wrapping_add(1);
            self.rcv_hi = self.rcv_lo;
            self.phase = if is_ours {
                Phase::Established
            } else {
                Phase::SynReceived
            };
        }
    }

    /// Before the peer's SYN is known for certain, whatever comes may count.
    fn take_anything(&mut self, segment: &Seen) {
        (self.may_fin, self.may_rst, self.may_refuse) = (true, true, true);
        let start = segment.seq.wrapping_add(u32::from(segment.syn));
        let end = segment.seq.wrapping_add(segment.len());
        self.held.push((start, end));
    }

    fn take_rst(&mut self, segment: &Seen) {
        let seq = segment.seq;
        if is_before(seq, self.rcv_lo) || is_before(self.rcv_hi, seq) {
            return;
        }
        self.may_rst = true;
        self.may_refuse |= self.phase == Phase::SynReceived;
        if let Some(ack) = segment.ack
            && !is_before(self.snd_nxt, ack)
        {
            self.may_una = max(self.may_una, ack);
        }
        // Behind a FIN at the edge of the window smoltcp drops it, until it has
        // acknowledged that FIN.
        let is_beyond = self.window_edge.is_some_and(|edge| is_before(edge, seq));
        let is_certain = segment.plain
            && !is_beyond
            && self.sight == Sight::Clear
            && self.phase == Phase::Established
            && self.rcv_lo == self.rcv_hi
            && segment.text == 0;
        if is_certain {
            self.must_rst = true;
            self.must_end.get_or_insert(Cause::PeerReset);
        } else {
            self.blur();
        }
    }

    fn take_ordinary(&mut self, segment: &Seen, now: Instant) {
        let Some(ack) = segment.ack else { return };
        let text_end = segment.seq.wrapping_add(segment.text);
        // Behind a FIN at the edge of the window, which may have been lost.
        let furthest = self.rcv_hi.wrapping_add(self.room).wrapping_add(1);
        let is_acceptable = !is_before(self.snd_nxt, ack)
            && !is_before(furthest, segment.seq)
            && !is_before(text_end, self.rcv_lo);
        if !is_acceptable {
            return;
        }
        let has_finished = self.must_end == Some(Cause::PeerFinished);
        let must = self.must_take(segment, ack) && !has_finished;
        self.may_una = max(self.may_una, ack);
        if has_finished {
            // There is nothing behind a FIN.
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
            // Behind the data at least; behind all there is in order, if the
            // peer contradicts itself and has sent data behind its FIN before.
            self.rcv_hi = self.rcv_hi.wrapping_add(1);
        }
        if must {
            self.phase = Phase::Established;
            self.must_una = max(self.must_una, ack);
            self.heard_at = Some(now);
            self.rcv_lo = end;
        }
        if may_fin {
            if must {
                self.must_end.get_or_insert(Cause::PeerFinished);
            } else {
                self.blur();
            }
        }
    }

    /// Whether it is in order, within the window, and acknowledges nothing
    /// older than what may have been acknowledged before. Of one that closes the
    /// window and acknowledges all there is, our FIN perhaps, the rest may be left.
    fn must_take(&self, segment: &Seen, ack: u32) -> bool {
        let fits = self
            .window_edge
            .is_some_and(|edge| !is_before(edge, segment.seq.wrapping_add(segment.text)));
        let may_be_left = segment.len() > 0 && segment.window == 0 && ack == self.snd_nxt;
        segment.plain
            && !may_be_left
            && self.sight == Sight::Clear
            && self.rcv_lo == self.rcv_hi
            && segment.seq == self.rcv_lo
            && !is_before(ack, self.may_una)
            && fits
    }

    fn hold(&mut self, start: u32, end: u32) {
        if start != end {
            self.held.push((start, end));
        }
        // Whether any of it counts is told by the next acknowledgement of ours.
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

    /// What happened to our end concerns all of them.
    pub fn blur_all(&mut self) {
        self.tracks.iter_mut().for_each(Track::blur);
    }

    pub fn take_in(&mut self, frame: &[u8]) {
        let now = self.now;
        if let Some(segment) = see(self.medium, frame)
            && let Some(track) = self.get((segment.to, segment.from))
        {
            track.take_in(&segment, now);
        }
    }

    pub fn give_out(&mut self, frame: &[u8]) {
        let Some(segment) = see(self.medium, frame) else {
            return;
        };
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
