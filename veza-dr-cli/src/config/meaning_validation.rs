//! What the checks of `validation:` must also say.

use super::{CheckKind, Source, Text, meaning::Meaning};

impl Meaning<'_> {
    pub(super) fn validation(&mut self) {
        let config = self.config;
        for (at, check) in config.validation.iter().enumerate() {
            let path = format!("validation[{at}]");
            if config.validation[..at].iter().any(|c| c.name == check.name) {
                self.say(&format!("{path}.name"), format!("another check is called `{}`", check.name), None);
            }
            // A dot sets the parts of a check apart.
            if check.name.is_empty() || check.name.contains('.') {
                self.say(&format!("{path}.name"), "a name is not empty and has no dot", None);
            }
            match &check.kind {
                CheckKind::Http(s) => self.place(&format!("{path}.http"), &s.url, s.port),
                CheckKind::WebSocket(s) => self.place(&format!("{path}.websocket"), &s.url, s.port),
                CheckKind::Stream(s) => self.place(&format!("{path}.stream"), &s.url, s.port),
                CheckKind::Load(s) => {
                    let path = format!("{path}.load");
                    self.place(&path, &s.url, s.port);
                    let given = [("requests", s.requests.is_some()), ("rate", s.rate.is_some())];
                    self.at_most_one(&path, &given);
                    if s.lasting.is_some() && s.rate.is_none() {
                        let help = "add one: rate: 50/s".to_owned();
                        self.say(&format!("{path}.for"), "counts only with a `rate`", help);
                    }
                }
                CheckKind::Postgres(s) => {
                    let path = format!("{path}.postgres");
                    self.feature(&path, "postgres");
                    let whole = s.user.is_some() && s.database.is_some();
                    self.server(&path, s.source.as_deref(), s.url.is_some(), whole, "user and database", "postgres");
                    let backups = [
                        ("counts_of_backup", s.counts_of_backup.as_deref()),
                        ("watermark.of_backup", s.watermark.as_ref().and_then(|w| w.of_backup.as_deref())),
                    ];
                    for (key, name) in backups {
                        if let Some(name) = name.filter(|name| !config.sources.contains_key(*name)) {
                            let text = format!("there is no source `{name}` under `sources`");
                            self.say(&format!("{path}.{key}"), text, None);
                        }
                    }
                }
                CheckKind::Redis(s) => {
                    let path = format!("{path}.redis");
                    self.feature(&path, "redis");
                    // A server needs no more than its usual port.
                    let whole = s.source.is_none() && s.url.is_none();
                    self.server(&path, s.source.as_deref(), s.url.is_some(), whole, "port", "redis");
                }
            }
        }
    }

    fn place(&mut self, path: &str, url: &Option<Text>, port: Option<u16>) {
        self.at_most_one(path, &[("url", url.is_some()), ("port", port.is_some())]);
        if url.is_none() && port.is_none() {
            self.say(path, "names neither `port` nor `url`", None);
        }
    }

    fn server(&mut self, path: &str, source: Option<&str>, url: bool, whole: bool, parts: &str, engine: &str) {
        self.at_most_one(path, &[("source", source.is_some()), ("url", url), (parts, whole)]);
        if source.is_none() && !url && !whole {
            self.say(path, format!("names neither `source` nor `url` nor {parts}"), None);
        }
        let Some(name) = source else { return };
        let told = match self.config.sources.get(name) {
            None => format!("there is no source `{name}` under `sources`"),
            Some(found) if found.engine() != engine => format!("`{name}` is a {} source", found.engine()),
            Some(Source::Postgres(_) | Source::Redis(_) | Source::Files(_)) => return,
        };
        self.say(&format!("{path}.source"), told, None);
    }
}
