//! A Compose project as a whole: what its file comes to, where its services are, and its removal.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptionsBuilder,
};
use serde_json::Value;
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{
    compose_file::ComposeFile,
    compose_site::ComposeSite,
    engine::{Engine, of_project},
};

const CONFIG_LIMIT: Duration = Duration::from_secs(60);
/// Images may have to be fetched.
const CREATE_LIMIT: Duration = Duration::from_secs(900);

impl ComposeSite {
    /// A site whose file was written by us and is nobody else's: it has this text.
    pub(crate) fn knowing(mut self, text: &str) -> Result<Self> {
        self.known = Some(ComposeFile::parse(text, &self.project.file)?);
        Ok(self)
    }

    /// The file as Compose understands it: variables, extensions and included files put in, paths absolute.
    pub(crate) async fn resolved(&self, cx: &Cx) -> Result<Value> {
        let (name, file) = (&self.project.name, &self.project.file);
        let what = format!("site {name}: read {file}");
        let script = self.compose(false, "$c -f \"$f\" -p \"$p\" config\n");
        let said = self.machine.sh(cx, &what, &script, CONFIG_LIMIT).await?;
        if said.code != 0 {
            let why = format!("{}{}", said.stdout.trim(), said.stderr.trim());
            let text = format!("site {name}: the Compose file {file} cannot be used");
            return Err(Error::new(ErrorKind::Config, text).with_source(why));
        }
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(&said.stdout, options).map_err(|e| {
            let told = e.without_snippet().to_string();
            let text = format!("site {name}: what Compose makes of {file} cannot be read");
            Error::new(ErrorKind::Config, text).with_source(told.lines().next().unwrap_or_default().to_owned())
        })
    }

    /// Makes networks, volumes and containers; nothing is started.
    pub(crate) async fn create(&self, cx: &Cx) -> Result<()> {
        let name = &self.project.name;
        let script = self.compose(false, "$c -f \"$f\" -p \"$p\" up --no-start\n");
        let said = self.machine.sh(cx, &format!("site {name}: make the project"), &script, CREATE_LIMIT).await?;
        if said.code == 0 {
            return Ok(());
        }
        let why = format!("{}{}", said.stdout.trim(), said.stderr.trim());
        Err(Error::new(ErrorKind::Unavailable, format!("site {name}: the project cannot be made")).with_source(why))
    }

    /// Proves that nothing leads out of the project's networks: its machine forwards nothing at all, or its firewall drops
    /// what comes from each of their bridges for elsewhere. An engine that was told to leave the firewall alone closes
    /// no network, also not an internal one.
    pub(crate) async fn are_closed(&self, cx: &Cx) -> Result<()> {
        let engine = self.engine(cx).await?;
        let bridges = engine.bridges(cx, &self.project.project).await?;
        let what = format!("site {}: look at the firewall", self.project.name);
        // A login through SSH may not have these in its path.
        let script = "PATH=$PATH:/usr/sbin:/sbin\ncat /proc/sys/net/ipv4/ip_forward\n\
                      iptables-save 2> /dev/null\nnft list ruleset 2> /dev/null\ntrue\n";
        let said = self.machine.sh(cx, &what, script, CONFIG_LIMIT).await?.stdout;
        match bridges.iter().find(|bridge| !is_closed(&said, bridge)) {
            None => Ok(()),
            Some(open) => {
                let text = format!("it cannot be shown that nothing leads out of the network {open}");
                Err(Error::new(ErrorKind::Unsupported, text).with_help(
                    "let the engine manage the firewall (not --iptables=false), and run as a user who may read it (root)",
                ))
            }
        }
    }

    /// Where a service answers inside its network; `None` when no container of it runs.
    pub(crate) async fn address_of(&self, cx: &Cx, service: &str) -> Result<Option<IpAddr>> {
        let engine = self.engine(cx).await?;
        for (container, all) in self.seen(cx, &engine).await? {
            if container.service != service {
                continue;
            }
            let networks = all.network_settings.and_then(|s| s.networks).unwrap_or_default();
            let address = networks.into_values().find_map(|n| n.ip_address?.parse().ok());
            if address.is_some() {
                return Ok(address);
            }
        }
        Ok(None)
    }

    /// Ends every container of the project without a chance to save anything, and removes them with the project's
    /// networks and volumes. Returns what was removed.
    pub(crate) async fn destroy(&self, cx: &Cx) -> Result<Vec<String>> {
        let engine = self.engine(cx).await?;
        engine.remove(cx, &self.project.project).await
    }

    /// Ends the containers of these services without a chance to save anything, and removes them with these volumes of
    /// the project. Returns what was removed.
    pub(crate) async fn remove_services(
        &self,
        cx: &Cx,
        services: &[String],
        volumes: &BTreeSet<String>,
    ) -> Result<Vec<String>> {
        let engine = self.engine(cx).await?;
        let mut things = Vec::new();
        for container in engine.containers(cx, &self.project.project).await? {
            if services.contains(&container.service) {
                things.push(Thing::Container(container.name));
            }
        }
        let of_file = engine.volumes(cx, &self.project.project).await?;
        things
            .extend(of_file.into_iter().filter(|(key, _)| volumes.contains(key)).map(|(_, name)| Thing::Volume(name)));
        engine.remove_all(cx, things).await
    }

    /// Everything of the project that its engine has.
    pub(crate) async fn things(&self, cx: &Cx) -> Result<Vec<String>> {
        let engine = self.engine(cx).await?;
        let found = engine.find(cx, &self.project.project).await?;
        Ok(found.iter().map(Thing::told).collect())
    }
}

