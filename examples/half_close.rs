//! Continues to write after the peer has closed its direction, as the protocol requires:
//! the peer sends a request, half-closes, and still reads.
//!
//! `cargo run --example half_close` has such a peer in this process; with
//! `-- --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000` a real one.

use embedded_io::{Read, Write};
use lastbyte::stack::Stack;
use lastbyte::stack::smoltcp::{phy::Device, wire::IpEndpoint};
use lastbyte::{Clock, OnPeerFin, OnReceive, Options, State};
use lastbyte_examples::{Failure, Wire};
use lastbyte_sim::loopback::Behaviour;

fn main() -> Result<(), Failure> {
    match Wire::from_args()? {
        Wire::Loopback(lab) => {
            let peer = Behaviour::sink()
                .sending(*b"send me three lines\n")
                .closing_after_sending();
            lab.peer().listen(5000, peer);
            lab.run(|stack| half_close(stack, lab.server(5000)))?;
            let received = lab.peer().received(5000);
            println!("the peer has: {:?}", String::from_utf8_lossy(&received));
            Ok(())
        }
        Wire::Tap(tap) => tap.run(half_close),
    }
}

fn half_close<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    server: IpEndpoint,
) -> Result<(), Failure> {
    // By default a FIN means that the peer has closed, and writes are refused. A
    // half-close has to be enabled.
    let options = Options::builder()
        .on_peer_fin(OnPeerFin::HalfClose)
        .on_receive(OnReceive::Keep)
        .build()?;
    let id = stack.connect(server, options)?;

    // Read up to the peer's FIN.
    let mut wish = [0; 64];
    let mut reader = stack.reader(id)?;
    loop {
        match reader.read(&mut wish)? {
            0 => break,
            n => print!("received: {}", String::from_utf8_lossy(&wish[..n])),
        }
    }

    let mut writer = stack.writer(id)?;
    assert_eq!(writer.state(), State::PeerFinished(OnPeerFin::HalfClose));
    for line in 1..=3 {
        writer.write_all(format!("line {line}\n").as_bytes())?;
    }
    let report = writer.finish()?;
    println!("{} bytes acknowledged", report.ledger.acknowledged());
    Ok(())
}
