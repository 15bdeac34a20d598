//! The configuration of a stack, and ids of other stacks.

use crate::common::*;
use lastbyte::stack::smoltcp::iface::SocketSet;
use lastbyte::stack::smoltcp::phy::{Device, DeviceCapabilities, Loopback, Medium};
use lastbyte::stack::smoltcp::socket::tcp;
use lastbyte::stack::smoltcp::time::Instant as Time;
use lastbyte::stack::smoltcp::wire::HardwareAddress;
use lastbyte::stack::{
    Config, ConfigError, ConnectionId, SlotBuffers, Stack, Tracker, UnknownConnection,
};
use lastbyte::{Instant, Options, State};
use lastbyte_sim::loopback::{Flags, Handshake, Segment, World, WorldConfig, our_hardware_address};
use std::mem::ManuallyDrop;

/// A device that announces frames of this length.
struct Of(usize, Medium);

impl Device for Of {
    type RxToken<'a> = <Loopback as Device>::RxToken<'a>;
    type TxToken<'a> = <Loopback as Device>::TxToken<'a>;

    fn receive(&mut self, _: Time) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, _: Time) -> Option<Self::TxToken<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = self.0;
        capabilities.medium = self.1;
        capabilities
    }
}

fn made(device: Of, buffers: [SlotBuffers<'static>; 1]) -> Result<(), ConfigError> {
    let address = match device.1 {
        Medium::Ip => HardwareAddress::Ip,
        Medium::Ethernet => our_hardware_address(Medium::Ethernet),
    };
    let clock = World::new(WorldConfig::default()).clock();
    let config = Config::new(address, 1);
    Stack::new(device, clock, config, buffers, storage(1)).map(|_| ())
}

/// At most half of the sequence space may be in flight: with a larger buffer than 1 GiB
/// smoltcp panics at the first ACK.
#[test]
fn a_transmit_buffer_beyond_what_tcp_can_have_in_flight_is_refused() {
    // Never written to, so this takes no memory.
    let huge = |len: usize| SlotBuffers {
        tx: vec![0; len].leak(),
        rx: vec![0; 1_000].leak(),
    };
    let ethernet = || Of(1_514, Medium::Ethernet);
    assert_eq!(made(ethernet(), [huge(1 << 30)]), Ok(()));
    for len in [(1 << 30) + 1, 1 << 31, (1 << 32) + 1] {
        let refused = made(ethernet(), [huge(len)]);
        assert_eq!(
            refused,
            Err(ConfigError::BufferTooLarge { slot: 0 }),
            "{len}"
        );
    }
}

#[test]
fn an_mtu_beyond_the_limit_of_ip_is_refused() {
    for (len, medium) in [
        (65_536, Medium::Ip),
        (70_000, Medium::Ip),
        (usize::MAX, Medium::Ip),
        (65_550, Medium::Ethernet),
        (131_072, Medium::Ethernet),
        (usize::MAX, Medium::Ethernet),
    ] {
        let refused = made(Of(len, medium), buffers(TX, RX));
        assert!(refused.is_err(), "{len} over {medium:?}");
    }
    for (len, medium) in [
        (65_535, Medium::Ip),
        (9_014, Medium::Ethernet),
        (65_535, Medium::Ethernet),
    ] {
        assert_eq!(made(Of(len, medium), buffers(TX, RX)), Ok(()), "{len}");
    }
}

/// A clock may begin at any time, up to the end of smoltcp's time and beyond.
#[test]
fn a_clock_near_the_end_of_time_causes_no_panic() {
    let end = 1_u64 << 63;
    for begins_at in [
        end - 3_600_000_000,
        end - 1_000_000,
        end - 1,
        end,
        end + 1,
        end + 3_600_000_000,
        u64::MAX - 1_000_000,
        u64::MAX - 1,
    ] {
        let world = World::new(WorldConfig {
            begins_at: Instant::from_micros(begins_at),
            ..WorldConfig::instant()
        });
        let raw = world.raw();
        // It is not dropped while it panics: that would abort all tests.
        let mut us = ManuallyDrop::new(Us::<2>::new(&world));
        us.stack.listen(7_000, Options::default()).expect("a slot");
        let id = us.connect(Options::default());
        // Whatever the result, it does not panic.
        for _ in 0..20 {
            us.stack.poll();
            if let Some(syn) = raw.try_recv() {
                let flags = Flags::RST | Flags::ACK;
                let ack = syn.seq.wrapping_add(1);
                let rst = Segment::new(PORT, syn.src_port, flags, 0, ack);
                raw.send(&rst);
            }
            let _ = us.try_write(id, 10);
        }
        us.stack.release(id).expect("ours");
        drop(ManuallyDrop::into_inner(us));
    }
}

/// The same with an open connection.
#[test]
fn a_clock_that_runs_to_the_end_of_smoltcps_time_causes_no_panic() {
    for left in [2_000_000, 40_000_000, 200_000_000] {
        let world = World::new(WorldConfig {
            begins_at: Instant::from_micros((1 << 63) - left),
            ..WorldConfig::instant()
        });
        let raw = world.raw();
        let mut us = ManuallyDrop::new(Us::<1>::new(&world));
        let id = us.connect(Options::default());
        raw.handshake(Handshake::default(), || {
            us.stack.poll();
        });
        us.write(id, 10);
        for _ in 0..100 {
            world.run_for(ms(5_000));
            us.stack.poll();
            let _ = us.try_write(id, 10);
        }
        us.stack.release(id).expect("ours");
        drop(ManuallyDrop::into_inner(us));
    }
}

#[track_caller]
fn open_one(world: &World) -> (Us<1>, ConnectionId) {
    let raw = world.raw();
    let mut us = Us::<1>::new(world);
    let id = us.connect(Options::default());
    raw.handshake(Handshake::default(), || {
        us.stack.poll();
    });
    assert_eq!(us.state(id), State::Open);
    (us, id)
}

#[test]
fn an_id_of_another_stack_is_unknown() {
    let worlds = [(); 2].map(|()| World::new(WorldConfig::instant()));
    let (mut first, ours) = open_one(&worlds[0]);
    let (mut second, theirs) = open_one(&worlds[1]);
    assert_ne!(ours, theirs);
    assert_eq!(second.stack.state(ours), Err(UnknownConnection));
    assert_eq!(second.stack.report(ours), Err(UnknownConnection));
    assert_eq!(second.stack.endpoints(ours), Err(UnknownConnection));
    assert_eq!(second.stack.poll_advice(ours), Err(UnknownConnection));
    assert!(second.stack.writer(ours).is_err());
    assert!(second.stack.reader(ours).is_err());
    assert!(second.stack.wait_open(ours).is_err());
    assert_eq!(second.stack.release(ours), Err(UnknownConnection));
    // Neither is harmed.
    first.write(ours, 10);
    second.write(theirs, 10);
}

#[test]
fn one_socket_for_two_connections_is_refused() {
    let mut sockets = SocketSet::new(Vec::new());
    let mut add = || {
        let buffer = || tcp::SocketBuffer::new(vec![0; 100]);
        sockets.add(tcp::Socket::new(buffer(), buffer()))
    };
    let (a, b, c) = (add(), add(), add());
    let device = Of(1_514, Medium::Ethernet);
    let config = Config::new(our_hardware_address(Medium::Ethernet), 1);
    for handles in [[a, a, b], [a, b, a], [b, a, a], [c, c, c]] {
        let made = Tracker::<3>::new(&config, &device, handles);
        assert!(made.is_err(), "{handles:?}");
    }
    assert!(Tracker::<3>::new(&config, &device, [a, b, c]).is_ok());
}
