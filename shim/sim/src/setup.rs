//! Makes a stack in one call, for programs on a host.

use lastbyte::Clock;
#[cfg(feature = "async")]
use lastbyte::asynch::{Now, Shared};
use lastbyte::stack::{Config, ConfigError, SlotBuffers, Stack};
use smoltcp::config::IFACE_MAX_ADDR_COUNT;
use smoltcp::iface::{Interface, SocketStorage};
use smoltcp::phy::Device;
use smoltcp::wire::{HardwareAddress, IpCidr};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The settings of a host program's own end.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Our hardware address, of the device's kind.
    pub hardware_addr: HardwareAddress,
    /// Our addresses, with their prefixes.
    pub addresses: Vec<IpCidr>,
    /// See [`Config`]. The same seed gives the same ports and sequence numbers.
    pub seed: u64,
    /// Size of each transmit buffer in bytes.
    pub tx_buffer: usize,
    /// Size of each receive buffer in bytes.
    pub rx_buffer: usize,
    /// How many sockets the program itself may add to [`Stack::sockets_mut`]: UDP, DHCP,
    /// DNS.
    pub own_sockets: usize,
}

/// Why a stack cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupError {
    /// There are more addresses than an interface of this build of smoltcp holds.
    TooManyAddresses(usize),
    /// The stack refuses its parts.
    Config(ConfigError),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyAddresses(given) => write!(
                f,
                "{given} addresses, and an interface holds {IFACE_MAX_ADDR_COUNT} \
                 (SMOLTCP_IFACE_MAX_ADDR_COUNT at build time allows more)"
            ),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {}

impl From<ConfigError> for SetupError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl Setup {
    /// Buffers of 64 KiB and 16 KiB, and no sockets of the program itself.
    ///
    /// `seed` is any number if runs have to be reproducible, and
    /// [`random_seed`](Self::random_seed) on a real network.
    ///
    /// ```
    /// use lastbyte::Options;
    /// use lastbyte_sim::loopback::{Behaviour, OUR_ADDRESSES, PEER_V4, World, WorldConfig};
    /// use lastbyte_sim::loopback::our_hardware_address;
    /// use lastbyte_sim::setup::Setup;
    ///
    /// let port_of = |seed| {
    ///     let world = World::new(WorldConfig::default());
    ///     world.peer().listen(80, Behaviour::sink());
    ///     let setup = Setup::new(our_hardware_address(world.config().medium), &OUR_ADDRESSES, seed);
    ///     let ends = setup.run(world.device(), world.clock(), |stack| {
    ///         let id = stack.connect((PEER_V4, 80), Options::default()).unwrap();
    ///         stack.endpoints(id).unwrap()
    ///     });
    ///     ends.unwrap().unwrap().0.port
    /// };
    /// assert_eq!(port_of(7), port_of(7));
    /// assert_ne!(port_of(7), port_of(8));
    /// ```
    #[must_use]
    pub fn new(hardware_addr: HardwareAddress, addresses: &[IpCidr], seed: u64) -> Self {
        Self {
            hardware_addr,
            addresses: addresses.to_vec(),
            seed,
            tx_buffer: 64 * 1024,
            rx_buffer: 16 * 1024,
            own_sockets: 0,
        }
    }

    /// A seed that cannot be guessed, different at each call: the standard library draws it
    /// from the system for its hash tables.
    #[must_use]
    pub fn random_seed() -> u64 {
        RandomState::new().build_hasher().finish()
    }

    /// Makes a stack for one connection and lends it to `program`.
    ///
    /// # Errors
    ///
    /// [`SetupError`], which names what does not fit.
    pub fn run<D: Device, C: Clock, R>(
        &self,
        device: D,
        clock: C,
        program: impl FnOnce(&mut Stack<'_, D, C, 1>) -> R,
    ) -> Result<R, SetupError> {
        self.run_many(device, clock, program)
    }

    /// Like [`run`](Self::run), for `N` connections at a time: as many as the program's
    /// stack has.
    ///
    /// # Errors
    ///
    /// [`SetupError`], which names what does not fit.
    pub fn run_many<D: Device, C: Clock, R, const N: usize>(
        &self,
        device: D,
        clock: C,
        program: impl FnOnce(&mut Stack<'_, D, C, N>) -> R,
    ) -> Result<R, SetupError> {
        self.lend(|config, buffers, sockets| {
            let mut stack = Stack::new(device, clock, config, buffers, sockets)?;
            self.add_addresses(stack.interface_mut());
            Ok(program(&mut stack))
        })
    }

    /// Like [`run_many`](Self::run_many), for a network that tasks share, and whose runner is
    /// the program's.
    ///
    /// # Errors
    ///
    /// [`SetupError`], which names what does not fit.
    #[cfg(feature = "async")]
    pub fn run_shared<D: Device, C: Now, R, const N: usize>(
        &self,
        device: D,
        clock: C,
        program: impl FnOnce(&Shared<'_, D, C, N>) -> R,
    ) -> Result<R, SetupError> {
        self.lend(|config, buffers, sockets| {
            let shared = Shared::new(device, clock, config, buffers, sockets)?;
            // It is not lent at present.
            let _ = shared.with_network(|network| self.add_addresses(network.interface));
            Ok(program(&shared))
        })
    }

    fn add_addresses(&self, interface: &mut Interface) {
        interface.update_ip_addrs(|own| {
            // All of them fit.
            own.extend(self.addresses.iter().copied());
        });
    }

    /// Lends the memory of a stack to `make`.
    fn lend<R, const N: usize>(
        &self,
        make: impl for<'a> FnOnce(
            Config,
            [SlotBuffers<'a>; N],
            &'a mut [SocketStorage<'a>],
        ) -> Result<R, SetupError>,
    ) -> Result<R, SetupError> {
        if self.addresses.len() > IFACE_MAX_ADDR_COUNT {
            return Err(SetupError::TooManyAddresses(self.addresses.len()));
        }
        let mut memory = [self.tx_buffer, self.rx_buffer].map(|len| vec![vec![0; len]; N]);
        let [tx, rx] = &mut memory;
        let mut memory = tx.iter_mut().zip(rx);
        let buffers: [SlotBuffers<'_>; N] = std::array::from_fn(|_| match memory.next() {
            Some((tx, rx)) => SlotBuffers { tx, rx },
            // The iterator has as many as needed.
            None => SlotBuffers {
                tx: &mut [],
                rx: &mut [],
            },
        });
        let empty = || SocketStorage::EMPTY;
        let mut sockets: Vec<_> = std::iter::repeat_with(empty)
            .take(N + self.own_sockets)
            .collect();
        // The kernel queues 500 or 1,000 frames for a TAP device, depending on its version.
        let config = Config::new(self.hardware_addr, self.seed).receive_queue(1_000);
        make(config, buffers, &mut sockets)
    }
}
