//! Services of a site that is closed off, started apart: in a network of their own that no port leads to, so that they can
//! be read and nobody else reaches them. Afterwards they are as they were.
//!
//! It is the site's own containers that are started: two servers on one folder of data would destroy it. What networks
//! they were in is on record in the label of the new one, which is there before anything is changed and goes with the
//! last that is put back: whoever comes after one that was killed finds all that is needed.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bollard::models::{ContainerInspectResponse, EndpointSettings};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Health, Result};

use super::{
    compose_site::{ComposeSite, Seen},
    engine::{Container, Engine},
    machine::pause_for,
    networks::{ApartNetwork, Networks, TakenOff, apart_name, is_apart, networks_of},
    states::{has_check, state_of},
};

/// What they get to end by themselves.
const GRACE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// So much of the log of one that does not come up is told.
const TOLD_LINES: usize = 15;

impl ComposeSite {
    /// The network that services of the site are in while they are apart.
    #[must_use]
    pub fn apart_network(&self) -> String {
        apart_name(&self.project.project)
    }

    /// Whether these services could be set apart now. Changes nothing.
    ///
    /// # Errors
    /// `Conflict` when the site is not fenced or anything of it runs, but for what is apart already; `NotFound` when a
    /// service has no container or one of its networks is gone; `Unsupported` when a container has no networks of its own
    /// to be taken off; `Unavailable` when the site cannot be reached.
    pub async fn can_be_set_apart(&self, cx: &Cx, services: &[String]) -> Result<()> {
        let engine = self.engine(cx).await?;
        self.closed(cx, &engine, services).await.map(drop)
    }

