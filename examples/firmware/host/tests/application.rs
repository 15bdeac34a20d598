//! The application in virtual time: tests that would take minutes, or thousands of
//! connections, on a board.

use lastbyte::Cause;
use lastbyte::stack::Buffers;
use lastbyte::stack::smoltcp::wire::HardwareAddress;
use lastbyte_firmware_app::{Board, Link, Outcome, Settings};
use lastbyte_sim::loopback::{
    Behaviour, Direction, Drops, Flags, OUR_V4, PEER_V4, World, WorldConfig, our_hardware_address,
};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// `defmt` needs a logger to link. The tests on the boards check what the application logs.
#[defmt::global_logger]
struct Nowhere;

// SAFETY: it has no state, so there is nothing that two threads could use at once.
unsafe impl defmt::Logger for Nowhere {
    fn acquire() {}
    unsafe fn flush() {}
    unsafe fn release() {}
    unsafe fn write(_: &[u8]) {}
}

defmt::timestamp!("");

const PORT: u16 = 5000;

fn world() -> World {
    World::new(WorldConfig {
        latency: Duration::from_micros(100),
        ..WorldConfig::default()
    })
}

fn settings(words: &str) -> Settings<'_> {
    let mut settings = Settings::parse(words.split_whitespace()).unwrap();
    settings.host = PEER_V4;
    settings.addr = format!("{OUR_V4}/24").parse().unwrap();
    settings.gateway = None;
    settings
}

fn run(world: &World, settings: &Settings<'_>) -> Outcome {
    let HardwareAddress::Ethernet(hardware_addr) = our_hardware_address(world.config().medium)
    else {
        panic!("the world has Ethernet");
    };
    let board = Board {
        device: world.device(),
        clock: world.clock(),
        hardware_addr,
        seed: 0x0123_4567_89AB_CDEF,
        link: |_| Link::Unknown,
    };
    lastbyte_firmware_app::run(board, settings, &mut Buffers::<1, 7300, 1460>::new())
}

/// Opens more connections than there are ports, faster than resting ports become free:
/// 16,384 in 60 s would be 273 a second. We closed none of these connections first, so no
/// port rests.
#[track_caller]
fn assert_never_out_of_ports(behaviour: Option<Behaviour>) {
    const CONNECTIONS: u64 = 20_000;
    let world = world();
    if let Some(behaviour) = behaviour {
        world.peer().listen(PORT, behaviour);
    }
    let begun = Rc::new(Cell::new(0));
    world.observe({
        let begun = Rc::clone(&begun);
        move |_, frame| {
            let is_first = frame
                .segment()
                .is_some_and(|segment| segment.flags == Flags::SYN);
            begun.set(begun.get() + u64::from(is_first));
        }
    });
    let start = world.now();
    let words = "every=1ms backoff=1ms backoff-most=1ms connections=20000";
    run(&world, &settings(words));
    let took = world.now().since(start);
    assert_eq!(begun.get(), CONNECTIONS);
    assert!(took < Duration::from_secs(CONNECTIONS / 310), "{took:?}");
}

#[test]
fn a_peer_that_resets_at_once_uses_up_no_ports() {
    assert_never_out_of_ports(Some(Behaviour::sink().aborting_after(1)));
}

#[test]
fn a_peer_that_refuses_uses_up_no_ports() {
    assert_never_out_of_ports(None);
}

/// After a while all sockets of the peer are in TIME-WAIT, and it refuses.
#[test]
fn a_peer_that_closes_at_once_uses_up_no_ports() {
    assert_never_out_of_ports(Some(Behaviour::sink().closing_after(1).backlog(64)));
}

/// Constants in place of words are not checked, but there is still a pause.
#[test]
fn without_a_pause_in_the_settings_there_is_still_one() {
    let world = world();
    world
        .peer()
        .listen(PORT, Behaviour::sink().aborting_after(1));
    let mut settings = settings("every=0 connections=1000");
    settings.backoff = Duration::ZERO;
    settings.backoff_most = Duration::ZERO;
    let start = world.now();
    assert_eq!(run(&world, &settings), Outcome::GaveUp(Cause::PeerReset));
    let took = world.now().since(start);
    assert!(took > Duration::from_millis(750 + 2 * 100), "{took:?}");
}

/// Patience is for a peer that responds: a silent one has vanished, whichever of the two
/// times is longer.
#[test]
fn a_silent_peer_is_not_reported_as_not_reading() {
    for words in ["", "patience=1s", "patience=100h"] {
        let world = world();
        world.peer().listen(PORT, Behaviour::sink());
        world.at(world.after(Duration::from_millis(50)), |world| {
            world.set_drops(Direction::ToPeer, Drops::All);
            world.set_drops(Direction::ToUs, Drops::All);
        });
        let words = format!("mode=bulk bytes=100000000 connections=1 {words}");
        let outcome = run(&world, &settings(&words));
        assert_eq!(outcome, Outcome::GaveUp(Cause::Vanished), "{words}");
    }
}
