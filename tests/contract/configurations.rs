//! Configurations that cannot work, each refused by name.

use crate::common::*;
use embedded_io::{Error, ErrorKind};
use lastbyte::stack::smoltcp::phy::{Device, DeviceCapabilities, Loopback, Medium};
use lastbyte::stack::smoltcp::wire::{EthernetAddress, HardwareAddress};
use lastbyte::stack::{Config, ConfigError, OpenError, SlotBuffers, Stack, Tracker};
use lastbyte_sim::loopback::{World, WorldConfig};

/// A device that only has capabilities.
struct Bare(usize, Medium);

impl Device for Bare {
    type RxToken<'a> = <Loopback as Device>::RxToken<'a>;
    type TxToken<'a> = <Loopback as Device>::TxToken<'a>;

    fn receive(
        &mut self,
        _: smoltcp::time::Instant,
    ) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Self::TxToken<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.max_transmission_unit, capabilities.medium) = (self.0, self.1);
        capabilities
    }
}

const MAC: HardwareAddress = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 1]));

fn made<const N: usize>(
    device: Bare,
    config: Config,
    buffers: [SlotBuffers<'static>; N],
    sockets: usize,
) -> Result<(), ConfigError> {
    let clock = World::new(WorldConfig::default()).clock();
    Stack::new(device, clock, config, buffers, storage(sockets)).map(|_| ())
}

#[test]
fn each_bad_configuration_is_refused_by_name() {
    let ethernet = || Bare(1_514, Medium::Ethernet);
    let good = || Config::new(MAC, 1);
    assert_eq!(made(ethernet(), good(), buffers::<2>(1, 1), 2), Ok(()));
    let ip = Bare(68, Medium::Ip);
    let ip_config = Config::new(HardwareAddress::Ip, 1);
    assert_eq!(made(ip, ip_config.clone(), buffers::<1>(1, 1), 1), Ok(()));

    let tiny = made(Bare(13, Medium::Ethernet), good(), buffers::<1>(1, 1), 1);
    assert_eq!(tiny, Err(ConfigError::MtuTooSmall { mtu: 0 }));
    let small = made(Bare(81, Medium::Ethernet), good(), buffers::<1>(1, 1), 1);
    assert_eq!(small, Err(ConfigError::MtuTooSmall { mtu: 67 }));
    let small = made(
        Bare(67, Medium::Ip),
        ip_config.clone(),
        buffers::<1>(1, 1),
        1,
    );
    assert_eq!(small, Err(ConfigError::MtuTooSmall { mtu: 67 }));
    let none = made(
        Bare(0, Medium::Ip),
        ip_config.clone(),
        buffers::<1>(1, 1),
        1,
    );
    assert_eq!(none, Err(ConfigError::MtuTooSmall { mtu: 0 }));

    let mismatch = made(ethernet(), ip_config, buffers::<1>(1, 1), 1);
    assert_eq!(mismatch, Err(ConfigError::HardwareAddressMismatch));
    let mismatch = made(Bare(1_500, Medium::Ip), good(), buffers::<1>(1, 1), 1);
    assert_eq!(mismatch, Err(ConfigError::HardwareAddressMismatch));
    for group in [[1, 0, 0x5e, 0, 0, 1], [0xff; 6]] {
        let config = Config::new(EthernetAddress(group).into(), 1);
        let refused = made(ethernet(), config, buffers::<1>(1, 1), 1);
        assert_eq!(refused, Err(ConfigError::HardwareAddressNotUnicast));
    }

    #[allow(clippy::reversed_empty_ranges, reason = "that is the point")]
    for range in [0..=0, 0..=65_535, 9..=8] {
        let refused = made(ethernet(), good().local_ports(range), buffers::<1>(1, 1), 1);
        assert_eq!(refused, Err(ConfigError::NoLocalPorts));
    }
    let refused = made(ethernet(), good().receive_queue(0), buffers::<1>(1, 1), 1);
    assert_eq!(refused, Err(ConfigError::NoReceiveQueue));
    let least = made(ethernet(), good().receive_queue(1), buffers::<1>(1, 1), 1);
    assert_eq!(least, Ok(()));

    let [good_one, _] = buffers::<2>(1, 1);
    for (tx, rx) in [(0, 1), (1, 0), (0, 0)] {
        let [empty] = buffers::<1>(tx, rx);
        let [first] = buffers::<1>(1, 1);
        let refused = made(ethernet(), good(), [first, empty], 2);
        assert_eq!(refused, Err(ConfigError::EmptyBuffer { slot: 1 }));
    }
    // Never written to, so this takes no memory.
    let huge = |len| SlotBuffers {
        tx: vec![0; 1].leak(),
        rx: vec![0; len].leak(),
    };
    let refused = made(ethernet(), good(), [huge((1 << 30) + 1)], 1);
    assert_eq!(refused, Err(ConfigError::BufferTooLarge { slot: 0 }));
    assert_eq!(made(ethernet(), good(), [huge(1 << 30)], 1), Ok(()));

    let refused = made(ethernet(), good(), [good_one], 0);
    let (storage, needed) = (0, 1);
    assert_eq!(refused, Err(ConfigError::TooFewSockets { storage, needed }));
}

#[test]
fn a_tracker_checks_its_configuration_too() {
    let device = Bare(60, Medium::Ethernet);
    let config = Config::new(MAC, 1);
    let handle = smoltcp::iface::SocketHandle::default();
    let refused = Tracker::<1>::new(&config, &device, [handle]).map(|_| ());
    assert_eq!(refused, Err(ConfigError::MtuTooSmall { mtu: 46 }));
}

#[test]
fn each_open_error_has_its_kind() {
    for (error, kind) in [
        (OpenError::NoSlot, ErrorKind::OutOfMemory),
        (OpenError::NoPort, ErrorKind::AddrInUse),
        (OpenError::InvalidRemote, ErrorKind::InvalidInput),
        (OpenError::InvalidLocal, ErrorKind::InvalidInput),
        (OpenError::NoRoute, ErrorKind::AddrNotAvailable),
    ] {
        assert_eq!(error.kind(), kind);
        assert!(!error.to_string().is_empty());
    }
}