    /// Starts services of the site apart, for this reason; those of an earlier call are put back first. Returns once they
    /// are started; [`apart_healthy`](Self::apart_healthy) waits. Their restart policies stay, and so does the fence.
    ///
    /// ```no_run
    /// # async fn doc(old: &veza_dr_failover::site::ComposeSite) -> veza_dr_core::Result<()> {
    /// use veza_dr_core::Cx;
    /// let (cx, services) = (Cx::background(), ["postgres".to_owned()]);
    /// let read = async {
    ///     old.set_apart(&cx, &services, "a look at what was lost").await?;
    ///     old.apart_healthy(&cx, &services).await?;
    ///     let there = old.apart_address(&cx, &services, None, 5432).await?;
    ///     let here = old.reach(&cx, there).await?;
    ///     println!("psql -h {} -p {}", here.ip(), here.port());
    ///     Ok::<_, veza_dr_core::Error>(())
    /// };
    /// let read = read.await;
    /// // Whatever became of it.
    /// old.put_back(&cx).await?;
    /// read
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`can_be_set_apart`](Self::can_be_set_apart), with nothing changed; later as met: [`put_back`](Self::put_back)
    /// leaves everything as it was.
    pub async fn set_apart(&self, cx: &Cx, services: &[String], reason: &str) -> Result<()> {
        let engine = self.engine(cx).await?;
        let mut seen = self.closed(cx, &engine, services).await?;
        if !self.put_back(cx).await?.is_empty() {
            seen = self.closed(cx, &engine, services).await?;
        }
        let taken_off: Vec<TakenOff> = seen.iter().map(|(c, all)| taken_off(c, all)).collect();
        let network = engine.make_apart(cx, &self.project.project, reason, &taken_off).await?;
        for container in &network.taken_off {
            for name in container.networks.keys() {
                engine.leave(cx, container, name).await?;
            }
            let mut aliases: Vec<String> =
                container.networks.values().flat_map(|e| e.aliases.clone().unwrap_or_default()).collect();
            aliases.push(container.service.clone());
            aliases.sort_unstable();
            aliases.dedup();
            let endpoint = EndpointSettings { aliases: Some(aliases), ..EndpointSettings::default() };
            engine.join(cx, container, &network.name, endpoint).await?;
        }
        for container in &network.taken_off {
            self.nothing_leads_to(cx, &engine, container).await?;
            engine.start(cx, &container.container()).await?;
            if let Err(e) = self.nothing_leads_to(cx, &engine, container).await {
                engine.stop(cx, &container.container(), GRACE).await?;
                return Err(e);
            }
        }
        Ok(())
    }

    /// Waits until services that are apart run, and are healthy where they have a check, for as long as `cx` lets it.
    ///
    /// # Errors
    /// `Unavailable` with the end of its log for one that ended; `Cancelled` when the time is up.
    pub async fn apart_healthy(&self, cx: &Cx, services: &[String]) -> Result<()> {
        let engine = self.engine(cx).await?;
        loop {
            let mut waits = false;
            for (container, all) in self.apart_of(cx, &engine, services).await? {
                let state = state_of(&container, &all, false);
                if state.state != "running" {
                    let said = engine.logs(cx, &container, TOLD_LINES).await;
                    let said = said.unwrap_or_else(|e| format!("(its log cannot be read: {})", e.chain()));
                    let code = state.exit_code.map(|code| format!(" with code {code}")).unwrap_or_default();
                    let name = &self.project.name;
                    let text = format!("site {name}: {} does not run: {}{code}", container.name, state.state);
                    return Err(Error::new(ErrorKind::Unavailable, text).with_source(said));
                }
                waits |= has_check(&all) && state.health != Health::Healthy;
            }
            if !waits {
                return Ok(());
            }
            pause_for(cx, "wait for services", LOOK_AGAIN).await?;
        }
    }

    /// Where a server among services that are apart answers, seen from the site's machine: the one that is published at
    /// `published` while it serves, or the only one, at the port that it offers or else at `usual`.
    ///
    /// # Errors
    /// `NotFound` when none of them runs apart, `Config` when it is not clear which is meant.
    pub async fn apart_address(
        &self,
        cx: &Cx,
        services: &[String],
        published: Option<u16>,
        usual: u16,
    ) -> Result<SocketAddr> {
        let engine = self.engine(cx).await?;
        let seen = self.apart_of(cx, &engine, services).await?;
        let meant = seen.iter().find_map(|(c, all)| Some((c, all, inside(all, published?)?)));
        let (container, all, port) = match (meant, seen.as_slice()) {
            (Some(meant), _) => meant,
            (None, [(container, all)]) => (container, all, only_offered(all).unwrap_or(usual)),
            (None, _) => {
                let (name, which) = (&self.project.name, services.join(", "));
                let text = format!("site {name}: it is not clear which container of {which} answers");
                return Err(Error::new(ErrorKind::Config, text)
                    .with_help("publish it at the port that the site's address has, or name one service"));
            }
        };
        let networks = all.network_settings.as_ref().and_then(|s| s.networks.as_ref());
        let address: Option<IpAddr> =
            networks.and_then(|n| n.values().find_map(|e| e.ip_address.as_ref()?.parse().ok()));
        let address = address.ok_or_else(|| {
            let text = format!("site {}: {} has no address: it does not run", self.project.name, container.name);
            Error::new(ErrorKind::Unavailable, text)
        })?;
        Ok(SocketAddr::from((address, port)))
    }

    /// Stops what is apart, puts it back into the networks that it was in, and removes the one of its own; what was done
    /// of that is left as it is. Gives the containers that were put back: none when nothing is apart.
    ///
    /// # Errors
    /// As met, once everything else was put back. The record stays until all is: call it again.
    pub async fn put_back(&self, cx: &Cx) -> Result<Vec<String>> {
        let engine = self.engine(cx).await?;
        let mut put_back = Vec::new();
        for network in engine.apart(cx, &self.project.project).await? {
            let mut left = Vec::new();
            for container in &network.taken_off {
                match self.put_one_back(cx, &engine, &network, container).await {
                    Ok(()) => put_back.push(container.name.clone()),
                    Err(e) => left.push((container.name.as_str(), e)),
                }
            }
            let Some((_, first)) = left.first() else {
                engine.remove_network(cx, &network).await?;
                continue;
            };
            let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
            let text = format!(
                "site {}: {} not put back into the networks that the label of {} tells (set apart for {})",
                self.project.name,
                names.join(", "),
                network.name,
                network.reason
            );
            return Err(Error::new(first.kind(), text).with_source(first.chain()).with_effect(Effect::Applied));
        }
        Ok(put_back)
    }

    async fn put_one_back(&self, cx: &Cx, engine: &Engine, network: &ApartNetwork, container: &TakenOff) -> Result<()> {
        let of_engine = container.container();
        // Removed by somebody: nothing is left to be put back.
        let Some(all) = engine.inspect(cx, &of_engine).await? else { return Ok(()) };
        let mut there = networks_of(&all);
        // One that is in others already was put back by hand, and may serve.
        let is_used =
            there.keys().any(|name| *name != network.name) && all.state.as_ref().and_then(|s| s.running) == Some(true);
        if !is_used {
            engine.stop(cx, &of_engine, GRACE).await?;
        }
        if there.remove(&network.name).is_some() {
            engine.leave(cx, container, &network.name).await?;
        }
        for (name, endpoint) in &container.networks {
            if !there.contains_key(name) {
                engine.join(cx, container, name, endpoint.clone()).await?;
            }
        }
        let now = engine.inspect(cx, &of_engine).await?.map(|all| networks_of(&all)).unwrap_or_default();
        let missing = |(name, endpoint): &(&String, &EndpointSettings)| {
            now.get(*name).is_none_or(|n| sorted(n) != sorted(endpoint))
        };
        match container.networks.iter().find(missing) {
            None => Ok(()),
            // While it runs it tells also what it was given.
            Some((name, _)) if is_used && now.contains_key(name) => Ok(()),
            Some((name, _)) => {
                let text = format!("{} is not in network {name} as it was", container.name);
                Err(Error::new(ErrorKind::Conflict, text))
            }
        }
    }

    /// The containers of these services, once it was seen that the site is closed off and that nothing of it runs.
    async fn closed(&self, cx: &Cx, engine: &Engine, services: &[String]) -> Result<Vec<Seen>> {
        let name = &self.project.name;
        let what = services.join(", ");
        if self.fence_mark().read(cx).await?.is_none() {
            let text = format!("site {name} is not fenced: {what} are not started apart where they may serve");
            let mark = self.project.fence_mark();
            return Err(Error::new(ErrorKind::Conflict, text).with_help(format!(
                "a run that can reach it marks it, and so does veza-dr serve on its machine; by hand: stop its services, \
                 then write the number 1 into {mark} there"
            )));
        }
        let seen = self.seen(cx, engine).await?;
        let runs = |all: &ContainerInspectResponse| {
            let state = all.state.as_ref();
            state.is_some_and(|s| [s.running, s.restarting, s.paused].contains(&Some(true)))
        };
        let up: Vec<&str> =
            seen.iter().filter(|(_, all)| runs(all) && !is_apart(all)).map(|(c, _)| c.name.as_str()).collect();
        if !up.is_empty() {
            let text = format!("site {name} is fenced, and {} run there: {what} are not started apart", up.join(", "));
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_help("find out who started them; stop them before anything is read"));
        }
        if let Some(service) = services.iter().find(|s| !seen.iter().any(|(c, _)| c.service == **s)) {
            let text = format!("site {name}: service {service} has no container that could be started");
            let (file, project) = (&self.project.file, &self.project.project);
            return Err(Error::new(ErrorKind::NotFound, text).with_help(format!(
                "make it without starting it: docker compose -f {file} -p {project} up --no-start {service}"
            )));
        }
        let names = engine.network_names(cx).await?;
        let mine: Vec<Seen> = seen.into_iter().filter(|(c, _)| services.contains(&c.service)).collect();
        for (container, all) in &mine {
            let mode = all.host_config.as_ref().and_then(|h| h.network_mode.clone()).unwrap_or_default();
            if matches!(mode.as_str(), "host" | "none") || mode.starts_with("container:") {
                let text = format!(
                    "site {name}: {} cannot be taken off its network: it has the one of `{mode}`",
                    container.name
                );
                return Err(Error::new(ErrorKind::Unsupported, text)
                    .with_help("give the service a network of the Compose file, or compare it by hand"));
            }
            let networks: Networks = networks_of(all);
            if let Some(gone) = networks.keys().find(|n| !names.contains(n)) {
                let text = format!("site {name}: network {gone} of {} is not there any more", container.name);
                return Err(Error::new(ErrorKind::NotFound, text)
                    .with_help("it could not be put back there; make it again: docker compose up --no-start"));
            }
        }
        Ok(mine)
    }

    /// Those containers of these services that are apart.
    async fn apart_of(&self, cx: &Cx, engine: &Engine, services: &[String]) -> Result<Vec<Seen>> {
        let mut seen = self.seen(cx, engine).await?;
        seen.retain(|(c, all)| services.contains(&c.service) && is_apart(all));
        if seen.is_empty() {
            let text = format!("site {}: nothing of {} is apart", self.project.name, services.join(", "));
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        Ok(seen)
    }

    /// A container is in the network of those that are apart and in no other, and no port of its machine leads to it.
    async fn nothing_leads_to(&self, cx: &Cx, engine: &Engine, container: &TakenOff) -> Result<()> {
        let all = engine.inspect(cx, &container.container()).await?;
        let ports = all.as_ref().and_then(|a| a.network_settings.as_ref()?.ports.as_ref());
        let published = ports.is_some_and(|p| p.values().flatten().any(|bindings| !bindings.is_empty()));
        if all.as_ref().is_some_and(is_apart) && !published {
            return Ok(());
        }
        let text = format!("site {}: {} would be reached by others", self.project.name, container.name);
        Err(Error::new(ErrorKind::Conflict, text)
            .with_effect(Effect::Applied)
            .with_help("somebody changed its networks at the same time: find out who"))
    }
}

