//! reqwless 0.14 against nginx, in the clear and with its embedded-tls 0.18.

use crate::Case;
use crate::deaths::{Death, check_requester};
use crate::network::{at, lab};
use crate::servers::Server;
use embedded_io_async::{Error as _, ErrorKind, Read as _};
use embedded_nal_async::{AddrType, Dns};
use reqwless::Error;
use reqwless::client::{HttpClient, TlsConfig, TlsVerify};
use reqwless::request::{Method, RequestBuilder as _};
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

pub const CASES: &[Case] = &[
    ("reqwless_gets_and_posts", gets_and_posts),
    ("reqwless_without_a_server", without_a_server),
    ("reqwless_server_killed", || dies(Death::Killed)),
    ("reqwless_server_resets", || dies(Death::Reset)),
    ("reqwless_server_stopped", || dies(Death::Stopped)),
    ("reqwless_server_vanished", || dies(Death::Vanished)),
    ("reqwless_reset_in_a_body", reset_in_a_body),
    ("reqwless_gets_over_tls", gets_over_tls),
    ("reqwless_tls_server_killed", || {
        dies_over_tls(Death::Killed)
    }),
    ("reqwless_tls_server_resets", || dies_over_tls(Death::Reset)),
    ("reqwless_tls_server_stopped", || {
        dies_over_tls(Death::Stopped)
    }),
    ("reqwless_tls_server_vanished", || {
        dies_over_tls(Death::Vanished)
    }),
];

const PORT: u16 = 8080;
const URL: &str = "http://10.77.0.1:8080";
const SECURE_URL: &str = "https://10.77.0.1:8080";
const PAGE: &str = "It is 21 C.";

/// Addresses only.
struct NoNames;

impl Dns for NoNames {
    type Error = ErrorKind;

    async fn get_host_by_name(&self, host: &str, _: AddrType) -> Result<IpAddr, ErrorKind> {
        host.parse().map_err(|_| ErrorKind::NotFound)
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, ErrorKind> {
        Err(ErrorKind::Unsupported)
    }
}

/// Room for the longest record.
struct Records(Vec<u8>, Vec<u8>);

impl Records {
    fn new() -> Self {
        Self(vec![0; 16_640], vec![0; 16_640])
    }

    fn config(&mut self) -> TlsConfig<'_> {
        let seed = u64::from(std::process::id());
        TlsConfig::new(seed, &mut self.0, &mut self.1, TlsVerify::None)
    }
}

fn gets_and_posts() {
    lab(async |lab| {
        let page = PAGE.repeat(1_000);
        let _server = Server::nginx(lab, at(PORT), false, &[("page", &page)]);
        let client = lab.client();
        let mut http = HttpClient::new(&client, &NoNames);
        let mut buffer = vec![0; 32 * 1_024];
        let url = format!("{URL}/page");
        {
            let mut request = http.request(Method::GET, &url).await.expect("open");
            let response = request.send(&mut buffer).await.expect("an answer");
            assert!(response.status.is_successful(), "{:?}", response.status);
            let body = response.body().read_to_end().await.expect("a body");
            assert!(body == page.as_bytes(), "{} bytes", body.len());
        }
        // One connection, several requests; a file takes no POST.
        let mut resource = http.resource(URL).await.expect("open");
        for _ in 0..3 {
            let response = resource.get("/page").send(&mut buffer).await;
            let response = response.expect("an answer");
            assert!(response.status.is_successful(), "{:?}", response.status);
            let len = response.body().discard().await.expect("a body");
            assert_eq!(len, page.len());
        }
        let request = resource.post("/page").body(PAGE.as_bytes());
        let response = request.send(&mut buffer).await.expect("an answer");
        assert_eq!(response.status.0, 405);
    });
}

fn without_a_server() {
    lab(async |lab| {
        let client = lab.client();
        let mut http = HttpClient::new(&client, &NoNames);
        let error = http.request(Method::GET, URL).await.map(|_| ());
        let error = error.expect_err("no server listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error:?}");
    });
}

fn dies(death: Death) {
    lab(async |lab| {
        let mut server = Server::nginx(lab, at(PORT), false, &[("page", PAGE)]);
        let client = lab.client();
        let mut http = HttpClient::new(&client, &NoNames);
        let mut resource = http.resource(URL).await.expect("open");
        let request = async || {
            let mut buffer = [0; 1_024];
            let response = resource.get("/page").send(&mut buffer).await;
            let response = response.map_err(|error| error.kind())?;
            response
                .body()
                .discard()
                .await
                .map_err(|error| error.kind())?;
            Ok(())
        };
        check_requester(lab, &mut server, death, request).await;
    });
}

/// The server resets in the middle of a body, as nginx does with a client that does not read.
/// What had arrived before can be read, then comes the reset and not the end of the body.
fn reset_in_a_body() {
    lab(async |lab| {
        let page = PAGE.repeat(1_000_000);
        let _server = Server::nginx(lab, at(PORT), false, &[("page", &page)]);
        let client = lab.client();
        let mut http = HttpClient::new(&client, &NoNames);
        let mut resource = http.resource(URL).await.expect("open");
        let mut buffer = [0; 1_024];
        let response = resource.get("/page").send(&mut buffer).await;
        let mut body = response.expect("an answer").body().reader();
        // Longer than nginx waits. No task is polled, so our window stays closed.
        thread::sleep(Duration::from_secs(3));
        let (mut into, mut len) = ([0; 1_024], 0);
        let error = loop {
            match body.read(&mut into).await {
                Ok(0) => panic!("the end of the body after {len} bytes"),
                Ok(read) => len += read,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error:?}");
        assert!((1..page.len()).contains(&len), "{len} bytes");
    });
}

fn gets_over_tls() {
    lab(async |lab| {
        let page = PAGE.repeat(1_000);
        let _server = Server::nginx(lab, at(PORT), true, &[("page", &page)]);
        let (client, mut records) = (lab.client(), Records::new());
        let mut http = HttpClient::new_with_tls(&client, &NoNames, records.config());
        let mut buffer = vec![0; 32 * 1_024];
        let url = format!("{SECURE_URL}/page");
        let mut request = http.request(Method::GET, &url).await.expect("open");
        let response = request.send(&mut buffer).await.expect("an answer");
        assert!(response.status.is_successful(), "{:?}", response.status);
        let body = response.body().read_to_end().await.expect("a body");
        assert!(body == page.as_bytes(), "{} bytes", body.len());
    });
}

fn dies_over_tls(death: Death) {
    lab(async |lab| {
        let mut server = Server::nginx(lab, at(PORT), true, &[("page", PAGE)]);
        let (client, mut records) = (lab.client(), Records::new());
        let mut http = HttpClient::new_with_tls(&client, &NoNames, records.config());
        let mut resource = http.resource(SECURE_URL).await.expect("open");
        let request = async || {
            let mut buffer = [0; 1_024];
            let response = resource.get("/page").send(&mut buffer).await;
            let response = response.map_err(|error| kind(&error))?;
            response
                .body()
                .discard()
                .await
                .map_err(|error| kind(&error))?;
            Ok(())
        };
        check_requester(lab, &mut server, death, request).await;
    });
}

/// The kind inside of an error of embedded-tls, of which reqwless makes `Other`.
fn kind(error: &Error) -> ErrorKind {
    match error {
        Error::Tls(error) => error.kind(),
        error => error.kind(),
    }
}
