//! A stack over an embassy driver, in virtual time: the driver is
//! `embassy-net-driver-channel`, whose runner moves frames between the channel
//! and the world's wire, as one for a chip moves them over SPI.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::common::{
    PORT, assert_call_timed_out, assert_error, assert_ledger, at_ms, at_secs, buffers, ms, options,
    pattern, secs, storage,
};
use embassy_net_driver_channel as channel;
use embedded_io::Write;
use lastbyte::stack::embassy::embassy_net_driver::{
    Capabilities, Checksum, Driver, HardwareAddress, LinkState, RxToken, TxToken,
};
use lastbyte::stack::embassy::{EmbassyDevice, MediumError};
use lastbyte::stack::smoltcp::phy::{self, Device, Medium};
use lastbyte::stack::{Config, ConfigError, ConnectionId, Stack};
use lastbyte::{Cause, Clock, Instant, Options, Report, Timeout};
use lastbyte_sim::loopback::{
    Behaviour, Direction, Drops, LoopClock, LoopDevice, OUR_ADDRESSES, OUR_MAC, PEER_V4, World,
    WorldConfig, smoltcp_time,
};

const MTU: usize = 1514;
const TX: usize = 4096;

/// The flag that the waker sets, and a count of its wakes.
#[derive(Default)]
struct Woken {
    is_set: AtomicBool,
    wakes: AtomicU64,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_set.store(true, Ordering::Relaxed);
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Like a board's clock: it sleeps unless the waker was woken since the last sleep. A
/// frame at the chip, like its interrupt, ends the sleep too.
struct RigClock {
    inner: LoopClock,
    woken: Arc<Woken>,
    waits: Rc<Cell<u64>>,
}

impl Clock for RigClock {
    fn now(&mut self) -> Instant {
        self.inner.now()
    }

    fn wait(&mut self, until: Option<Instant>) {
        self.waits.set(self.waits.get() + 1);
        let until = until.unwrap_or(Instant::NEVER);
        while !self.woken.is_set.swap(false, Ordering::Relaxed) && self.inner.now() < until {
            // In steps, because scheduled actions only wake the waker.
            let step = until.min(self.inner.now() + ms(10));
            self.inner.wait(Some(step));
            if self.inner.now() < step {
                return;
            }
        }
    }
}

type Runner = Pin<Box<dyn Future<Output = Infallible>>>;
type OurDevice = EmbassyDevice<channel::Device<'static, MTU>, Runner>;

/// Moves frames between the channel and the wire, as long as there are any, and
/// passes the link state of the chip on to the channel.
fn runner(
    mut ends: channel::Runner<'static, MTU>,
    world: &World,
    link: Rc<Cell<LinkState>>,
) -> Runner {
    let (world, mut wire) = (world.clone(), world.device());
    let mut passed_on = LinkState::Down;
    Box::pin(poll_fn(move |cx| {
        if link.get() != passed_on {
            passed_on = link.get();
            ends.set_link_state(passed_on);
        }
        let now = smoltcp_time(world.now());
        while let Poll::Ready(frame) = ends.poll_tx_buf(cx) {
            let Some(token) = wire.transmit(now) else {
                break;
            };
            phy::TxToken::consume(token, frame.len(), |room| room.copy_from_slice(frame));
            ends.tx_done();
        }
        while let Poll::Ready(room) = ends.poll_rx_buf(cx) {
            let Some((token, _)) = LoopDevice::receive(&mut wire, now) else {
                break;
            };
            let len = phy::RxToken::consume(token, |frame| {
                room[..frame.len()].copy_from_slice(frame);
                frame.len()
            });
            ends.rx_done(len);
        }
        Poll::Pending
    }))
}

struct Rig {
    world: World,
    stack: Stack<'static, OurDevice, RigClock, 1>,
    link: Rc<Cell<LinkState>>,
    woken: Arc<Woken>,
    waits: Rc<Cell<u64>>,
}

impl Rig {
    fn new() -> Self {
        Self::of(WorldConfig::default(), HardwareAddress::Ethernet(OUR_MAC.0))
    }

    fn of(config: WorldConfig, address: HardwareAddress) -> Self {
        let world = World::new(config);
        let state = Box::leak(Box::new(channel::State::<MTU, 4, 4>::new()));
        let (ends, driver) = channel::new(state, address);
        let link = Rc::new(Cell::new(LinkState::Up));
        let (woken, waits) = (Arc::new(Woken::default()), Rc::new(Cell::new(0)));
        let device = EmbassyDevice::new(driver, Waker::from(Arc::clone(&woken)))
            .expect("a medium that is on")
            .with_runner(runner(ends, &world, Rc::clone(&link)));
        let clock = RigClock {
            inner: world.clock(),
            woken: Arc::clone(&woken),
            waits: Rc::clone(&waits),
        };
        let config = Config::new(device.hardware_address(), 42);
        let mut stack = Stack::new(device, clock, config, buffers(TX, 2048), storage(1))
            .expect("a good configuration");
        stack
            .interface_mut()
            .update_ip_addrs(|own| own.extend(OUR_ADDRESSES));
        stack.follow_link(EmbassyDevice::is_link_up);
        Self {
            world,
            stack,
            link,
            woken,
            waits,
        }
    }