fn taken_off(container: &Container, all: &ContainerInspectResponse) -> TakenOff {
    let Container { id, name, service, .. } = container.clone();
    TakenOff { id, name, service, networks: networks_of(all) }
}

/// Names have no order.
fn sorted(endpoint: &EndpointSettings) -> EndpointSettings {
    let mut endpoint = endpoint.clone();
    for names in [&mut endpoint.aliases, &mut endpoint.links].into_iter().flatten() {
        names.sort_unstable();
    }
    endpoint
}

/// The port inside that is published at this one.
fn inside(all: &ContainerInspectResponse, published: u16) -> Option<u16> {
    let bindings = all.host_config.as_ref()?.port_bindings.as_ref()?;
    let at = |b: &bollard::models::PortBinding| b.host_port.as_deref().and_then(|p| p.parse().ok()) == Some(published);
    let found = bindings.iter().find(|(_, to)| to.iter().flatten().any(at));
    found.and_then(|(port, _)| tcp(port))
}

/// The only port that it offers.
fn only_offered(all: &ContainerInspectResponse) -> Option<u16> {
    let offered = all.config.as_ref()?.exposed_ports.as_ref()?;
    let mut ports = offered.iter().filter_map(|port| tcp(port));
    ports.next().filter(|_| ports.next().is_none())
}

fn tcp(port: &str) -> Option<u16> {
    port.strip_suffix("/tcp").unwrap_or(port).parse().ok()
}
