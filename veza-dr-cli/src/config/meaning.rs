//! What a well-formed configuration must also say: names that refer to each other, choices that exclude each other,
//! engines that this build has.

use veza_dr_backup::Encryption;
use veza_dr_core::ComponentName;

use super::{
    Config, Problem, Source, Store, StorePlace, Text,
    expand::has_variables,
    feature::switched_off,
    shape::nearest,
    tree::{Node, Place},
};

pub(super) fn check(config: &Config, root: &Node) -> Vec<Problem> {
    let mut places = Vec::new();
    root.walk("", &mut |path, at, _| places.push((path.to_owned(), at)));
    let mut meaning = Meaning { config, places, problems: Vec::new() };
    meaning.sources();
    meaning.stores();
    meaning.backup();
    meaning.monitoring();
    meaning.daemon();
    meaning.sites();
    meaning.validation();
    meaning.dns();
    meaning.drills();
    meaning.services();
    meaning.problems
}

pub(super) struct Meaning<'a> {
    pub(super) config: &'a Config,
    places: Vec<(String, Place)>,
    problems: Vec<Problem>,
}

impl Meaning<'_> {
    pub(super) fn say(&mut self, path: &str, message: impl Into<String>, help: impl Into<Option<String>>) {
        let at = self.places.iter().find(|(p, _)| p == path).map(|(_, at)| *at).unwrap_or_default();
        let message = message.into();
        self.problems.push(Problem {
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message,
            help: help.into(),
        });
    }

    pub(super) fn feature(&mut self, path: &str, kind: &str) {
        if let Some(off) = switched_off(kind) {
            let help = format!("enable the cargo feature: cargo install veza-dr-cli --features {}", off.name);
            self.say(path, format!("this build has no support for {kind}"), help);
        }
    }

    pub(super) fn at_most_one(&mut self, path: &str, given: &[(&str, bool)]) {
        let named: Vec<&str> = given.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        if named.len() > 1 {
            self.say(path, format!("has {}: only one of them can count", named.join(" and ")), None);
        }
    }

    fn sources(&mut self) {
        for (name, source) in &self.config.sources {
            let path = format!("sources.{name}");
            if let Err(e) = name.parse::<ComponentName>() {
                self.say(&path, e.to_string(), None);
            }
            let path = format!("{path}.{}", source.engine());
            self.feature(&path, source.engine());
            let given = match source {
                Source::Postgres(s) => {
                    Some((s.password.is_some(), s.password_file.is_some(), s.password_command.as_deref()))
                }
                Source::Redis(s) => {
                    Some((s.password.is_some(), s.password_file.is_some(), s.password_command.as_deref()))
                }
                Source::Files(_) => None,
            };
            let Some((text, file, command)) = given else { continue };
            let given = [("password", text), ("password_file", file), ("password_command", command.is_some())];
            self.at_most_one(&path, &given);
            if command.is_some_and(<[Text]>::is_empty) {
                self.say(&format!("{path}.password_command"), "names no program", None);
            }
        }
    }

    fn stores(&mut self) {
        for (name, store) in &self.config.stores {
            let path = format!("stores.{name}");
            // The same rule as for components: the name is typed at `--store` and printed in tables.
            if let Err(e) = name.parse::<ComponentName>() {
                self.say(&path, e.to_string().replace("component name", "store name"), None);
            }
            self.feature(&format!("{path}.{}", store.place.kind()), store.place.kind());
            if let StorePlace::S3(s3) = &store.place {
                let path = format!("{path}.s3");
                for (key, text, file) in [
                    ("access_key_id", s3.access_key_id.is_some(), s3.access_key_id_file.is_some()),
                    ("secret_access_key", s3.secret_access_key.is_some(), s3.secret_access_key_file.is_some()),
                    ("session_token", s3.session_token.is_some(), s3.session_token_file.is_some()),
                ] {
                    self.at_most_one(&path, &[(key, text), (&format!("{key}_file"), file)]);
                }
                let id = s3.access_key_id.is_some() || s3.access_key_id_file.is_some();
                let key = s3.secret_access_key.is_some() || s3.secret_access_key_file.is_some();
                if id != key {
                    let message = "access_key_id and secret_access_key come together: one of them is missing";
                    self.say(&path, message, None);
                }
            }
            self.recipients(&path, store);
        }
    }

    fn recipients(&mut self, path: &str, store: &Store) {
        for (at, recipient) in store.encryption.recipients.iter().enumerate() {
            if has_variables(recipient.raw()) {
                continue;
            }
            if let Err(e) = Encryption::to_recipients(&[recipient.raw()]) {
                let path = format!("{path}.encryption.recipients[{at}]");
                self.say(&path, e.to_string(), e.help().map(str::to_owned));
            }
        }
    }

    fn backup(&mut self) {
        let config = self.config;
        for (name, policy) in &config.backup {
            let path = format!("backup.{name}");
            match config.sources.get(name) {
                None => {
                    let help = match nearest(name, config.sources.keys().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("say how to reach it: sources: {{ {name}: {{ postgres: {{ url: … }} }} }}"),
                    };
                    self.say(&path, format!("there is no source `{name}` under `sources`"), help);
                }
                Some(Source::Files(_)) if policy.include.is_empty() => {
                    self.say(&path, "names no files", "list folders and files under `include`".to_owned());
                }
                Some(Source::Files(_)) => {}
                Some(source) => {
                    for (key, list) in [("include", &policy.include), ("exclude", &policy.exclude)] {
                        if !list.is_empty() {
                            let message = format!("`{name}` is a {} source: only files have it", source.engine());
                            self.say(&format!("{path}.{key}"), message, None);
                        }
                    }
                }
            }
            if policy.retention.is_some_and(|r| r.is_empty()) {
                let help =
                    "give it a rule (days, keep_last, daily, …), or leave `retention` out to keep all".to_owned();
                self.say(&format!("{path}.retention"), "keeps nothing in particular", help);
            }
            if let Err(e) = policy.compression.0.validate() {
                self.say(&format!("{path}.compression"), e.to_string(), e.help().map(str::to_owned));
            }
            for (at, store) in policy.stores.iter().flatten().enumerate() {
                if !config.stores.contains_key(store) {
                    let near = nearest(store, config.stores.keys().map(String::as_str));
                    let help = near.map(|near| format!("did you mean `{near}`?"));
                    self.say(
                        &format!("{path}.stores[{at}]"),
                        format!("there is no store `{store}` under `stores`"),
                        help,
                    );
                }
            }
        }
    }
}
