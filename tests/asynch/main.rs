//! The calls of `lastbyte::asynch`, in virtual time.
//!
//! Goal: every clause that holds for the blocking calls holds for tasks as well, no wake is
//! lost and none is needless, and a call that is dropped at any point has had the effect that
//! the documentation states. Method: an executor that polls a task only after its waker was
//! woken, and counts both (`rig.rs`). After **every** poll of any task it asserts two
//! invariants: no task waits for a wish that has already come true, and nothing is due before
//! the runner wakes.
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
