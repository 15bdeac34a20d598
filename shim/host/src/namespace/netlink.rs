//! The two rtnetlink(7) requests that a namespace needs; `ip` may not be installed.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// The offset of the error code in the answer: after its header.
const ERROR_AT: std::ops::Range<usize> = HEADER_LEN..HEADER_LEN + 4;

/// Brings the interface up.
pub(super) fn set_up(index: u32) -> io::Result<()> {
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    let mut body = vec![libc::AF_UNSPEC as u8, 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(up); // the flags,
    body.extend(up); // and which of them to change
    request(libc::RTM_NEWLINK, 0, &body)
}

/// Adds an address, which can be used at once: without duplicate address detection, which
/// takes a second and can find no other host.
pub(super) fn add_address(index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
    let (family, octets) = match address {
        IpAddr::V4(v4) => (libc::AF_INET as u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6 as u8, v6.octets().to_vec()),
    };
    let scope = libc::RT_SCOPE_UNIVERSE;
    let mut body = vec![family, prefix, libc::IFA_F_NODAD as u8, scope];
    body.extend(index.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        body.extend((octets.len() as u16 + 4).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(&octets);
    }
    request(libc::RTM_NEWADDR, libc::NLM_F_CREATE as u16, &body)
}

/// Sends one request and waits for its acknowledgement.
fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let mut message = Vec::with_capacity(HEADER_LEN + body.len());
    message.extend(((HEADER_LEN + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]); // sequence and port: there is one request
    message.extend(body);

    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    let mut answer = [0; 512];
    let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let code = answer
        .get(..len)
        .and_then(|answer| answer.get(ERROR_AT)?.try_into().ok())
        .map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
