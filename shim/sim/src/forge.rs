//! What happens from outside: forged segments, ICMP errors, a stalled device.

use smoltcp::wire::{IpAddress, Ipv4Address, Ipv4Packet, Ipv6Address};

use lastbyte::Instant;

use super::end::End;
use super::happening::{Answer, Astray, Forgery, Fragmented, Happening, Layer};
use super::peers::PEER_PORT;
use super::recording::Note;
use super::run::{OUR_PORT, Run, Storm};
use super::scenario::Family;
use super::truth::{Opening as Handshake, Truth};
use crate::loopback::{
    Direction, Flags, OUR_V4, OUR_V6, PEER_V4, PEER_V6, Segment, ip_in_frame, parameter_problem,
    unreachable,
};

/// The port of a sender that is not the peer; the next ones belong to further senders.
const STRANGER: u16 = 9_000;

/// A port where our end never listens.
const CLOSED: u16 = 4_999;

impl<E: End> Run<'_, E> {
    pub(super) fn next_happening(&self) -> Instant {
        let next = self.scenario.happenings.get(self.happened);
        let next = next.map_or(Instant::NEVER, |(at, _)| *at);
        let storm = self.storm.map_or(Instant::NEVER, |storm| storm.next);
        next.min(storm)
    }

    /// Performs the happenings that are due.
    pub(super) fn happen(&mut self) {
        while self.next_happening() <= self.world.now() {
            if let Some(storm) = self.storm
                && storm.next <= self.world.now()
            {
                self.forge(storm.forgery);
                self.storm = (storm.left > 1).then(|| Storm {
                    next: storm.next + storm.every,
                    left: storm.left - 1,
                    ..storm
                });
                continue;
            }
            let (_, happening) = self.scenario.happenings[self.happened];
            self.happened += 1;
            self.note(0, Note::Happened(happening));
            self.let_happen(happening);
        }
    }

    fn let_happen(&mut self, happening: Happening) {
        match happening {
            Happening::AddressLost => {
                for live in &mut self.lanes {
                    live.oracle.done.address_lost = true;
                }
                self.end.with_network(|network| {
                    network.interface.update_ip_addrs(|list| list.truncate(0));
                });
            }
            Happening::LinkDown => self.set_link(false),
            Happening::LinkUp => self.set_link(true),
            Happening::Stuck(time) => {
                self.world.set_stuck(true);
                let until = self.world.now() + time;
                for truth in self.wire.borrow_mut().lanes_mut() {
                    truth.owed.note_stuck(until);
                }
                self.world.at(self.world.now() + time, |world| {
                    world.set_stuck(false);
                });
            }
            Happening::Forged(forgery) => self.forge(forgery),
            Happening::Storm {
                forgery,
                times,
                every,
            } => {
                self.storm = Some(Storm {
                    forgery,
                    next: self.world.now(),
                    every,
                    left: times,
                });
            }
            Happening::Unreachable(code) => self.complain(code, None),
            Happening::Misdirected(code) => {
                let (other, _) = self.strangers();
                self.complain(code, Some(other));
            }
            Happening::ParameterProblem(code) => self.complain_of_header(code),
        }
    }

    fn set_link(&mut self, is_up: bool) {
        self.end.set_link(is_up);
        self.excuse();
        for live in &mut self.lanes {
            live.oracle.done.link_is_down = !is_up;
            live.oracle.done.link_came_up |= is_up;
        }
    }

    /// Ours and the peer's.
    fn addresses(&self) -> (IpAddress, IpAddress) {
        match self.scenario.family {
            Family::V4 => (OUR_V4.into(), PEER_V4.into()),
            Family::V6 => (OUR_V6.into(), PEER_V6.into()),
        }
    }

    /// Addresses of our network that no host has.
    fn strangers(&self) -> (IpAddress, IpAddress) {
        let v6 = |last| Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, last).into();
        match self.scenario.family {
            Family::V4 => (
                Ipv4Address::new(10, 77, 0, 9).into(),
                Ipv4Address::new(10, 77, 0, 10).into(),
            ),
            Family::V6 => (v6(9), v6(10)),
        }
    }

    // ---- segments ----

    fn forge(&mut self, forgery: Forgery) {
        let truth = self.truth(0);
        match forgery {
            Forgery::AstraySyn(astray, is_closed) => self.forge_astray(astray, is_closed),
            Forgery::HalfOpen => self.forge_half_open(&truth),
            Forgery::BareSyn(_) | Forgery::WrongRst(_) | Forgery::WrongAnswer(..)
                if truth.opening == Handshake::SynSent =>
            {
                self.forge_answer(&truth, forgery);
            }
            Forgery::WrongAnswer(Answer::Ack, off) if truth.opening == Handshake::SynReceived => {
                let ack = truth.snd_nxt().wrapping_add(off);
                self.wire
                    .borrow_mut()
                    .lane_mut(0)
                    .note_wrong_ack(self.world.now(), ack);
                self.forge_segment(&truth, Flags::ACK, truth.rcv_max(), ack, 0);
            }
            _ if truth.opening == Handshake::Synchronised => self.forge_later(&truth, forgery),
            _ => {}
        }
    }

    /// A segment with the peer's addresses.
    fn name(
        &self,
        truth: &Truth,
        flags: Flags,
        seq: u32,
        ack: u32,
        text: usize,
    ) -> Option<Segment> {
        let (dst, src) = self.addresses();
        let segment = Segment::new(PEER_PORT, truth.local_port?, flags, seq, ack);
        Some(Segment {
            src,
            dst,
            ..segment.with_payload(vec![b'!'; text])
        })
    }

    fn forge_segment(&self, truth: &Truth, flags: Flags, seq: u32, ack: u32, text: usize) {
        if let Some(segment) = self.name(truth, flags, seq, ack, text) {
            self.inject(segment.to_frame(self.scenario.medium));
        }
    }

    fn inject(&self, frame: Vec<u8>) {
        self.world.inject(Direction::ToUs, frame);
    }

    /// While our end connects.
    fn forge_answer(&self, truth: &Truth, forgery: Forgery) {
        let nxt = truth.snd_nxt();
        let (flags, seq, ack, text) = match forgery {
            Forgery::BareSyn(seq) => (Flags::SYN, seq, 0, 0),
            Forgery::WrongRst(0) => (Flags::RST, 0, 0, 0),
            Forgery::WrongRst(off) => (Flags::RST | Flags::ACK, 0, nxt.wrapping_add(off), 0),
            Forgery::WrongAnswer(answer, off) => {
                let ack = nxt.wrapping_add(off);
                let (flags, text) = match answer {
                    Answer::SynAck => (Flags::SYN, 0),
                    Answer::FinAck => (Flags::FIN, 0),
                    Answer::PshAck => (Flags::PSH, 10),
                    Answer::Ack => (Flags::NONE, 0),
                };
                self.wire
                    .borrow_mut()
                    .lane_mut(0)
                    .note_wrong_ack(self.world.now(), ack);
                (flags | Flags::ACK, 1_000, ack, text)
            }
            _ => return,
        };
        self.forge_segment(truth, flags, seq, ack, text);
    }

    /// Once both SYNs are known.
    fn forge_later(&self, truth: &Truth, forgery: Forgery) {
        let (rcv, snd) = (truth.rcv_max(), truth.snd_nxt());
        let rst = |off| (Flags::RST, rcv.wrapping_add(off), 0, 0);
        let ack = |off| (Flags::ACK, rcv, snd.wrapping_add(off), 0);
        let (flags, seq, ack, text) = match forgery {
            Forgery::Rst(off) => rst(off),
            Forgery::Syn(off) => (Flags::SYN, rcv.wrapping_add(off), 0, 0),
            Forgery::Ack(off) => ack(off),
            Forgery::Fin(off) => (Flags::FIN | Flags::ACK, rcv.wrapping_add(off), snd, 10),
            Forgery::OldAck(off) => (Flags::PSH | Flags::ACK, rcv, snd.wrapping_sub(off), 10),
            Forgery::Blind { seq, ack } => (Flags::PSH | Flags::ACK, seq, ack, 10),
            Forgery::Damaged(layer) => return self.forge_damaged(truth, layer),
            Forgery::Fragments(what, off) => {
                let (flags, seq, ack, _) = match what {
                    Fragmented::Rst => rst(off),
                    Fragmented::Ack => ack(off),
                };
                return self.forge_fragments(truth, flags, seq, ack);
            }
            _ => return,
        };
        self.forge_segment(truth, flags, seq, ack, text);
    }

    /// A RST at RCV.NXT, and a wrong checksum.
    fn forge_damaged(&self, truth: &Truth, layer: Layer) {
        let Some(segment) = self.name(truth, Flags::RST, truth.rcv_max(), 0, 0) else {
            return;
        };
        let mut frame = segment.to_frame(self.scenario.medium);
        let ip = frame.len() - ip_in_frame(&frame, self.scenario.medium).map_or(0, <[u8]>::len);
        let at = match (layer, self.scenario.family) {
            (Layer::Ip, Family::V4) => ip + 10,
            (Layer::Tcp, Family::V4) => ip + 20 + 16,
            (_, Family::V6) => ip + 40 + 16,
        };
        frame[at] ^= 0x55;
        self.inject(frame);
    }

    /// The segment in two fragments of IPv4: the header and eight octets, then the rest.
    fn forge_fragments(&self, truth: &Truth, flags: Flags, seq: u32, ack: u32) {
        let segment = self.name(truth, flags, seq, ack, 20);
        let Some(segment) = segment.filter(|_| self.scenario.family == Family::V4) else {
            return;
        };
        let frame = segment.to_frame(self.scenario.medium);
        let ip = frame.len() - ip_in_frame(&frame, self.scenario.medium).map_or(0, <[u8]>::len);
        let (headers, tcp) = frame.split_at(ip + 20);
        for (part, offset, is_last) in [(&tcp[..24], 0, false), (&tcp[24..], 24, true)] {
            let mut fragment = [headers, part].concat();
            let len = (20 + part.len()) as u16;
            let mut packet = Ipv4Packet::new_unchecked(&mut fragment[ip..]);
            packet.set_total_len(len);
            packet.set_ident(77);
            packet.set_dont_frag(false);
            packet.set_more_frags(!is_last);
            packet.set_frag_offset(offset);
            packet.fill_checksum();
            self.inject(fragment);
        }
    }

    /// A SYN to or from an address that no connection can have.
    fn forge_astray(&self, astray: Astray, is_closed: bool) {
        let (ours, peers) = self.addresses();
        let is_v4 = self.scenario.family == Family::V4;
        let group = |last| IpAddress::from(Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, last));
        let v4 = |a, b, c, d| IpAddress::from(Ipv4Address::new(a, b, c, d));
        let solicited = Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2).into();
        let loopback = match is_v4 {
            true => v4(127, 0, 0, 1),
            false => Ipv6Address::LOCALHOST.into(),
        };
        let (src, dst) = match (astray, is_v4) {
            (Astray::Broadcast, true) => (peers, v4(10, 77, 0, 255)),
            (Astray::LimitedBroadcast, true) => (peers, v4(255, 255, 255, 255)),
            (Astray::Group, true) => (peers, v4(224, 0, 0, 1)),
            (Astray::Broadcast | Astray::Group, false) => (peers, group(1)),
            (Astray::LimitedBroadcast, false) => (peers, solicited),
            (Astray::ToLoopback, _) => (peers, loopback),
            (Astray::FromLoopback, _) => (loopback, ours),
            (Astray::FromOurselves, _) => (ours, ours),
        };
        let port = if is_closed { CLOSED } else { OUR_PORT };
        let syn = Segment::new(STRANGER, port, Flags::SYN, 77, 0);
        let mut frame = Segment { src, dst, ..syn }.to_frame(self.scenario.medium);
        if self.scenario.medium == smoltcp::phy::Medium::Ethernet {
            let to = group_mac(dst).unwrap_or(crate::loopback::OUR_MAC.0);
            frame[..6].copy_from_slice(&to);
            frame[6..12].copy_from_slice(&crate::loopback::PEER_MAC.0);
        }
        self.inject(frame);
    }

    fn forge_half_open(&mut self, truth: &Truth) {
        if truth.listens_at.is_none() {
            return;
        }
        let (_, src) = self.strangers();
        let (dst, _) = self.addresses();
        let syn = Segment::new(STRANGER + 1, OUR_PORT, Flags::SYN, 77, 0);
        let frame = Segment { src, dst, ..syn }.to_frame(self.scenario.medium);
        self.inject(frame);
        let now = self.world.now();
        self.wire.borrow_mut().lane_mut(0).note_stranger(now);
    }

    // ---- ICMP ----

    /// The segment of ours that is in flight, to quote it.
    fn quoted(&self) -> Option<Segment> {
        let truth = self.truth(0);
        let (src, dst) = self.addresses();
        let (seq, port) = (truth.in_flight()?, truth.local_port?);
        let segment = Segment::new(port, PEER_PORT, Flags::ACK, seq, 0);
        Some(Segment {
            src,
            dst,
            ..segment
        })
    }

    fn is_connecting(&self) -> bool {
        self.truth(0).opening == Handshake::SynSent
    }

    /// A router sends an ICMP error about a segment in flight, to our end or to another host.
    fn complain(&mut self, code: u8, to: Option<IpAddress>) {
        let Some(segment) = self.quoted() else { return };
        if to.is_none() && self.is_connecting() {
            // RFC 1122, 4.2.3.9; RFC 4443, 3.1: with IPv6, a rejection by a policy or a
            // filter is permanent.
            let (is_hard, is_soft) = match self.scenario.family {
                Family::V4 => (matches!(code, 2..=4), matches!(code, 0 | 1 | 9 | 10 | 13)),
                Family::V6 => (matches!(code, 1 | 4..=6), matches!(code, 0 | 3)),
            };
            let done = &mut self.lanes[0].oracle.done;
            done.has_hard_error |= is_hard;
            done.has_soft_error |= is_soft;
        }
        let frame = unreachable(self.scenario.medium, &segment, code, to);
        self.inject(frame);
    }

    /// The peer's machine reports that it has no TCP.
    fn complain_of_header(&mut self, code: u8) {
        let segment = self.quoted();
        let Some(segment) = segment.filter(|_| self.scenario.family == Family::V6) else {
            return;
        };
        if self.is_connecting() {
            self.lanes[0].oracle.done.has_hard_error |= code == 1;
        }
        self.inject(parameter_problem(self.scenario.medium, &segment, code));
    }
}

/// The hardware address of a group.
fn group_mac(address: IpAddress) -> Option<[u8; 6]> {
    match address {
        IpAddress::Ipv4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            Some([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddress::Ipv4(v4) if v4.octets()[3] == 255 => Some([0xff; 6]),
        IpAddress::Ipv6(v6) if v6.is_multicast() => {
            let octets = v6.octets();
            Some([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
        }
        _ => None,
    }
}
