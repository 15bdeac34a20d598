//! One connection of ours with a script at the other end.

use crate::common::*;
use crate::numbers::{Numbers, Opening};
use lastbyte::stack::ConnectionId;
use lastbyte::stack::smoltcp::wire::{IpAddress, IpEndpoint};
use lastbyte::{Cause, Options, Report, State};
use lastbyte_sim::loopback::{
    Direction, Flags, Flow, Handshake, OUR_V4, OUR_V6, PEER_V4, PEER_V6, RawPeer, Segment, World,
};
use std::time::Duration;

/// The port at which our end listens.
pub const OURS: u16 = 7_000;

/// The port from which the peer connects.
pub const CALLER: u16 = 100;

/// The address family of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn peer(self) -> IpAddress {
        match self {
            Self::V4 => PEER_V4.into(),
            Self::V6 => PEER_V6.into(),
        }
    }

    pub fn ours(self) -> IpAddress {
        match self {
            Self::V4 => OUR_V4.into(),
            Self::V6 => OUR_V6.into(),
        }
    }

    /// Codes of "destination unreachable" that are soft errors: network, host, route (RFC
    /// 792; for IPv6 no route, scope and address, RFC 4443, 3.1).
    pub fn soft_codes(self) -> &'static [u8] {
        match self {
            Self::V4 => &[0, 1, 5],
            Self::V6 => &[0, 2, 3],
        }
    }

    /// Codes of a router that has no route to the host, or may not use it (RFC 1812,
    /// 5.2.7.1; for IPv6 no route and address).
    pub fn no_way_codes(self) -> &'static [u8] {
        match self {
            Self::V4 => &[0, 1, 9, 10, 13],
            Self::V6 => &[0, 3],
        }
    }

    /// Codes that are hard errors: protocol, port, fragmentation needed (RFC 792; for
    /// IPv6 prohibited and port).
    pub fn hard_codes(self) -> &'static [u8] {
        match self {
            Self::V4 => &[2, 3, 4],
            Self::V6 => &[1, 4],
        }
    }
}

/// The setting of a row.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub family: Family,
    pub numbers: Numbers,
}

/// Compares every octet of data on the wire with what is written.
fn watch_content(world: &World) {
    let mut isn = None;
    let mut una = 0;
    world.observe(move |_, event| {
        let Some(segment) = event.segment() else {
            return;
        };
        if event.direction == Direction::ToUs {
            una = segment.ack;
            return;
        }
        if segment.is(Flags::SYN) {
            isn = Some(segment.seq);
            una = segment.seq.wrapping_add(1);
        }
        let Some(isn) = isn else { return };
        if segment.seq.wrapping_sub(una).cast_signed() < 0 {
            // A keep-alive probe: it contains an octet that was acknowledged, with any
            // value (RFC 9293, 3.8.4).
            return;
        }
        let position = segment.seq.wrapping_sub(isn).wrapping_sub(1);
        let written = pattern(u64::from(position), segment.payload.len());
        assert!(
            segment.payload == written,
            "wrong bytes were sent: {segment}"
        );
    });
}

/// Our end, its connection, the other end and its numbers.
pub struct Script {
    pub us: Us<1>,
    pub id: ConnectionId,
    pub raw: RawPeer,
    /// The script's numbers. While our end connects, they are those of the answer to its
    /// SYN.
    pub flow: Flow,
}

impl Script {
    /// Our SYN was received; nothing was answered.
    #[track_caller]
    pub fn connecting(on: Setting, options: Options) -> Self {
        let (world, mut us) = on.numbers.place(on.family, Opening::Ours);
        watch_content(&world);
        let raw = world.raw();
        let id = us.stack.connect((on.family.peer(), PORT), options);
        let id = id.expect("a slot, a port and a route");
        us.stack.run_for(ms(10));
        let syn = raw.recv();
        assert_eq!(syn.flags, Flags::SYN, "{syn}");
        on.numbers.assert_placed(syn.seq);
        let (isn, window) = (on.numbers.of_peer(), Handshake::default().window);
        let flow = Flow {
            local: IpEndpoint::new(syn.dst, syn.dst_port),
            remote: IpEndpoint::new(syn.src, syn.src_port),
            isn,
            remote_isn: syn.seq,
            seq: isn,
            ack: syn.seq.wrapping_add(1),
            window,
        };
        Self { us, id, raw, flow }
    }

    /// Our end listens at [`OURS`]; no caller yet.
    #[track_caller]
    pub fn listening(on: Setting, options: Options) -> Self {
        let (world, mut us) = on.numbers.place(on.family, Opening::Peers);
        watch_content(&world);
        let id = us.stack.listen(OURS, options).expect("a slot");
        let local = IpEndpoint::new(on.family.peer(), CALLER);
        let isn = on.numbers.of_peer();
        let flow = Flow {
            local,
            remote: IpEndpoint::new(on.family.ours(), OURS),
            isn,
            remote_isn: 0,
            seq: isn,
            ack: 0,
            window: Handshake::default().window,
        };
        let raw = world.raw();
        Self { us, id, raw, flow }
    }

    /// The same, with an incomplete handshake with a caller: our SYN|ACK was received.
    #[track_caller]
    pub fn called(on: Setting, options: Options) -> Self {
        let mut script = Self::listening(on, options);
        script.call(CALLER);
        // smoltcp draws our own initial number, so only the peer's is at the edge.
        script
    }

    /// Sends a caller's SYN from this port, and returns our answer.
    #[track_caller]
    pub fn call(&mut self, from_port: u16) {
        let handshake = Handshake {
            isn: self.flow.isn,
            ..Handshake::default()
        };
        let (raw, stack) = (self.raw.clone(), &mut self.us.stack);
        self.flow = raw.call(from_port, self.flow.remote, handshake, || {
            stack.poll();
        });
    }

