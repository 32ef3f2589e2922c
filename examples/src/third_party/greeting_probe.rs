//! A probe of a service that greets whoever connects, as mail servers do.

use std::time::Instant;

use async_trait::async_trait;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
};
use veza_dr_core::{Clock, Cx, ErrorKind, Health, Observation, Result, ServiceProbe, SystemClock};

/// Longer greetings are none.
const LONGEST: u64 = 512;

/// Healthy when the first line begins with `220`.
#[derive(Debug, Clone)]
pub struct GreetingProbe {
    name: String,
    address: String,
}

impl GreetingProbe {
    /// Looks at `address`: host and port.
    #[must_use]
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self { name: name.into(), address: address.into() }
    }
}

#[async_trait]
impl ServiceProbe for GreetingProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        let what = format!("look at {}", self.name);
        cx.check(&what)?;
        let began = Instant::now();
        let greeted = async {
            use tokio::io::AsyncReadExt as _;
            let mut line = String::new();
            let stream = match TcpStream::connect(&self.address).await {
                Ok(stream) => stream,
                Err(e) => return Ok(Err(format!("{}: {e}", self.address))),
            };
            match BufReader::new(stream).take(LONGEST).read_line(&mut line).await {
                Ok(0) => Ok(Err(format!("{} hung up without a word", self.address))),
                Ok(_) => Ok(Ok(line.trim_end().to_owned())),
                Err(e) => Ok(Err(format!("{}: {e}", self.address))),
            }
        };
        let seen = |health, detail: String| Observation::new(health, detail, SystemClock.now(), began.elapsed());
        // Whoever cancels gets an error; a service that is silent until the deadline is down, and that is an answer.
        match cx.run(&what, greeted).await {
            Ok(Ok(line)) if line.starts_with("220") => Ok(seen(Health::Healthy, line)),
            Ok(Ok(line)) => Ok(seen(Health::Degraded, format!("greets with: {line}"))),
            Ok(Err(why)) => Ok(seen(Health::Down, why)),
            Err(e) if e.kind() == ErrorKind::Cancelled && !cx.is_cancelled() => {
                Ok(seen(Health::Down, format!("{} did not greet in time", self.address)).with_reached(false))
            }
            Err(e) => Err(e),
        }
    }
}
