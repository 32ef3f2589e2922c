//! A Compose project made harmless: nothing that reaches the outside, and nothing of production's that can be written to.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Map, Value, json};
use veza_dr_core::{Error, ErrorKind, Result};

use crate::site::Lies;

/// What of a service is taken over as it is. Everything else is left out, and told.
const KEPT: [&str; 40] = [
    "cap_drop",
    "command",
    "configs",
    "cpus",
    "depends_on",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "links",
    "mem_limit",
    "mem_reservation",
    "memswap_limit",
    "networks",
    "pids_limit",
    "platform",
    "profiles",
    "pull_policy",
    "read_only",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "tmpfs",
    "tty",
    "ulimits",
    "user",
    "volumes",
    "working_dir",
    "oom_score_adj",
    "oom_kill_disable",
    "cpu_shares",
];
/// Left out without a word: every drill leaves these out.
const SILENT: [&str; 6] = ["container_name", "ports", "restart", "labels", "logging", "build"];
/// Places that hold sockets of this host's services, or the host itself.
const CLOSED: [&str; 7] = ["/run", "/var/run", "/tmp", "/var/tmp", "/proc", "/sys", "/dev"];

/// A port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Port {
    /// Where production publishes it.
    pub(super) published: Option<u16>,
    /// Inside.
    pub(super) target: u16,
}

/// A project that may run beside production.
#[derive(Debug)]
pub(super) struct Isolated {
    pub(super) document: Value,
    pub(super) ports: BTreeMap<String, Vec<Port>>,
    pub(super) left_out: Vec<String>,
}

/// The paths of the site's machine that services mount.
pub(super) fn mounts(resolved: &Value) -> BTreeSet<String> {
    let services = resolved["services"].as_object().into_iter().flatten();
    let volumes = services.flat_map(|(_, body)| body["volumes"].as_array().into_iter().flatten());
    volumes.filter_map(mount).map(|(source, _)| source.to_owned()).collect()
}

/// Source and target of a mount of the machine's own files.
fn mount(volume: &Value) -> Option<(&str, &str)> {
    match volume {
        Value::String(text) => {
            let mut parts = text.split(':');
            let (source, target) = (parts.next()?, parts.next()?);
            source.starts_with('/').then_some((source, target))
        }
        long if long["type"] == "bind" => {
            let text = |key: &str| long[key].as_str().unwrap_or_default();
            Some((text("source"), text("target")))
        }
        _ => None,
    }
}

/// Takes what Compose made of `file` apart. `data` are the services that components are restored into, `lies` is what is
/// at each of the [`mounts`] on the site's machine.
///
/// # Errors
/// `Config` when a service has no image of its own, or keeps a component in a folder of the host.
pub(super) fn isolate(
    resolved: &Value,
    file: &str,
    data: &BTreeSet<String>,
    lies: &BTreeMap<String, Lies>,
) -> Result<Isolated> {
    let (mut services, mut ports, mut left_out) = (Map::new(), BTreeMap::new(), Vec::new());
    let refuse = |text: String, help: &str| Error::new(ErrorKind::Config, format!("{file}: {text}")).with_help(help);
    for (name, body) in resolved["services"].as_object().into_iter().flatten() {
        if body["image"].as_str().is_none_or(str::is_empty) {
            let text = format!("service {name} has no `image`: a drill builds nothing");
            return Err(refuse(text, "name the image that production runs: image: registry/name:tag"));
        }
        ports.insert(name.clone(), ports_of(&body["ports"]));
        let mut service = Map::new();
        for (key, value) in body.as_object().into_iter().flatten() {
            match key.as_str() {
                "volumes" => {
                    let kept = volumes(name, value, data.contains(name), lies, &mut left_out).map_err(|text| {
                        refuse(text, "give it a named volume: a drill never restores into a folder of the host")
                    })?;
                    service.insert(key.clone(), kept);
                }
                "networks" => {
                    service.insert(key.clone(), networks_of(value));
                }
                "network_mode" | "ipc" | "pid" if value.as_str().is_some_and(inside) => {
                    service.insert(key.clone(), value.clone());
                }
                kept if KEPT.contains(&kept) => {
                    service.insert(key.clone(), value.clone());
                }
                silent if SILENT.contains(&silent) => {}
                // Compose writes these out also where nothing was said.
                _ if value.is_null() || value == false || value.as_array().is_some_and(Vec::is_empty) => {}
                other => left_out.push(format!("service {name}: `{other}`")),
            }
        }
        service.insert("restart".to_owned(), json!("no"));
        services.insert(name.clone(), Value::Object(service));
    }
    let mut networks: Map<String, Value> = Map::new();
    let closed = || json!({ "driver": "bridge", "internal": true });
    networks.insert("default".to_owned(), closed());
    for name in resolved["networks"].as_object().into_iter().flatten().map(|(name, _)| name) {
        networks.insert(name.clone(), closed());
    }
    let volumes: Map<String, Value> =
        resolved["volumes"].as_object().into_iter().flatten().map(|(name, _)| (name.clone(), json!({}))).collect();
    let mut document = json!({ "services": services, "networks": networks });
    if !volumes.is_empty() {
        document["volumes"] = Value::Object(volumes);
    }
    for key in ["version", "secrets", "configs"] {
        if !resolved[key].is_null() {
            document[key] = resolved[key].clone();
        }
    }
    Ok(Isolated { document, ports, left_out })
}

