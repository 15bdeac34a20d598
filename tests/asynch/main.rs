//! The calls of `lastbyte::asynch`, in virtual time.
//!
//! Goal: every clause that the blocking calls keep holds for tasks as well, no wake is lost and
//! none is without need, and a call that is dropped at any point has done what the table in
//! the documentation says. Method: an executor that polls a task only after its waker was
//! woken, and counts both (`rig.rs`). After **every** poll of any task it asserts two
//! invariants: no task waits for what has come true already, and nothing is due before the
//! runner wakes.
//!
//! `teeth.rs` breaks each place that wakes, and runs these tests again.

#[path = "../common/mod.rs"]
mod common;
mod rig;

mod bounds;
mod cancelling;
mod client;
mod dropping;
mod first_write;
mod handles;
mod listening;
mod locks;
mod soak;
#[cfg(lastbyte_sabotage)]
mod teeth;
mod transfers;
mod waking;
