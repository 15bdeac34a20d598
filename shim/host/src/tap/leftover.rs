//! What a killed program leaves on a TAP.
//!
//! The offload that a program requests belongs to the interface. It stays when the
//! program is killed, and then the next program that attaches gets frames without
//! checksums, and longer than the MTU.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{Offload, Tap, TapError};

/// Requests of ethtool(8) about an interface (`linux/ethtool.h`).
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GTSO: u32 = 0x1e;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct Driver {
    question: u32,
    name: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    question: u32,
    answer: u32,
}

nix::ioctl_readwrite_bad! {
    /// Queries the driver of an interface.
    ethtool, libc::SIOCETHTOOL, libc::ifreq
}

/// Whether the interface `name` has offload switched on.
///
/// # Errors
///
/// There is no such interface.
pub(super) fn has_offload(name: &str) -> io::Result<bool> {
    Ok(query(name, ETHTOOL_GTXCSUM)? || query(name, ETHTOOL_GTSO)?)
}

/// Whether the interface `name` is a TAP or a TUN, of any user.
fn is_tap(name: &str) -> bool {
    let mut driver = Driver {
        question: ETHTOOL_GDRVINFO,
        name: [0; 32],
        rest: [0; 160],
    };
    query_with(name, &mut driver).is_ok() && driver.name.starts_with(b"tun\0")
}

fn query(name: &str, question: u32) -> io::Result<bool> {
    let mut value = Value {
        question,
        answer: 0,
    };
    query_with(name, &mut value)?;
    Ok(value.answer != 0)
}

/// Performs the request in `about`, which is one of the structures above.
#[expect(
    unsafe_code,
    reason = "an ioctl is a call that the compiler cannot check"
)]
fn query_with<T>(name: &str, about: &mut T) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    // SAFETY: a structure of numbers and pointers, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut *about).cast();
    // SAFETY: the descriptor is open, the request names an interface and points to a live
    // structure for the answer.
    unsafe { ethtool(socket.as_raw_fd(), &raw mut request) }?;
    Ok(())
}

/// A TAP on which a killed program left offload switched on.
#[derive(Debug)]
pub struct Leftover {
    /// The interface.
    pub name: String,
    /// Why it could not be repaired; `None` if it was.
    pub refused: Option<TapError>,
}

/// Searches such TAPs in the network of the calling thread, and repairs them. A TAP to
/// which a program is attached is not changed.
#[must_use]
pub fn repair_all() -> Vec<Leftover> {
    // One entry for each address of each interface.
    let mut names: Vec<String> = getifaddrs()
        .into_iter()
        .flatten()
        // A TAP has a carrier while a program is attached.
        .filter(|entry| !entry.flags.contains(InterfaceFlags::IFF_LOWER_UP))
        .map(|entry| entry.interface_name)
        .collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| is_tap(name) && has_offload(name).unwrap_or(false))
        .filter_map(|name| {
            // Attaching is the repair.
            let refused = match Tap::open_with(&name, Offload::None) {
                Ok(_) => None,
                // It is in use, although it is down, or it is not a TAP.
                Err(TapError::Busy { .. } | TapError::NotATap { .. }) => return None,
                Err(error) => Some(error),
            };
            Some(Leftover { name, refused })
        })
        .collect()
}
