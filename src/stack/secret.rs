//! The secret of one boot, and values derived from it that no other host can compute.

use crate::Instant;
use crate::guard::flow::{Addresses, Flow};
use core::fmt;
use siphasher::sip::SipHasher24;

/// Makes a seed for [`Config::new`](super::Config::new) from a secret of the device
/// and the number of this boot, for a board without a random number generator.
///
/// - `secret` differs from device to device and never leaves it: 128 random bits,
///   drawn when the device is made, in flash that cannot be read out. A serial
///   number, a hardware address or a constant of the firmware is no secret.
/// - `boots` is a number that no earlier boot had: a counter in non-volatile memory,
///   written *before* the seed is used.
///
/// The counter alone is no seed: an attacker can count too, and compute every local port
/// and sequence number from it. Neither is the time since power-on a seed. With the
/// secret, known seeds of other boots do not help to find this one. The hash is
/// SipHash-2-4, so an attacker would have to guess 64 bits.
///
/// Sources: RFC 6528, 3 (sequence numbers need a secret key), RFC 6056, 3.4 (so do
/// ports), RFC 4086, 3.4 and 6.2 (clocks, counters and serial numbers are no randomness;
/// how to draw many numbers from one secret). A firmware that does not call this function
/// does not contain its code.
///
/// ```
/// use lastbyte::stack::smoltcp::wire::EthernetAddress;
/// use lastbyte::stack::{Config, boot_seed};
///
/// # fn read_secret() -> [u8; 16] { *b"not a constant!!" }
/// # fn count_this_boot() -> u64 { 17 }
/// // From flash; the counter is already written back, one higher.
/// let (secret, boots) = (read_secret(), count_this_boot());
/// let mac = EthernetAddress([0x02, 0, 0, 0, 0, 1]);
/// let config = Config::new(mac.into(), boot_seed(&secret, boots));
/// # let _ = config;
/// ```
#[must_use]
pub fn boot_seed(secret: &[u8; 16], boots: u64) -> u64 {
    SipHasher24::new_with_key(secret).hash(&boots.to_le_bytes())
}

/// The number of rounds of the Feistel network of [`Secret::place`], as many as FF1 has
/// (NIST SP 800-38G).
const ROUNDS: u32 = 10;

/// The direction of [`Secret::place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From a number to its place.
    There,
    /// From a place to its number.
    Back,
}

/// The seed of this boot: the key of everything that an attacker must not be able to
/// compute. It is never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Secret {
    key: [u32; 2],
}

impl Secret {
    pub(super) const fn new(seed: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = seed.to_le_bytes();
        Self {
            key: [
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            ],
        }
    }

    /// The seed of smoltcp's own generator. From the generator's numbers an attacker can
    /// compute this seed, but not the key.
    pub(super) fn interface_seed(self) -> u64 {
        let [low, high] = [0, 1].map(|half| u64::from(self.derive(half)));
        high << 32 | low
    }

    /// The seed of the generator of one DNS query, by its number.
    #[cfg(feature = "dns")]
    pub(super) fn query_seed(self, number: u32) -> u64 {
        let number = number.to_le_bytes();
        let [low, high] = [[3; 4], [4; 4]].map(|half| u64::from(self.hash(3, &[half, number])));
        high << 32 | low
    }

    /// The start of the sequence of local ports.
    pub(super) fn first_pass(self) -> u32 {
        self.derive(2)
    }

    fn derive(self, number: u32) -> u32 {
        self.hash(number, &[])
    }