/// A namespace that is shared with another service of the project, or with nobody.
fn inside(mode: &str) -> bool {
    mode.starts_with("service:") || matches!(mode, "none" | "private" | "shareable")
}

fn networks_of(value: &Value) -> Value {
    let Some(map) = value.as_object() else { return value.clone() };
    let only = |how: &Value| how["aliases"].as_array().map_or(Value::Null, |a| json!({ "aliases": a }));
    Value::Object(map.iter().map(|(name, how)| (name.clone(), only(how))).collect())
}

/// Named volumes as they are (the project's own, and empty), folders of the host read-only.
fn volumes(
    service: &str,
    value: &Value,
    holds_data: bool,
    lies: &BTreeMap<String, Lies>,
    left_out: &mut Vec<String>,
) -> std::result::Result<Value, String> {
    let mut kept = Vec::new();
    for volume in value.as_array().into_iter().flatten() {
        let Some((source, target)) = mount(volume) else {
            if volume.is_string() || volume["type"] == "volume" || volume["type"] == "tmpfs" {
                kept.push(volume.clone());
            } else {
                left_out.push(format!("service {service}: the mount {volume}"));
            }
            continue;
        };
        if holds_data {
            return Err(format!("service {service} keeps a component and has the host's {source} at {target}"));
        }
        let closed = |path: &str| {
            let path = Path::new(path);
            CLOSED.iter().any(|place| path.starts_with(place) || Path::new(place).starts_with(path))
        };
        let found = lies.get(source).unwrap_or(&Lies::Nothing);
        // A link may lead there as well.
        let leads_out = match found {
            Lies::Socket => true,
            Lies::Thing(place) => closed(place),
            Lies::Nothing => false,
        };
        if closed(source) || leads_out {
            left_out.push(format!("service {service}: {source}, which may lead out of the drill"));
            continue;
        }
        // An engine makes what is not there: on production's machine.
        if *found == Lies::Nothing {
            return Err(format!("service {service} has the host's {source} at {target}, which is not there"));
        }
        left_out.push(format!("service {service}: writing to {source}"));
        kept.push(json!(format!("{source}:{target}:ro")));
    }
    Ok(Value::Array(kept))
}

