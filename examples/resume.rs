//! A transfer over several connections: when the peer closes, reconnect and resume at the
//! first byte that is not acknowledged.
//!
//! Bytes that arrived but were not acknowledged are sent again. So each connection begins
//! with the offset where it resumes, and the receiver puts the pieces in place:
//! at-least-once becomes exactly-once by an offset.
//!
//! `cargo run --example resume` sends to a server in this process that resets
//! every connection after 30,000 bytes; with
//! `-- --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000` to a real one.

use embedded_io::Write;
use lastbyte::stack::Stack;
use lastbyte::stack::smoltcp::{phy::Device, wire::IpEndpoint};
use lastbyte::{Clock, Ledger, Options, WriteError};
use lastbyte_examples::{Failure, Wire};
use lastbyte_sim::loopback::Behaviour;

const OFFSET_LEN: usize = 8;

fn main() -> Result<(), Failure> {
    let data: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    match Wire::from_args()? {
        Wire::Loopback(lab) => {
            let server = Behaviour::sink()
                .aborting_after(30_000)
                .rx_buffer(8 * 1024)
                .acking_at_once();
            lab.peer().listen(5000, server);
            lab.run(|stack| send_all(stack, lab.server(5000), &data))?;

            let pieces = lab.peer().connections(5000);
            let mut whole = vec![0; data.len()];
            for piece in &pieces {
                if let Some((offset, bytes)) = piece.received.split_first_chunk::<OFFSET_LEN>() {
                    let offset = u64::from_be_bytes(*offset) as usize;
                    whole[offset..offset + bytes.len()].copy_from_slice(bytes);
                }
            }
            assert_eq!(whole, data, "the pieces make up the whole");
            println!("the server has everything, in {} connections", pieces.len());
            Ok(())
        }
        Wire::Tap(tap) => tap.run(|stack, server| send_all(stack, server, &data)),
    }
}

fn send_all<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    server: IpEndpoint,
    data: &[u8],
) -> Result<(), Failure> {
    let mut delivered = 0;
    // A server that accepts nothing must not be tried without bound.
    for _attempt in 0..20 {
        match send_from(stack, server, data, delivered) {
            Ok(()) => return Ok(()),
            Err(error @ WriteError::PeerClosed { .. }) => {
                delivered += acknowledged_data(error.ledger());
                println!("{error}; resuming at byte {delivered}");
            }
            Err(other) => return Err(other.into()),
        }
    }
    Err("the server keeps closing".into())
}

fn send_from<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    server: IpEndpoint,
    data: &[u8],
    offset: usize,
) -> Result<(), WriteError> {
    let not_open = |_| WriteError::NotOpen {
        ledger: Ledger::default(),
    };
    let id = stack
        .connect(server, Options::default())
        .map_err(not_open)?;
    // Dropping a scoped writer frees the slot, also on early returns.
    let mut writer = stack.writer(id)?.scoped();
    writer.write_all(&(offset as u64).to_be_bytes())?;
    writer.write_all(&data[offset..])?;
    writer.finish()?;
    Ok(())
}

/// Acknowledged bytes that are data: all except the offset in front of them.
fn acknowledged_data(ledger: Ledger) -> usize {
    (ledger.acknowledged() as usize).saturating_sub(OFFSET_LEN)
}
