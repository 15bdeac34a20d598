//! What RFC 9293 and related RFCs require of a TCP, as far as it concerns a writer: one
//! test for each row, on IPv4 and on IPv6, and again with the sequence numbers of both
//! ends at an edge of their space.
//!
//! The other end is a script of single segments, in virtual time. Each row checks the
//! outcome, the ledger, and the wire, including silence; and every octet of data that our
//! end sends is compared with what was written.
//!
//! Urgent data does not concern a writer (RFC 9293, SHLD-13).

#[path = "../common/mod.rs"]
mod common;
mod numbers;
mod script;

mod blind;
mod closing;
mod congestion;
mod connecting;
mod document;
mod ending;
mod isn;
mod listening;
mod path;
mod receiving;
mod resets;
mod silence;
mod timeouts;
mod windows;

/// Makes tests from each row for every setting: `row::ipv4`, `row::ipv6` and the same at
/// the edges.
macro_rules! rows {
    ($($row:ident),+ $(,)?) => {$(
        mod $row {
            crate::settings! {
                super::$row;
                ipv4: V4, Anywhere;
                ipv6: V6, Anywhere;
                ipv4_numbers_at_2_to_31: V4, At31;
                ipv6_numbers_at_2_to_31: V6, At31;
                ipv4_numbers_at_2_to_32: V4, At32;
                ipv6_numbers_at_2_to_32: V6, At32;
            }
        }
    )+};
}
pub(crate) use rows;

macro_rules! settings {
    ($row:path; $($name:ident: $family:ident, $numbers:ident;)+) => {$(
        #[test]
        fn $name() {
            $row(crate::script::Setting {
                family: crate::script::Family::$family,
                numbers: crate::numbers::Numbers::$numbers,
            });
        }
    )+};
}
pub(crate) use settings;