    #[track_caller]
    fn open(&mut self, behaviour: Behaviour, options: Options) -> ConnectionId {
        self.world.peer().listen(PORT, behaviour);
        let id = self.stack.connect((PEER_V4, PORT), options).unwrap();
        self.stack.wait_open(id).unwrap();
        id
    }

    #[track_caller]
    fn report(&mut self, id: ConnectionId) -> Report {
        self.stack.report(id).unwrap()
    }

    fn set_link_at(&self, time: Instant, state: LinkState) {
        let (link, woken) = (Rc::clone(&self.link), Arc::clone(&self.woken));
        self.world.at(time, move |_| {
            link.set(state);
            woken.wake();
        });
    }

    fn wakes(&self) -> u64 {
        self.woken.wakes.load(Ordering::Relaxed)
    }
}

#[test]
fn every_byte_arrives_and_is_in_the_ledger() {
    let media = [
        (WorldConfig::default(), HardwareAddress::Ethernet(OUR_MAC.0)),
        (
            WorldConfig {
                mtu: MTU,
                ..WorldConfig::ip()
            },
            HardwareAddress::Ip,
        ),
    ];
    for (config, address) in media {
        let mut rig = Rig::of(config, address);
        let id = rig.open(Behaviour::sink(), Options::default());
        let data = pattern(0, 100_000);
        let mut writer = rig.stack.writer(id).unwrap();
        writer.write_all(&data).unwrap();
        let report = writer.finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_ledger(report.ledger, 100_000, 100_000);
        assert_eq!(rig.world.peer().received(PORT), data, "{address:?}");
    }
}

#[test]
fn the_first_write_after_the_fin_is_refused_without_a_poll() {
    let mut rig = Rig::new();
    let id = rig.open(Behaviour::sink().closing_after(5), Options::default());
    rig.stack.writer(id).unwrap().write_all(b"hello").unwrap();
    // The FIN reaches the chip; neither the stack nor the runner is polled.
    rig.world.run_for(secs(1));
    let mut writer = rig.stack.writer(id).unwrap();
    assert_error(
        writer.try_write(b"lost?").unwrap_err(),
        Cause::PeerFinished,
        5,
        5,
    );
    assert_error(
        writer.write_all(b"lost?").unwrap_err(),
        Cause::PeerFinished,
        5,
        5,
    );
    assert_eq!(rig.world.peer().received(PORT), b"hello");
}

#[test]
fn written_bytes_are_sent_without_a_wait() {
    let mut rig = Rig::new();
    let id = rig.open(Behaviour::sink(), Options::default());
    let accepted = rig.stack.writer(id).unwrap().try_write(b"now");
    assert_eq!(accepted, Ok(3));
    rig.world.run_for(ms(5));
    assert_eq!(rig.world.peer().received(PORT), b"now");
}

#[test]
fn a_reset_and_a_fin_are_different_causes() {
    let mut rig = Rig::new();
    let id = rig.open(Behaviour::sink(), Options::default());
    rig.stack.writer(id).unwrap().write_all(b"hello").unwrap();
    rig.stack.writer(id).unwrap().flush().unwrap();
    rig.world.peer().abort(PORT);
    rig.world.run_for(secs(1));
    let error = rig.stack.writer(id).unwrap().write(b"lost?").unwrap_err();
    assert_error(error, Cause::PeerReset, 5, 5);
}

/// Drops everything from this instant on.
fn cut(world: &World, from: Instant) {
    world.at(from, |world| {
        world.set_drops(Direction::ToPeer, Drops::All);
        world.set_drops(Direction::ToUs, Drops::All);
    });
}

#[test]
fn a_link_that_goes_down_while_a_write_blocks_is_in_the_report() {
    for (down, up) in [(2_000, 3_000), (2_000, 60_000)] {
        let mut rig = Rig::new();
        let limits = options(|o| o.user_timeout(secs(20)).call_timeout(secs(50)));
        let id = rig.open(Behaviour::sink(), limits);
        assert!(!rig.report(id).link_was_down);
        rig.set_link_at(at_ms(down), LinkState::Down);
        rig.set_link_at(at_ms(up), LinkState::Up);
        cut(&rig.world, at_secs(1));
        rig.world.run_until(at_secs(1));
        let error = rig.stack.writer(id).unwrap().write_all(&[1; 2 * TX]);
        let ledger = error.unwrap_err().ledger();
        let report = rig.report(id);
        assert_eq!(report.cause, Some(Cause::Vanished));
        assert_eq!(report.ledger, ledger);
        assert!(report.link_was_down, "down at {down} ms, up at {up} ms");
    }
}

#[test]
fn a_link_that_goes_down_in_the_sleep_before_the_end_is_in_the_report() {
    let mut rig = Rig::new();
    let limits = options(|o| o.user_timeout(secs(20)).call_timeout(secs(50)));
    let id = rig.open(Behaviour::sink(), limits);
    cut(&rig.world, at_secs(1));
    rig.world.run_until(at_secs(1));
    // The change ends the sleep or, if its wake is late, the timeout.
    let end = at_secs(21);
    rig.set_link_at(end, LinkState::Down);
    let error = rig.stack.writer(id).unwrap().write_all(&[1; 2 * TX]);
    assert_eq!(error.unwrap_err().cause(), Some(Cause::Vanished));
    assert_eq!(rig.world.now(), end);
    assert!(rig.report(id).link_was_down);
}

#[test]
fn an_unplugged_cable_is_recorded_and_ends_nothing() {
    let mut rig = Rig::new();
    let id = rig.open(Behaviour::sink(), Options::default());
    rig.set_link_at(at_secs(1), LinkState::Down);
    rig.set_link_at(at_secs(2), LinkState::Up);
    rig.stack.run_for(secs(5));
    let mut writer = rig.stack.writer(id).unwrap();
    writer.write_all(b"still there").unwrap();
    let report = writer.finish().unwrap();
    assert_eq!(report.cause, Some(Cause::Finished));
    assert!(report.link_was_down);
    // The link is up: the report of the next connection does not contain it.
    let id = rig.open(Behaviour::sink(), Options::default());
    assert!(!rig.report(id).link_was_down);
}

#[test]
fn an_idle_connection_sleeps() {
    let mut rig = Rig::new();
    let id = rig.open(Behaviour::sink(), Options::default());
    rig.stack.writer(id).unwrap().write_all(b"hello").unwrap();
    rig.stack.writer(id).unwrap().flush().unwrap();
    rig.stack.run_for(secs(1));
    let (waits, wakes) = (rig.waits.get(), rig.wakes());
    rig.stack.run_for(secs(3_600));
    assert_eq!(rig.wakes() - wakes, 0, "nothing happened");
    assert!(rig.waits.get() - waits <= 2, "{waits} sleeps in an hour");
}

#[test]
fn a_blocked_write_only_wakes_for_frames_and_timers() {
    let mut rig = Rig::new();
    let limits = options(|o| o.call_timeout(secs(600)));
    let id = rig.open(Behaviour::silent().rx_buffer(2048), limits);
    let frames = |rig: &Rig| {
        let (out, back) = (Direction::ToPeer, Direction::ToUs);
        rig.world.counters(out).frames + rig.world.counters(back).frames
    };
    let (waits, before) = (rig.waits.get(), frames(&rig));
    let error = rig.stack.writer(id).unwrap().write_all(&[1; 4 * TX]);
    assert_call_timed_out(error.unwrap_err(), Timeout::NotReading);
    let (waits, frames) = (rig.waits.get() - waits, frames(&rig) - before);
    // Each frame may cause one wake at the chip or on its way into the channel, and one more
    // in the channel, and a timer may send it. There are two more wakes in a quiet minute.
    assert!(
        waits <= 5 * frames + 3,
        "{waits} sleeps for {frames} frames"
    );
}

#[test]
fn a_task_runs_beside_the_runner_until_its_end_or_the_limit() {
    let mut rig = Rig::new();
    rig.set_link_at(at_secs(3), LinkState::Up);
    let mut clock = RigClock {
        inner: rig.world.clock(),
        woken: Arc::clone(&rig.woken),
        waits: Rc::clone(&rig.waits),
    };
    let world = rig.world.clone();
    let joined = async move {
        poll_fn(|_| match world.now() >= at_secs(3) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        "joined"
    };
    let device = rig.stack.device_mut();
    assert_eq!(
        device.run_until(&mut clock, at_secs(10), joined),
        Some("joined")
    );
    assert_eq!(rig.world.now(), at_secs(3));
    let never = std::future::pending::<()>();
    let device = rig.stack.device_mut();
    assert_eq!(device.run_until(&mut clock, at_secs(10), never), None);
    assert_eq!(rig.world.now(), at_secs(10));
    assert!(rig.waits.get() < 10, "{} sleeps", rig.waits.get());
}

/// A driver that announces its capabilities, and has no frames.
struct Plain {
    address: HardwareAddress,
    capabilities: Capabilities,
}

impl Plain {
    fn new(address: HardwareAddress, mtu: usize) -> Self {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = mtu;
        Self {
            address,
            capabilities,
        }
    }

    fn device(self) -> Result<EmbassyDevice<Self>, MediumError> {
        EmbassyDevice::new(self, Waker::noop().clone())
    }
}

struct NoToken(Infallible);

impl RxToken for NoToken {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: F) -> R {
        match self.0 {}
    }
}

impl TxToken for NoToken {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: usize, _: F) -> R {
        match self.0 {}
    }
}

