//! The contract suite of core on every kind of probe that a server of the test's own can stand behind.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use tokio::sync::Mutex;
use veza_dr_core::{ServiceProbe, testing::contract::probe::ProbeHarness};
use veza_dr_failover::probe::{HttpProbe, TcpProbe, WebSocketProbe};

use crate::servers::{Running, anywhere, http, listen, websocket};

type Start = fn(SocketAddr) -> Running;
type Make = fn(SocketAddr) -> Arc<dyn ServiceProbe>;

struct Stoppable {
    at: SocketAddr,
    running: Mutex<Option<Running>>,
    start: Start,
    make: Make,
}

impl Stoppable {
    fn arc(start: Start, make: Make) -> Arc<dyn ProbeHarness> {
        let at = listen(anywhere()).local_addr().unwrap();
        Arc::new(Self { at, running: Mutex::default(), start, make })
    }
}

#[async_trait]
impl ProbeHarness for Stoppable {
    fn probe(&self) -> Arc<dyn ServiceProbe> {
        (self.make)(self.at)
    }

    async fn start(&self) {
        let mut running = self.running.lock().await;
        if running.is_none() {
            *running = Some((self.start)(self.at));
        }
    }

    async fn stop(&self) {
        drop(self.running.lock().await.take());
        // The listener goes with its task, a moment later.
        while tokio::net::TcpStream::connect(self.at).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

mod tcp {
    use super::*;
    veza_dr_core::probe_contract!(async {
        let make: Make = |at| Arc::new(TcpProbe::new(at.ip().to_string(), at.port()));
        (Stoppable::arc(|at| http(listen(at), "primary"), make), ())
    });
}

mod http_service {
    use super::*;
    veza_dr_core::probe_contract!(async {
        let make: Make = |at| Arc::new(HttpProbe::new(&format!("http://{at}/health")).unwrap());
        (Stoppable::arc(|at| http(listen(at), "primary"), make), ())
    });
}

mod websocket_service {
    use super::*;
    veza_dr_core::probe_contract!(async {
        let make: Make = |at| {
            let probe = WebSocketProbe::new(&format!("ws://{at}/chat")).unwrap();
            Arc::new(probe.with_token("right".to_owned().into()).with_echo())
        };
        (Stoppable::arc(|at| websocket(listen(at), true), make), ())
    });
}
