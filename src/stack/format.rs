//! `defmt::Format` for the types that hold values without one: the interface, the device,
//! the clock.

use super::device::{Watch, WatchRx, WatchTx};
use super::driver::Stack;
use super::parts::Network;
use super::reader::Reader;
use super::socket::Socket;
use super::tracker::{Net, Tracker};
use super::writer::{Scoped, Writer};
use crate::Clock;
use defmt::{Format, Formatter, write};
use smoltcp::phy::Device;

impl<const N: usize> Format for Tracker<N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Tracker<{}>", N);
    }
}

impl<D: ?Sized> Format for Net<'_, '_, D> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Net({})", self.now);
    }
}

impl<D: Device, C: Clock, const N: usize> Format for Stack<'_, D, C, N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Stack<{}>", N);
    }
}

impl<D: Device, C: Clock, const N: usize> Format for Writer<'_, Stack<'_, D, C, N>> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Writer({})", self.id());
    }
}

impl<D: Device, C: Clock, const N: usize> Format for Scoped<'_, '_, D, C, N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Scoped({})", self.id());
    }
}

impl<D: Device, C: Clock, const N: usize> Format for Reader<'_, Stack<'_, D, C, N>> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Reader({})", self.id());
    }
}

impl<D: Device, C: Clock, const N: usize> Format for Socket<'_, Stack<'_, D, C, N>> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Socket({})", self.id());
    }
}

impl Format for Network<'_, '_> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Network");
    }
}

impl<D: ?Sized, const N: usize> Format for Watch<'_, D, N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Watch<{}>", N);
    }
}

impl<T, const N: usize> Format for WatchRx<'_, T, N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "WatchRx");
    }
}

impl<T, const N: usize> Format for WatchTx<'_, T, N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "WatchTx");
    }
}
