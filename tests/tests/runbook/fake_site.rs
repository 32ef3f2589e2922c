//! A site that is nothing but its state: reachable or not, running or not, marked or not.

use std::{
    process::Stdio,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Health, Result};
use veza_dr_failover::site::{Job, JobResult, ServiceState, SiteControl};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) reachable: bool,
    pub(crate) running: bool,
    pub(crate) mark: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct FakeSite {
    name: &'static str,
    now: Mutex<Now>,
}

impl FakeSite {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, now: Mutex::new(Now { reachable: true, running: true, mark: None }) }
    }

    pub(crate) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap()
    }

    fn reached(&self) -> Result<MutexGuard<'_, Now>> {
        let now = self.now();
        if now.reachable {
            return Ok(now);
        }
        Err(Error::new(ErrorKind::Unavailable, format!("{} cannot be reached", self.name)))
    }

    fn not_older(&self, epoch: u64) -> Result<MutexGuard<'_, Now>> {
        let now = self.reached()?;
        match now.mark {
            Some(there) if there > epoch => Err(Error::new(ErrorKind::Conflict, format!("run {there} is newer"))),
            _ => Ok(now),
        }
    }
}

#[async_trait]
impl SiteControl for FakeSite {
    fn name(&self) -> &str {
        self.name
    }

    fn address(&self) -> Option<&str> {
        None
    }

    async fn order(&self, _: &Cx) -> Result<Vec<(String, Vec<String>)>> {
        Ok(vec![("api".to_owned(), Vec::new())])
    }

    async fn services(&self, _: &Cx) -> Result<Vec<ServiceState>> {
        let running = self.reached()?.running;
        let mut api = ServiceState::absent("api");
        api.container = Some("api-1".to_owned());
        api.state = if running { "running" } else { "exited" }.to_owned();
        api.health = if running { Health::Healthy } else { Health::Down };
        Ok(vec![api])
    }

    async fn up(&self, _: &Cx, _: &Job, _: &[String]) -> Result<JobResult> {
        let mut now = self.reached()?;
        if now.mark.is_some() {
            return Err(Error::new(ErrorKind::Conflict, "it is fenced"));
        }
        now.running = true;
        Ok(JobResult::new(0, ""))
    }

    async fn down(&self, _: &Cx, _: &Job, _: Duration) -> Result<JobResult> {
        self.reached()?.running = false;
        Ok(JobResult::new(0, ""))
    }

    async fn stop(&self, _: &Cx, _: &[String], _: Duration) -> Result<()> {
        self.reached()?.running = false;
        Ok(())
    }

    async fn start(&self, _: &Cx, _: &[String]) -> Result<()> {
        self.reached()?.running = true;
        Ok(())
    }

    async fn wait_healthy(&self, cx: &Cx, _: &[String], _: Duration) -> Result<Vec<ServiceState>> {
        self.services(cx).await
    }

    async fn logs(&self, _: &Cx, _: &str, _: usize) -> Result<String> {
        Ok(String::new())
    }

    /// On this machine; it goes on when nobody waits for it any more.
    async fn run(&self, _: &Cx, _: &Job, command: &str) -> Result<JobResult> {
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let lost = |e| Error::new(ErrorKind::Unavailable, "sh").with_source(e).with_effect(Effect::Unknown);
        let output = shell.spawn().map_err(lost)?.wait_with_output().await.map_err(lost)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(JobResult::new(output.status.code().unwrap_or(-1), text))
    }

    async fn fence(&self, _: &Cx, epoch: u64, _: &str) -> Result<()> {
        self.not_older(epoch)?.mark = Some(epoch);
        Ok(())
    }

    async fn fenced(&self, _: &Cx) -> Result<Option<u64>> {
        Ok(self.reached()?.mark)
    }

    async fn unfence(&self, _: &Cx, epoch: u64) -> Result<()> {
        self.not_older(epoch)?.mark = None;
        Ok(())
    }
}
