//! Gets a page by HTTPS, with reqwless and embedded-tls over `lastbyte::asynch`.
//!
//! Against a server of this machine, in a private network, which needs no root and no TAP:
//!
//! ```text
//! mkdir -p /tmp/site && echo 'It is 21 C.' > /tmp/site/index.html
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
//!     -subj /CN=10.77.0.1 -keyout /tmp/site/key.pem -out /tmp/site/cert.pem
//! echo 'user root; daemon off; master_process off; pid nginx.pid; events {}
//!     http { access_log off;
//!     client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u;
//!     scgi_temp_path s; ssl_protocols TLSv1.3; ssl_certificate cert.pem; ssl_certificate_key key.pem;
//!     server { listen 10.77.0.1:8443 ssl; root .; } }' > /tmp/site/nginx.conf
//! cargo run --manifest-path examples/protocols/Cargo.toml --bin https_get -- \
//!     --peer '/usr/sbin/nginx -p /tmp/site -c nginx.conf' 10.77.0.1:8443
//! ```
//!
//! reqwless needs the length of a body over TLS, or chunks: it takes the end of the session, with which
//! `openssl s_server -www` ends a body, for an error.
//!
//! Against any other server: `-- --tap tap0 --addr 10.0.0.2/24 10.0.0.1:443`.

use embedded_nal_async::{AddrType, Dns};
use lastbyte::asynch::Client;
use lastbyte::{OnReceive, Options};
use lastbyte_protocols::{Failure, Net};
use reqwless::client::{HttpClient, TlsConfig, TlsVerify};
use reqwless::request::Method;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The longest record of TLS, with its header and its tag.
const RECORD_LEN: usize = 16_640;

const OPTIONS: Options = match Options::builder()
    .on_receive(OnReceive::Keep)
    .call_timeout(Duration::from_secs(10))
    .build()
{
    Ok(options) => options,
    Err(_) => panic!("these do not contradict each other"),
};

/// The server is given by its address.
struct One(IpAddr);

impl Dns for One {
    type Error = Infallible;

    async fn get_host_by_name(&self, _: &str, _: AddrType) -> Result<IpAddr, Infallible> {
        Ok(self.0)
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, Infallible> {
        Ok(0)
    }
}

fn main() -> Result<(), Failure> {
    lastbyte_protocols::main(get)
}

async fn get(net: &Net<'_>, server: SocketAddr) -> Result<(), Failure> {
    let (mut read, mut write) = (vec![0; RECORD_LEN], vec![0; RECORD_LEN]);
    let seed = RandomState::new().hash_one(0);
    // A product verifies its server: `TlsVerify::Certificate`, with the certificate of its own
    // authority.
    let tls = TlsConfig::new(seed, &mut read, &mut write, TlsVerify::None);
    let (client, dns) = (Client::new(net, OPTIONS), One(server.ip()));
    let mut http = HttpClient::new_with_tls(&client, &dns, tls);

    let url = format!("https://{server}/");
    let mut buffer = vec![0; 64 * 1024];
    let mut request = http.request(Method::GET, &url).await?;
    let response = request.send(&mut buffer).await?;
    println!("{}: {:?}", url, response.status);
    let body = response.body().read_to_end().await?;
    println!("{}", String::from_utf8_lossy(body));
    Ok(())
}
