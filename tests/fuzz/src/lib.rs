//! Arbitrary segments and calls, with a check of the guarantees after each.
//!
//! [`run`] reads bytes as a sequence of operations, runs them on a
//! [`Stack`](lastbyte::stack::Stack) in virtual time, and panics as soon as the stack
//! breaks a guarantee:
//!
//! - `input`: the meaning of the bytes.
//! - `frame`: makes the correct and broken frames of an operation.
//! - `seen`: reads frames without the code under test.
//! - `track`: what the wire alone shows of a connection, as bounds: what the stack must
//!   have detected, and what it may have.
//! - `tap`: the device that passes every frame to the tracks.
//! - `conn`: the guarantees for the application, call by call.
//! - `calls`: makes the calls of the application, and checks their results.
//! - `peer`: what the peer sends.
//! - `harness`: the operations.
//!
//! The fuzz target runs it with the inputs of libFuzzer; a test of the workspace runs it
//! with the corpus and pseudo-random bytes.

mod calls;
mod conn;
mod frame;
mod harness;
mod input;
mod peer;
mod seen;
mod tap;
mod track;

pub use harness::run;
