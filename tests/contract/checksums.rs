//! Damaged segments, at devices that verify some checksums and not others.

use crate::common::devices::Checking;
use crate::common::*;
use lastbyte::stack::ConnectionId;
use lastbyte::stack::smoltcp::phy::{Checksum, ChecksumCapabilities};
use lastbyte::stack::smoltcp::wire::IpAddress;
use lastbyte::{Cause, Options, State};
use lastbyte_sim::loopback::{
    Flags, Flow, Handshake, PEER_V4, PEER_V6, RawPeer, Segment, World, WorldConfig,
};

/// A device that leaves to us to fill in both checksums, and to verify these.
fn checked_by_us(ipv4: bool, tcp: bool) -> ChecksumCapabilities {
    let of = |is_ours| match is_ours {
        true => Checksum::Both,
        false => Checksum::Tx,
    };
    let mut checksums = ChecksumCapabilities::default();
    checksums.ipv4 = of(ipv4);
    checksums.tcp = of(tcp);
    checksums
}

/// The place of the damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damaged {
    IpHeader,
    TcpChecksum,
    TcpWindow,
}

struct Fixture {
    us: Us<1, Checking>,
    device: Checking,
    id: ConnectionId,
    raw: RawPeer,
    flow: Flow,
    peer: IpAddress,
}

impl Fixture {
    /// Ten octets are in flight.
    #[track_caller]
    fn new(peer: IpAddress, checksums: ChecksumCapabilities) -> Self {
        let world = World::new(WorldConfig::instant());
        let raw = world.raw();
        let device = Checking::new(&world, checksums);
        let mut us = Us::<1, _>::over(device.clone(), &world, config(&world), buffers(TX, RX));
        let id = us.stack.connect((peer, PORT), Options::default());
        let id = id.expect("a slot, a port and a route");
        let flow = raw.handshake(Handshake::default(), || {
            us.stack.poll();
        });
        us.write(id, 10);
        assert_eq!(raw.recv().payload.len(), 10);
        Self {
            us,
            device,
            id,
            raw,
            flow,
            peer,
        }
    }

    fn send_damaged(&mut self, segment: &Segment, damaged: Damaged) {
        let ethernet = 14;
        let tcp = ethernet
            + match self.peer {
                IpAddress::Ipv4(_) => 20,
                IpAddress::Ipv6(_) => 40,
            };
        let mut frame = segment.to_frame(self.us.world.config().medium);
        match damaged {
            // The time to live, on which nothing depends.
            Damaged::IpHeader => frame[ethernet + 8] ^= 0x10,
            Damaged::TcpChecksum => frame[tcp + 16] ^= 0x10,
            Damaged::TcpWindow => frame[tcp + 14] ^= 0x10,
        }
        self.raw.send_frame(frame);
        self.us.stack.poll();
    }

    /// No damaged segment of any kind changes anything, is answered, or counts as
    /// hearing the peer.
    #[track_caller]
    fn assert_ignores(mut self, damaged: Damaged) {
        let flow = self.flow;
        let acked = flow.ack.wrapping_add(10);
        self.us.stack.run_for(secs(60));
        while self.raw.try_recv().is_some() {}
        for segment in [
            flow.ack().with_ack(acked),
            flow.ack().with_payload(*b"text"),
            flow.segment(Flags::FIN | Flags::ACK),
            flow.rst(),
            flow.rst().with_seq(flow.seq.wrapping_add(100)),
            flow.segment(Flags::SYN),
        ] {
            self.send_damaged(&segment, damaged);
            assert_eq!(self.us.state(self.id), State::Open, "{segment}");
            self.raw.recv_nothing();
            let report = self.us.report(self.id);
            assert_ledger(report.ledger, 10, 0);
            assert_eq!(report.discarded, 0, "{segment}");
        }
        self.us.stack.run_for(secs(41));
        self.us.assert_refused(self.id, Cause::Vanished, 10, 0);
    }
}

#[test]
fn we_verify_each_checksum_that_the_device_does_not() {
    for (ipv4, tcp) in [(true, true), (true, false), (false, true)] {
        let checksums = checked_by_us(ipv4, tcp);
        if ipv4 {
            Fixture::new(PEER_V4.into(), checksums.clone()).assert_ignores(Damaged::IpHeader);
        }
        if tcp {
            for peer in [IpAddress::from(PEER_V4), IpAddress::from(PEER_V6)] {
                for damaged in [Damaged::TcpChecksum, Damaged::TcpWindow] {
                    Fixture::new(peer, checksums.clone()).assert_ignores(damaged);
                }
            }
        }
    }
}

#[test]
fn the_capabilities_of_a_device_are_queried_again() {
    for damaged in [Damaged::IpHeader, Damaged::TcpChecksum, Damaged::TcpWindow] {
        let fixture = Fixture::new(PEER_V4.into(), checked_by_us(false, false));
        fixture.device.set(checked_by_us(true, true));
        fixture.assert_ignores(damaged);
    }
}

#[test]
fn intact_segments_are_accepted_from_every_device() {
    for (ipv4, tcp) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut fixture = Fixture::new(PEER_V4.into(), checked_by_us(ipv4, tcp));
        fixture.flow.take(10);
        fixture.raw.send(&fixture.flow.ack());
        fixture.us.stack.poll();
        assert_ledger(fixture.us.ledger(fixture.id), 10, 10);
        fixture.raw.send(&fixture.flow.rst());
        fixture
            .us
            .assert_refused(fixture.id, Cause::PeerReset, 10, 10);
    }
}
