//! The machine of `src/core` alone: no stack, no device, no simulator. Time is an argument.

mod cells;
mod connection;
mod errors;
mod options;
mod support;
mod timeouts;
mod transitions;
mod tries;
