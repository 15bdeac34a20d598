//! Sends hello once: connect, one write, finish.
//!
//! `cargo run --example hello` talks to a server in this process, in virtual
//! time. To talk to a real one:
//!
//! ```text
//! cargo run --example hello -- --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000
//! ```

use embedded_io::Write;
use lastbyte::stack::Stack;
use lastbyte::stack::smoltcp::{phy::Device, wire::IpEndpoint};
use lastbyte::{Clock, Options};
use lastbyte_examples::{Failure, Wire};
use lastbyte_sim::loopback::Behaviour;

fn main() -> Result<(), Failure> {
    match Wire::from_args()? {
        Wire::Loopback(lab) => {
            lab.peer().listen(5000, Behaviour::sink());
            lab.run(|stack| hello(stack, lab.server(5000)))?;
            let received = lab.peer().received(5000);
            println!("the server has: {:?}", String::from_utf8_lossy(&received));
            Ok(())
        }
        Wire::Tap(tap) => tap.run(hello),
    }
}

fn hello<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    server: IpEndpoint,
) -> Result<(), Failure> {
    let id = stack.connect(server, Options::default())?;

    // The write waits for the handshake. `Ok` means that the bytes are accepted: they are
    // in the transmit buffer and in the ledger.
    let mut writer = stack.writer(id)?;
    writer.write_all(b"Hello, world!\n")?;

    // Finishing waits until the peer's TCP has acknowledged every byte and our FIN. If
    // that fails, the result is an error with the ledger.
    let report = writer.finish()?;
    println!("{} bytes acknowledged", report.ledger.acknowledged());
    Ok(())
}
