//! Stands between the product and the Route 53 endpoint: does what AWS does on a bad day, and copies each accepted
//! change to real DNS servers, so that resolvers see it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::knot::KnotControl;
use crate::route53_server::{Listed, records, upsert};
use crate::{Result, http};

/// What goes wrong, and for how many requests.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// Changes are answered `Throttling`.
    pub throttle: u32,
    /// Changes are answered `PriorRequestNotComplete`.
    pub busy: u32,
    /// Questions about a change are answered `PENDING`.
    pub pending: u32,
    /// Changes are carried out, and the answer is lost.
    pub lose_answer: u32,
    /// Listings are answered with a server error.
    pub unreadable: u32,
    /// Listings are cut off in the middle.
    pub cut: u32,
    /// Before the next change passes, somebody else sets this plain record: name, TTL, value.
    pub foreign_edit: Option<(String, u32, String)>,
    /// Every connection is closed without an answer.
    pub outage: bool,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    zone: String,
    knots: Vec<KnotControl>,
    trouble: Mutex<Trouble>,
    changes: Mutex<Vec<String>>,
    served: tokio::sync::Mutex<BTreeMap<(String, String), Listed>>,
}

impl Shared {
    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running proxy. Dropping it cuts its connections.
#[derive(Debug)]
pub struct Route53Proxy {
    address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Route53Proxy {
    /// Passes on to `upstream` and keeps `knots` as the zone is.
    pub async fn start(upstream: &str, zone: &str, knots: Vec<KnotControl>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            zone: zone.to_owned(),
            knots,
            trouble: Mutex::default(),
            changes: Mutex::default(),
            served: tokio::sync::Mutex::default(),
        });
        let connections = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&connections);
                clients.spawn(async move {
                    // A client that goes away is no concern of ours.
                    let _ = serve(client, &shared).await;
                });
                while clients.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, shared, task })
    }

    /// The URL for the product.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes trouble from now on.
    pub fn make(&self, trouble: Trouble) {
        *self.shared.trouble() = trouble;
    }

    /// The bodies of the change requests that reached the endpoint.
    pub fn changes(&self) -> Vec<String> {
        self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brings the DNS servers to what the endpoint holds.
    pub async fn copy(&self) -> Result<()> {
        copy(&self.shared).await
    }
}

impl Drop for Route53Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Verdict {
    Pass,
    Answer(u16, String),
    PassAndLose,
    Cut,
    Close,
}

fn refusal(code: &str) -> Verdict {
    let body = format!(
        "<ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>the proxy says so</Message></Error><RequestId>0</RequestId></ErrorResponse>"
    );
    Verdict::Answer(400, body)
}

fn judge(shared: &Shared, method: &str, path: &str) -> (Verdict, Option<(String, u32, String)>) {
    let mut trouble = shared.trouble();
    let strikes = |left: &mut u32| {
        let strikes = *left > 0;
        *left = left.saturating_sub(1);
        strikes
    };
    if trouble.outage {
        return (Verdict::Close, None);
    }
    if method == "POST" && path.contains("/rrset") {
        let foreign = trouble.foreign_edit.take();
        let verdict = if strikes(&mut trouble.throttle) {
            refusal("Throttling")
        } else if strikes(&mut trouble.busy) {
            refusal("PriorRequestNotComplete")
        } else if strikes(&mut trouble.lose_answer) {
            Verdict::PassAndLose
        } else {
            Verdict::Pass
        };
        return (verdict, foreign);
    }
    let verdict = if path.contains("/change/") && strikes(&mut trouble.pending) {
        let id = path.rsplit('/').next().unwrap_or_default();
        Verdict::Answer(
            200,
            format!(
                "<GetChangeResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeInfo>\
                 <Id>/change/{id}</Id><Status>PENDING</Status><SubmittedAt>2026-11-23T10:00:00Z</SubmittedAt>\
                 </ChangeInfo></GetChangeResponse>"
            ),
        )
    } else if path.contains("/rrset") && strikes(&mut trouble.unreadable) {
        Verdict::Answer(503, String::new())
    } else if path.contains("/rrset") && strikes(&mut trouble.cut) {
        Verdict::Cut
    } else {
        Verdict::Pass
    };
    (verdict, None)
}

async fn serve(mut client: TcpStream, shared: &Shared) -> Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let (verdict, foreign) = judge(shared, &method, &path);
    if let Some((name, ttl, value)) = foreign {
        upsert(&shared.upstream, &shared.zone, &name, "A", ttl, &[&value]).await?;
    }
    match verdict {
        Verdict::Close => Ok(()),
        Verdict::Answer(status, body) => answer(&mut client, status, body.as_bytes(), body.len()).await,
        Verdict::Pass | Verdict::PassAndLose | Verdict::Cut => {
            let headers: Vec<(&str, &str)> = head
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(": "))
                .filter(|(name, _)| !["content-length", "connection"].contains(&name.to_ascii_lowercase().as_str()))
                .collect();
            let reply = http::request(&shared.upstream, &method, &path, &headers, &body).await?;
            let text = http::dechunked(&reply)?;
            if method == "POST" && path.contains("/rrset") {
                let body = String::from_utf8_lossy(&body).into_owned();
                shared.changes.lock().unwrap_or_else(PoisonError::into_inner).push(body);
                if reply.status == 200 {
                    copy(shared).await?;
                }
            }
            match verdict {
                Verdict::PassAndLose => Ok(()),
                Verdict::Cut => answer(&mut client, reply.status, &text[..text.len() / 2], text.len()).await,
                _ => answer(&mut client, reply.status, &text, text.len()).await,
            }
        }
    }
}

async fn read_request(client: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err("closed before a request".into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse())?;
    while bytes.len() < end + 4 + length {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err("closed within a request".into());
        }
    }
    Ok((head, bytes[end + 4..].to_vec()))
}

async fn answer(client: &mut TcpStream, status: u16, body: &[u8], length: usize) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body).await?;
    client.flush().await?;
    Ok(())
}

/// Of weighted sets the DNS servers get the heaviest: they know no weights.
async fn copy(shared: &Shared) -> Result<()> {
    let mut served = shared.served.lock().await;
    let mut wanted: BTreeMap<(String, String), Listed> = BTreeMap::new();
    for one in records(&shared.upstream, &shared.zone).await? {
        let weight = |l: &Listed| l.weighted.as_ref().map_or(0, |(_, weight)| *weight);
        let place = wanted.entry((one.name.clone(), one.kind.clone())).or_insert_with(|| one.clone());
        if weight(&one) > weight(place) {
            *place = one;
        }
    }
    let mut script = String::new();
    for ((name, kind), _) in served.iter().chain(&wanted) {
        script.push_str(&format!("del {name} {kind}\n"));
    }
    for ((name, kind), one) in &wanted {
        for value in &one.values {
            script.push_str(&format!("add {name} {} {kind} {value}\n", one.ttl));
        }
    }
    for knot in &shared.knots {
        knot.update(&script)?;
    }
    *served = wanted;
    Ok(())
}
