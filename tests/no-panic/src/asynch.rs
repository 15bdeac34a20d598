//! Everything public of `lastbyte::asynch`, for the search.

use crate::{Board, address, any, config, options, set_addresses, used};
use core::future::{Future, pending};
use core::pin::pin;
use core::task::{Context, Waker};
use core::time::Duration;
use embedded_io_async::{BufRead, Read, Write};
use lastbyte::asynch::{Alarm, Buffered, Connection, Now, Shared};
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::{Buffers, Error};
use lastbyte::{Instant, Report};

struct Time;

impl Now for Time {
    fn now(&self) -> Instant {
        Instant::from_micros(any(0))
    }
}

impl Alarm for Time {
    async fn wait(&mut self, until: Option<Instant>) {
        used(until);
        if any(false) {
            pending::<()>().await;
        }
    }
}

type Net<'a> = Shared<'a, Board, Time, 2>;

fn set_waker(board: &mut Board, waker: &Waker) {
    used(waker.clone());
    used(&mut board.frame);
}

pub(crate) fn with_shared() {
    let mut buffers = any(Buffers::<2, 2048, 512>::new());
    let mut storage = [SocketStorage::EMPTY; 3];
    let board = Board {
        frame: any([0; 1514]),
    };
    let storage = storage.get_mut(any(0)..).unwrap_or(&mut []);
    match Net::new(board, Time, config(), buffers.split(), storage) {
        Ok(net) => poll(&net),
        Err(error) => used(error),
    }
}

fn poll(net: &Net<'_>) {
    let mut runner = pin!(net.run(Time));
    let mut task = pin!(async {
        let mut connection = None;
        while any(true) {
            used(call(net, &mut connection).await);
        }
    });
    while any(true) {
        let mut cx = Context::from_waker(any(Waker::noop()));
        match any(0_u8) {
            0 => used(runner.as_mut().poll(&mut cx).is_ready()),
            1 => used(task.as_mut().poll(&mut cx).is_ready()),
            _ => used(call_network(net)),
        }
    }
}

fn call_network(net: &Net<'_>) -> Result<(), Error> {
    match any(0_u8) {
        0 => net.wake_by(set_waker)?,
        1 => net.follow_link(|board| any(board.frame.first().is_some()))?,
        2 => net.set_link(any(true))?,
        3 => net.with_network(|network| {
            set_addresses(network.interface);
            used(network.sockets);
            // In here, no other call works.
            used(net.set_link(any(true)));
        })?,
        _ => net.with_device(|board| used(&mut board.frame))?,
    }
    Ok(())
}

async fn call<'n, 'a>(
    net: &'n Net<'a>,
    held: &mut Option<Connection<'n, Net<'a>>>,
) -> Result<(), Error> {
    match any(0_u8) {
        0 => *held = Some(net.connect((address(), any(80)), options()).await?),
        1 => *held = Some(net.listen(any(80), options())?.accept().await?),
        2 => *held = None,
        3 => {
            // Released when the network is lent no more.
            net.with_network(|_| *held = None)?;
        }
        _ => {}
    }
    let Some(connection) = held else {
        return Ok(());
    };
    let bytes = any(&[0_u8; 64][..]);
    match any(0_u8) {
        0 => used(net.report(connection.id())?),
        1 => used(net.abort(connection.id())?),
        2 => used(net.progress(connection.id())?),
        3 => used(net.state(connection.id())?),
        4 => {
            let (writer, reader) = connection.split();
            used(reader.wait_end().await?);
            used(writer.write(bytes).await?);
        }
        5 => {
            if let Some(connection) = held.take() {
                let (writer, reader) = connection.into_split();
                drop(writer);
                read(reader.buffered(&mut any([0; 64]))).await?;
            }
        }
        6..9 => used(end(connection).await?),
        9..12 => question(connection)?,
        _ => write(connection, bytes).await?,
    }
    Ok(())
}

async fn write(connection: &mut Connection<'_, Net<'_>>, bytes: &[u8]) -> Result<(), Error> {
    match any(0_u8) {
        0 => used(Write::write(connection, bytes).await?),
        1 => used(connection.write_more(bytes).await?),
        2 => used(connection.write_with(|room| any(room.len())).await?),
        3 => connection.write_message(bytes).await?,
        4 => used(connection.try_write(bytes)?),
        5 => connection.write_all(bytes).await?,
        6 => connection.flush().await?,
        7 => used(connection.read_with(|bytes| any(bytes.len())).await?),
        8 => connection.finish_writing().await?,
        _ => {
            let mut into = any([0_u8; 64]);
            used(Read::read(connection, &mut into).await?);
            used(into);
        }
    }
    Ok(())
}

async fn end(connection: &mut Connection<'_, Net<'_>>) -> Result<Report, Error> {
    match any(0_u8) {
        0 => connection.wait_open().await?,
        1 => used(connection.wait_end().await?),
        2 => used(connection.abort()?),
        _ => {}
    }
    connection.finish().await
}

fn question(connection: &mut Connection<'_, Net<'_>>) -> Result<(), Error> {
    let (writer, reader) = connection.split();
    match any(0_u8) {
        0 => used(writer.write_ready()?),
        1 => used(reader.read_ready()?),
        2 => used(writer.room()?),
        3 => used(writer.state()),
        4 => used(writer.report()?),
        5 => used(writer.progress()?),
        6 => used(writer.poll_advice()?),
        _ => used(writer.endpoints()?),
    }
    used(Duration::ZERO);
    Ok(())
}

async fn read<T: Read>(mut buffered: Buffered<'_, T>) -> Result<(), T::Error> {
    let mut into = any([0_u8; 8]);
    match any(0_u8) {
        0 => used(buffered.fill_buf().await?.len()),
        1 => buffered.consume(any(0)),
        _ => used(buffered.read(&mut into).await?),
    }
    used(into);
    Ok(())
}
