//! The scripted peers: TCPs that violate the rules, lie, or forget.
//!
//! - The right numbers are in a [`Flow`]; each kind of rogue also sends other ones.
//! - A rogue always sends from what our end has acknowledged on, so it needs no
//!   retransmission timer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::loopback::{Flags, Flow, RawPeer, Segment, World};
use smoltcp::wire::IpEndpoint;

use super::content::{Whose, content_from};
use super::dice::{Chance, Dice};
use super::model::{Lost, Overrun, Relic, Restart, Rogue};

/// The maximum number of segments that a rogue sends by itself.
const MOST_TIMES: u32 = 40;

/// How many bytes pass through a narrow window, one by one.
const NARROW: u64 = 40;

/// The number of bytes that a rogue sends at once.
const CHUNK: usize = 100;

/// What the rogue's TCP received.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The bytes received in order on the connection that began last.
    pub(super) bytes: Vec<u8>,
    /// Our port of that connection.
    pub(super) port: u16,
}

/// The state of a rogue.
struct State {
    kind: Rogue,
    dice: Dice,
    flow: Option<Flow>,
    taken: Rc<RefCell<Taken>>,
    /// The largest window it announces.
    buffer: u16,
    /// The sequence number of its FIN, once it was sent.
    fin_at: Option<u32>,
    /// The ACK number of the previous segment.
    old_ack: u32,
    /// What our end acknowledged last, and its window.
    heard: (u32, u16),
    /// How many FINs of ours have arrived.
    fins: u32,
    /// Whether it has forgotten the connection.
    is_lost: bool,
    /// Whether our end has reset the connection.
    is_over: bool,
}

/// Puts a rogue in place of the peer. Returns what it receives.
pub(super) fn install(world: &World, kind: Rogue, seed: u64, buffer: usize) -> Rc<RefCell<Taken>> {
    let taken = Rc::new(RefCell::new(Taken::default()));
    let state = Rc::new(RefCell::new(State {
        kind,
        dice: Dice::new(seed, 99),
        flow: None,
        taken: Rc::clone(&taken),
        buffer: u16::try_from(buffer).unwrap_or(u16::MAX),
        fin_at: None,
        old_ack: 0,
        heard: (0, 0),
        fins: 0,
        is_lost: false,
        is_over: false,
    }));
    let every = match kind {
        Rogue::KeepsAlive(every) => Some(every),
        Rogue::Overruns(_) => Some(Duration::from_secs(2)),
        _ => None,
    };
    if let Some(every) = every {
        speak_often(world, Rc::clone(&state), every, MOST_TIMES);
    }
    let raw = world.raw();
    raw.respond(move |raw, segment| state.borrow_mut().answer(raw, segment));
    taken
}

fn speak_often(world: &World, state: Rc<RefCell<State>>, every: Duration, times: u32) {
    if times == 0 {
        return;
    }
    world.at(world.now() + every, move |world| {
        state.borrow_mut().speak_unasked(&world.raw());
        speak_often(world, state, every, times - 1);
    });
}

impl State {
    fn answer(&mut self, raw: &RawPeer, segment: &Segment) {
        let is_new = self
            .flow
            .is_none_or(|flow| flow.remote.port != segment.src_port);
        if segment.flags == Flags::SYN {
            if is_new {
                self.begin(segment);
            }
            self.greet(raw);
            return;
        }
        let Some(mut flow) = self.flow else { return };
        if is_new {
            return;
        }
        if segment.is(Flags::RST) {
            self.is_over = true;
            return;
        }
        if segment.is(Flags::ACK) {
            self.heard = (segment.ack, segment.window);
        }
        if self.loses(&flow, segment) {
            self.is_lost = true;
        }
        if self.is_lost {
            self.answer_as_a_stranger(raw, segment);
            return;
        }
        self.old_ack = flow.ack;
        self.take(&mut flow, segment);
        if segment.seq_len() > 0 {
            self.speak(raw, &mut flow);
        }
        self.flow = Some(flow);
    }

    fn begin(&mut self, syn: &Segment) {
        let isn = self.dice.number() as u32;
        self.flow = Some(Flow {
            local: IpEndpoint::new(syn.dst, syn.dst_port),
            remote: IpEndpoint::new(syn.src, syn.src_port),
            isn,
            remote_isn: syn.seq,
            seq: isn.wrapping_add(1),
            ack: syn.seq.wrapping_add(1),
            window: match self.kind {
                Rogue::Narrow => 1,
                _ => self.buffer,
            },
        });
        (self.fin_at, self.fins) = (None, 0);
        (self.is_lost, self.is_over) = (false, false);
        self.old_ack = syn.seq.wrapping_add(1);
        self.heard = (isn.wrapping_add(1), 0);
        *self.taken.borrow_mut() = Taken {
            bytes: Vec::new(),
            port: syn.src_port,
        };
    }