    /// The initial sequence number of a connection that is opened at `now`: a clock of 4
    /// us plus a keyed hash of both ends (RFC 6528, 3).
    pub(super) fn sequence_number(self, flow: &Flow, now: Instant) -> u32 {
        let addresses = match &flow.addresses {
            #[cfg(feature = "proto-ipv4")]
            Addresses::V4(addresses) => &addresses[..],
            #[cfg(feature = "proto-ipv6")]
            Addresses::V6(addresses) => addresses.as_flattened().as_chunks().0,
        };
        let [[a, b], [c, d]] = flow.ports;
        let hash = self.hash(u32::from_le_bytes([a, b, c, d]), addresses);
        let [a, b, c, d, ..] = (now.as_micros() >> 2).to_le_bytes();
        hash.wrapping_add(u32::from_le_bytes([a, b, c, d]))
    }

    /// A permutation of the numbers below `len`, different for each `pass`: the place of
    /// `number`, or the number at a place. It is a Feistel network over the smallest even
    /// number of bits, repeated until the result is below `len`, which happens because
    /// the network is one-to-one. `number` must be below `len`, and `len` at most 2^16.
    pub(super) fn place(self, pass: u32, number: u32, len: u32, way: Way) -> u32 {
        let bits = u32::BITS.saturating_sub(len.saturating_sub(1).leading_zeros());
        let half = bits.div_ceil(2);
        let mask = !u32::MAX.wrapping_shl(half);
        let mut number = number;
        loop {
            let (mut left, mut right) = (number.wrapping_shr(half), number & mask);
            for step in 0..ROUNDS {
                let round = match way {
                    Way::There => step,
                    Way::Back => ROUNDS.wrapping_sub(1).wrapping_sub(step),
                };
                let word = round.wrapping_shl(16) | right;
                let mixed = self.hash(pass, &[word.to_le_bytes()]);
                (left, right) = (right, left ^ (mixed & mask));
            }
            // With the halves swapped, the same rounds lead back.
            number = right.wrapping_shl(half) | left;
            if number < len {
                return number;
            }
        }
    }

    /// `HalfSipHash-2-4` of a sequence of words. Its key has 64 bits, as many as the seed.
    /// `SipHash` would need four to six times the code size on a small machine.
    fn hash(self, first: u32, others: &[[u8; 4]]) -> u32 {
        let [low, high] = self.key;
        let mut v = [low, high, low ^ 0x6c79_6765, high ^ 0x7465_6462];
        take(&mut v, first);
        let mut len: u32 = 4 << 24;
        for word in others {
            take(&mut v, u32::from_le_bytes(*word));
            len = len.wrapping_add(4 << 24);
        }
        take(&mut v, len);
        let [a, b, c, d] = v;
        let [_, b, _, d] = rounds([a, b, c ^ 0xff, d], 4);
        b ^ d
    }
}

fn take(v: &mut [u32; 4], word: u32) {
    let [a, b, c, d] = *v;
    let [a, b, c, d] = rounds([a, b, c, d ^ word], 2);
    *v = [a ^ word, b, c, d];
}

