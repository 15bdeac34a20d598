//! Sends a beat each second until the peer has closed, then shows which beats arrived.
//!
//! `cargo run --example heartbeat` sends to a server in this process, which closes after
//! 4.5 s of virtual time; with `-- --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000` to a real
//! one, in real time.

use embedded_io::Write;
use lastbyte::stack::Stack;
use lastbyte::stack::smoltcp::{phy::Device, wire::IpEndpoint};
use lastbyte::{Clock, Options, WriteError};
use lastbyte_examples::{Failure, Wire};
use lastbyte_sim::loopback::{BEGINNING, Behaviour};
use std::time::Duration;

const BEAT: &[u8] = b"beat\n";

fn main() -> Result<(), Failure> {
    match Wire::from_args()? {
        Wire::Loopback(lab) => {
            let closes_at = BEGINNING + Duration::from_millis(4_500);
            lab.peer()
                .listen(5000, Behaviour::sink().closing_at(closes_at));
            lab.run(|stack| heartbeat(stack, lab.server(5000)))
        }
        Wire::Tap(tap) => tap.run(heartbeat),
    }
}

fn heartbeat<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    server: IpEndpoint,
) -> Result<(), Failure> {
    let id = stack.connect(server, Options::default())?;

    // The beat is the probe: there is no check before each beat whether the peer is
    // reachable, and no gap between check and write. The beat after the close is refused,
    // and no earlier beat is silently lost.
    let error = loop {
        match stack.writer(id)?.write_all(BEAT) {
            Ok(()) => println!("beat"),
            Err(error) => break error,
        }
        // Meanwhile the stack processes acknowledgements, retransmissions and the FIN.
        stack.run_for(Duration::from_secs(1));
    };

    println!("{error}");
    // A peer that only finished may still read, so accepted bytes drain first. `release`
    // alone would reset the connection.
    let ledger = match stack.writer(id)?.finish() {
        Ok(report) => report.ledger,
        Err(error) => error.ledger(),
    };
    let beat = BEAT.len() as u64;
    println!(
        "{} beats accepted, {} of them acknowledged by the peer's TCP",
        ledger.accepted() / beat,
        ledger.acknowledged() / beat
    );
    match error {
        WriteError::PeerClosed { .. } => Ok(()),
        other => Err(other.into()),
    }
}