impl Driver for Plain {
    type RxToken<'a> = NoToken;
    type TxToken<'a> = NoToken;

    fn receive(&mut self, _: &mut Context<'_>) -> Option<(NoToken, NoToken)> {
        None
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<NoToken> {
        None
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Down
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn hardware_address(&self) -> HardwareAddress {
        self.address
    }
}

#[test]
fn the_capabilities_of_a_driver_are_passed_on() {
    let mut driver = Plain::new(HardwareAddress::Ethernet([2, 0, 0, 0, 0, 9]), 1514);
    driver.capabilities.max_burst_size = Some(3);
    driver.capabilities.checksum.ipv4 = Checksum::Rx;
    driver.capabilities.checksum.udp = Checksum::None;
    driver.capabilities.checksum.tcp = Checksum::Tx;
    driver.capabilities.checksum.icmpv4 = Checksum::None;
    driver.capabilities.checksum.icmpv6 = Checksum::Tx;
    let device = driver.device().unwrap();
    let capabilities = device.capabilities();
    assert_eq!(capabilities.medium, Medium::Ethernet);
    assert_eq!(capabilities.ip_mtu(), 1500, "without the Ethernet header");
    assert_eq!(capabilities.max_burst_size, Some(3));
    let checksum = &capabilities.checksum;
    assert!(matches!(checksum.ipv4, phy::Checksum::Rx));
    assert!(matches!(checksum.udp, phy::Checksum::None));
    assert!(matches!(checksum.tcp, phy::Checksum::Tx));
    assert!(matches!(checksum.icmpv4, phy::Checksum::None));
    assert!(matches!(checksum.icmpv6, phy::Checksum::Tx));

    let device = Plain::new(HardwareAddress::Ip, 1500).device().unwrap();
    let capabilities = device.capabilities();
    assert_eq!(capabilities.medium, Medium::Ip);
    assert_eq!(capabilities.ip_mtu(), 1500);
    assert!(matches!(capabilities.checksum.tcp, phy::Checksum::Both));
}

#[test]
fn a_driver_that_does_not_fit_is_a_clear_error() {
    let error = Plain::new(HardwareAddress::Ieee802154([0; 8]), 127).device();
    let error = error.err().unwrap();
    assert_eq!(error, MediumError::Ieee802154);
    assert!(error.to_string().contains("802.15.4"), "{error}");

    for (mtu, ip_mtu) in [(0, 0), (13, 0), (14, 0), (81, 67)] {
        let device = Plain::new(HardwareAddress::Ethernet(OUR_MAC.0), mtu);
        let device = device.device().unwrap();
        let config = Config::new(device.hardware_address(), 42);
        let clock = World::new(WorldConfig::default()).clock();
        let stack = Stack::<_, _, 1>::new(device, clock, config, buffers(16, 16), storage(1));
        assert_eq!(
            stack.err(),
            Some(ConfigError::MtuTooSmall { mtu: ip_mtu }),
            "{mtu}"
        );
    }
}

#[test]
fn a_runner_that_ends_is_not_polled_again() {
    let driver = Plain::new(HardwareAddress::Ip, 1500);
    let polls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&polls);
    let runner = Box::pin(async move { counted.set(counted.get() + 1) });
    let mut device = driver.device().unwrap().with_runner(runner);
    for _ in 0..3 {
        assert!(!device.is_link_up());
        assert!(device.receive(smoltcp_time(Instant::ZERO)).is_none());
    }
    assert_eq!(polls.get(), 1);
}

#[test]
fn a_write_waits_for_a_full_device() {
    // The wire accepts no frame while one is on it, so the channel fills.
    let config = WorldConfig {
        queue_frames: 1,
        latency: Duration::from_millis(7),
        ..WorldConfig::default()
    };
    let mut rig = Rig::of(config, HardwareAddress::Ethernet(OUR_MAC.0));
    let id = rig.open(Behaviour::sink().acking_at_once(), Options::default());
    let data = pattern(0, 50_000);
    let mut writer = rig.stack.writer(id).unwrap();
    writer.write_all(&data).unwrap();
    let report = writer.finish().unwrap();
    assert_ledger(report.ledger, 50_000, 50_000);
    assert_eq!(rig.world.peer().received(PORT), data);
}
