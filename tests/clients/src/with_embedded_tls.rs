//! embedded-tls 0.19 (TLS 1.3) against `openssl s_server`.

use crate::Case;
use crate::deaths::{Death, check_requester};
use crate::network::{Lab, Net, at, lab};
use crate::servers::Server;
use embedded_io_async::{Error as _, ErrorKind};
use embedded_tls::{
    Aes128GcmSha256, TlsConfig, TlsConnection, TlsContext, TlsError, UnsecureProvider,
};
use lastbyte::asynch::Connection;
use rand_core::OsRng;

pub const CASES: &[Case] = &[
    ("embedded_tls_sends_and_receives", sends_and_receives),
    ("embedded_tls_server_killed", || dies(Death::Killed)),
    ("embedded_tls_server_resets", || dies(Death::Reset)),
    ("embedded_tls_server_stopped", || dies(Death::Stopped)),
    ("embedded_tls_server_vanished", || dies(Death::Vanished)),
    (
        "embedded_tls_handshake_without_an_answer",
        handshake_without_an_answer,
    ),
];

const PORT: u16 = 4433;
/// Room for the longest record.
const RECORD_LEN: usize = 16_640;

type Tls<'b, 'n, 'a> = TlsConnection<'b, Connection<'n, Net<'a>>, Aes128GcmSha256>;

struct Records([u8; RECORD_LEN], [u8; RECORD_LEN]);

async fn open<'b, 'n: 'b, 'a: 'b>(
    lab: &Lab<'n, 'a>,
    records: &'b mut Records,
) -> Result<Tls<'b, 'n, 'a>, TlsError> {
    let connection = lab.client().connect(at(PORT)).await;
    let connection = connection.expect("the server listens");
    let mut tls = TlsConnection::new(connection, &mut records.0, &mut records.1);
    let config = TlsConfig::new().with_server_name("server.test");
    let provider = UnsecureProvider::new::<Aes128GcmSha256>(OsRng);
    tls.open(TlsContext::new(&config, provider)).await?;
    Ok(tls)
}

/// Sends a line, and gets it back reversed.
async fn request(tls: &mut Tls<'_, '_, '_>) -> Result<Vec<u8>, TlsError> {
    let line = b"lastbyte\n";
    let mut written = 0;
    while written < line.len() {
        written += tls.write(&line[written..]).await?;
    }
    tls.flush().await?;
    let (mut answer, mut into) = (Vec::new(), [0; 64]);
    while answer.len() < line.len() {
        let len = tls.read(&mut into).await?;
        assert!(len > 0, "the end after {answer:?}");
        answer.extend_from_slice(&into[..len]);
    }
    Ok(answer)
}

fn sends_and_receives() {
    lab(async |lab| {
        let _server = Server::openssl(lab, at(PORT));
        let mut records = Records([0; RECORD_LEN], [0; RECORD_LEN]);
        let mut tls = open(lab, &mut records).await.expect("a handshake");
        for _ in 0..3 {
            let answer = request(&mut tls).await.expect("an answer");
            assert_eq!(answer, b"etybtsal\n");
        }
        let closed = tls.close().await.map_err(|(_, error)| error);
        let mut connection = closed.expect("the server lives");
        let report = connection.finish().await.expect("every byte arrives");
        assert_eq!(report.ledger.undelivered(), 0);
    });
}

fn dies(death: Death) {
    lab(async |lab| {
        let mut server = Server::openssl(lab, at(PORT));
        let mut records = Records([0; RECORD_LEN], [0; RECORD_LEN]);
        let mut tls = open(lab, &mut records).await.expect("a handshake");
        let once = async || {
            let answer = request(&mut tls).await;
            answer.map(|_| ()).map_err(|error| error.kind())
        };
        check_requester(lab, &mut server, death, once).await;
    });
}

/// A server that accepts, and stays silent.
fn handshake_without_an_answer() {
    lab(async |lab| {
        let server = Server::openssl(lab, at(PORT));
        server.stop();
        let mut records = Records([0; RECORD_LEN], [0; RECORD_LEN]);
        let error = open(lab, &mut records).await.map(|_| ());
        assert_eq!(error.expect_err("silence").kind(), ErrorKind::TimedOut);
    });
}
