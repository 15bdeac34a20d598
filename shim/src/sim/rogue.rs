//! The scripted peer that bends the rules.

use std::cell::RefCell;
use std::rc::Rc;

use crate::loopback::{Flags, Flow, RawPeer, Segment, World};
use smoltcp::wire::IpEndpoint;

use super::dice::{Chance, Dice};
use super::scenario::Rogue;

/// What the rogue's TCP took in.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// In order, of the connection that began last.
    pub(super) bytes: Vec<u8>,
    /// Our port of that connection.
    pub(super) port: u16,
}

/// A receiver of bytes with a mind of its own.
struct State {
    kind: Rogue,
    dice: Dice,
    flow: Option<Flow>,
    taken: Rc<RefCell<Taken>>,
    /// The largest window it announces.
    buffer: u16,
    /// Its FIN has been sent, at this number.
    fin_at: Option<u32>,
}

/// Puts a rogue in the peer's place; what it takes in.
pub(super) fn install(world: &World, kind: Rogue, seed: u64, buffer: usize) -> Rc<RefCell<Taken>> {
    let taken = Rc::new(RefCell::new(Taken::default()));
    let mut state = State {
        kind,
        dice: Dice::new(seed, 99),
        flow: None,
        taken: Rc::clone(&taken),
        buffer: u16::try_from(buffer).unwrap_or(u16::MAX),
        fin_at: None,
    };
    let raw = world.raw();
    raw.respond(move |raw, segment| state.answer(raw, segment));
    taken
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
        if is_new || segment.is(Flags::RST) {
            return;
        }
        self.take(&mut flow, segment);
        let asks = segment.seq_len() > 0;
        if asks {
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
            window: self.buffer,
        });
        self.fin_at = None;
        *self.taken.borrow_mut() = Taken {
            bytes: Vec::new(),
            port: syn.src_port,
        };
    }

    fn greet(&self, raw: &RawPeer) {
        let Some(flow) = self.flow else { return };
        let greeting = flow.segment(Flags::SYN | Flags::ACK).with_seq(flow.isn);
        raw.send(&Segment {
            mss: Some(1_000),
            ..greeting
        });
    }

    /// Takes what is next, all of it or a part.
    fn take(&mut self, flow: &mut Flow, segment: &Segment) {
        let skip = flow.ack.wrapping_sub(segment.seq) as usize;
        let Some(fresh) = segment.payload.get(skip..) else {
            return;
        };
        let len = match self.kind {
            Rogue::TakesParts => self.dice.between(0, fresh.len() as u64) as usize,
            Rogue::ShrinksWindow | Rogue::RepeatsItself | Rogue::FinsEarly(_) => fresh.len(),
        };
        let len = len.min(usize::from(flow.window));
        self.taken
            .borrow_mut()
            .bytes
            .extend_from_slice(&fresh[..len]);
        flow.take(len as u32);
        if segment.is(Flags::FIN) && len == fresh.len() && skip <= segment.payload.len() {
            flow.take(1);
        }
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
            Rogue::TakesParts | Rogue::FinsEarly(_) => {}
        }
        raw.send(&flow.ack());
        let read = self.taken.borrow().bytes.len() as u64;
        if let Rogue::FinsEarly(after) = self.kind
            && read >= after
        {
            let at = *self.fin_at.get_or_insert(flow.seq);
            flow.seq = at.wrapping_add(1);
            raw.send(&flow.segment(Flags::FIN | Flags::ACK).with_seq(at));
        }
    }
}
