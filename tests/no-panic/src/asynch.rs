//! Everything public of `lastbyte::asynch`, for the search.
//!
//! There is no `async fn` here, because each of them panics if it is polled after its end. Of
//! `asynch`, only the runner is one, which never ends, and those of `Buffered`, which are left
//! out.

use crate::{Board, address, any, config, options, set_addresses, used};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use embedded_io_async::{Read, Write};
use lastbyte::asynch::{Alarm, Connection, Now, Shared};
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
    fn wait(&mut self, until: Option<Instant>) -> impl Future<Output = ()> {
        used(until);
        poll_fn(|_| any(Poll::Pending))
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
    let mut connection = None;
    while any(true) {
        let mut cx = Context::from_waker(any(Waker::noop()));
        match any(0_u8) {
            0 => used(runner.as_mut().poll(&mut cx).is_ready()),
            1 => used(call(net, &mut connection)),
            _ => used(call_network(net)),
        }
    }
}

/// Polls a call to its end, or drops it before.
fn drive<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut call = pin!(call);
    while any(true) {
        let mut cx = Context::from_waker(any(Waker::noop()));
        if let Poll::Ready(result) = call.as_mut().poll(&mut cx) {
            return result;
        }
    }
    Err(any(Error::Busy))
}

fn call_network(net: &Net<'_>) -> Result<(), Error> {
    match any(0_u8) {
        0 => net.wake_by(set_waker)?,
        1 => net.follow_link(|board| any(!board.frame.is_empty()))?,
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

fn call<'n, 'a>(net: &'n Net<'a>, held: &mut Option<Connection<'n, Net<'a>>>) -> Result<(), Error> {
    match any(0_u8) {
        0 => *held = Some(drive(net.connect((address(), any(80)), options()))?),
        1 => *held = Some(drive(net.listen(any(80), options())?.accept())?),
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
            used(drive(reader.wait_end())?);
            used(drive(writer.write(bytes))?);
        }
        5 => {
            if let Some(connection) = held.take() {
                let (writer, mut reader) = connection.into_split();
                drop(writer);
                used(drive(reader.read(&mut any([0; 64])))?);
            }
        }
        6..9 => used(end(connection)?),
        9..12 => question(connection)?,
        _ => write(connection, bytes)?,
    }
    Ok(())
}

fn write(connection: &mut Connection<'_, Net<'_>>, bytes: &[u8]) -> Result<(), Error> {
    match any(0_u8) {
        0 => used(drive(Write::write(connection, bytes))?),
        1 => used(drive(connection.write_more(bytes))?),
        2 => used(drive(connection.write_with(|room| any(room.len())))?),
        3 => drive(connection.write_message(bytes))?,
        4 => used(connection.try_write(bytes)?),
        5 => drive(connection.write_all(bytes))?,
        6 => drive(connection.flush())?,
        7 => used(drive(connection.read_with(|bytes| any(bytes.len())))?),
        8 => drive(connection.finish_writing())?,
        _ => {
            let mut into = any([0_u8; 64]);
            used(drive(Read::read(connection, &mut into))?);
            used(into);
        }
    }
    Ok(())
}

fn end(connection: &mut Connection<'_, Net<'_>>) -> Result<Report, Error> {
    match any(0_u8) {
        0 => drive(connection.wait_open())?,
        1 => used(drive(connection.wait_end())?),
        2 => used(connection.abort()?),
        _ => {}
    }
    drive(connection.finish())
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
    Ok(())
}
