//! A private Route 53 endpoint (ministack) on a free loopback port, gone when dropped; zones spoken to without an SDK.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::{GuardedChild, find_in_path};
use crate::fixtures::servers_dir;
use crate::ports::free_port;
use crate::{Result, http};

/// What makes the endpoint take a request as one for Route 53. It checks no signature.
const AUTHORIZATION: (&str, &str) = (
    "Authorization",
    "AWS4-HMAC-SHA256 Credential=tests/20261123/us-east-1/route53/aws4_request, SignedHeaders=host, Signature=0",
);

/// A running ministack. Batches are atomic and strict, changes are pending for one question. It answers no DNS.
///
/// The program is `VEZA_DR_MINISTACK`, else what `tests/servers/fetch-ministack.sh target/servers/ministack` fetched,
/// else `ministack` in `PATH`.
#[derive(Debug)]
pub struct Route53Server {
    // Declared before the directory: fields drop in this order.
    _child: GuardedChild,
    _dir: TempDir,
    address: String,
}

/// One record set as the endpoint lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The name, with its last dot.
    pub name: String,
    /// The type.
    pub kind: String,
    /// Its set identifier and weight, where it is weighted.
    pub weighted: Option<(String, u32)>,
    /// The TTL; 0 where there is none.
    pub ttl: u32,
    /// The values, sorted.
    pub values: Vec<String>,
}

impl Route53Server {
    /// Starts the endpoint; returns when it answers.
    pub async fn start() -> Result<Self> {
        let program = find_ministack()?;
        let dir = tempfile::Builder::new().prefix("veza-r53-").tempdir()?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let log_path = dir.path().join("log");
        let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
        let home = dir.path().to_path_buf();
        let child = GuardedChild::spawn(&program, None, Signal::KILL, Duration::from_secs(5), |command| {
            let errors = log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
            command.current_dir(&home).env("HOME", &home).env("BIND_HOST", "127.0.0.1");
            command.env("GATEWAY_PORT", port.to_string()).env("DOCKER_HOST", "unix:///nonexistent");
            command.stdin(Stdio::null()).stdout(log).stderr(errors);
        })?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while http::request(&address, "GET", "/2013-04-01/hostedzone", &[AUTHORIZATION], b"").await.is_err() {
            if child.exit_status().is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                return Err(format!("ministack did not start ({:?}):\n{log}", child.exit_status()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { _child: child, _dir: dir, address })
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes a hosted zone and gives its id.
    pub async fn create_zone(&self, domain: &str, reference: &str) -> Result<String> {
        let body = format!(
            "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{domain}</Name>\
             <CallerReference>{reference}</CallerReference></CreateHostedZoneRequest>"
        );
        let answer = call(&self.address, "POST", "/2013-04-01/hostedzone", &body).await?;
        let id = between(&answer, "<Id>", "</Id>").into_iter().next().ok_or("no zone id")?;
        Ok(id.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// Sets a plain record, whatever is there, as anybody with the console can.
    pub async fn upsert(&self, zone: &str, name: &str, kind: &str, ttl: u32, values: &[&str]) -> Result<()> {
        upsert(&self.address, zone, name, kind, ttl, values).await
    }

    /// Sets one of several weighted sets.
    pub async fn upsert_weighted(&self, zone: &str, name: &str, (id, weight): (&str, u32), value: &str) -> Result<()> {
        let set = format!(
            "<Name>{name}</Name><Type>A</Type><SetIdentifier>{id}</SetIdentifier><Weight>{weight}</Weight><TTL>1</TTL>\
             <ResourceRecords><ResourceRecord><Value>{value}</Value></ResourceRecord></ResourceRecords>"
        );
        change(&self.address, zone, "UPSERT", &set).await
    }

    /// Every record set of a zone but those that make it one.
    pub async fn records(&self, zone: &str) -> Result<Vec<Listed>> {
        records(&self.address, zone).await
    }
}

/// As [`Route53Server::upsert`], for who knows only the address.
pub async fn upsert(address: &str, zone: &str, name: &str, kind: &str, ttl: u32, values: &[&str]) -> Result<()> {
    let values: String =
        values.iter().map(|v| format!("<ResourceRecord><Value>{v}</Value></ResourceRecord>")).collect();
    let set =
        format!("<Name>{name}</Name><Type>{kind}</Type><TTL>{ttl}</TTL><ResourceRecords>{values}</ResourceRecords>");
    change(address, zone, "UPSERT", &set).await
}

/// As [`Route53Server::records`].
pub async fn records(address: &str, zone: &str) -> Result<Vec<Listed>> {
    let answer = call(address, "GET", &format!("/2013-04-01/hostedzone/{zone}/rrset?maxitems=300"), "").await?;
    let mut all = Vec::new();
    for set in between(&answer, "<ResourceRecordSet>", "</ResourceRecordSet>") {
        let one = |tag: &str| between(&set, &format!("<{tag}>"), &format!("</{tag}>")).into_iter().next();
        let kind = one("Type").unwrap_or_default();
        if kind == "NS" || kind == "SOA" {
            continue;
        }
        let weight = one("Weight").and_then(|w| w.parse().ok());
        let mut values = between(&set, "<Value>", "</Value>");
        values.sort();
        all.push(Listed {
            name: one("Name").unwrap_or_default(),
            kind,
            weighted: one("SetIdentifier").zip(weight),
            ttl: one("TTL").and_then(|t| t.parse().ok()).unwrap_or_default(),
            values,
        });
    }
    all.sort();
    Ok(all)
}

async fn change(address: &str, zone: &str, action: &str, set: &str) -> Result<()> {
    let body = format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>\
         <Change><Action>{action}</Action><ResourceRecordSet>{set}</ResourceRecordSet></Change></Changes></ChangeBatch>\
         </ChangeResourceRecordSetsRequest>"
    );
    call(address, "POST", &format!("/2013-04-01/hostedzone/{zone}/rrset/"), &body).await.map(drop)
}

async fn call(address: &str, method: &str, path: &str, body: &str) -> Result<String> {
    let headers = [AUTHORIZATION, ("Content-Type", "application/xml")];
    let answer = http::request(address, method, path, &headers, body.as_bytes()).await?;
    let text = String::from_utf8_lossy(&http::dechunked(&answer)?).into_owned();
    if answer.status >= 300 {
        return Err(format!("{method} {path}: {} {text}", answer.status).into());
    }
    Ok(text)
}

/// What stands between each pair of marks.
pub(crate) fn between(text: &str, open: &str, close: &str) -> Vec<String> {
    let parts = text.split(open).skip(1).filter_map(|rest| rest.split_once(close));
    parts.map(|(inner, _)| inner.to_owned()).collect()
}

fn find_ministack() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("VEZA_DR_MINISTACK") {
        return Ok(path.into());
    }
    let fetched = servers_dir().join("ministack/bin/ministack");
    if fetched.is_file() {
        return Ok(fetched);
    }
    find_in_path("ministack").ok_or_else(|| {
        "no Route 53 endpoint for the tests: run\n  tests/servers/fetch-ministack.sh target/servers/ministack".into()
    })
}
