//! The networks that a container is in, as a container engine tells and changes them.

use std::collections::{BTreeMap, HashMap};

use bollard::{
    models::{
        ContainerInspectResponse, EndpointSettings, NetworkConnectRequest, NetworkCreateRequest,
        NetworkDisconnectRequest,
    },
    query_parameters::ListNetworksOptionsBuilder,
};
use serde::{Deserialize, Serialize};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::engine::{Container, Engine};

/// Of which project services are apart in the network.
const PROJECT: &str = "veza-dr.apart";
/// What they are apart for.
const REASON: &str = "veza-dr.apart.for";
/// Which containers, and what networks they were in.
const RECORD: &str = "veza-dr.apart.record";
/// How the network's name ends.
const NAME: &str = "_veza-dr-apart";

/// A container's networks, by name, without what the engine gives anew with every start.
pub(super) type Networks = BTreeMap<String, EndpointSettings>;

/// A container before it was taken off its networks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TakenOff {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) service: String,
    pub(super) networks: Networks,
}

impl TakenOff {
    pub(super) fn container(&self) -> Container {
        let Self { id, name, service, .. } = self.clone();
        Container { id, name, service, depends_on: Vec::new() }
    }
}

/// A network that nobody leads into or out of, with what was taken off other networks for it. It is there before anything
/// is taken off, and until everything is put back.
#[derive(Debug, Clone)]
pub(super) struct ApartNetwork {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) reason: String,
    pub(super) taken_off: Vec<TakenOff>,
}

/// The name of the network of services that are apart.
pub(super) fn apart_name(project: &str) -> String {
    format!("{project}{NAME}")
}

/// Whether it is in no network but one of services that are apart.
pub(super) fn is_apart(seen: &ContainerInspectResponse) -> bool {
    let networks = networks_of(seen);
    !networks.is_empty() && networks.keys().all(|name| name.ends_with(NAME))
}

/// The networks of a container.
pub(super) fn networks_of(seen: &ContainerInspectResponse) -> Networks {
    let networks = seen.network_settings.as_ref().and_then(|s| s.networks.clone()).unwrap_or_default();
    networks.into_iter().map(|(name, endpoint)| (name, kept(endpoint))).collect()
}

/// What of an endpoint was asked for.
fn kept(endpoint: EndpointSettings) -> EndpointSettings {
    let some = |list: Option<Vec<String>>| list.filter(|l| !l.is_empty());
    EndpointSettings {
        ipam_config: endpoint.ipam_config.filter(|c| *c != Default::default()),
        links: some(endpoint.links),
        aliases: some(endpoint.aliases),
        driver_opts: endpoint.driver_opts.filter(|o| !o.is_empty()),
        gw_priority: endpoint.gw_priority.filter(|p| *p != 0),
        mac_address: endpoint.mac_address.filter(|a| !a.is_empty()),
        ..EndpointSettings::default()
    }
}

impl Engine {
    /// The names of all networks.
    pub(super) async fn network_names(&self, cx: &Cx) -> Result<Vec<String>> {
        let listed = self.call(cx, "list the networks", self.docker().list_networks(None)).await?;
        Ok(listed.into_iter().filter_map(|n| n.name).collect())
    }

