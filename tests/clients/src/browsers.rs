//! Real clients as peers of an HTTP server over lastbyte, and what such a server must get when
//! they end.

use crate::network::{Lab, PATIENCE, ours};
use crate::servers::{command, signal};
use embedded_io_async::ErrorKind;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use nix::sys::signal::Signal;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

pub const PORT: u16 = 80;

pub const PAGE: &str = "It is 21 C.";
/// Far more than the buffers of both ends take.
pub static LONG_PAGE: LazyLock<String> = LazyLock::new(|| PAGE.repeat(1_500_000));

/// Runs `server`, which does not end by itself, until `client` has ended. Each is polled only
/// after its own waker was woken.
pub async fn beside(server: impl Future<Output = ()>, client: impl Future<Output = ()>) {
    let mut tasks: FuturesUnordered<LocalBoxFuture<'_, bool>> = FuturesUnordered::new();
    tasks.push(Box::pin(async {
        server.await;
        false
    }));
    tasks.push(Box::pin(async {
        client.await;
        true
    }));
    let is_client = tasks.next().await == Some(true);
    assert!(is_client, "the server ended first");
}

fn curl(arguments: &[&str], paths: &[&str]) -> Child {
    let mut command = command("curl");
    command.args(["--silent", "--show-error", "--max-time", "60"]);
    command.args(arguments);
    for path in paths {
        command.arg(format!("http://{}{path}", ours(PORT)));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().expect("curl starts")
}

async fn output(child: Child) -> Output {
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = tokio::time::timeout(PATIENCE, waiting).await;
    let output = output.expect("curl ends").expect("its thread ends");
    output.expect("curl has an output")
}

/// curl gets pages: several over one connection, a long one, two at once, and one that is
/// missing.
pub async fn check_pages() {
    let out = output(curl(&["-w", "%{num_connects}"], &["/page", "/page"])).await;
    assert!(out.status.success(), "{}", out.status);
    let text = String::from_utf8_lossy(&out.stdout);
    // The second request needs no connection.
    assert_eq!(text, format!("{PAGE}1{PAGE}0"));

    let (one, other) = (curl(&[], &["/long"]), curl(&[], &["/long"]));
    let (one, other) = futures_util::join!(output(one), output(other));
    for out in [one, other] {
        assert!(out.status.success(), "{}", out.status);
        assert!(
            out.stdout == LONG_PAGE.as_bytes(),
            "{} bytes",
            out.stdout.len()
        );
    }

    let out = output(curl(&["-w", "%{http_code}", "-o", "/dev/null"], &["/none"])).await;
    assert_eq!(String::from_utf8_lossy(&out.stdout), "404");
}

/// A program that is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a client ends in the middle of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It has finished its direction, as `nc -N` does after its request: a FIN.
    Finished,
    /// Its process is killed, with bytes that it has not read: a RST.
    Killed,
    /// Its process is stopped.
    Stopped,
    /// The cable is cut.
    Vanished,
}

/// Requests the long page of `served`, lets the client end in the middle of it, and checks the
/// error of the server.
pub async fn check_end_of_client(
    lab: &Lab<'_, '_>,
    death: Death,
    served: impl Future<Output = Result<(), ErrorKind>>,
) {
    let client = async {
        if death == Death::Finished {
            drop(half_close().await);
            return;
        }
        // It reads slowly, so that it is in the middle of the page for a minute.
        let child = Running(curl(
            &["--limit-rate", "300k", "-o", "/dev/null"],
            &["/long"],
        ));
        tokio::time::sleep(Duration::from_secs(1)).await;
        match death {
            Death::Stopped => signal(&child.0, Signal::SIGSTOP),
            Death::Vanished => lab.cut_cable(),
            Death::Killed | Death::Finished => {}
        }
        if death != Death::Killed {
            // Until the server has ended: the kernel of a stopped client fills its buffer.
            std::future::pending::<()>().await;
        }
        drop(child);
    };
    let mut tasks: FuturesUnordered<LocalBoxFuture<'_, Option<Result<(), ErrorKind>>>> =
        FuturesUnordered::new();
    tasks.push(Box::pin(async { Some(served.await) }));
    tasks.push(Box::pin(async {
        client.await;
        None
    }));
    let ended = loop {
        match tasks.next().await {
            Some(Some(ended)) => break ended,
            Some(None) => {}
            None => unreachable!("the server ends with a result"),
        }
    };
    let kind = match death {
        Death::Finished => ErrorKind::BrokenPipe,
        Death::Killed => ErrorKind::ConnectionReset,
        Death::Stopped | Death::Vanished => ErrorKind::TimedOut,
    };
    assert_eq!(ended, Err(kind), "{death:?}");
}

/// A client that requests the long page and finishes its direction before it reads. Returns
/// what it gets.
pub async fn half_close() -> Vec<u8> {
    let client = || {
        let mut stream = TcpStream::connect(ours(PORT)).expect("the server listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is not zero");
        let request = b"GET /long HTTP/1.1\r\nHost: board\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("sent");
        stream.shutdown(Shutdown::Write).expect("open");
        let mut answer = Vec::new();
        // The server may reset.
        let _ = stream.read_to_end(&mut answer);
        answer
    };
    let answer = tokio::task::spawn_blocking(client);
    answer.await.expect("its thread ends")
}
