//! What RFC 9293 and its neighbours ask of a TCP, as far as a writer notices:
//! one test a row, each on IPv4 and on IPv6.
//!
//! The other end is a script of single segments, in virtual time. Each row
//! looks at the outcome, at the ledger, and at the wire, silence included; and
//! every octet of data that our end ever sends is compared with what was
//! written.
//!
//! Urgent data does not concern a writer (RFC 9293, SHLD-13).

#[path = "../common/mod.rs"]
mod common;
mod script;

mod blind;
mod closing;
mod connecting;
mod ending;
mod silence;
mod windows;

/// Makes two tests of each row: `row::ipv4` and `row::ipv6`.
macro_rules! rows {
    ($($row:ident),+ $(,)?) => {$(
        mod $row {
            use crate::script::Family;

            #[test]
            fn ipv4() {
                super::$row(Family::V4);
            }

            #[test]
            fn ipv6() {
                super::$row(Family::V6);
            }
        }
    )+};
}
pub(crate) use rows;
