//! The other end of an example: in this process by default, or reached over a TAP device.

use clap::Parser;
use lastbyte::stack::Stack;
use lastbyte_host::host_clock::HostClock;
use lastbyte_host::namespace::OUR_HARDWARE_ADDR;
use lastbyte_host::tap::Tap;
use lastbyte_sim::loopback::{
    LoopClock, LoopDevice, OUR_ADDRESSES, PEER_V4, Peer, World, WorldConfig, our_hardware_address,
};
use lastbyte_sim::setup::Setup;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, IpEndpoint};
use std::net::SocketAddr;
use std::time::Duration;

/// Any error of an example.
pub type Failure = Box<dyn std::error::Error>;

/// How long a TAP device may take to get its carrier.
const CARRIER_LIMIT: Duration = Duration::from_secs(5);

/// A fixed seed: an example in this process is the same every time.
const SEED: u64 = 1;

/// The arguments of every example.
#[derive(Debug, Parser)]
#[command(about = "An example of lastbyte. Without arguments, its other end is in this process.")]
struct Arguments {
    /// Use this TAP device instead (it must exist and be up)
    #[arg(long, value_name = "NAME", requires_all = ["addr", "server"])]
    tap: Option<String>,
    /// Our address on it, such as 10.0.0.2/24
    #[arg(long, value_name = "CIDR", requires = "tap", value_parser = parse_cidr)]
    addr: Option<IpCidr>,
    /// The server to reach over it, such as 10.0.0.1:5000
    #[arg(value_name = "IP:PORT", requires = "tap")]
    server: Option<SocketAddr>,
}

fn parse_cidr(text: &str) -> Result<IpCidr, String> {
    text.parse()
        .map_err(|()| format!("{text} is not an address with a prefix, such as 10.0.0.2/24"))
}

/// The network of an example.
#[derive(Debug)]
pub enum Wire {
    /// In this process, in virtual time.
    Loopback(Lab),
    /// A TAP device, in real time.
    Tap(TapWire),
}

impl Wire {
    /// The network that the command line selects. Ends the process, with help or a usage
    /// error, if the arguments are not valid.
    ///
    /// # Errors
    ///
    /// The TAP device cannot be used.
    pub fn from_args() -> Result<Self, Failure> {
        let arguments = Arguments::parse();
        match (arguments.tap, arguments.addr, arguments.server) {
            (Some(name), Some(address), Some(server)) => {
                let tap = Tap::open(&name)?;
                if !tap.wait_carrier(CARRIER_LIMIT) {
                    return Err(format!("{name} is down; try: ip link set {name} up").into());
                }
                let server = server.into();
                Ok(Self::Tap(TapWire {
                    tap,
                    address,
                    server,
                }))
            }
            _ => Ok(Self::Loopback(Lab {
                world: World::new(WorldConfig::default()),
            })),
        }
    }
}

/// Who we are on a wire: what a program needs that makes its network itself.
#[derive(Debug)]
pub struct Us {
    /// Our hardware address.
    pub hardware_address: HardwareAddress,
    /// Our address.
    pub address: IpCidr,
    /// For each boot another.
    pub seed: u64,
}

/// Two ends in this process.
#[derive(Debug)]
pub struct Lab {
    world: World,
}

impl Lab {
    /// The other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.world.peer()
    }

    /// The other end's address, at a port.
    #[must_use]
    pub fn server(&self, port: u16) -> IpEndpoint {
        (PEER_V4, port).into()
    }

    /// Gives a program what its network is made of.
    ///
    /// # Errors
    ///
    /// The program's.
    pub fn run_parts(
        &self,
        program: impl FnOnce(LoopDevice, LoopClock, &Us) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let us = Us {
            hardware_address: our_hardware_address(self.world.config().medium),
            address: OUR_ADDRESSES[0],
            seed: SEED,
        };
        program(self.world.device(), self.world.clock(), &us)
    }

    /// Runs a program at our end.
    ///
    /// # Errors
    ///
    /// The errors of the program.
    pub fn run(
        &self,
        program: impl FnOnce(&mut Stack<'_, LoopDevice, LoopClock, 1>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let hardware_addr = our_hardware_address(self.world.config().medium);
        Setup::new(hardware_addr, &OUR_ADDRESSES, SEED).run(
            self.world.device(),
            self.world.clock(),
            program,
        )?
    }
}

/// A real network over a TAP device.
#[derive(Debug)]
pub struct TapWire {
    tap: Tap,
    address: IpCidr,
    server: IpEndpoint,
}

impl TapWire {
    /// Gives a program what its network is made of, and the server's address.
    ///
    /// # Errors
    ///
    /// The program's.
    pub fn run_parts(
        self,
        program: impl FnOnce(Tap, HostClock, &Us, IpEndpoint) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let clock = HostClock::watching(&self.tap)?;
        let us = Us {
            hardware_address: EthernetAddress(OUR_HARDWARE_ADDR).into(),
            address: self.address,
            seed: Setup::random_seed(),
        };
        program(self.tap, clock, &us, self.server)
    }

    /// Runs a program at our end, which gets the server's address.
    ///
    /// # Errors
    ///
    /// The errors of the program.
    pub fn run(
        self,
        program: impl FnOnce(&mut Stack<'_, Tap, HostClock, 1>, IpEndpoint) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let clock = HostClock::watching(&self.tap)?;
        let server = self.server;
        let hardware_addr = EthernetAddress(OUR_HARDWARE_ADDR).into();
        Setup::new(hardware_addr, &[self.address], Setup::random_seed()).run(
            self.tap,
            clock,
            |stack| program(stack, server),
        )?
    }
}