    fn greet(&self, raw: &RawPeer) {
        let Some(flow) = self.flow else { return };
        let greeting = flow.segment(Flags::SYN | Flags::ACK).with_seq(flow.isn);
        // The window is the one before anything was accepted.
        raw.send(&Segment {
            mss: Some(1_000),
            ..greeting.with_ack(flow.remote_isn.wrapping_add(1))
        });
    }

    /// Accepts the next data, all of it or a part.
    fn take(&mut self, flow: &mut Flow, segment: &Segment) {
        let skip = flow.ack.wrapping_sub(segment.seq) as usize;
        let Some(fresh) = segment.payload.get(skip..) else {
            return;
        };
        let len = match self.kind {
            Rogue::TakesParts => self.dice.between(0, fresh.len() as u64) as usize,
            _ => fresh.len(),
        };
        let len = len.min(usize::from(flow.window));
        self.taken
            .borrow_mut()
            .bytes
            .extend_from_slice(&fresh[..len]);
        flow.take(len as u32);
        if segment.is(Flags::FIN) && len == fresh.len() && skip <= segment.payload.len() {
            self.fins += 1;
            let is_ignored = self.kind == Rogue::Duplicates && self.fins == 1;
            flow.take(u32::from(!is_ignored));
        }
    }

    fn has_read(&self) -> u64 {
        self.taken.borrow().bytes.len() as u64
    }

    fn speak(&mut self, raw: &RawPeer, flow: &mut Flow) {
        match self.kind {
            Rogue::ShrinksWindow => {
                let closes = self.dice.happens(Chance::percent(20));
                let window = self.dice.between(0, u64::from(self.buffer));
                flow.window = if closes { 0 } else { window as u16 };
            }
            Rogue::RepeatsItself => {
                let old = flow.ack.wrapping_sub(self.dice.below(5_000) as u32);
                let is_ours = (old.wrapping_sub(flow.remote_isn) as i32) > 0;
                raw.send(&flow.ack());
                if is_ours {
                    raw.send(&flow.ack().with_ack(old));
                }
            }
            Rogue::FinsEarly(_) if self.fin_at.is_none() => {
                let ahead = self.dice.between(1, 200) as u32;
                let fin = flow.segment(Flags::FIN | Flags::ACK);
                raw.send(&fin.with_seq(flow.seq.wrapping_add(ahead)));
            }
            Rogue::Duplicates if self.fins < 2 => {
                for _ in 0..3 {
                    raw.send(&flow.ack());
                }
            }
            Rogue::Narrow if self.has_read() >= NARROW => flow.window = self.buffer,
            Rogue::StaleWindows => return self.speak_of_old_windows(raw, flow),
            Rogue::TakesParts
            | Rogue::FinsEarly(_)
            | Rogue::Narrow
            | Rogue::Duplicates
            | Rogue::OldAcks(_)
            | Rogue::Overruns(_)
            | Rogue::KeepsAlive(_)
            | Rogue::Restarts(_) => {}
        }
        raw.send(&flow.ack());
        match self.kind {
            Rogue::FinsEarly(after) => self.fin(raw, flow, after, flow.ack),
            Rogue::Restarts(Restart {
                when: Lost::BehindItsFin(after),
                ..
            }) => self.fin(raw, flow, after, flow.ack),
            Rogue::OldAcks(after) => {
                self.send_text(raw, flow, CHUNK, self.old_ack);
                self.fin(raw, flow, after, self.old_ack);
            }
            Rogue::Overruns(end) => {
                let window = usize::from(self.heard.1);
                let len = match end {
                    // What our application then reads opens the window further than our end has
                    // announced.
                    Overrun::Fin => window / 2,
                    Overrun::Rst => window,
                };
                self.send_text(raw, flow, len, flow.ack);
            }
            _ => {}
        }
    }

    /// Sends its FIN once it has read enough, with this ACK number.
    fn fin(&mut self, raw: &RawPeer, flow: &mut Flow, after: u64, ack: u32) {
        if self.has_read() >= after {
            let at = *self.fin_at.get_or_insert(flow.seq);
            flow.seq = at.wrapping_add(1);
            let fin = flow.segment(Flags::FIN | Flags::ACK);
            raw.send(&fin.with_seq(at).with_ack(ack));
        }
    }

