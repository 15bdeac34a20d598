//! The beat of `heartbeat.rs`, by tasks: one beats, one watches, one serves the network.
//!
//! `cargo run --example async_heartbeat` beats at a server in this process, which closes
//! after 4.5 s of virtual time; with `-- --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000` at a
//! real one, in real time. The executor is a small one (`lastbyte_sim::executor`); on a board
//! it is embassy's or RTIC's, and the tasks are the same.

use embassy_futures::join::join;
use embedded_io_async::Write;
use lastbyte::asynch::{AnyShared, Reader, Shared, Writer};
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::smoltcp::phy::Device;
use lastbyte::stack::smoltcp::wire::IpEndpoint;
use lastbyte::stack::{Buffers, Config};
use lastbyte::{Cause, Clock, Error, Options, Report};
use lastbyte_examples::{Failure, Us, Wire};
use lastbyte_sim::executor::Time;
use lastbyte_sim::loopback::{BEGINNING, Behaviour};
use std::time::Duration;

const BEAT: &[u8] = b"beat\n";

fn main() -> Result<(), Failure> {
    match Wire::from_args()? {
        Wire::Loopback(lab) => {
            let closes_at = BEGINNING + Duration::from_millis(4_500);
            lab.peer()
                .listen(5000, Behaviour::sink().closing_at(closes_at));
            let server = lab.server(5000);
            lab.run_parts(|device, clock, us| run(device, clock, us, server))
        }
        Wire::Tap(tap) => tap.run_parts(run),
    }
}

/// A network, and everything that uses it, on one thread.
fn run<D: Device, C: Clock>(
    device: D,
    clock: C,
    us: &Us,
    server: IpEndpoint,
) -> Result<(), Failure> {
    let time = Time::new(clock);
    let mut buffers = Buffers::<1, 2048, 512>::new();
    let mut sockets = [SocketStorage::EMPTY; 1];
    let config = Config::new(us.hardware_address, us.seed);
    let net = Shared::<_, _, 1>::new(device, time.clone(), config, buffers.split(), &mut sockets)?;
    net.with_network(|network| {
        network.interface.update_ip_addrs(|own| {
            let _ = own.push(us.address);
        });
    })?;

    let runner = net.run(time.clone());
    let report = time.block_on(runner, async {
        let connection = net.connect(server, Options::default()).await?;
        let (mut writer, mut reader) = connection.into_split();
        let beats = heartbeat(&time, &mut writer);
        let (ended, ()) = join(beats, watch(&mut reader)).await;
        ended
    })?;
    let beat = BEAT.len() as u64;
    println!(
        "{} beats accepted, {} of them acknowledged by the peer's TCP",
        report.ledger.accepted() / beat,
        report.ledger.acknowledged() / beat
    );
    Ok(())
}

/// Beats until a beat is refused.
async fn heartbeat<C: Clock>(
    time: &Time<C>,
    writer: &mut Writer<'_, impl AnyShared>,
) -> Result<Report, Error> {
    let error = loop {
        match writer.write_all(BEAT).await {
            Ok(()) => println!("beat"),
            Err(error) => break error,
        }
        time.sleep(Duration::from_secs(1)).await;
    };
    println!("{error}");
    match error.cause() {
        // A peer that only finished may still read: what was accepted drains first.
        Some(Cause::PeerFinished) => writer.finish().await,
        _ => Err(error),
    }
}

/// Says when the connection has ended, whatever the other task does.
async fn watch(reader: &mut Reader<'_, impl AnyShared>) {
    if let Ok(cause) = reader.wait_end().await {
        println!("the connection has ended: {cause}");
    }
}
