//! The pipe, compared with a model: `model.rs`, written from the documentation.
//!
//! `PIPE_DEPTH` (calls in a sequence), `PIPE_CASES` (random sequences) and `PIPE_CALLS` (calls of
//! an async task) make the tests larger: `./ci.sh pipe`.

mod blocking;
mod ends;
mod executor;
mod model;
mod random;
mod sequences;
mod splitting;
mod tasks;
mod threads;

/// A size of a test: what the environment demands; else `usual`, or `small` under Miri, which
/// interprets each instruction.
fn size(variable: &str, usual: u32, small: u32) -> u32 {
    match std::env::var(variable) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{variable}: {value}")),
        Err(_) if cfg!(miri) => small,
        Err(_) => usual,
    }
}