    /// The networks in which services of a project are apart: one at most, unless two made one at the same time.
    pub(super) async fn apart(&self, cx: &Cx, project: &str) -> Result<Vec<ApartNetwork>> {
        let filters = HashMap::from([("label", vec![format!("{PROJECT}={project}")])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let listed = self.call(cx, "list the networks", self.docker().list_networks(Some(options))).await?;
        let one = |network: bollard::models::Network| {
            let (Some(id), Some(name)) = (network.id, network.name) else { return None };
            let labels = network.labels.unwrap_or_default();
            let record = labels.get(RECORD).map(String::as_str).unwrap_or_default();
            let taken_off = serde_json::from_str(record).map_err(|e| {
                let text = format!("network {name} does not tell which networks its containers were in");
                Error::new(ErrorKind::Corrupt, text).with_source(e).with_help(
                    "put them back by hand (docker network connect, disconnect), and remove it: docker network rm",
                )
            });
            let reason = labels.get(REASON).cloned().unwrap_or_default();
            Some(taken_off.map(|taken_off| ApartNetwork { id, name, reason, taken_off }))
        };
        listed.into_iter().filter_map(one).collect()
    }

    /// Makes the network, with its record.
    pub(super) async fn make_apart(
        &self,
        cx: &Cx,
        project: &str,
        reason: &str,
        taken_off: &[TakenOff],
    ) -> Result<ApartNetwork> {
        let record = serde_json::to_string(taken_off)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the networks of containers as JSON").with_source(e))?;
        let name = apart_name(project);
        let labels = [(PROJECT, project), (REASON, reason), (RECORD, &record)];
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            // No way in from elsewhere or out of it, and no port of this machine leads to it.
            internal: Some(true),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..NetworkCreateRequest::default()
        };
        let what = format!("make the network {name}");
        let made = self.call(cx, &what, self.docker().create_network(request)).await;
        let id = made.map_err(|e| e.with_effect(Effect::Unknown))?.id;
        Ok(ApartNetwork { id, name, reason: reason.to_owned(), taken_off: taken_off.to_vec() })
    }

    pub(super) async fn remove_network(&self, cx: &Cx, network: &ApartNetwork) -> Result<()> {
        let what = format!("remove the network {}", network.name);
        match self.call(cx, &what, self.docker().remove_network(&network.id)).await {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map_err(|e| e.with_effect(Effect::Unknown)),
        }
    }

    pub(super) async fn join(
        &self,
        cx: &Cx,
        container: &TakenOff,
        network: &str,
        endpoint: EndpointSettings,
    ) -> Result<()> {
        let request = NetworkConnectRequest { container: container.id.clone(), endpoint_config: Some(endpoint) };
        let what = format!("put {} into the network {network}", container.name);
        let joined = self.call(cx, &what, self.docker().connect_network(network, request)).await;
        joined.map_err(|e| e.with_effect(Effect::Unknown))
    }

    pub(super) async fn leave(&self, cx: &Cx, container: &TakenOff, network: &str) -> Result<()> {
        let request = NetworkDisconnectRequest { container: container.id.clone(), force: None };
        let what = format!("take {} off the network {network}", container.name);
        let left = self.call(cx, &what, self.docker().disconnect_network(network, request)).await;
        left.map_err(|e| e.with_effect(Effect::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{EndpointIpamConfig, NetworkSettings};

    use super::*;

    fn seen(networks: &[(&str, EndpointSettings)]) -> ContainerInspectResponse {
        let networks = networks.iter().map(|(n, e)| ((*n).to_owned(), e.clone())).collect();
        let settings = NetworkSettings { networks: Some(networks), ..NetworkSettings::default() };
        ContainerInspectResponse { network_settings: Some(settings), ..ContainerInspectResponse::default() }
    }

    #[test]
    fn what_was_asked_for_is_kept_and_what_a_start_gives_is_not() {
        let asked = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: Some("10.0.0.7".to_owned()),
                ..EndpointIpamConfig::default()
            }),
            aliases: Some(vec!["db".to_owned(), "postgres".to_owned()]),
            links: Some(vec!["a:b".to_owned()]),
            ..EndpointSettings::default()
        };
        let told = EndpointSettings {
            network_id: Some("n".to_owned()),
            ip_address: Some("10.0.0.7".to_owned()),
            mac_address: Some(String::new()),
            ..asked.clone()
        };
        let plain = EndpointSettings { aliases: Some(Vec::new()), ..EndpointSettings::default() };
        let found = networks_of(&seen(&[("veza_default", told), ("bridge", plain)]));
        assert_eq!(found["veza_default"], asked);
        assert_eq!(found["bridge"], EndpointSettings::default());
        let record = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Networks>(&record).unwrap(), found);
    }

    #[test]
    fn only_what_is_in_no_other_network_is_apart() {
        let one = || EndpointSettings::default();
        assert!(is_apart(&seen(&[("veza_veza-dr-apart", one())])));
        assert!(!is_apart(&seen(&[("veza_veza-dr-apart", one()), ("veza_default", one())])));
        assert!(!is_apart(&seen(&[])) && !is_apart(&ContainerInspectResponse::default()));
    }
}
