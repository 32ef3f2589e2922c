//! What a Compose file says of its services: which there are, and which need which.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use veza_dr_core::{Error, ErrorKind, Result};

/// The services of a file, dependencies first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ComposeFile {
    pub(super) order: Vec<(String, Vec<String>)>,
    /// Those that others wait for to end.
    pub(super) one_shots: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct Shape {
    // Everything else that Compose knows is Compose's to judge.
    #[serde(default)]
    services: BTreeMap<String, Value>,
}

impl ComposeFile {
    /// Reads the text of a file; `name` is what errors call it.
    ///
    /// # Errors
    /// `Config` with file and line when it is no YAML, names no services, needs services that it does not have, or
    /// goes in circles.
    pub(super) fn parse(text: &str, name: &str) -> Result<Self> {
        let options = serde_saphyr::options! { with_snippet: false };
        let shape: Shape = serde_saphyr::from_str_with_options(text, options).map_err(|e| {
            let line = e.location().map_or_else(String::new, |at| format!(":{}", at.line()));
            let told = e.without_snippet().to_string();
            let first = told.lines().next().unwrap_or_default().to_owned();
            Error::new(ErrorKind::Config, format!("{name}{line}: the Compose file is not valid")).with_source(first)
        })?;
        let refuse = |service: &str, why: String| {
            let line = line_of(text, service).map_or_else(String::new, |n| format!(":{n}"));
            Error::new(ErrorKind::Config, format!("{name}{line}: {why}"))
        };
        if shape.services.is_empty() {
            return Err(Error::new(ErrorKind::Config, format!("{name}:1: the Compose file names no services")));
        }
        let mut needs: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let mut one_shots = BTreeSet::new();
        for (service, body) in &shape.services {
            if !body.is_object() {
                return Err(refuse(service, format!("service {service} is not a map")));
            }
            let (mut mine, mut optional) = (BTreeSet::new(), BTreeSet::new());
            match &body["depends_on"] {
                Value::Null => {}
                Value::Array(list) => mine.extend(list.iter().filter_map(Value::as_str).map(str::to_owned)),
                Value::Object(map) => {
                    for (other, how) in map {
                        mine.insert(other.clone());
                        if how["condition"] == "service_completed_successfully" {
                            one_shots.insert(other.clone());
                        }
                        if how["required"] == false {
                            optional.insert(other.clone());
                        }
                    }
                }
                _ => return Err(refuse(service, format!("depends_on of {service} is neither a list nor a map"))),
            }
            let words = |key: &str| body[key].as_array().into_iter().flatten().filter_map(Value::as_str);
            mine.extend(words("links").map(|l| l.split(':').next().unwrap_or(l).to_owned()));
            let containers = words("volumes_from").filter(|v| !v.starts_with("container:"));
            mine.extend(containers.map(|v| v.split(':').next().unwrap_or(v).to_owned()));
            for key in ["network_mode", "ipc", "pid"] {
                let shared = body[key].as_str().and_then(|mode| mode.strip_prefix("service:"));
                mine.extend(shared.map(str::to_owned));
            }
            for other in mine.iter().filter(|o| !optional.contains(*o)) {
                if !shape.services.contains_key(other) {
                    return Err(refuse(service, format!("service {service} needs `{other}`, which the file lacks")));
                }
            }
            needs.insert(service, mine);
        }
        // What belongs to a profile is not started by a plain `up`; what it is needed by, is.
        let profiled = |s: &str| shape.services[s]["profiles"].as_array().is_some_and(|p| !p.is_empty());
        let needed: BTreeSet<String> =
            needs.iter().filter(|(s, _)| !profiled(s)).flat_map(|(_, n)| n.iter().cloned()).collect();
        needs.retain(|service, _| !profiled(service) || needed.contains(*service));
        let known: BTreeSet<String> = needs.keys().map(|s| (*s).to_owned()).collect();
        let pairs = needs
            .into_iter()
            .map(|(s, n)| (s.to_owned(), n.into_iter().filter(|n| known.contains(n)).collect::<Vec<_>>()));
        let order = in_order(pairs.collect()).map_err(|circle| {
            let names = circle.join(", ");
            refuse(&circle[0], format!("the services {names} need each other in a circle"))
        })?;
        Ok(Self { order, one_shots })
    }
}

/// Dependencies before dependents, else by name.
///
/// # Errors
/// The services that cannot be put in order.
pub(super) fn in_order(
    mut left: BTreeMap<String, Vec<String>>,
) -> std::result::Result<Vec<(String, Vec<String>)>, Vec<String>> {
    let mut order: Vec<(String, Vec<String>)> = Vec::new();
    while !left.is_empty() {
        let ready = left.iter().find(|(_, needs)| !needs.iter().any(|n| left.contains_key(n)));
        let Some(service) = ready.map(|(service, _)| service.clone()) else {
            return Err(left.into_keys().collect());
        };
        let needs = left.remove(&service).unwrap_or_default();
        order.push((service, needs));
    }
    Ok(order)
}

/// The line on which a service begins.
fn line_of(text: &str, service: &str) -> Option<usize> {
    let begins = |line: &str| {
        let key = line.trim_start().trim_start_matches(['"', '\'']);
        line.starts_with([' ', '\t', '{'])
            && key.strip_prefix(service).is_some_and(|rest| rest.trim_start_matches(['"', '\'']).starts_with(':'))
    };
    text.lines().position(begins).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(file: &ComposeFile) -> Vec<&str> {
        file.order.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn dependencies_come_first_in_every_way_of_writing_them() {
        let text = "
x-common: &common { restart: always }
services:
  api: { <<: *common, image: a, depends_on: [redis, db] }
  chat: { image: a, depends_on: { api: { condition: service_healthy }, seed: { condition: service_completed_successfully } } }
  db: { image: b }
  redis: { image: c, network_mode: 'service:db' }
  seed: { image: d, links: ['db:database'] }
  debug: { image: e, profiles: [dev] }
";
        let file = ComposeFile::parse(text, "x.yml").unwrap();
        assert_eq!(names(&file), ["db", "redis", "api", "seed", "chat"]);
        assert_eq!(file.one_shots, BTreeSet::from(["seed".to_owned()]));
        assert_eq!(file.order[2].1, ["db", "redis"]);
    }

    #[test]
    fn a_file_that_is_wrong_is_told_with_its_line() {
        for (text, expected) in [
            ("services:\n  a: { image: x\n", "x.yml:"),
            (
                "services:\n  a:\n    image: x\n    depends_on: [b]\n",
                "x.yml:2: service a needs `b`, which the file lacks",
            ),
            (
                "services:\n  a: { depends_on: [b] }\n  b: { depends_on: [a] }\n",
                "x.yml:2: the services a, b need each other",
            ),
            ("version: '3'\n", "x.yml:1: the Compose file names no services"),
            ("services:\n  a: 3\n", "x.yml:2: service a is not a map"),
        ] {
            let e = ComposeFile::parse(text, "x.yml").unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config);
            assert!(e.to_string().starts_with(expected), "{} / {expected}", e.chain());
        }
    }
}
