//! The listener, and the rules that its connections share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::connection::serve;
use super::rule::{Fault, RequestRecord, Rule};
use crate::Result;

/// What all connections of a proxy share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) upstream: String,
    state: Mutex<(Vec<Rule>, Vec<RequestRecord>)>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, (Vec<Rule>, Vec<RequestRecord>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and says which fault it meets: that of the first rule that strikes. The rules behind that one
    /// do not count the request.
    pub(super) fn judge(&self, method: &str, target: &str) -> Option<Fault> {
        let (rules, records) = &mut *self.state();
        let fault = rules.iter_mut().find_map(|rule| rule.strikes(method, target).then(|| rule.fault.clone()));
        records.push(RequestRecord { method: method.to_owned(), target: target.to_owned(), fault: fault.clone() });
        fault
    }
}

/// How often a rule has struck.
#[derive(Debug, Clone)]
pub struct Fired(Arc<AtomicUsize>);

impl Fired {
    /// The number of requests that met the rule's fault so far.
    pub fn fired(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A running proxy. Dropping it cuts its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free loopback port and passes on to `upstream`, a host and port.
    pub async fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared { upstream: upstream.to_owned(), state: Mutex::default() });
        let connections = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            // Owned by this task, so that aborting it aborts them all.
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&connections);
                clients.spawn(async move { serve(client, &shared).await });
                while clients.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, shared, task })
    }

    /// The address to give to an S3 client.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Adds a rule, behind those there are: the first that strikes wins.
    pub fn add(&self, rule: Rule) -> Fired {
        let fired = Fired(Arc::clone(&rule.fired));
        self.shared.state().0.push(rule);
        fired
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.shared.state().0.clear();
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.state().1.clone()
    }

    /// How many requests of this method came whose path and query contain this text.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let matches = |record: &&RequestRecord| record.method == method && record.target.contains(part);
        self.shared.state().1.iter().filter(matches).count()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
