//! edge-http 0.8 (of edge-net 0.16) as the server of curl, by the traits of edge-nal 0.7.

use crate::Case;
use crate::browsers::{
    Death, LONG_PAGE, PAGE, PORT, beside, check_end_of_client, check_pages, half_close,
};
use crate::network::{Lab, lab, ours, quick};
use edge_http::io::Error;
use edge_http::io::server::{Connection, Handler, HandlerError, Server, handle_request};
use edge_nal::{Close, TcpAccept as _, TcpBind as _, TcpShutdown as _, TcpSplit};
use embedded_io_async::{Error as _, ErrorKind, Read, Write};
use lastbyte::Options;
use lastbyte::core::OnPeerFin;
use std::fmt::Display;
use std::time::Duration;

pub const CASES: &[Case] = &[
    ("edge_http_serves_curl", serves_curl),
    ("edge_http_client_finishes", || client_dies(Death::Finished)),
    ("edge_http_client_killed", || client_dies(Death::Killed)),
    ("edge_http_client_stopped", || client_dies(Death::Stopped)),
    ("edge_http_client_vanished", || client_dies(Death::Vanished)),
    ("edge_http_serves_half_closed", serves_half_closed),
];

/// Connections that the server handles at once.
const TASKS: usize = 2;
const BUFFER_LEN: usize = 2_048;
const HEADERS: usize = 32;

struct Pages;

impl Handler for Pages {
    type Error<E: core::fmt::Debug> = Error<E>;

    async fn handle<T, const N: usize>(
        &self,
        _: impl Display + Copy,
        connection: &mut Connection<'_, T, N>,
    ) -> Result<(), Error<T::Error>>
    where
        T: Read + Write + TcpSplit,
    {
        let (status, body) = match connection.headers()?.path {
            "/page" => (200, PAGE),
            "/long" => (200, LONG_PAGE.as_str()),
            _ => (404, "There is no such page."),
        };
        let headers = [("Content-Type", "text/plain")];
        connection.initiate_response(status, None, &headers).await?;
        connection.write_all(body.as_bytes()).await
    }
}

fn serves_curl() {
    lab(async |lab| {
        let options = quick().call_timeout(Duration::from_secs(10)).build();
        let client = lab.client_with(options.expect("they do not contradict each other"));
        let acceptor = client.bind(ours(PORT)).await.expect("a free slot");
        let mut server = Server::<TASKS, BUFFER_LEN, HEADERS>::new();
        let served = async {
            let ended = server.run(Some(5_000), acceptor, Pages).await;
            panic!("{ended:?}");
        };
        beside(served, check_pages()).await;
    });
}

/// Serves one request, and closes.
async fn serve(lab: &Lab<'_, '_>, options: Options) -> Result<(), ErrorKind> {
    let acceptor = lab.client_with(options).bind(ours(PORT)).await;
    let acceptor = acceptor.expect("a free slot");
    let (_, mut connection) = acceptor.accept().await.expect("a client");
    let mut buffer = [0; BUFFER_LEN];
    let served = handle_request::<_, _, HEADERS>(&mut buffer, &mut connection, 0, Pages).await;
    match served {
        Ok(_) => connection
            .close(Close::Both)
            .await
            .map_err(|error| error.kind()),
        Err(
            HandlerError::Io(error)
            | HandlerError::Connection(Error::Io(error))
            | HandlerError::Handler(Error::Io(error)),
        ) => Err(error.kind()),
        Err(other) => panic!("not of the network: {other:?}"),
    }
}

fn client_dies(death: Death) {
    lab(async |lab| {
        let options = quick().build().expect("they do not contradict each other");
        check_end_of_client(lab, death, serve(lab, options)).await;
    });
}

/// With `OnPeerFin::HalfClose`, a client that has finished its direction gets its page.
fn serves_half_closed() {
    lab(async |lab| {
        let options = quick().on_peer_fin(OnPeerFin::HalfClose).build();
        let options = options.expect("they do not contradict each other");
        let (served, answer) = futures_util::join!(serve(lab, options), half_close());
        served.expect("a connection ends in peace");
        let page = LONG_PAGE.as_bytes();
        assert!(answer.len() > page.len(), "{} bytes", answer.len());
    });
}
