//! Scenes (b) and (c): lastbyte over the in-process loopback.

use super::ladder::{Ladder, Note};
use super::style::Style;
use embedded_io::Write as _;
use lastbyte::stack::Stack;
use lastbyte::{Clock as _, Options, WriteError};
use lastbyte_sim::loopback::{Behaviour, OUR_ADDRESSES, PEER_V4, World, WorldConfig};
use lastbyte_sim::loopback::{LoopClock, LoopDevice, our_hardware_address};
use lastbyte_sim::setup::Setup;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

const PORT: u16 = 5000;
/// A fixed seed: the demonstration is the same every time.
const SEED: u64 = 1;

type LoopStack<'a> = Stack<'a, LoopDevice, LoopClock, 1>;

fn world() -> World {
    World::new(WorldConfig {
        latency: Duration::from_millis(10),
        ..WorldConfig::default()
    })
}

/// Runs a client in `world`; every error becomes an I/O error.
fn with_client<R>(
    world: &World,
    client: impl FnOnce(&mut LoopStack<'_>) -> io::Result<R>,
) -> io::Result<R> {
    let hardware_addr = our_hardware_address(world.config().medium);
    Setup::new(hardware_addr, &OUR_ADDRESSES, SEED)
        .run(world.device(), world.clock(), client)
        .map_err(failed)?
}

fn failed(error: impl Display) -> io::Error {
    io::Error::other(error.to_string())
}

pub(super) fn play_close(out: &mut dyn Write, style: &Style) -> io::Result<()> {
    let world = world();
    let log = world.record(64);
    let server = Behaviour::sink().exiting_after(5).acking_at_once();
    world.peer().listen(PORT, server);
    let mut notes = Vec::new();
    let (refused, report) = with_client(&world, |stack| {
        let remote = (PEER_V4, PORT);
        let id = stack.connect(remote, Options::default()).map_err(failed)?;
        stack
            .writer(id)
            .map_err(failed)?
            .write_all(b"hello")
            .map_err(failed)?;
        notes.push(Note::ours(
            stack.clock_mut().now(),
            "write \"hello\": accepted",
        ));
        // The FIN arrives while the stack is not polled.
        world.run_for(Duration::from_millis(100));
        let mut writer = stack.writer(id).map_err(failed)?;
        let refused = writer.write_all(b"lost!");
        let report = writer.report().map_err(failed)?;
        notes.push(Note::ours(world.now(), "write \"lost!\": PeerClosed"));
        // Nothing is left to drain: this answers the FIN with ours.
        writer.finish().map_err(failed)?;
        Ok((refused, report))
    })?;
    let got = world.peer().taken_in(PORT);
    writeln!(out, "    server: got {got} bytes, closed (FIN)")?;
    let shown = match refused {
        Ok(()) => style.bad("accepted"),
        Err(error) => style.good(&error_in_words(&error)),
    };
    writeln!(out, "    first write after the close: {shown}")?;
    writeln!(
        out,
        "    ledger: accepted {}, acknowledged {}, undelivered {}",
        report.ledger.accepted(),
        report.ledger.acknowledged(),
        style.good(&report.ledger.undelivered().to_string())
    )?;
    writeln!(out)?;
    Ladder::new(world.config().begins_at, &log.entries(), notes).draw(out, style)
}

/// The first half of the error, without the ledger, which is shown separately.
fn error_in_words(error: &WriteError) -> String {
    let text = error.to_string();
    text.split(": ").next().unwrap_or_default().to_owned()
}

pub(super) fn play_reset(out: &mut dyn Write, style: &Style) -> io::Result<()> {
    const SIZE: usize = 64 * 1024;
    let world = world();
    // A small window, so that acknowledgements arrive during the transfer.
    let server = Behaviour::sink()
        .aborting_after(20_000)
        .acking_at_once()
        .rx_buffer(8 * 1024);
    world.peer().listen(PORT, server);
    let error = with_client(&world, |stack| {
        let remote = (PEER_V4, PORT);
        let id = stack.connect(remote, Options::default()).map_err(failed)?;
        let mut writer = stack.writer(id).map_err(failed)?;
        let payload = vec![0x5a; SIZE];
        let sent = writer.write_all(&payload).and_then(|()| writer.flush());
        sent.err()
            .ok_or_else(|| failed("the transfer was not reset"))
    })?;
    let ledger = error.ledger();
    let got = world.peer().taken_in(PORT);
    writeln!(
        out,
        "    {SIZE} bytes written: {}",
        style.good(&error_in_words(&error))
    )?;
    writeln!(
        out,
        "    ledger: accepted {}, acknowledged {}, undelivered {}",
        ledger.accepted(),
        ledger.acknowledged(),
        style.good(&ledger.undelivered().to_string())
    )?;
    let verdict = if ledger.acknowledged() <= got {
        style.good("never more than it received")
    } else {
        style.bad("MORE THAN IT RECEIVED")
    };
    writeln!(
        out,
        "    the server's TCP received {got} bytes; acknowledged: {verdict}"
    )?;
    writeln!(
        out,
        "    so a new connection resumes at byte {}",
        ledger.acknowledged()
    )
}