fn ports_of(value: &Value) -> Vec<Port> {
    let number = |v: &Value| v.as_u64().and_then(|n| u16::try_from(n).ok()).or_else(|| v.as_str()?.parse().ok());
    let one = |port: &Value| match port {
        Value::String(text) => {
            let plain = text.split('/').next()?;
            let mut parts = plain.rsplit(':');
            let target = parts.next()?.parse().ok()?;
            Some(Port { published: parts.next().and_then(|p| p.parse().ok()), target })
        }
        other => {
            let target = if other.is_object() { number(&other["target"]) } else { number(other) };
            Some(Port { published: number(&other["published"]), target: target? })
        }
    };
    let tcp = |port: &&Value| {
        !port.as_str().is_some_and(|p| p.ends_with("/udp")) && port["protocol"].as_str().is_none_or(|p| p == "tcp")
    };
    value.as_array().into_iter().flatten().filter(tcp).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on a machine where only these are.
    fn isolate(file: &Value, name: &str) -> Result<Isolated> {
        let thing = |path: &str| (path.to_owned(), Lies::Thing(path.to_owned()));
        let mut lies: BTreeMap<String, Lies> = ["/etc", "/etc/passwd", "/"].map(thing).into();
        lies.insert("/opt/run".to_owned(), Lies::Thing("/run/user".to_owned()));
        lies.insert("/opt/socket".to_owned(), Lies::Socket);
        lies.insert("/not/there".to_owned(), Lies::Nothing);
        assert!(mounts(file).iter().all(|path| lies.contains_key(path) || path.starts_with("/var/run")));
        super::isolate(file, name, &BTreeSet::from(["db".to_owned()]), &lies)
    }

    #[test]
    fn nothing_that_leads_out_is_left() {
        let file = json!({
            "name": "veza", "version": "3.9",
            "services": {
                "db": { "image": "pg", "container_name": "veza-db", "restart": "always", "privileged": true,
                    "ports": ["127.0.0.1:5433:5432/tcp"], "volumes": ["data:/data:rw"], "networks": { "back": { "ipv4_address": "10.0.0.2", "aliases": ["pg"] } } },
                "api": { "image": "api", "network_mode": "host", "labels": { "traefik.enable": "true" }, "cap_add": ["NET_ADMIN"],
                    "logging": { "driver": "syslog" }, "devices": [], "depends_on": ["db"], "environment": { "A": "$$b" },
                    "ports": [{ "target": 8080, "published": "80", "protocol": "tcp" }, "53:53/udp", 9000],
                    "volumes": ["/etc:/conf:rw", "/var/run/docker.sock:/s", "/:/host", "/opt/run:/r", "/opt/socket:/t", { "type": "bind", "source": "/etc/passwd", "target": "/p" }, { "type": "npipe" }] },
                "side": { "image": "side", "network_mode": "service:api", "pid": "host" }
            },
            "networks": { "back": { "external": true, "name": "production" } },
            "volumes": { "data": { "external": true, "name": "veza_data" } },
        });
        let found = isolate(&file, "x.yml").unwrap();
        let services = &found.document["services"];
        assert_eq!(
            services["db"],
            json!({ "image": "pg", "restart": "no", "volumes": ["data:/data:rw"], "networks": { "back": { "aliases": ["pg"] } } })
        );
        assert_eq!(
            services["api"],
            json!({ "image": "api", "restart": "no", "depends_on": ["db"], "environment": { "A": "$$b" },
                "volumes": ["/etc:/conf:ro", "/etc/passwd:/p:ro"] })
        );
        assert_eq!(services["side"], json!({ "image": "side", "restart": "no", "network_mode": "service:api" }));
        let closed = json!({ "driver": "bridge", "internal": true });
        assert_eq!(found.document["networks"], json!({ "back": closed, "default": closed }));
        assert_eq!(found.document["volumes"], json!({ "data": {} }));
        assert!(found.document.get("name").is_none());
        assert_eq!(found.ports["db"], [Port { published: Some(5433), target: 5432 }]);
        let api = [Port { published: Some(80), target: 8080 }, Port { published: None, target: 9000 }];
        assert_eq!(found.ports["api"], api);
        for told in [
            "service db: `privileged`",
            "service api: `network_mode`",
            "service api: `cap_add`",
            "service side: `pid`",
            "service api: writing to /etc",
            "service api: /var/run/docker.sock, which may lead out of the drill",
            "service api: /, which may lead out of the drill",
            "service api: /opt/run, which may lead out of the drill",
            "service api: /opt/socket, which may lead out of the drill",
        ] {
            assert!(found.left_out.iter().any(|l| l == told), "{told}: {:?}", found.left_out);
        }
        assert_eq!(found.left_out.len(), 11, "{:?}", found.left_out);
    }

    #[test]
    fn what_would_write_to_the_host_or_build_is_refused() {
        for (service, expected) in [
            (json!({ "build": "." }), "x.yml: service db has no `image`"),
            (
                json!({ "image": "a", "volumes": ["/etc:/data"] }),
                "x.yml: service db keeps a component and has the host's /etc",
            ),
        ] {
            let e = isolate(&json!({ "services": { "db": service } }), "x.yml").unwrap_err();
            assert!(e.kind() == ErrorKind::Config && e.to_string().starts_with(expected), "{e}");
        }
        let missing = json!({ "services": { "api": { "image": "a", "volumes": ["/not/there:/x"] } } });
        let e = isolate(&missing, "x.yml").unwrap_err();
        assert!(e.to_string().contains("/not/there at /x, which is not there"), "{e}");
    }
}
