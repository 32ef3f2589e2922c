//! Whether a TCP port takes connections.

use std::time::Duration;

use async_trait::async_trait;
use veza_dr_core::{Cx, Observation, Result, ServiceProbe};

use super::{
    PATIENCE,
    connect::{address, connect},
    look::{Contact, Seen, look},
};

/// Connects to a port and hangs up. Healthy means that something took the connection, not that it works.
///
/// ```
/// use veza_dr_core::ServiceProbe;
/// let probe = veza_dr_failover::probe::TcpProbe::new("192.0.2.10", 5432);
/// assert_eq!(probe.name(), "tcp 192.0.2.10:5432");
/// ```
#[derive(Debug, Clone)]
pub struct TcpProbe {
    name: String,
    host: String,
    port: u16,
    patience: Duration,
}

impl TcpProbe {
    /// Looks at a port of a host.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self { name: format!("tcp {}", address(&host, port)), host, port, patience: PATIENCE }
    }

    /// How long it waits; 5 s by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

#[async_trait]
impl ServiceProbe for TcpProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        let contact = Contact::default();
        let work = async {
            let stream = connect(&self.host, self.port, &contact).await?;
            let at = stream.peer_addr().map_or_else(|_| address(&self.host, self.port), |at| at.to_string());
            Ok(Seen::healthy(format!("{at} takes connections")))
        };
        look(cx, &self.name, self.patience, &contact, work).await
    }
}
