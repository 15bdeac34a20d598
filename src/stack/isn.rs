//! Connecting with an initial sequence number of our own choice.
//!
//! smoltcp draws that number from the generator of the interface passed to `connect`, and
//! uses nothing else of the interface (the source address is an argument). So `connect`
//! gets an interface that is made for this one call, with a generator whose next number
//! is the wanted one. No frame passes through it. An optimising compiler leaves nothing
//! of it but the generator. Without optimisation, it takes as much of the call stack
//! during the call as making the stack's own interface does.
//!
//! `tests/bare_smoltcp` pins what this depends on. If another crate enables features of
//! smoltcp with which an interface draws more numbers when it is made (IEEE 802.15.4,
//! 6LoWPAN), the result is another number, which is as hard to compute but does not
//! increase with the clock.

use super::ends::Ends;
use smoltcp::iface::{Config, Context, Interface};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::HardwareAddress;

/// smoltcp's generator steps from a state to `state * FACTOR + TERM`. Its number is the
/// 32 bits that begin at bit 29 minus the value of the three highest bits.
const FACTOR: u64 = 0xbb2e_fcec_3c39_611d;
const TERM: u64 = 0x7590_ef39;

/// The inverse of `FACTOR` modulo 2^64.
const INVERSE: u64 = {
    // By Newton's method: three bits are right at first, and each step doubles their number.
    let mut inverse = FACTOR;
    let mut step = 0_u32;
    while step < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(FACTOR.wrapping_mul(inverse)));
        step = step.wrapping_add(1);
    }
    inverse
};

const fn step_back(state: u64) -> u64 {
    state.wrapping_sub(TERM).wrapping_mul(INVERSE)
}

/// The seed of an interface whose next number is this one. With IPv4, the interface has
/// drawn one number before it, the first identification of a packet. Once in 65,536 times
/// smoltcp has to draw that again, and the result is another number.
const fn seed_for(number: u32) -> u64 {
    let [a, b, c, d] = number.to_le_bytes();
    let last = u64::from_le_bytes([a, b, c, d, 0, 0, 0, 0]) << 29;
    let before = step_back(last);
    if cfg!(feature = "proto-ipv4") {
        step_back(before)
    } else {
        before
    }
}

#[cfg(feature = "medium-ethernet")]
const MEDIUM: Medium = Medium::Ethernet;
#[cfg(feature = "medium-ethernet")]
const ADDRESS: HardwareAddress =
    HardwareAddress::Ethernet(smoltcp::wire::EthernetAddress([2, 0, 0, 0, 0, 1]));
#[cfg(not(feature = "medium-ethernet"))]
const MEDIUM: Medium = Medium::Ip;
#[cfg(not(feature = "medium-ethernet"))]
const ADDRESS: HardwareAddress = HardwareAddress::Ip;

/// Starts connecting with this initial sequence number.
pub(super) fn connect(
    socket: &mut tcp::Socket<'_>,
    ends: Ends,
    number: u32,
) -> Result<(), tcp::ConnectError> {
    with_generator(seed_for(number), |context| {
        socket.connect(context, ends.remote, ends.local)
    })
}

/// Lends an interface that was made for this call, with this seed of its generator.
#[inline(always)] // tuning: scratch-inlined
pub(super) fn with_generator<T>(seed: u64, call: impl FnOnce(&mut Context) -> T) -> T {
    let mut config = Config::new(ADDRESS);
    config.random_seed = seed;
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = MEDIUM;
    let mut scratch = Interface::new(config, &mut Described(capabilities), Instant::ZERO);
    call(scratch.context())
}

/// A device with only the capabilities that an interface reads when it is made, and none of
/// the operations. So the code that makes an interface is compiled once for all devices.
pub(super) struct Described(pub(super) DeviceCapabilities);

/// It neither receives nor sends a frame.
pub(super) enum Never {}

impl RxToken for Never {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, _: F) -> R {
        match self {}
    }
}

impl TxToken for Never {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: usize, _: F) -> R {
        match self {}
    }
}

impl Device for Described {
    type RxToken<'t> = Never;
    type TxToken<'t> = Never;

    fn receive(&mut self, _: Instant) -> Option<(Never, Never)> {
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<Never> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// smoltcp's generator, as `rand.rs` of 0.14 has it.
    fn draw(state: &mut u64) -> u32 {
        *state = state
            .wrapping_mul(0xbb2e_fcec_3c39_611d)
            .wrapping_add(0x7590_ef39);
        let shift = 29_u64.wrapping_sub(*state >> 61);
        u32::try_from(*state >> shift & 0xffff_ffff).unwrap()
    }

    #[test]
    fn the_generator_yields_the_wanted_number() {
        let mut number = 1_u32;
        for _ in 0..1_000 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut state = seed_for(number);
            if cfg!(feature = "proto-ipv4") {
                draw(&mut state);
            }
            assert_eq!(draw(&mut state), number);
        }
        assert_eq!(INVERSE.wrapping_mul(FACTOR), 1);
    }
}
