//! The behaviour of bare smoltcp 0.14 that lastbyte works around: one test for each row
//! of `tests/conformance` that smoltcp does not meet by itself, and for each other fact
//! that a workaround depends on.
//!
//! A failing test shows that smoltcp has changed: check whether the workaround in the
//! named file can be removed or reduced, and pin the new behaviour. The other end is a
//! script of single segments, in virtual time, on IPv4 and IPv6.
//!
//! | Row | What bare smoltcp does | Worked around in |
//! |---|---|---|
//! | 01 | accepts the first write after the peer's FIN, and sends it | `src/stack/slot.rs`, `src/core/transition.rs` |
//! | 02 | reports FIN and RST of one poll like a RST alone, and a RST like a timeout | `src/stack/tracker.rs`, `src/stack/slot.rs` |
//! | 04 | refuses a write after `close()` with the error of a RST | `src/core/transition.rs`, `src/core/error.rs` |
//! | 06 | closes for any RST in the window | `src/guard/rules.rs` |
//! | 11 | reports `Closed` for a refusal and for a timeout | `src/stack/slot.rs` |
//! | 12 | silently drops a SYN on a synchronised connection | `src/guard/rules.rs` |
//! | 13 | frees octets that were never sent, for an ACK above SND.NXT | `src/guard/rules.rs` |
//! | 14 | drops an ACK at the edge of its window | `src/guard/rules.rs` |
//! | 17 | does not detect a FIN after a full receive buffer | `src/stack/slot.rs` |
//! | 19 | accepts and acknowledges data after a FIN | `src/guard/rules.rs` |
//! | 20 | reports no cause when its timeout ends a connection | `src/core/options.rs`, `src/core/timers.rs` |
//! | 21 | does not report retransmissions | `src/stack/device.rs`, `src/core/timers.rs` |
//! | 22 | has no timeout unless one is set | `src/core/options.rs` |
//! | 23 | connects without bound | `src/core/options.rs`, `src/core/timers.rs` |
//! | 25 | ends an idle connection by its timeout | `src/stack/opening.rs`, `src/core/timers.rs` |
//! | 26 | accepts a timeout below the retransmission timeout | `src/core/options.rs` |
//! | 28 | ends a connection by its timeout although the peer answers probes | `src/stack/opening.rs`, `src/core/timers.rs` |
//! | 29 | tolerates a window that shrinks | nowhere: it is right |
//! | 30 | stalls once data in flight is lost and the window closes | `src/core/connection/view.rs` |
//! | 31 | never ends a connection for lost probes, or ends it for the first one | `src/core/timers.rs` |
//! | 32, 33 | ignores ICMP errors | `src/guard/wire/icmp.rs` |
//! | 35 | sends a FIN on `close()` with unread data | `src/stack/slot.rs` |
//! | 37 | closes simultaneously through TIME-WAIT | nowhere: it is right |
//! | 38 | retransmits the FIN without bound in LAST-ACK | `src/core/timers.rs` |
//! | 40 | keeps TIME-WAIT for ten seconds, or less after a `connect()` | `src/stack/opening.rs`, `src/stack/ports.rs` |
//! | 42 | keeps the last octet without bound, as in row 30 | `src/core/connection/view.rs` |
//! | 44 | ignores the ACK number of a RST | `src/stack/device.rs`, `src/stack/slot.rs` |
//! | 63 | forbids fragmentation of what it sends over IPv4 | `src/guard/rewrite.rs` |
//! | 66 | keeps backing off although data was acknowledged | `src/core/connection/time.rs` |
//! | 68 | has initial sequence numbers that can be computed from a few of them | `src/stack/isn.rs` |
//! | - | accepts a FIN after data that it truncated | `src/guard/rules.rs` |
//! | - | empties the buffers when it loses its address | `src/stack/tracker.rs` |
//! | - | empties them when TIME-WAIT ends | `src/stack/slot.rs` |
//! | - | returns `PollResult::None` although a socket was closed | `src/stack/tracker.rs` |
//! | - | stays in FIN-WAIT-2 without bound | `src/stack/slot.rs` |
//! | - | loses the FIN of a `close()` in SYN-RECEIVED | `src/stack/slot.rs` |
//! | - | requests the neighbour of a RST without bound | `src/stack/slot.rs` |
//! | - | answers unknown segments with a RST without an ACK number | `src/guard/tcb/sent.rs` |
//! | - | requests a neighbour each second, without an error | `src/core/timers.rs` |
//! | - | never connects with the seed and port from before a reboot | `src/stack/isn.rs`, `src/stack/ports.rs` |
//! | - | uses only one number of the interface that it connects with | nowhere: `src/stack/isn.rs` depends on it |
//! | - | probes an octet in flight with a zero | `src/stack/device.rs` |
//! | - | retransmits a segment beyond the window | nowhere: the peer drops it |
//! | - | probes at once when keep-alive is switched on | `src/core/connection/view.rs` |
//! | - | probes once more when it is switched off | `src/stack/slot.rs` |
//! | - | refuses an ICMP error with a short quotation (IPv4) | `src/guard/wire/icmp.rs` |
//! | - | always drops a SYN with a malformed option | `src/guard/wire/segment.rs` |
//! | - | panics at `HardwareAddress::Ip.is_unicast()` | `src/stack/config.rs` |

#[path = "../common/mod.rs"]
mod common;
mod script;

mod blind;
mod closing;
mod connecting;
mod ending;
mod silence;
mod windows;