    #[track_caller]
    pub fn open(on: Setting, options: Options) -> Self {
        Self::open_at(on, Handshake::default().window, options)
    }

    /// Announces this window from the other end.
    #[track_caller]
    pub fn open_at(on: Setting, window: u16, options: Options) -> Self {
        let mut script = Self::connecting(on, options);
        script.flow.window = window;
        script.accept();
        script
    }

    /// Answers our SYN and receives the ACK.
    #[track_caller]
    pub fn accept(&mut self) {
        let mut answer = self.flow.segment(Flags::SYN | Flags::ACK);
        answer.mss = Handshake::default().mss;
        self.flow.seq = self.flow.seq.wrapping_add(1);
        self.send(&answer);
        self.expect_ack();
        assert_eq!(self.state(), State::Open);
    }

    /// Sends a segment and lets our end process it.
    pub fn send(&mut self, segment: &Segment) {
        self.raw.send(segment);
        self.us.stack.poll();
    }

    /// Sends data at the present numbers.
    pub fn send_data(&mut self, payload: impl Into<Vec<u8>>) {
        let data = self.flow.data(payload);
        self.send(&data);
    }

    pub fn send_fin(&mut self) {
        let fin = self.flow.fin();
        self.send(&fin);
    }

    /// Acknowledges this many more octets.
    pub fn acknowledge(&mut self, len: u32) {
        self.flow.take(len);
        self.send_ack();
    }

    pub fn send_ack(&mut self) {
        let ack = self.flow.ack();
        self.send(&ack);
    }

    /// Serves our end for this long.
    pub fn run(&mut self, time: Duration) {
        self.us.stack.run_for(time);
    }

    /// Asserts that our end sends nothing for this long.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        self.raw.recv_nothing();
        self.run(time);
        self.raw.recv_nothing();
    }

    /// Asserts that our end has sent one ACK, at the script's numbers, and nothing else.
    #[track_caller]
    pub fn expect_ack(&mut self) {
        // An ACK may be delayed (RFC 9293, 3.8.6.3).
        self.run(ms(20));
        let ack = self.raw.recv();
        assert_eq!(ack.flags, Flags::ACK, "{ack}");
        assert!(ack.payload.is_empty(), "{ack}");
        assert_eq!(ack.ack, self.flow.seq, "{ack}");
        self.raw.recv_nothing();
    }

    /// Asserts that our end has sent these octets next, and nothing else.
    #[track_caller]
    pub fn expect_data(&mut self, len: u32) {
        self.us.stack.poll();
        let mut next = self.flow.ack;
        let end = next.wrapping_add(len);
        while next != end {
            let segment = self.raw.try_recv().unwrap_or_else(|| {
                // After a long pause our end requests the neighbour's address first.
                self.us.stack.poll();
                self.raw.recv()
            });
            assert_eq!(segment.seq, next, "{segment}");
            assert!(!segment.payload.is_empty(), "{segment}");
            assert_eq!(segment.flags.without(Flags::PSH), Flags::ACK, "{segment}");
            next = next.wrapping_add(segment.seq_len());
        }
        self.raw.recv_nothing();
    }

    /// Asserts that our end has sent a FIN after everything acknowledged, and nothing else.
    #[track_caller]
    pub fn expect_fin(&mut self) {
        self.run(ms(20));
        let fin = self.raw.recv();
        assert_eq!(fin.flags.without(Flags::PSH), Flags::FIN | Flags::ACK);
        assert_eq!((fin.seq, fin.ack), (self.flow.ack, self.flow.seq), "{fin}");
        assert!(fin.payload.is_empty(), "{fin}");
        self.raw.recv_nothing();
    }

    /// Asserts that our end has sent a RST right after the octets sent, and nothing else.
    #[track_caller]
    pub fn expect_rst(&mut self, sent: u32) {
        let rst = self.raw.recv();
        assert!(rst.is(Flags::RST), "{rst}");
        assert_eq!(rst.seq, self.flow.ack.wrapping_add(sent), "{rst}");
        self.raw.recv_nothing();
    }

    /// Receives every segment of ours that has arrived.
    pub fn take_all(&mut self) -> Vec<Segment> {
        self.us.stack.poll();
        std::iter::from_fn(|| self.raw.try_recv()).collect()
    }

    #[track_caller]
    pub fn write(&mut self, len: usize) {
        self.us.write(self.id, len);
    }

    #[track_caller]
    pub fn state(&self) -> State {
        self.us.state(self.id)
    }

    /// Asserts that the connection is still open, with this ledger.
    #[track_caller]
    pub fn assert_open(&mut self, accepted: u64, acknowledged: u64) -> Report {
        assert_eq!(self.state(), State::Open);
        let report = self.us.report(self.id);
        assert_eq!(report.cause, None);
        assert_ledger(report.ledger, accepted, acknowledged);
        report
    }

    /// Asserts that every write is refused for this reason, with this ledger, and that
    /// nothing more is sent.
    #[track_caller]
    pub fn assert_refused(&mut self, cause: Cause, accepted: u64, acknowledged: u64) {
        self.us
            .assert_refused(self.id, cause, accepted, acknowledged);
    }

    /// Asserts that the connection still carries data in both directions.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        let before = self.us.ledger(self.id).accepted();
        self.take_all();
        self.write(10);
        self.expect_data(10);
        self.acknowledge(10);
        self.assert_open(before + 10, before + 10);
    }
}