    /// The segment of this length from number `seq` on, within our window or not.
    fn text(flow: &Flow, seq: u32, len: usize) -> Segment {
        let from = seq.wrapping_sub(flow.isn.wrapping_add(1));
        let content = content_from(Whose::Peers, from.into(), len);
        flow.segment(Flags::PSH | Flags::ACK)
            .with_seq(seq)
            .with_payload(content)
    }

    /// Sends data from what our end has acknowledged on, up to the edge of its window.
    fn send_text(&self, raw: &RawPeer, flow: &mut Flow, len: usize, ack: u32) {
        let (seq, window) = self.heard;
        let len = len.min(usize::from(window));
        if len == 0 || self.fin_at.is_some() {
            return;
        }
        raw.send(&Self::text(flow, seq, len).with_ack(ack));
        flow.seq = seq.wrapping_add(len as u32);
    }

    /// Sends two segments, the last with a small window; then the same data in other
    /// portions, with the earlier large window.
    fn speak_of_old_windows(&self, raw: &RawPeer, flow: &mut Flow) {
        let (seq, window) = self.heard;
        if window < 3 {
            raw.send(&flow.ack());
            return;
        }
        let small = self.buffer.min(64);
        raw.send(&Self::text(flow, seq, 1).with_window(self.buffer));
        raw.send(&Self::text(flow, seq.wrapping_add(1), 1).with_window(small));
        raw.send(&Self::text(flow, seq, 3).with_window(self.buffer));
        flow.window = small;
        flow.seq = seq.wrapping_add(3);
    }

    /// What it sends by itself.
    fn speak_unasked(&mut self, raw: &RawPeer) {
        let Some(flow) = self.flow.filter(|_| !self.is_lost && !self.is_over) else {
            return;
        };
        let (seq, window) = self.heard;
        let has_begun = seq != flow.isn.wrapping_add(1);
        match self.kind {
            Rogue::KeepsAlive(_) => raw.send(&flow.ack().with_seq(flow.seq.wrapping_sub(1))),
            Rogue::Overruns(Overrun::Fin) if has_begun => self.overrun(raw, &flow),
            Rogue::Overruns(Overrun::Rst) if has_begun && window == 0 => {
                let segment = Self::text(&flow, seq, 50);
                raw.send(&segment.with_flags(Flags::RST | Flags::ACK));
                self.is_lost = true;
            }
            _ => {}
        }
    }

    /// Sends the rest of its data, and a FIN: more than fits into our window at first.
    fn overrun(&mut self, raw: &RawPeer, flow: &Flow) {
        let (seq, window) = self.heard;
        if self.fin_at.is_none() && window == 0 {
            return;
        }
        let most = seq.wrapping_add(u32::from(window)).wrapping_add(50);
        let at = *self.fin_at.get_or_insert(most);
        let len = at.wrapping_sub(seq) as i32;
        if let Ok(len) = usize::try_from(len) {
            let segment = Self::text(flow, seq, len);
            raw.send(&segment.with_flags(Flags::FIN | Flags::PSH | Flags::ACK));
        }
    }

    // ---- restarts ----

    /// Whether the peer has lost its state when this segment of ours arrives.
    fn loses(&self, flow: &Flow, segment: &Segment) -> bool {
        let Rogue::Restarts(Restart { when, .. }) = self.kind else {
            return false;
        };
        let end = segment.seq.wrapping_add(segment.payload.len() as u32);
        let is_new = (end.wrapping_sub(flow.ack) as i32) > 0;
        match when {
            Lost::After(bytes) => is_new && self.has_read() >= bytes,
            Lost::AtFin => segment.is(Flags::FIN),
            Lost::BehindItsFin(_) => {
                let is_fin_known = self.fin_at.is_some_and(|at| at != segment.ack);
                is_fin_known && (is_new || segment.is(Flags::FIN))
            }
        }
    }

    /// Answers like a TCP that has no connection.
    fn answer_as_a_stranger(&self, raw: &RawPeer, segment: &Segment) {
        let Rogue::Restarts(Restart { like, .. }) = self.kind else {
            return;
        };
        let all = segment.seq.wrapping_add(segment.seq_len());
        let (flags, ack) = match like {
            Relic::Lwip => (Flags::RST | Flags::ACK, all),
            Relic::Uip => (Flags::RST | Flags::ACK, all.wrapping_add(1)),
            Relic::Linux => (Flags::RST, 0),
        };
        let (from, to) = (segment.dst_port, segment.src_port);
        raw.send(&Segment {
            src: segment.dst,
            dst: segment.src,
            ..Segment::new(from, to, flags, segment.ack, ack)
        });
    }
}
