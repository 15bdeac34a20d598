//! The same contract for tasks of an executor.
//!
//! One [`Shared`] network holds device, interface, sockets and connections. Any number of tasks
//! use it; one of them is its [runner](Shared::run). No executor is assumed, nothing is
//! allocated, and no call blocks.
//!
//! - [`Shared::connect`] and [`Listener::accept`] return a [`Connection`]: one owned value that
//!   is `Read + Write` of `embedded_io_async`. Its halves can live in two tasks.
//! - Each write first processes what the device has received. Once the peer's FIN or RST has
//!   arrived there, the **very next** write is refused in its first poll, even if neither the
//!   runner nor any other task has run since.
//! - A task is woken when what it waits for has come true, and not before: not by every ACK,
//!   nor by other connections. Only a device that is full wakes all that wait, each millisecond:
//!   it does not report when it has room again.
//! - There is one error for all calls, [`Error`](crate::Error). Its
//!   [`cause`](crate::Error::cause) and [`ledger`](crate::Error::ledger) are those of the
//!   blocking calls.
//!
//! # Dropping a call
//!
//! Every call can be dropped before it has completed, as by `select` or a timeout:
//!
//! | call | dropped before it has completed |
//! |---|---|
//! | [`write`](Writer::write), [`write_more`](Writer::write_more), [`write_message`](Writer::write_message) | has accepted nothing |
//! | [`write_with`](Writer::write_with) | has accepted nothing; the closure was not called |
//! | `write_all` of the trait | a part may be accepted: [`Ledger::accepted`](crate::Ledger::accepted) before and after shows how much |
//! | [`flush`](Writer::flush), [`wait_open`](Writer::wait_open), [`wait_end`](Writer::wait_end) | has changed nothing |
//! | [`read`](Reader::read), [`read_with`](Reader::read_with), [`Buffered`]'s `fill_buf` | has read nothing |
//! | [`finish`](Writer::finish) | goes on by itself; call it again to wait for the outcome |
//! | [`finish_writing`](Writer::finish_writing) | has changed nothing, unless the connection was open |
//! | [`connect`](Shared::connect) | releases the slot; nothing follows a SYN that was sent |
//! | [`accept`](Listener::accept) | goes on listening; a caller that comes meanwhile is kept |
//!
//! # What a board supplies
//!
//! 1. *The device*: a `smoltcp::phy::Device`, or any embassy driver.
//! 2. *The clock* in two halves: [`Now`] for all calls, [`Alarm`] for the runner. There are
//!    adapters for embassy-time, `embedded-hal-async`, RTIC and tokio.
//! 3. *A wake when the device has something*: either the device accepts the waker of the
//!    runner ([`Shared::wake_by`]), or the interrupt also ends the alarm.
//! 4. *The [`Lock`]*, if tasks run at several priorities or in several threads.
//!
#![cfg_attr(
    all(feature = "medium-ethernet", feature = "proto-ipv4"),
    doc = include_str!("example.md")
)]

#[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
mod addressing;
mod buffered;
mod call;
mod calls;
mod client;
mod connection;
mod doomed;
#[cfg(feature = "defmt")]
mod format;
mod inner;
mod io;
mod listener;
mod lock;
mod network;
mod runner;
mod shared;
mod time;

pub use buffered::Buffered;
#[cfg(feature = "edge-nal-v0.7")]
pub use client::Acceptor;
pub use client::Client;
pub use connection::{Connection, Reader, Writer};
pub use listener::Listener;
#[cfg(feature = "critical-section")]
pub use lock::CriticalSection;
#[cfg(feature = "std")]
pub use lock::Threads;
pub use lock::{Local, Lock};
pub use network::AnyShared;
pub use shared::Shared;
#[cfg(feature = "embedded-hal-async-v1")]
pub use time::Delay;
#[cfg(feature = "embassy-time-v0.5")]
pub use time::EmbassyTime;
#[cfg(feature = "rtic-time-v3")]
pub use time::RticTime;
pub use time::{Alarm, Now};
