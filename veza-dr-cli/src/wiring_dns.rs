//! DNS settings as the switch takes them.

use std::{path::PathBuf, sync::Arc};

use veza_dr_core::{Cx, DnsProvider, Error, ErrorKind, RecordKey, RecordType, Result};
use veza_dr_failover::{
    dns::{
        DnsServer, FLAG_TEXT, FlagPlace, FlagSwitch, HealthFlag, ServedFlag, SiteRecord, Switch, SwitchSettings,
        WeightedSets,
    },
    drill::DnsWitness,
    probe::HttpProbe,
};

use crate::{
    config::{DnsSettings, FlagSettings, RecordSettings, RecordTypeName, Route53Settings, Text},
    wiring::Wiring,
};

impl Wiring {
    /// What switches the configured records. Nothing is asked yet.
    pub(crate) async fn dns_switch(&self, cx: &Cx) -> Result<Switch> {
        let dns = self.dns()?;
        let Some(route53) = &dns.route53 else {
            let text = format!("{} names no DNS provider: only its flag can be raised", self.loaded.file.display());
            return Err(Error::new(ErrorKind::Config, text)
                .with_help("veza-dr dns switch --to standby --by flag; or add dns.route53: docs/dns.md"));
        };
        let zone = self.text("dns.route53.zone", &route53.zone)?;
        let settings = self.switch_settings(dns, &zone)?;
        Ok(Switch::new(self.dns_provider(cx, route53).await?, settings))
    }

    /// What leads users over by the flag, where there is one. Nothing is asked yet.
    pub(crate) fn flag_switch(&self) -> Result<Option<FlagSwitch>> {
        let dns = self.dns()?;
        let Some(flag) = &dns.flag else { return Ok(None) };
        let place = match &flag.site {
            None => FlagPlace::Local(self.flag_file(flag)?),
            Some(site) => {
                FlagPlace::Site(self.site(Some(site.as_str()))?.control, self.text("dns.flag.file", &flag.file)?)
            }
        };
        // Its records are only asked for: the zone's id plays no part.
        let settings = self.switch_settings(dns, "flag")?;
        let mut switch = FlagSwitch::new(HealthFlag::new(place), settings);
        if let Some(url) = &flag.url {
            let url = self.text("dns.flag.url", url)?;
            let probe = || HttpProbe::new(&url).map_err(|e| self.at("dns.flag.url", e));
            let raised = Arc::new(probe()?.with_status(200).with_body(FLAG_TEXT));
            let lowered = Arc::new(probe()?.with_status(404));
            switch = switch.with_served(ServedFlag { raised, lowered });
        }
        Ok(Some(match flag.follow_within {
            Some(within) => switch.with_within(within.0),
            None => switch,
        }))
    }

    /// The flag's file, where it is on this machine.
    pub(crate) fn flag_file(&self, flag: &FlagSettings) -> Result<PathBuf> {
        Ok(self.loaded.resolve(&self.text("dns.flag.file", &flag.file)?))
    }

    fn dns(&self) -> Result<&DnsSettings> {
        self.loaded.config.dns.as_ref().ok_or_else(|| {
            let text = format!("{} names no DNS records", self.loaded.file.display());
            Error::new(ErrorKind::Config, text).with_help("add `dns` with a provider and its records: docs/dns.md")
        })
    }

    fn switch_settings(&self, dns: &DnsSettings, zone: &str) -> Result<SwitchSettings> {
        let records = dns.records.iter().map(|(label, record)| self.site_record(label, record, zone));
        let mut settings = SwitchSettings::new(records.collect::<Result<_>>()?, self.state_dir()?);
        let servers = |path: &str, list: &[Text]| -> Result<Vec<DnsServer>> {
            let each = list.iter().enumerate().map(|(at, text)| {
                let path = format!("{path}[{at}]");
                self.text(&path, text)?.parse().map_err(|e| self.at(&path, e))
            });
            each.collect()
        };
        if let Some(resolvers) = &dns.resolvers {
            settings.resolvers = servers("dns.resolvers", resolvers)?;
        }
        settings.name_servers = servers("dns.nameservers", &dns.nameservers)?;
        if let Some(within) = dns.in_sync_within {
            settings.in_sync_within = within.0;
        }
        if let Some(within) = dns.verify_within {
            settings.verify_within = within.0;
        }
        Ok(settings)
    }

