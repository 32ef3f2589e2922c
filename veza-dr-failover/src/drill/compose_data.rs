//! Which services of a project keep which component, and in which volumes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use veza_dr_core::{ComponentName, Error, ErrorKind, Result};

use super::isolate::Port;

/// Which services keep a component, and the port that the site publishes it at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DataService {
    /// The services that keep it.
    pub services: Vec<String>,
    /// The port at the site's address; several services of one component are told apart by it.
    pub published: Option<u16>,
    /// The port inside, where the file does not say it.
    pub default_port: u16,
}

impl DataService {
    /// A component that these services keep.
    #[must_use]
    pub fn new(services: Vec<String>, published: Option<u16>, default_port: u16) -> Self {
        Self { services, published, default_port }
    }
}

/// Where the copy keeps a component.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) services: Vec<String>,
    /// The one that answers for it, and at which port inside.
    pub(super) service: String,
    pub(super) port: u16,
}

/// The service and the port inside that a component is reached at.
pub(super) fn chosen(
    component: &ComponentName,
    place: &DataService,
    ports: &BTreeMap<String, Vec<Port>>,
    file: &str,
) -> Result<(String, u16)> {
    let all = || place.services.iter().flat_map(|s| ports[s].iter().map(move |p| (s, *p)));
    if let Some((service, port)) = all().find(|(_, p)| place.published.is_some() && p.published == place.published) {
        return Ok((service.clone(), port.target));
    }
    match place.services.as_slice() {
        [only] => Ok((only.clone(), place.default_port)),
        _ => {
            let text =
                format!("{file}: it is not clear which of {} answers for {component}", place.services.join(", "));
            Err(Error::new(ErrorKind::Config, text)
                .with_help("publish it at the port that the site's address has, or name one service"))
        }
    }
}

/// The named volumes of a service.
pub(super) fn volumes_of(service: &Value) -> BTreeSet<String> {
    let one = |volume: &Value| match volume {
        Value::String(text) => text.split(':').next().filter(|s| !s.starts_with('/')).map(str::to_owned),
        long if long["type"] == "volume" => long["source"].as_str().map(str::to_owned),
        _ => None,
    };
    service["volumes"].as_array().into_iter().flatten().filter_map(one).collect()
}
