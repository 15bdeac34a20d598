//! Arbitrary segments and calls, and whether the contract holds after each.
//!
//! [`run`] reads bytes as a sequence of operations, carries them out on a
//! [`Stack`](lastbyte::stack::Stack) in virtual time, and panics as soon as the
//! stack breaks a promise:
//!
//! - `input`: what the bytes mean.
//! - `frame`: frames, sound and broken, as an operation describes them.
//! - `seen`: frames read again, without the help of the code under test.
//! - `track`: what the wire alone says about a connection, in bounds: what the
//!   stack must have noticed, and what it may have.
//! - `tap`: the device that shows every frame to the tracks.
//! - `conn`: the promises to the application, call by call.
//! - `calls`: the calls of the application, carried out and judged.
//! - `peer`: what the peer sends.
//! - `harness`: the operations.
//!
//! The fuzz target feeds it what libFuzzer thinks of; a test of the workspace
//! feeds it the corpus and pseudo-random bytes.

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
