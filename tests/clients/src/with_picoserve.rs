//! picoserve 0.20 as the server of curl.

use crate::Case;
use crate::browsers::{
    Death, LONG_PAGE, PAGE, PORT, beside, check_end_of_client, check_pages, half_close,
};
use crate::network::{Lab, Net, lab, quick};
use embedded_io_async::{Error as _, ErrorKind, ErrorType, Write as BaseWrite};
use lastbyte::asynch::{Connection, Reader, Writer};
use lastbyte::core::OnPeerFin;
use lastbyte::{How, Options, WriteError};
use picoserve::io::{Socket, Write};
use picoserve::mem::{BorrowedBuffer, BorrowedCursor};
use picoserve::routing::{PathRouter, get};
use picoserve::{Config, Error, Router, Server, Timeouts, Timer};
use std::time::Duration;

pub const CASES: &[Case] = &[
    ("picoserve_serves_curl", serves_curl),
    ("picoserve_client_finishes", || client_dies(Death::Finished)),
    ("picoserve_client_killed", || client_dies(Death::Killed)),
    ("picoserve_client_stopped", || client_dies(Death::Stopped)),
    ("picoserve_client_vanished", || client_dies(Death::Vanished)),
    ("picoserve_serves_half_closed", serves_half_closed),
];

/// The socket that picoserve wants: a newtype, because the trait and the connection are both
/// of other crates.
struct ServedSocket<'n, 'a>(Connection<'n, Net<'a>>);

struct WriteHalf<'h, 'n, 'a>(&'h mut Writer<'n, Net<'a>>);

impl ErrorType for WriteHalf<'_, '_, '_> {
    type Error = lastbyte::Error;
}

impl BaseWrite for WriteHalf<'_, '_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, lastbyte::Error> {
        self.0.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), lastbyte::Error> {
        self.0.flush().await
    }
}

impl Write for WriteHalf<'_, '_, '_> {
    async fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(
        &mut self,
        fill: F,
    ) -> Result<R, lastbyte::Error> {
        let mut result = None;
        let filled = self.0.write_with(|room| {
            let mut room = BorrowedBuffer::new(room);
            result = Some(fill(room.unfilled()));
            room.len()
        });
        filled.await?;
        Ok(result.expect("a write that succeeds has called the closure"))
    }
}

/// picoserve's name for an executor.
struct Executor;

struct Tokio;

impl Timer<Executor> for Tokio {
    async fn delay(&self, duration: picoserve::time::Duration) {
        tokio::time::sleep(Duration::from_millis(duration.as_millis())).await;
    }
}

impl<'n, 'a> Socket<Executor> for ServedSocket<'n, 'a> {
    type Error = lastbyte::Error;
    type ReadHalf<'h>
        = &'h mut Reader<'n, Net<'a>>
    where
        Self: 'h;
    type WriteHalf<'h>
        = WriteHalf<'h, 'n, 'a>
    where
        Self: 'h;

    fn split(&mut self) -> (Self::ReadHalf<'_>, Self::WriteHalf<'_>) {
        let (writer, reader) = self.0.split();
        (reader, WriteHalf(writer))
    }

    async fn abort<T: Timer<Executor>>(
        mut self,
        _: &Timeouts,
        _: &T,
    ) -> Result<(), Error<lastbyte::Error>> {
        self.0.abort().map(|_| ()).map_err(Error::Write)
    }

    async fn shutdown<T: Timer<Executor>>(
        mut self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), Error<lastbyte::Error>> {
        match self.0.finish_writing().await {
            // The client has closed before: our FIN is the last one.
            Err(lastbyte::Error::Write(WriteError::PeerClosed { how: How::Fin, .. })) => {}
            finished => finished.map_err(Error::Write)?,
        }
        let reader = &mut self.0;
        let drain = async {
            while reader.read_with(<[u8]>::len).await? > 0 {}
            Ok(())
        };
        let drained = timer.run_with_timeout(timeouts.read_request, drain).await;
        drained.map_err(Error::ReadTimeout)?.map_err(Error::Read)?;
        self.0.finish().await.map(|_| ()).map_err(Error::Write)
    }
}

fn app() -> Router<impl PathRouter> {
    Router::new()
        .route("/page", get(async || PAGE))
        .route("/long", get(async || LONG_PAGE.as_str()))
}

/// Serves one connection.
async fn serve(
    lab: &Lab<'_, '_>,
    app: &Router<impl PathRouter>,
    options: Options,
) -> Result<(), ErrorKind> {
    let mut listener = lab.net.listen(PORT, options).expect("a free slot");
    let connection = listener.accept().await.expect("a client");
    drop(listener);
    let timeouts = Timeouts {
        // Ours are to end it.
        write: picoserve::time::Duration::from_secs(60),
        ..Timeouts::default()
    };
    let config = Config::new(timeouts).keep_connection_alive();
    let mut buffer = [0; 2_048];
    let server = Server::custom(app, Tokio, &config, &mut buffer);
    let served = server.serve(ServedSocket(connection)).await;
    served.map(|_| ()).map_err(|error| error.kind())
}

fn options() -> lastbyte::core::OptionsBuilder {
    quick().call_timeout(Duration::from_secs(10))
}

fn serves_curl() {
    lab(async |lab| {
        let options = options()
            .build()
            .expect("they do not contradict each other");
        let app = app();
        let task = async || loop {
            serve(lab, &app, options)
                .await
                .expect("a connection ends in peace");
        };
        let tasks = async {
            futures_util::join!(task(), task());
        };
        beside(tasks, check_pages()).await;
    });
}

fn client_dies(death: Death) {
    lab(async |lab| {
        let options = quick().build().expect("they do not contradict each other");
        let app = app();
        check_end_of_client(lab, death, serve(lab, &app, options)).await;
    });
}

/// With `OnPeerFin::HalfClose`, a client that has finished its direction gets its page.
fn serves_half_closed() {
    lab(async |lab| {
        let options = options().on_peer_fin(OnPeerFin::HalfClose).build();
        let options = options.expect("they do not contradict each other");
        let app = app();
        let (served, answer) = futures_util::join!(serve(lab, &app, options), half_close());
        served.expect("a connection ends in peace");
        assert!(
            answer.ends_with(LONG_PAGE.as_bytes()),
            "{} bytes",
            answer.len()
        );
    });
}