    /// Looks at the configured records.
    pub(crate) async fn dns_witness(&self, cx: &Cx) -> Result<DnsWitness> {
        let dns = self.loaded.config.dns.as_ref();
        let Some((dns, route53)) = dns.and_then(|d| Some((d, d.route53.as_ref()?))) else {
            return Err(Error::new(ErrorKind::Config, "no DNS provider is configured"));
        };
        let zone = self.text("dns.route53.zone", &route53.zone)?;
        let records = dns.records.iter().map(|(label, record)| self.site_record(label, record, &zone));
        let keys = records.map(|r| r.map(|r| r.record_keys())).collect::<Result<Vec<_>>>()?;
        Ok(DnsWitness::new(self.dns_provider(cx, route53).await?, keys.concat()))
    }

    fn site_record(&self, label: &str, record: &RecordSettings, zone: &str) -> Result<SiteRecord> {
        let at = |key: &str| format!("dns.records.{label}.{key}");
        let values = |key: &str, list: &[Text]| {
            let each = list.iter().enumerate().map(|(n, text)| self.text(&format!("{}[{n}]", at(key)), text));
            each.collect::<Result<Vec<_>>>()
        };
        let mut name = self.text(&at("name"), &record.name)?;
        if !name.ends_with('.') {
            name.push('.');
        }
        let kind = match record.kind {
            RecordTypeName::A => RecordType::A,
            RecordTypeName::Aaaa => RecordType::Aaaa,
            RecordTypeName::Cname => RecordType::Cname,
        };
        let key = RecordKey { zone: zone.to_owned(), name, kind, set_id: None };
        let (primary, standby) = (values("primary", &record.primary)?, values("standby", &record.standby)?);
        let one = SiteRecord::new(label, key, record.ttl, primary, standby);
        Ok(match &record.weighted {
            None => one,
            Some(sets) => one.with_weighted(WeightedSets {
                primary: self.text(&at("weighted.primary"), &sets.primary)?,
                standby: self.text(&at("weighted.standby"), &sets.standby)?,
            }),
        })
    }

    #[cfg(feature = "route53")]
    async fn dns_provider(&self, cx: &Cx, settings: &Route53Settings) -> Result<Arc<dyn DnsProvider>> {
        use crate::secrets::Given;
        use veza_dr_failover::dns::{Route53, Route53Config};

        let at = |key: &str| format!("dns.route53.{key}");
        let text = |key: &str, text: &Option<Text>| text.as_ref().map(|t| self.text(&at(key), t)).transpose();
        let given = |text, file| Given { text, file, command: None };
        let mut config = Route53Config::default();
        config.region = text("region", &settings.region)?;
        config.endpoint = text("endpoint", &settings.endpoint)?;
        let id = given(settings.access_key_id.as_ref(), settings.access_key_id_file.as_ref());
        config.access_key_id = self.secret(cx, &at("access_key_id"), id).await?;
        let key = given(settings.secret_access_key.as_ref(), settings.secret_access_key_file.as_ref());
        config.secret_access_key = self.secret(cx, &at("secret_access_key"), key).await?;
        let token = given(settings.session_token.as_ref(), settings.session_token_file.as_ref());
        config.session_token = self.secret(cx, &at("session_token"), token).await?;
        config.ca_file = text("ca_file", &settings.ca_file)?.map(|file| self.loaded.resolve(&file));
        Ok(Arc::new(Route53::connect(config).await.map_err(|e| self.at("dns.route53", e))?))
    }

    #[cfg(not(feature = "route53"))]
    async fn dns_provider(&self, _: &Cx, _: &Route53Settings) -> Result<Arc<dyn DnsProvider>> {
        Err(Error::new(ErrorKind::Unsupported, "dns: this build has no support for route53")
            .with_help("enable the cargo feature: cargo install veza-dr-cli --features route53"))
    }
}
