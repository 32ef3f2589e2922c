//! What the servers of a zone, and resolvers, answer, against what they should.

use std::{collections::BTreeSet, net::SocketAddr};

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use veza_dr_core::{Cx, Error, ErrorKind, RecordKey, RecordSet, RecordType, Result};

use super::{
    Answer, DnsServer, Side, SiteRecord, SwitchSettings, SwitchedRecord,
    ask::{ask, ask_name_servers, comparable},
    names::plain,
};

/// How an answer compares with what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Agreement {
    /// It is what is wanted.
    Wanted,
    /// It is what was there before.
    Before,
    /// It is neither.
    Other,
    /// There is none.
    NoAnswer,
    /// It cannot be foreseen: an alias answers what its target does.
    Unjudged,
}

/// What one server said of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerAnswer {
    /// The server.
    pub server: String,
    /// Its answer, where it gave one.
    pub answer: Option<Answer>,
    /// How that compares.
    pub agreement: Agreement,
    /// Why there is no answer.
    pub problem: Option<String>,
}

/// The answers that are right, and those that were.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) key: RecordKey,
    pub(super) label: String,
    wanted: Vec<(Vec<String>, u32)>,
    before: Vec<(Vec<String>, u32)>,
    /// An alias is among what is wanted.
    open: bool,
    /// The records are not ours to set: their TTL is whatever it is.
    any_ttl: bool,
}

impl Expected {
    /// One for each name and type: weighted sets answer in turn, those of weight 0 never.
    pub(super) fn of(records: &[SwitchedRecord]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for record in records {
            let key = RecordKey { set_id: None, ..record.key.clone() };
            if !all.iter().any(|e| e.key == key) {
                let label = record.label.clone();
                let empty = Self { key, label, wanted: Vec::new(), before: Vec::new(), open: false, any_ttl: false };
                all.push(empty);
            }
            let Some(one) = all.iter_mut().find(|e| (&e.key.name, e.key.kind) == (&record.key.name, record.key.kind))
            else {
                continue;
            };
            one.open |= record.after.as_ref().is_some_and(|r| r.alias.is_some());
            one.wanted.extend(answers(record.after.as_ref(), &record.key));
            one.before.extend(answers(record.before.as_ref(), &record.key));
        }
        all
    }

    /// What a side answers, by whatever records, at whatever TTL.
    pub(super) fn side(record: &SiteRecord, to: Side) -> Self {
        let other = if to == Side::Primary { Side::Standby } else { Side::Primary };
        let of = |side| {
            let set = RecordSet::new(record.key.clone(), 0, record.values(side).to_vec());
            answers(Some(&set), &record.key).into_iter().collect()
        };
        let (key, label) = (record.key.clone(), record.label.clone());
        Self { key, label, wanted: of(to), before: of(other), open: false, any_ttl: true }
    }

    /// What is wanted, for people.
    pub(super) fn text(&self) -> String {
        if self.open {
            return "what its alias answers".to_owned();
        }
        let each = self.wanted.iter().map(|(v, _)| if v.is_empty() { "no record".to_owned() } else { v.join(", ") });
        each.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" or ")
    }

    /// A cache counts the TTL down, so only that of a server of the zone can be compared.
    fn judge(&self, answer: &Answer, whole_ttl: bool) -> Agreement {
        if self.open {
            return Agreement::Unjudged;
        }
        let is = |(values, ttl): &(Vec<String>, u32)| {
            *values == answer.values && (!whole_ttl || self.any_ttl || answer.ttl.is_none_or(|t| t == *ttl))
        };
        if self.wanted.iter().any(is) {
            Agreement::Wanted
        } else if self.before.iter().any(is) {
            Agreement::Before
        } else {
            Agreement::Other
        }
    }
}

fn answers(record: Option<&RecordSet>, key: &RecordKey) -> Option<(Vec<String>, u32)> {
    // One weighted set that is absent leaves the others to answer.
    let Some(record) = record else { return key.set_id.is_none().then(|| (Vec::new(), 0)) };
    if record.weight == Some(0) {
        return None;
    }
    let mut values: Vec<String> = record.values.iter().map(|v| comparable(key.kind, v)).collect();
    values.sort();
    Some((values, record.ttl))
}