/// Whether `said`, the machine's switch for forwarding and its rules, closes a bridge.
fn is_closed(said: &str, bridge: &str) -> bool {
    if said.lines().next().is_some_and(|first| first.trim() == "0") {
        return true;
    }
    let drops = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().map(|w| w.trim_matches('"')).collect();
        let from = words.windows(2).any(|w| matches!(w[0], "-i" | "iifname") && w[1] == bridge);
        // Nothing else may be asked of a packet but that it goes elsewhere: to another interface or another network.
        let asked = words
            .iter()
            .filter(|w| matches!(**w, "-p" | "-s" | "-m" | "saddr" | "dport" | "sport" | "tcp" | "udp"))
            .count();
        let elsewhere = words.iter().any(|w| matches!(*w, "!" | "!="));
        from && elsewhere && asked == 0 && words.iter().any(|w| *w == "DROP" || *w == "drop")
    };
    said.lines().any(drops)
}

#[derive(Debug)]
enum Thing {
    Container(String),
    Network(String),
    Volume(String),
}

impl Thing {
    fn told(&self) -> String {
        match self {
            Self::Container(name) => format!("container {name}"),
            Self::Network(name) => format!("network {name}"),
            Self::Volume(name) => format!("volume {name}"),
        }
    }
}

impl Engine {
    async fn find(&self, cx: &Cx, project: &str) -> Result<Vec<Thing>> {
        let filters = of_project(project);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self.call(cx, "list the containers", self.docker().list_containers(Some(options))).await?;
        let mut found = Vec::new();
        for container in listed {
            let name = container.names.unwrap_or_default().into_iter().next().or(container.id).unwrap_or_default();
            found.push(Thing::Container(name.trim_start_matches('/').to_owned()));
        }
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let listed = self.call(cx, "list the networks", self.docker().list_networks(Some(options))).await?;
        found.extend(listed.into_iter().filter_map(|n| n.name.map(Thing::Network)));
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let listed = self.call(cx, "list the volumes", self.docker().list_volumes(Some(options))).await?;
        found.extend(listed.volumes.unwrap_or_default().into_iter().map(|v| Thing::Volume(v.name)));
        Ok(found)
    }

    /// The network interfaces of the project's networks on their machine.
    async fn bridges(&self, cx: &Cx, project: &str) -> Result<Vec<String>> {
        let filters = of_project(project);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let listed = self.call(cx, "list the networks", self.docker().list_networks(Some(options))).await?;
        Ok(listed.into_iter().filter_map(|n| Some(format!("br-{}", n.id?.get(..12)?))).collect())
    }

    /// The volumes of the project: what its file calls each, and its name.
    async fn volumes(&self, cx: &Cx, project: &str) -> Result<Vec<(String, String)>> {
        let filters = of_project(project);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let listed = self.call(cx, "list the volumes", self.docker().list_volumes(Some(options))).await?;
        let one = |v: bollard::models::Volume| {
            // Without Compose's label its name tells: the project's, and the file's.
            let ours = v.labels.get("com.docker.compose.volume").cloned();
            let key = ours.or_else(|| v.name.strip_prefix(&format!("{project}_")).map(str::to_owned))?;
            Some((key, v.name))
        };
        Ok(listed.volumes.unwrap_or_default().into_iter().filter_map(one).collect())
    }

    async fn remove(&self, cx: &Cx, project: &str) -> Result<Vec<String>> {
        let things = self.find(cx, project).await?;
        self.remove_all(cx, things).await
    }

    async fn remove_all(&self, cx: &Cx, things: Vec<Thing>) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for thing in things {
            let what = format!("remove {}", thing.told());
            let done = match &thing {
                Thing::Container(name) => {
                    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
                    self.call(cx, &what, self.docker().remove_container(name, Some(options))).await
                }
                Thing::Network(name) => self.call(cx, &what, self.docker().remove_network(name)).await,
                Thing::Volume(name) => {
                    let options = RemoveVolumeOptionsBuilder::new().force(true).build();
                    self.call(cx, &what, self.docker().remove_volume(name, Some(options))).await
                }
            };
            match done {
                Ok(()) => removed.push(thing.told()),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::is_closed;

    #[test]
    fn a_network_is_closed_only_by_a_rule_of_its_own_or_a_machine_that_forwards_nothing() {
        let old = "1\n*filter\n-A DOCKER-ISOLATION-STAGE-1 ! -d 172.20.0.0/16 -i br-0123456789ab -j DROP\n";
        let new = "1\n\tiifname \"br-0123456789ab\" ip daddr != 172.20.0.0/16 counter packets 0 bytes 0 drop\n";
        let stage =
            "1\n-A DOCKER-ISOLATION-STAGE-1 -i br-0123456789ab ! -o br-0123456789ab -j DOCKER-ISOLATION-STAGE-2\n";
        let narrow = "1\n-A FORWARD ! -d 10.0.0.0/8 -i br-0123456789ab -p udp -j DROP\n";
        for (said, closed) in
            [(old, true), (new, true), (stage, false), (narrow, false), ("0\n", true), ("1\n", false), ("", false)]
        {
            assert_eq!(is_closed(said, "br-0123456789ab"), closed, "{said}");
            assert_eq!(is_closed(said, "br-ffffffffffff"), said.starts_with('0'), "{said}");
        }
    }
}
