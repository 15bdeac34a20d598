//! One connection's worth of stack in one call, for programs on a host.

use lastbyte::Clock;
use lastbyte::stack::{Config, ConfigError, SlotBuffers, Stack};
use smoltcp::iface::SocketStorage;
use smoltcp::phy::Device;
use smoltcp::wire::{HardwareAddress, IpCidr};
use std::hash::{BuildHasher, Hasher, RandomState};

/// What a host program says about its own end.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Our hardware address, of the device's kind.
    pub hardware_addr: HardwareAddress,
    /// Our addresses, with their prefixes.
    pub addresses: Vec<IpCidr>,
    /// Different at each start: see [`Config`].
    pub seed: u64,
    /// Size of the transmit buffer in bytes.
    pub tx_buffer: usize,
    /// Size of the receive buffer in bytes.
    pub rx_buffer: usize,
}

impl Setup {
    /// Buffers of 64 KiB and 16 KiB, and a seed from the system's randomness.
    #[must_use]
    pub fn new(hardware_addr: HardwareAddress, addresses: &[IpCidr]) -> Self {
        Self {
            hardware_addr,
            addresses: addresses.to_vec(),
            seed: random_seed(),
            tx_buffer: 64 * 1024,
            rx_buffer: 16 * 1024,
        }
    }

    /// Makes a stack for one connection and lends it to `program`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], naming what does not fit.
    pub fn run<D: Device, C: Clock, R>(
        &self,
        device: D,
        clock: C,
        program: impl FnOnce(&mut Stack<'_, D, C, 1>) -> R,
    ) -> Result<R, ConfigError> {
        let mut tx = vec![0; self.tx_buffer];
        let mut rx = vec![0; self.rx_buffer];
        let buffers = [SlotBuffers {
            tx: &mut tx,
            rx: &mut rx,
        }];
        let mut sockets = [SocketStorage::EMPTY];
        // The kernel queues 500 or 1,000 frames for a TAP device, by its version.
        let config = Config::new(self.hardware_addr, self.seed).receive_queue(1_000);
        let mut stack = Stack::new(device, clock, config, buffers, &mut sockets)?;
        stack.interface_mut().update_ip_addrs(|own| {
            for address in &self.addresses {
                // An interface holds as many as smoltcp was built for.
                if own.push(*address).is_err() {
                    log::warn!("no room for the address {address}");
                }
            }
        });
        Ok(program(&mut stack))
    }
}

/// A seed from the randomness that the standard library draws for its hash
/// tables at each start.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
