//! tokio's clock, for a network of `lastbyte::asynch`.

use lastbyte::Instant;
use lastbyte::asynch::{Alarm, Now};
use std::future::pending;

/// Time and timers of tokio 1, from the moment at which it was made.
///
/// A network for tokio's threads has the lock `lastbyte::asynch::Threads`:
///
/// ```
/// use lastbyte::asynch::{Now, Shared, Threads};
/// use lastbyte::stack::smoltcp::phy::Device;
/// use lastbyte_host::TokioTime;
///
/// type Net<D> = Shared<'static, D, TokioTime, 4, Threads>;
///
/// async fn serve<D: Device + Send>(net: &'static Net<D>, time: TokioTime) {
///     net.run(time).await;
/// }
/// # let _ = TokioTime::new().now();
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TokioTime {
    epoch: tokio::time::Instant,
}

impl TokioTime {
    /// A clock that begins at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            epoch: tokio::time::Instant::now(),
        }
    }
}

impl Default for TokioTime {
    fn default() -> Self {
        Self::new()
    }
}

impl Now for TokioTime {
    fn now(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }
}

impl Alarm for TokioTime {
    async fn wait(&mut self, until: Option<Instant>) {
        match until.and_then(|until| self.epoch.checked_add(until.into())) {
            Some(until) => tokio::time::sleep_until(until).await,
            None => pending().await,
        }
    }
}