fn rounds(v: [u32; 4], count: u32) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = v;
    for _ in 0..count {
        a = a.wrapping_add(b);
        b = b.rotate_left(5) ^ a;
        a = a.rotate_left(16);
        c = c.wrapping_add(d);
        d = d.rotate_left(8) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(7) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(13) ^ c;
        c = c.rotate_left(16);
    }
    [a, b, c, d]
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Secret {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Secret(..)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and message count up from 0. The vectors are published with the reference
    /// implementation (`vectors_hsip32`), each for a message of this many octets.
    #[test]
    fn the_hash_is_halfsiphash_2_4() {
        let secret = Secret::new(0x0706_0504_0302_0100);
        let octets: [u8; 36] = core::array::from_fn(|at| u8::try_from(at).unwrap());
        let (words, _) = octets.as_chunks();
        for (len, expected) in [
            (4, 0x8946_6e2a_u32),
            (8, 0x8f84_b8d0),
            (12, 0x2f87_f057),
            (36, 0xecc6_5ce7),
        ] {
            let hash = secret.hash(0x0302_0100, &words[1..len / 4]);
            assert_eq!(hash, expected, "{len} octets");
        }
    }

    /// The vectors are published with the reference implementation (`vectors_sip64`).
    #[test]
    fn a_seed_from_a_counter_is_siphash_2_4() {
        let secret = core::array::from_fn(|at| u8::try_from(at).unwrap());
        let seed = boot_seed(&secret, 0x0706_0504_0302_0100);
        assert_eq!(seed, 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn seeds_of_consecutive_boots_differ_in_half_their_bits() {
        let differing = (0..1_000).map(|boots| {
            let [a, b] = [boots, boots + 1].map(|boots| boot_seed(b"0123456789abcdef", boots));
            (a ^ b).count_ones()
        });
        let (sum, least) = differing.fold((0, 64), |(sum, least), count| {
            (sum + count, count.min(least))
        });
        assert!((31_000..33_000).contains(&sum), "{sum} of 64,000");
        assert!(least > 10, "{least} of 64");
    }

    #[test]
    fn the_seed_of_the_interface_is_not_the_seed() {
        for seed in [0, 1, 42, u64::MAX] {
            let secret = Secret::new(seed);
            let of_interface = secret.interface_seed();
            assert!((of_interface ^ seed).count_ones() > 10, "{seed}");
            let next = Secret::new(seed.wrapping_add(1)).interface_seed();
            assert!((of_interface ^ next).count_ones() > 10, "{seed}");
        }
    }

    #[test]
    fn every_number_has_one_place_and_is_found_there() {
        let secret = Secret::new(5);
        for len in (1..70).chain([255, 256, 257, 1_000, 2_048, 8_192]) {
            let mut is_taken = [false; 8_192];
            for number in 0..len {
                let place = secret.place(9, number, len, Way::There);
                let taken = &mut is_taken[usize::try_from(place).unwrap()];
                assert!(place < len && !*taken, "{number} of {len}");
                *taken = true;
                assert_eq!(secret.place(9, place, len, Way::Back), number);
            }
        }
    }

    #[test]
    fn the_secret_is_never_printed() {
        extern crate std;
        let secret = Secret::new(0x0123_4567_89ab_cdef);
        assert_eq!(std::format!("{secret:?}"), "Secret(..)");
    }

    #[cfg(feature = "proto-ipv4")]
    mod sequence_numbers {
        use super::*;

        fn number(seed: u64, local: (u8, u16), remote: (u8, u16), micros: u64) -> u32 {
            let arriving = [remote, local];
            let flow = Flow {
                addresses: Addresses::V4(arriving.map(|(host, _)| [10, 0, 0, host])),
                ports: arriving.map(|(_, port): (u8, u16)| port.to_be_bytes()),
            };
            Secret::new(seed).sequence_number(&flow, Instant::from_micros(micros))
        }

        #[test]
        fn the_number_of_the_same_ends_grows_by_100_in_400_us() {
            for micros in [0, 3, 1_000_003, (1 << 34) - 399, u64::MAX >> 2] {
                let [now, later] =
                    [micros, micros + 400].map(|micros| number(7, (2, 50_000), (1, 80), micros));
                assert_eq!(later.wrapping_sub(now), 100);
            }
        }

        /// A change of either end, or of the secret, changes half the bits.
        #[test]
        fn other_ends_and_other_secrets_give_other_numbers() {
            let base = number(7, (2, 50_000), (1, 80), 1_000);
            let others = [
                number(8, (2, 50_000), (1, 80), 1_000),
                number(7, (3, 50_000), (1, 80), 1_000),
                number(7, (2, 50_001), (1, 80), 1_000),
                number(7, (2, 50_000), (3, 80), 1_000),
                number(7, (2, 50_000), (1, 81), 1_000),
                number(7, (1, 80), (2, 50_000), 1_000),
            ];
            for (at, other) in others.into_iter().enumerate() {
                assert!((6..27).contains(&(base ^ other).count_ones()), "{at}");
                assert!(!others[..at].contains(&other), "{at}");
            }
        }
    }
}
