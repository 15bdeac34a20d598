//! The drivers of the LM3S6965 over a model of its registers, for what QEMU's model lacks:
//! the oscillators, the PHY, errors of the transmitter, and the end of the counter. The
//! model follows the data sheet, not the drivers.

#[path = "../../lm3s6965/src/chip.rs"]
#[allow(dead_code, unreachable_pub)]
mod chip;
#[path = "../../lm3s6965/src/clock.rs"]
#[allow(dead_code, unreachable_pub)]
mod clock;
#[path = "../../lm3s6965/src/ethernet.rs"]
#[allow(dead_code, unreachable_pub)]
mod ethernet;
#[path = "lm3s6965/registers.rs"]
mod registers;

use ethernet::{Ethernet, Frames, arm_interrupt};
use lastbyte::stack::smoltcp::phy::Device as _;
use lastbyte::stack::smoltcp::time::Instant;
use lastbyte::stack::smoltcp::wire::EthernetAddress;
use lastbyte_firmware_app::Link;
use registers::{Negotiated, with_chip};

/// `defmt` needs a logger to link; nothing here logs.
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

fn mac() -> Ethernet {
    let frames = Box::leak(Box::new(Frames::new()));
    Ethernet::start(EthernetAddress([2, 0, 0, 0, 0, 1]), frames)
}

/// The model panics at what the data sheet forbids.
#[test]
fn the_main_oscillator_is_stable_before_it_is_the_clock() {
    chip::start();
    with_chip(|chip| {
        assert!(chip.runs_on_pll());
        assert_eq!(chip.clock_hz(), u64::from(chip::CLOCK_HZ));
    });
}

#[test]
fn a_transmit_error_does_not_keep_an_idle_chip_awake() {
    let _mac = mac();
    with_chip(|chip| chip.fail_to_transmit());
    arm_interrupt();
    with_chip(|chip| {
        assert!(!chip.interrupts(), "it would wake at once, again and again");
        assert!(chip.can_transmit());
    });
}

#[test]
fn a_transmit_error_is_acknowledged_when_frames_are_polled() {
    let mut mac = mac();
    arm_interrupt();
    with_chip(|chip| {
        chip.fail_to_transmit();
        assert!(chip.interrupts(), "it wakes the chip");
    });
    assert!(mac.receive(Instant::ZERO).is_none());
    with_chip(|chip| assert!(chip.can_transmit()));
}

#[test]
fn the_mac_follows_the_duplex_that_was_negotiated() {
    const ALL: u32 = 0b1_1110_0001;
    let cases = [
        ("100 Mbit/s full", 1 << 8, true),
        ("100 Mbit/s half", 1 << 7, false),
        ("10 Mbit/s full", 1 << 6, true),
        ("10 Mbit/s half", 1 << 5, false),
        ("a switch", ALL, true),
        (
            "a hub of 100 Mbit/s and full duplex of 10",
            1 << 7 | 1 << 6,
            false,
        ),
        ("nothing in common", 0, false),
    ];
    for (name, partner, is_full) in cases {
        let mut mac = mac();
        with_chip(|chip| chip.connect(ALL, partner, Negotiated::Done));
        assert_eq!(mac.link(), Link::Up);
        with_chip(|chip| assert_eq!(chip.is_full_duplex(), is_full, "{name}"));
    }
}

#[test]
fn duplex_changes_with_the_cable_but_not_before_it_is_known() {
    let mut mac = mac();
    with_chip(|chip| {
        assert!(!chip.is_full_duplex(), "before anything is known");
        chip.connect(1 << 8, 1 << 8, Negotiated::NotYet);
    });
    assert_eq!(mac.link(), Link::Up);
    with_chip(|chip| {
        assert!(!chip.is_full_duplex(), "while it is negotiated");
        chip.connect(1 << 8, 1 << 8, Negotiated::Done);
    });
    mac.link();
    with_chip(|chip| {
        assert!(chip.is_full_duplex());
        chip.connect(1 << 8 | 1 << 7, 1 << 7, Negotiated::Done);
    });
    mac.link();
    with_chip(|chip| assert!(!chip.is_full_duplex(), "at a hub"));
}

/// At any interval between reads, up to the longest sleep.
#[test]
fn time_continues_beyond_the_end_of_the_counter() {
    let _clock = clock::CounterClock::start();
    let start = clock::micros();
    let mut ticks: u64 = 0;
    for step in [1, 50, 1 << 20, 1 << 30, (1 << 31) - 1, 1 << 31, 77]
        .iter()
        .cycle()
        .take(100)
    {
        with_chip(|chip| chip.pass(*step));
        ticks += step;
        assert_eq!(clock::micros() - start, ticks / 50);
    }
}
