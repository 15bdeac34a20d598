//! The guarantees for a writer: tests of the stack in virtual time, without root and
//! without a network.
//!
//! A module is named after the state in which its tests begin, or after the part under
//! test. `cargo test -p lastbyte --test contract guard` runs one of them.

#[path = "../common/mod.rs"]
mod common;

// By the state of the connection.
mod closed;
mod connecting;
mod finish_writing;
mod finishing;
mod listening;
mod open;
mod peer_finished;

// By the part under test.
mod addresses;
mod announced;
mod blind;
mod checksums;
mod claims;
mod configurations;
mod configured;
mod crowd;
mod embassy;
mod fair;
mod flooded;
mod full_device;
mod fuzz_corpus;
mod guard;
mod icmp;
mod leases;
mod listeners;
mod nagle;
mod names;
mod neighbours;
mod path_mtu;
mod port_rest;
mod ports;
mod prompt;
mod pushing;
mod reading;
mod received;
mod repeated;
mod restarted;
mod routers;
mod sending;
mod sequence_numbers;
mod silence;
mod slots;
mod tracker;
