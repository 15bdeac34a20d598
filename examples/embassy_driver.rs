//! A blocking program over a driver made for embassy-net. A board has to supply the
//! driver with its runner, a waker, and a clock.
//!
//! `cargo run --example embassy_driver` runs in virtual time. In place of a chip on SPI
//! there is an in-process wire. Its driver is made like those of the W5500 or the CYW43,
//! from a channel and a runner. The cable is unplugged at 2.5 s and plugged in again at 4
//! s; the server closes at 6.5 s.

use embassy_net_driver_channel as channel;
use embedded_io::Write;
use lastbyte::stack::embassy::EmbassyDevice;
use lastbyte::stack::embassy::embassy_net_driver::{HardwareAddress, LinkState};
use lastbyte::stack::smoltcp::phy::{Device, RxToken, TxToken};
use lastbyte::{Clock, Instant, Options};
use lastbyte_examples::Failure;
use lastbyte_sim::loopback::{
    BEGINNING, Behaviour, Direction, Drops, LoopClock, OUR_ADDRESSES, OUR_MAC, PEER_V4, World,
    WorldConfig, smoltcp_time,
};
use lastbyte_sim::setup::Setup;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

const MTU: usize = 1514;

/// The flag that the waker sets. Firmware without an allocator makes its waker from a
/// `static`: see the documentation of `lastbyte::stack::embassy`.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// The clock sleeps only if the waker was not woken since the last sleep, so that a frame
/// that arrives after the last poll does not have to wait.
struct BoardClock {
    world: LoopClock,
    woken: Arc<Woken>,
}

impl Clock for BoardClock {
    fn now(&mut self) -> Instant {
        self.world.now()
    }

    fn wait(&mut self, until: Option<Instant>) {
        // On a microcontroller: mask interrupts, read the flag, WFI, unmask.
        if !self.woken.0.swap(false, Ordering::Acquire) {
            self.world.wait(until);
        }
    }
}

/// The driver's background half, written by the driver's author: it moves frames between
/// the channel and the chip, and reports the chip's link.
fn runner(
    mut channel: channel::Runner<'_, MTU>,
    world: World,
    link: Rc<Cell<LinkState>>,
) -> impl Future<Output = Infallible> {
    let mut chip = world.device();
    let mut reported = LinkState::Down;
    poll_fn(move |cx| {
        let now = smoltcp_time(world.now());
        // A report wakes the program, so only changes are reported.
        if link.get() != reported {
            reported = link.get();
            channel.set_link_state(reported);
        }
        while let Poll::Ready(frame) = channel.poll_tx_buf(cx) {
            let Some(room) = chip.transmit(now) else {
                break;
            };
            room.consume(frame.len(), |room| room.copy_from_slice(frame));
            channel.tx_done();
        }
        while let Poll::Ready(room) = channel.poll_rx_buf(cx) {
            let Some((arrived, _)) = chip.receive(now) else {
                break;
            };
            let len = arrived.consume(|frame| {
                room[..frame.len()].copy_from_slice(frame);
                frame.len()
            });
            channel.rx_done(len);
        }
        Poll::Pending
    })
}

fn main() -> Result<(), Failure> {
    let world = World::new(WorldConfig::default());
    let link = Rc::new(Cell::new(LinkState::Up));
    plan(&world, &link);

    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let clock = BoardClock {
        world: world.clock(),
        woken: Arc::clone(&woken),
    };
    let mut state = channel::State::<MTU, 4, 4>::new();
    let (ends, driver) = channel::new(&mut state, HardwareAddress::Ethernet(OUR_MAC.0));
    let runner = pin!(runner(ends, world, link));
    let device = EmbassyDevice::new(driver, Waker::from(woken))?.with_runner(runner);

    Setup::new(device.hardware_address(), &OUR_ADDRESSES, 1).run(device, clock, |stack| {
        // From here on reports include the link, even during blocking calls.
        stack.follow_link(EmbassyDevice::is_link_up);
        // A chip may need some time until it has a link.
        while !stack.device_mut().is_link_up() {
            stack.run_for(Duration::from_millis(100));
        }
        let id = stack.connect((PEER_V4, 5000), Options::default())?;
        while let Ok(()) = stack.writer(id)?.write_all(b"beat\n") {
            println!(
                "{:>4} ms  beat",
                stack.clock_mut().now().since(BEGINNING).as_millis()
            );
            stack.run_for(Duration::from_secs(1));
        }
        let report = stack.release(id)?;
        let ledger = report.ledger;
        println!(
            "ended: {:?}; {} bytes accepted, {} acknowledged; link was down: {}",
            report.cause,
            ledger.accepted(),
            ledger.acknowledged(),
            report.link_was_down
        );
        Ok(())
    })?
}

/// Schedules what happens to the cable and at the server.
fn plan(world: &World, link: &Rc<Cell<LinkState>>) {
    let closes_at = world.after(Duration::from_millis(6_500));
    let server = Behaviour::sink().closing_at(closes_at);
    world.peer().listen(5000, server);
    for (at_ms, state) in [(2_500, LinkState::Down), (4_000, LinkState::Up)] {
        let link = Rc::clone(link);
        world.at(world.after(Duration::from_millis(at_ms)), move |world| {
            link.set(state);
            for direction in [Direction::ToPeer, Direction::ToUs] {
                let drops = match state {
                    LinkState::Down => Drops::All,
                    LinkState::Up => Drops::Nothing,
                };
                world.set_drops(direction, drops);
            }
        });
    }
}
