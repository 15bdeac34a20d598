//! `defmt::Format` for the types that hold values without one.

use super::buffered::Buffered;
use super::connection::{Connection, Reader, Writer};
use super::listener::Listener;
use super::lock::Lock;
use super::network::AnyShared;
use super::shared::Shared;
use super::time::Now;
use crate::stack::smoltcp::phy::Device;
use defmt::{Format, Formatter, write};

impl<D: Device, C: Now, const N: usize, K: Lock> Format for Shared<'_, D, C, N, K> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Shared<{}>", N);
    }
}

impl<S: AnyShared> Format for Connection<'_, S> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Connection({})", self.id());
    }
}

impl<S: AnyShared> Format for Writer<'_, S> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Writer({})", self.id());
    }
}

impl<S: AnyShared> Format for Reader<'_, S> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Reader({})", self.id());
    }
}

impl<S: AnyShared> Format for Listener<'_, S> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Listener");
    }
}

impl<T: Format> Format for Buffered<'_, T> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Buffered({})", self.inner());
    }
}
