//! The machine of `src/core` alone: no stack, no device, no simulator. Time is an argument.

mod cells;
mod connection;
mod errors;
mod timeouts;
mod transitions;