/// A server of a zone, or the name of one whose address cannot be found.
#[derive(Debug, Clone)]
pub(super) enum Authority {
    At(DnsServer),
    Lost(String, String),
}

/// The servers of `name`'s zone: those that are configured, else those that it is delegated to, as resolvers find them.
pub(super) async fn authorities(cx: &Cx, settings: &SwitchSettings, name: &str) -> Result<Vec<Authority>> {
    if !settings.name_servers.is_empty() {
        return Ok(settings.name_servers.iter().cloned().map(Authority::At).collect());
    }
    let name = plain(name);
    let mut failed = None;
    for resolver in &settings.resolvers {
        match delegation(cx, resolver, &name).await {
            Ok(names) if !names.is_empty() => {
                return Ok(join_all(names.iter().map(|ns| located(cx, resolver, ns))).await.concat());
            }
            Ok(_) => {
                failed = Some(Error::new(ErrorKind::NotFound, format!("{name} is in no zone that {resolver} knows")))
            }
            Err(e) => failed = Some(e),
        }
    }
    let text = format!("the name servers of {name} cannot be found");
    let error = Error::new(ErrorKind::Unavailable, text)
        .with_help("check dns.resolvers, or name the servers of the zone in dns.nameservers");
    Err(match failed {
        Some(cause) => error.with_source(cause),
        None => error,
    })
}

async fn delegation(cx: &Cx, resolver: &DnsServer, name: &str) -> Result<Vec<String>> {
    let mut zone = name;
    loop {
        let found = ask_name_servers(cx, resolver, zone).await?;
        let parent = zone.split_once('.').map_or("", |(_, parent)| parent);
        // The top-level domains are nobody's own.
        if !found.is_empty() || parent.trim_end_matches('.').split('.').count() < 2 {
            return Ok(found);
        }
        zone = parent;
    }
}

async fn located(cx: &Cx, resolver: &DnsServer, name: &str) -> Vec<Authority> {
    let mut why = "it has no address".to_owned();
    for kind in [RecordType::A, RecordType::Aaaa] {
        match ask(cx, resolver, name, kind, true).await {
            Ok(answer) if !answer.values.is_empty() => {
                let addresses = answer.values.iter().filter_map(|v| v.parse().ok());
                return addresses.map(|ip| Authority::At(DnsServer::named(SocketAddr::new(ip, 53), name))).collect();
            }
            Ok(_) => {}
            Err(e) => why = e.chain(),
        }
    }
    vec![Authority::Lost(name.to_owned(), why)]
}

/// Asks every server of the zone itself, all at once.
pub(super) async fn ask_authorities(cx: &Cx, servers: &[Authority], expected: &Expected) -> Vec<ServerAnswer> {
    let each = servers.iter().map(|server| async move {
        match server {
            Authority::At(server) => {
                let asked = ask(cx, server, &expected.key.name, expected.key.kind, false).await;
                // A server that is not of the zone knows of nothing, which is not the same as nothing being there.
                let asked = asked.and_then(|answer| match answer.authoritative {
                    true => Ok(answer),
                    false => Err(Error::new(ErrorKind::Unavailable, format!("{server} does not serve the zone"))),
                });
                judged(server.to_string(), asked, |answer| expected.judge(answer, true))
            }
            Authority::Lost(name, why) => {
                judged(name.clone(), Err(Error::new(ErrorKind::Unavailable, why.clone())), |_| Agreement::NoAnswer)
            }
        }
    });
    join_all(each).await
}

/// Asks resolvers, all at once: what users of theirs get now.
pub(super) async fn ask_resolvers(cx: &Cx, servers: &[DnsServer], expected: &Expected) -> Vec<ServerAnswer> {
    let each = servers.iter().map(|server| async move {
        let asked = ask(cx, server, &expected.key.name, expected.key.kind, true).await;
        judged(server.to_string(), asked, |answer| expected.judge(answer, false))
    });
    join_all(each).await
}

fn judged(server: String, asked: Result<Answer>, judge: impl FnOnce(&Answer) -> Agreement) -> ServerAnswer {
    match asked {
        Ok(answer) => {
            let agreement = judge(&answer);
            ServerAnswer { server, answer: Some(answer), agreement, problem: None }
        }
        Err(e) => ServerAnswer { server, answer: None, agreement: Agreement::NoAnswer, problem: Some(e.chain()) },
    }
}
