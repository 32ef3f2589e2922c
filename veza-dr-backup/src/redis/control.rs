//! Ordinary commands: everything but replication.

use std::{collections::BTreeMap, time::Duration};

use fred::{
    clients::Client,
    interfaces::{ClientLike, FredResult},
    types::{
        Builder, ClusterHash, CustomCommand, Value,
        config::{Config, Server, ServerConfig, TlsConnector},
    },
};
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result};

use super::{Endpoint, errors::driver_error};

/// How long a command may take to be answered. Those sent here are quick; a server that is being loaded says so.
const ANSWER: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);

/// A connection for ordinary commands. It ends with its value.
pub struct Control {
    client: Client,
    location: String,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The driver's own task would hold the connection open.
        let client = self.client.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { client.quit().await });
        }
    }
}

impl Endpoint {
    /// Connects for ordinary commands.
    ///
    /// # Errors
    /// `Denied` for wrong credentials, `Unavailable` when nothing answers.
    pub async fn control(&self, cx: &Cx) -> Result<Control> {
        let location = self.location();
        let what = format!("connect to {location}");
        let config = Config {
            server: ServerConfig::Centralized { server: Server::new(self.host.clone(), self.port) },
            username: self.username.clone(),
            password: self.password.as_ref().map(|p| p.expose_secret().to_owned()),
            tls: self.tls_config()?.map(|c| TlsConnector::Rustls(c.into()).into()),
            fail_fast: true,
            ..Config::default()
        };
        let mut builder = Builder::from_config(config);
        builder
            .with_connection_config(|c| {
                (c.connection_timeout, c.internal_command_timeout) = (CONNECT, ANSWER);
                (c.auto_client_setname, c.disable_cluster_health_check) = (false, true);
                (c.max_command_attempts, c.reconnect_on_auth_error) = (1, false);
            })
            .with_performance_config(|c| c.default_command_timeout = ANSWER);
        let client = builder.build().map_err(|e| driver_error(&what, e))?;
        // Made first, so that a failure or cancellation ends the driver's task as well.
        let control = Control { client, location };
        cx.run(&what, async { control.client.init().await.map_err(|e| driver_error(&what, e)) }).await?;
        Ok(control)
    }
}

impl Control {
    /// Where it leads, without credentials.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Sends one command and returns the answer.
    ///
    /// # Errors
    /// The server's refusal, classed by its code; `Unavailable` when the connection fails.
    pub async fn call(&self, cx: &Cx, words: &[&[u8]]) -> Result<Value> {
        let (command, arguments) = command(words)?;
        let what = label(words);
        let send = self.send(command, arguments);
        cx.run(&what, async { send.await.map_err(|e| driver_error(&what, e)) }).await
    }

    async fn send(&self, command: CustomCommand, arguments: Vec<Value>) -> FredResult<Value> {
        self.client.custom(command, arguments).await
    }

    /// Sends many commands at once and returns each one's own answer.
    ///
    /// # Errors
    /// `Unavailable` when the connection fails; a command that the server refuses is an error of its own.
    pub async fn pipeline(&self, cx: &Cx, commands: &[Vec<&[u8]>]) -> Result<Vec<Result<Value>>> {
        let Some(first) = commands.first() else { return Ok(Vec::new()) };
        let what = label(first);
        let pipeline = self.client.pipeline();
        for words in commands {
            let (command, arguments) = command(words)?;
            let _queued: () = pipeline.custom(command, arguments).await.map_err(|e| driver_error(&what, e))?;
        }
        let answers = async { Ok(pipeline.try_all::<Value>().await) };
        let answers = cx.run(&what, answers).await?;
        if answers.len() != commands.len() {
            return Err(Error::new(ErrorKind::Unavailable, format!("{what}: connection to Redis failed"))
                .with_help("is the server up and reachable from here? try: veza-dr check"));
        }
        Ok(answers.into_iter().map(|a| a.map_err(|e| driver_error(&what, e))).collect())
    }

    /// The facts of `INFO`, all sections.
    ///
    /// # Errors
    /// Those of [`Control::call`].
    pub async fn info(&self, cx: &Cx) -> Result<Info> {
        let text = text(&self.call(cx, &[b"INFO"]).await?);
        Ok(Info::parse(&text))
    }

    /// One setting; `None` when the server has no such setting.
    ///
    /// # Errors
    /// Those of [`Control::call`].
    pub async fn config(&self, cx: &Cx, name: &str) -> Result<Option<String>> {
        let answer = self.call(cx, &[b"CONFIG", b"GET", name.as_bytes()]).await?;
        Ok(items(&answer).get(1).map(text))
    }
}

fn command(words: &[&[u8]]) -> Result<(CustomCommand, Vec<Value>)> {
    let (name, arguments) =
        words.split_first().ok_or_else(|| Error::new(ErrorKind::Unexpected, "an empty Redis command"))?;
    let command = CustomCommand::new(String::from_utf8_lossy(name).into_owned(), ClusterHash::FirstKey, false);
    let bytes = |word: &&[u8]| Value::Bytes(bytes::Bytes::copy_from_slice(word));
    Ok((command, arguments.iter().map(bytes).collect()))
}

/// The command's name, for errors: what follows may be secret.
fn label(words: &[&[u8]]) -> String {
    words.first().map(|w| String::from_utf8_lossy(w).into_owned()).unwrap_or_default()
}

/// The bytes of a string answer; of others, their text.
#[must_use]
pub fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Bytes(bytes) => bytes.to_vec(),
        other => other.as_str().map(|s| s.as_bytes().to_vec()).unwrap_or_default(),
    }
}

/// The text of an answer.
#[must_use]
pub fn text(value: &Value) -> String {
    String::from_utf8_lossy(&bytes_of(value)).into_owned()
}

/// The parts of an array answer.
#[must_use]
pub fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

/// What `INFO` says.
#[derive(Debug, Clone, Default)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|l| !l.starts_with('#'));
        Self(lines.filter_map(|l| l.trim_end().split_once(':')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    /// One fact; empty when it is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// One fact that is a number; 0 when it is not there.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or_default()
    }

    /// The databases that have keys, and how many.
    #[must_use]
    pub fn databases(&self) -> BTreeMap<u64, u64> {
        let keys = |facts: &str| facts.strip_prefix("keys=")?.split(',').next()?.parse().ok();
        self.0.iter().filter_map(|(name, facts)| Some((name.strip_prefix("db")?.parse().ok()?, keys(facts)?))).collect()
    }
}
