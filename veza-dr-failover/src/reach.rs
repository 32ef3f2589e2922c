//! How servers are reached: a public name in the request, the chosen site's address under it.

#[cfg(feature = "http")]
mod http;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use http::HttpAddress;
#[cfg(feature = "http")]
pub(crate) use http::HttpConnection;
#[cfg(feature = "postgres")]
pub(crate) use postgres::pg_error;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use postgres::{PostgresAccess, PostgresSession};
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use redis::RedisAccess;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisSession;
