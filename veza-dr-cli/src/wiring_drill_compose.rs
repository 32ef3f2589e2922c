//! A copy of a site's Compose project for a drill, and what restores into its services.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

#[cfg(any(feature = "postgres", feature = "redis"))]
use veza_dr_core::ExposeSecret;
use veza_dr_core::{BackupId, ComponentName, Cx, Error, ErrorKind, Result};
use veza_dr_failover::drill::{ComposePlatform, DataService};

use crate::wiring::Wiring;

impl Wiring {
    /// Reads what a site is made of. Nothing is made.
    pub(crate) async fn drill_platform(&self, cx: &Cx, drill: &BackupId, site: &str) -> Result<ComposePlatform> {
        let _ = self.site(Some(site))?;
        let settings = &self.loaded.config.sites[site];
        let project = self.compose_project(site, &format!("sites.{site}"), settings)?;
        let mut data = BTreeMap::new();
        // Files are held by no service.
        for (name, kept) in settings.data.iter().filter(|(_, kept)| !kept.services.is_empty()) {
            let component: ComponentName = name.parse()?;
            let at = format!("sites.{site}.data.{component}.services");
            let services = kept.services.iter().map(|s| self.text(&at, s)).collect::<Result<Vec<_>>>()?;
            let (url, port) = self.kept_at(&component, site)?;
            data.insert(component, DataService::new(services, port_of(&url), port));
        }
        if data.is_empty() {
            let text = format!("{} does not say which services of site {site} keep data", self.loaded.file.display());
            return Err(Error::new(ErrorKind::Config, text)
                .with_help(format!("add it: sites.{site}.data.database: {{ services: [postgres] }}")));
        }
        ComposePlatform::read(cx, drill, &project, data).await
    }

    /// The address of a component at a site, and the port where it names none.
    fn kept_at(&self, component: &ComponentName, site: &str) -> Result<(String, u16)> {
        #[cfg(feature = "postgres")]
        if let Ok((source, place)) = self.postgres_place(component, Some(site)) {
            let url = source.url.expand(&self.env).map_err(|e| self.at(&format!("{place}.url"), e))?;
            return Ok((url.expose_secret().to_owned(), 5432));
        }
        #[cfg(feature = "redis")]
        if let Ok((source, place)) = self.redis_place(component, Some(site)) {
            let url = source.url.expand(&self.env).map_err(|e| self.at(&format!("{place}.url"), e))?;
            return Ok((url.expose_secret().to_owned(), 6379));
        }
        let text = format!("site {site} cannot keep {component} in a service: it is neither a database nor Redis");
        Err(Error::new(ErrorKind::Unsupported, text))
    }
}

/// The parts of a URL: up to its host, the host with its port, and the rest.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let host = url.find("://")? + 3;
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |n| host + n);
    let host = url[host..end].rfind('@').map_or(host, |n| host + n + 1);
    Some((&url[..host], &url[host..end], &url[end..]))
}

fn port_of(url: &str) -> Option<u16> {
    split(url)?.1.rsplit_once(':')?.1.parse().ok()
}

/// The same with another host and port, whatever it had.
pub(crate) fn moved(url: &str, to: SocketAddr) -> Result<String> {
    let (before, _, after) = split(url)
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, "a drill in containers needs the address as a URL"))?;
    let host = match to.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Ok(format!("{before}{host}:{}{after}", to.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_and_port_of_an_address_move() {
        let to = "10.1.2.3:5432".parse().unwrap();
        for (url, port, expected) in [
            (
                "postgres://u:p%40@db:6000/veza?sslmode=disable",
                Some(6000),
                "postgres://u:p%40@10.1.2.3:5432/veza?sslmode=disable",
            ),
            ("redis://cache", None, "redis://10.1.2.3:5432"),
            ("redis://a:b@[::1]:6380/1", Some(6380), "redis://a:b@10.1.2.3:5432/1"),
            ("postgres://a@x?sslmode=disable", None, "postgres://a@10.1.2.3:5432?sslmode=disable"),
        ] {
            assert_eq!(port_of(url), port, "{url}");
            assert_eq!(moved(url, to).unwrap(), expected);
        }
        assert!(moved("host=db", to).is_err());
    }
}
