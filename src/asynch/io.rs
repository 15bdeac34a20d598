//! The traits of `embedded_io_async`.

use super::connection::{Connection, Reader, Writer};
use super::network::AnyShared;
use crate::stack::Error;
use embedded_io_async::{ErrorType, Read, ReadReady, Write, WriteReady};

impl<S: AnyShared> ErrorType for Writer<'_, S> {
    type Error = Error;
}

impl<S: AnyShared> Write for Writer<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<usize, Error>> {
        Writer::write(self, bytes)
    }

    fn flush(&mut self) -> impl Future<Output = Result<(), Error>> {
        Writer::flush(self)
    }
}

impl<S: AnyShared> WriteReady for Writer<'_, S> {
    fn write_ready(&mut self) -> Result<bool, Error> {
        Writer::write_ready(self)
    }
}

impl<S: AnyShared> ErrorType for Reader<'_, S> {
    type Error = Error;
}

impl<S: AnyShared> Read for Reader<'_, S> {
    fn read(&mut self, into: &mut [u8]) -> impl Future<Output = Result<usize, Error>> {
        Reader::read(self, into)
    }
}

impl<S: AnyShared> ReadReady for Reader<'_, S> {
    fn read_ready(&mut self) -> Result<bool, Error> {
        Reader::read_ready(self)
    }
}

impl<S: AnyShared> ErrorType for Connection<'_, S> {
    type Error = Error;
}

impl<S: AnyShared> Write for Connection<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<usize, Error>> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> impl Future<Output = Result<(), Error>> {
        self.writer.flush()
    }
}

impl<S: AnyShared> WriteReady for Connection<'_, S> {
    fn write_ready(&mut self) -> Result<bool, Error> {
        self.writer.write_ready()
    }
}

impl<S: AnyShared> Read for Connection<'_, S> {
    fn read(&mut self, into: &mut [u8]) -> impl Future<Output = Result<usize, Error>> {
        self.reader.read(into)
    }
}

impl<S: AnyShared> ReadReady for Connection<'_, S> {
    fn read_ready(&mut self) -> Result<bool, Error> {
        self.reader.read_ready()
    }
}
