//! Looks at services, networks and disks: each a [`ServiceProbe`](veza_dr_core::ServiceProbe) that ends by its
//! deadline, says `Ok` of what is unhealthy, and `Err` only when nothing can be said.
//!
//! ```no_run
//! # async fn f() -> veza_dr_core::Result<()> {
//! use veza_dr_core::{Cx, Health, ServiceProbe};
//! use veza_dr_failover::probe::TcpProbe;
//! let seen = TcpProbe::new("192.0.2.10", 8080).observe(&Cx::background()).await?;
//! if seen.health != Health::Healthy && !seen.reached {
//!     println!("nothing came back: the machine may be cut off from here");
//! }
//! # Ok(()) }
//! ```

mod backup;
mod connect;
mod container;
mod disk;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod http_expect;
mod icmp;
mod look;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_facts;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_wire;
mod tcp;
#[cfg(feature = "http")]
mod validity;
#[cfg(feature = "http")]
mod websocket;

#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
pub use crate::trust::Trust;
pub use backup::{BackupProbe, StatusOf};
pub use container::{ContainerProbe, Containers};
pub use disk::{DiskProbe, Room};
#[cfg(feature = "dns")]
pub use dns::DnsProbe;
#[cfg(feature = "http")]
pub use http::HttpProbe;
#[cfg(feature = "http")]
pub use http_expect::{Identity, JsonExpectation};
pub use icmp::IcmpProbe;
pub use look::PATIENCE;
#[cfg(feature = "postgres")]
pub use postgres::{Heartbeat, PostgresProbe};
#[cfg(feature = "redis")]
pub use redis::RedisProbe;
pub use tcp::TcpProbe;
#[cfg(feature = "http")]
pub use websocket::WebSocketProbe;
