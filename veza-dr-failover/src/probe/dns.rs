//! Whether names resolve.

use std::{fmt, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
};
use veza_dr_core::{Cx, Error, ErrorKind, Observation, Result, ServiceProbe};

use super::{
    PATIENCE,
    look::{Contact, Seen, Stop, look},
};

/// Resolves a name, by this machine's resolvers or by servers of its own; nothing is cached. A name that does not exist
/// is degraded, as the server that says so works; no answer is down.
///
/// ```
/// use veza_dr_failover::probe::DnsProbe;
/// let probe = DnsProbe::new("google.com").by(vec!["9.9.9.9:53".parse().unwrap()]);
/// ```
#[derive(Clone)]
pub struct DnsProbe {
    name: String,
    asked: String,
    servers: Vec<SocketAddr>,
    patience: Duration,
}

impl fmt::Debug for DnsProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsProbe").field("asked", &self.asked).field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl DnsProbe {
    /// Resolves `name` as this machine does, without its hosts file.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let asked = name.into();
        Self { name: format!("dns {asked}"), asked, servers: Vec::new(), patience: PATIENCE }
    }

    /// Asks these servers instead of this machine's.
    #[must_use]
    pub fn by(mut self, servers: Vec<SocketAddr>) -> Self {
        self.servers = servers;
        self
    }

    /// How long it waits; 5 s by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn resolver(&self) -> Result<TokioResolver> {
        let cannot = |e: NetError| {
            Error::new(ErrorKind::Unavailable, format!("{}: no resolver to ask", self.name)).with_source(e)
        };
        let mut builder = if self.servers.is_empty() {
            Resolver::builder_tokio().map_err(cannot)?
        } else {
            let servers = self.servers.iter().map(|at| server(*at)).collect();
            Resolver::builder_with_config(ResolverConfig::from_name_servers(servers), TokioRuntimeProvider::default())
        };
        settle(builder.options_mut(), self.patience);
        builder.build().map_err(cannot)
    }

    async fn ask(&self) -> Result<Seen, Stop> {
        // With a dot at its end no search list of this machine is tried.
        let name = format!("{}.", self.asked.trim_end_matches('.'));
        match self.resolver()?.lookup_ip(name).await {
            Ok(found) => {
                let addresses: Vec<String> = found.iter().map(|ip| ip.to_string()).collect();
                Ok(Seen::healthy(format!("{} is {}", self.asked, addresses.join(", "))))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => {
                Ok(Seen::degraded(format!("{} has no address", self.asked)))
            }
            Err(NetError::Dns(e)) => Ok(Seen::down(format!("{} does not resolve: {e}", self.asked))),
            Err(e) => Ok(Seen::silent(format!("{} does not resolve: {e}", self.asked))),
        }
    }
}

fn server(at: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = at.port();
        connection
    });
    NameServerConfig::new(at.ip(), true, connections.into())
}

/// Two tries within the patience, and no memory.
fn settle(options: &mut ResolverOpts, patience: Duration) {
    options.timeout = patience * 2 / 5;
    options.attempts = 1;
    options.cache_size = 0;
    options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
}

#[async_trait]
impl ServiceProbe for DnsProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        look(cx, &self.name, self.patience, &Contact::default(), self.ask()).await
    }
}
