//! Scene (a): what a kernel socket does, measured on 127.0.0.1.

use super::style::Style;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Long enough for a FIN and a RST to pass the loopback interface.
const SETTLE: Duration = Duration::from_millis(50);

/// A bound for every wait, in case the host's loopback does not work.
const BOUND: Duration = Duration::from_secs(2);

pub(super) fn play(out: &mut dyn Write, style: &Style) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (report, reports) = mpsc::channel();
    let server = thread::Builder::new().spawn(move || -> io::Result<()> {
        let (mut connection, _) = listener.accept()?;
        connection.set_read_timeout(Some(BOUND))?;
        let mut got = [0; 5];
        connection.read_exact(&mut got)?;
        drop(connection);
        // It fails if the receiver has ended, which needs no action.
        let _ = report.send(got.len());
        Ok(())
    })?;

    let mut client = TcpStream::connect_timeout(&address, BOUND)?;
    client.set_write_timeout(Some(BOUND))?;
    client.write_all(b"hello")?;
    let got = reports.recv_timeout(BOUND).map_err(io::Error::other)?;
    thread::sleep(SETTLE);
    writeln!(out, "    server: got {got} bytes, closed (FIN)")?;

    let first = client.write(b"lost!");
    let shown = format!("{first:?}");
    writeln!(
        out,
        "    first write after the close: {}",
        if first.is_ok() {
            style.bad(&shown)
        } else {
            style.good(&shown)
        }
    )?;
    thread::sleep(SETTLE);
    let lost = *first.as_ref().unwrap_or(&0);
    match client.write(b"again") {
        Ok(accepted) => writeln!(out, "    second write: Ok({accepted})")?,
        Err(error) => writeln!(out, "    second write: {error}")?,
    }
    writeln!(
        out,
        "    {}",
        style.bad(&format!(
            "{lost} bytes were accepted and lost; nothing reports how many, or which"
        ))
    )?;
    match server.join() {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("the server's thread failed")),
    }
}
