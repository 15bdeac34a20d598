//! The reasons why a TAP cannot be used, each with its remedy.

use std::io;

use super::{MIN_MTU, TUN_PATH};

/// Why a TAP device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The kernel offers no TUN/TAP driver here.
    #[error(
        "{TUN_PATH} is missing: load the driver with `sudo modprobe tun`, or start the container with `--device {TUN_PATH}`"
    )]
    NoTunDevice,
    /// This user may not open the driver at all.
    #[error("no permission to open {TUN_PATH}: run `sudo chmod 666 {TUN_PATH}`, or run as root")]
    TunDenied,
    /// A sandbox denies the driver to all users.
    #[error(
        "{TUN_PATH} is not allowed here, to any user: start the container with `--device {TUN_PATH}`"
    )]
    TunForbidden,
    /// No interface has this name.
    #[error("there is no interface {name}. To create it:\n  {}", recipe(name))]
    NoSuchInterface {
        /// The requested name.
        name: String,
    },
    /// The interface is of another kind (or a TAP with several queues).
    #[error(
        "{name} is not a TAP with a single queue. To create one, under a free name:\n  {}",
        recipe("tap0")
    )]
    NotATap {
        /// The requested name.
        name: String,
    },
    /// The interface belongs to another user.
    #[error(
        "no permission to use {name}: it belongs to another user. As its administrator:\n  sudo ip link del {name} && {}",
        recipe(name)
    )]
    NotOwner {
        /// The requested name.
        name: String,
    },
    /// Another process is attached to the interface.
    #[error("{name} is in use by another process")]
    Busy {
        /// The requested name.
        name: String,
    },
    /// The interface carries packets smaller than IPv4 permits.
    #[error(
        "{name} has an MTU of {mtu}, and {MIN_MTU} is the least: `sudo ip link set {name} mtu 1500`"
    )]
    MtuTooSmall {
        /// The requested name.
        name: String,
        /// Its MTU in bytes.
        mtu: usize,
    },
    /// The name cannot be that of an interface.
    #[error(
        "{name:?} cannot be an interface name: 1 to 15 bytes, no slash, no space, no percent sign"
    )]
    BadName {
        /// The requested name.
        name: String,
    },
    /// Something else went wrong.
    #[error("{doing} {name}: {source}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// The requested name.
        name: String,
        /// The error of the kernel.
        source: io::Error,
    },
}

/// The commands that make a TAP that this user can open.
fn recipe(name: &str) -> String {
    format!(
        "sudo ip tuntap add dev {name} mode tap user $USER && sudo ip addr add 10.0.0.1/24 dev {name} && sudo ip link set {name} up"
    )
}
