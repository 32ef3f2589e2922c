//! An HTTP/1.1 proxy that misbehaves on request, to stand between a client and an S3 server.
//!
//! Requests pass byte for byte, with the `Host` the client sent, so signatures that cover it still hold. A [`Rule`]
//! says which requests meet which [`Fault`]; what no rule matches passes unharmed.
//!
//! ```no_run
//! # async fn example() -> veza_dr_tests::Result<()> {
//! use veza_dr_tests::fault_proxy::{Fault, FaultProxy, Rule};
//!
//! let proxy = FaultProxy::start("127.0.0.1:9000").await?;
//! let slow_down = proxy.add(Rule::new(Fault::slow_down()).method("PUT").path("partNumber=2").times(3));
//! // … a client of proxy.endpoint() uploads …
//! assert_eq!(slow_down.fired(), 3);
//! # Ok(())
//! # }
//! ```

mod connection;
mod message;
mod proxy;
mod rule;

pub use proxy::{FaultProxy, Fired};
pub use rule::{Fault, RequestRecord, Rule};
