//! Fetches a page: connect, send the whole request, read the whole answer, always close.
//!
//! `cargo run --example http_get` requests a page from a server in this process; with
//! `-- --tap tap0 --addr 10.0.0.2/24 10.0.0.1:80` a real one.

use embedded_io::{Read, Write};
use lastbyte::stack::smoltcp::{phy::Device, wire::IpEndpoint};
use lastbyte::stack::{ConnectionId, Stack};
use lastbyte::{Clock, OnPeerFin, OnReceive, Options};
use lastbyte_examples::{Failure, Wire};
use lastbyte_sim::loopback::Behaviour;

const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

fn main() -> Result<(), Failure> {
    match Wire::from_args()? {
        Wire::Loopback(lab) => {
            let server = Behaviour::sink().sending(ANSWER).closing_after_sending();
            lab.peer().listen(80, server);
            lab.run(|stack| http_get(stack, lab.server(80)))
        }
        Wire::Tap(tap) => tap.run(http_get),
    }
}

fn http_get<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    server: IpEndpoint,
) -> Result<(), Failure> {
    let options = Options::builder()
        // We read, so received bytes are kept.
        .on_receive(OnReceive::Keep)
        // A server may close after its answer, before it has our FIN: that is the end of
        // the answer, not of the connection.
        .on_peer_fin(OnPeerFin::HalfClose)
        .build()?;
    let id = stack.connect(server, options)?;

    // However the exchange ends, the slot is freed: a connection that was not finished is
    // reset.
    let result = exchange(stack, id, &server.addr.to_string());
    let report = stack.release(id)?;
    println!("{report:?}");
    result
}

fn exchange<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    id: ConnectionId,
    host: &str,
) -> Result<(), Failure> {
    let request = format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n");
    let mut writer = stack.writer(id)?;
    writer.write_all(request.as_bytes())?;
    // If the server has closed by then, this reports it, and how much of the request is
    // not known to have reached it.
    writer.flush()?;

    let mut reader = stack.reader(id)?;
    let mut chunk = [0; 512];
    loop {
        match reader.read(&mut chunk)? {
            0 => break,
            n => print!("{}", String::from_utf8_lossy(&chunk[..n])),
        }
    }
    stack.writer(id)?.finish()?;
    Ok(())
}
