//! Holds sentinels back: a master that is a replica for a while is dead to them, and they would promote an old copy.

use std::time::Duration;

use veza_dr_backup::redis::{Endpoint, RedisConfig, items, text};
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result, SecretString};

use super::{control::Control, options::Sentinels, state_dir::Patience};

const SETTING: &str = "down-after-milliseconds";
/// Until the sentinels have asked the server again what it is.
const NEXT_INFO: Duration = Duration::from_secs(11);
const HOUR: &str = "3600000";
/// As long as all of them may take to be told.
const TOLD: Duration = Duration::from_secs(30);

/// A sentinel that waits for an hour before it calls the master down, or is about to be told to.
#[derive(Debug)]
pub(crate) struct Held {
    control: Control,
    patience: Patience,
}

/// Asks each of them how patient it is; none is told anything yet.
pub(crate) async fn ask(cx: &Cx, sentinels: Option<&Sentinels>) -> Result<Vec<Held>> {
    let mut all = Vec::new();
    for url in sentinels.iter().flat_map(|s| &s.urls) {
        let (control, sentinel) = connect(cx, url).await?;
        let master = sentinels.map(|s| s.master.clone()).unwrap_or_default();
        let answer = control.command(cx, "ask a sentinel", &["SENTINEL", "MASTER", &master]).await?;
        let mut words = items(&answer).iter().map(text);
        let Some(milliseconds) = words.by_ref().find(|w| w == SETTING).and_then(|_| words.next()) else {
            let text = format!("the sentinel {sentinel} does not say what {SETTING} of {master} is");
            return Err(Error::new(ErrorKind::Unexpected, text));
        };
        all.push(Held { control, patience: Patience { sentinel, master, milliseconds } });
    }
    Ok(all)
}

async fn connect(cx: &Cx, url: &SecretString) -> Result<(Control, String)> {
    let endpoint = Endpoint::parse(&RedisConfig::new(url.expose_secret()))?;
    let place = endpoint.location();
    Ok((Control::connect(cx, &endpoint).await?, place))
}

/// What a journal is to say of them before they are held.
pub(crate) fn patience(all: &[Held]) -> Vec<Patience> {
    all.iter().map(|h| h.patience.clone()).collect()
}

/// Holds them back; when one cannot be told, all are told to forget it again.
pub(crate) async fn hold(cx: &Cx, all: &[Held]) -> Result<()> {
    for held in all {
        let words = ["SENTINEL", "SET", &held.patience.master, SETTING, HOUR];
        if let Err(e) = held.control.command(cx, "hold a sentinel back", &words).await {
            put_back(all).await;
            return Err(e);
        }
    }
    Ok(())
}

/// They watch as before, once they have seen that the master is one again. What was not possible, in words.
pub(crate) async fn release(all: &[Held]) -> Vec<String> {
    if all.is_empty() {
        return Vec::new();
    }
    tokio::time::sleep(NEXT_INFO).await;
    put_back(all).await
}

async fn put_back(all: &[Held]) -> Vec<String> {
    let cx = &Cx::background().with_deadline(std::time::SystemTime::now() + TOLD);
    let mut failed = Vec::new();
    for held in all {
        failed.extend(tell(cx, &held.control, &held.patience).await.err().map(|e| by_hand(&held.patience, &e)));
    }
    failed
}

async fn tell(cx: &Cx, control: &Control, patience: &Patience) -> Result<()> {
    let words = ["SENTINEL", "SET", &patience.master, SETTING, &patience.milliseconds];
    control.command(cx, "let a sentinel watch as before", &words).await.map(drop)
}

fn by_hand(patience: &Patience, e: &Error) -> String {
    let Patience { sentinel, master, milliseconds } = patience;
    tracing::error!(error = %e.chain(), "set it by hand at {sentinel}: SENTINEL SET {master} {SETTING} {milliseconds}");
    format!("set it by hand at {sentinel}: SENTINEL SET {master} {SETTING} {milliseconds} ({})", e.chain())
}

/// Lets those that a run before held back watch again. Returns what became of it, in words: a sentinel that is gone
/// does not keep a server from being restored.
pub(crate) async fn after_a_crash(cx: &Cx, named: Option<&Sentinels>, held: &[Patience]) -> String {
    tokio::time::sleep(NEXT_INFO).await;
    let mut failed = Vec::new();
    for patience in held {
        let told = async {
            let url = named.iter().flat_map(|s| &s.urls).find(|url| {
                Endpoint::parse(&RedisConfig::new(url.expose_secret())).is_ok_and(|e| e.location() == patience.sentinel)
            });
            let url = url.ok_or_else(|| Error::new(ErrorKind::Config, "it is not named in the settings any more"))?;
            tell(cx, &connect(cx, url).await?.0, patience).await
        };
        failed.extend(told.await.err().map(|e| by_hand(patience, &e)));
    }
    match failed.as_slice() {
        [] => "the sentinels watch it as before".to_owned(),
        failed => format!("a sentinel is still held back, {}", failed.join("; ")),
    }
}
