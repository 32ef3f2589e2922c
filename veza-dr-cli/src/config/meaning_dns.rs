//! What the settings of DNS must also say.

use std::net::{Ipv4Addr, Ipv6Addr};

use veza_dr_failover::{dns::DnsServer, probe::HttpProbe};

use super::{
    FlagSettings, RecordSettings, RecordTypeName, Route53Settings, ServeSettings, Text, expand::has_variables,
    meaning::Meaning,
};

impl Meaning<'_> {
    pub(super) fn dns(&mut self) {
        let Some(dns) = &self.config.dns else { return };
        match &dns.route53 {
            Some(route53) => self.route53(route53),
            None if dns.flag.is_none() => {
                let help = "route53: { zone: Z0123456789ABC }, or flag: { file: …, site: standby }".to_owned();
                self.say("dns", "names neither a provider nor a health flag: nothing leads users anywhere", help);
            }
            None => {}
        }
        if let Some(flag) = &dns.flag {
            self.flag(flag);
        }
        // A flag that is only served here needs none: another machine raises it.
        if dns.records.is_empty() && dns.flag.as_ref().is_none_or(|f| f.listen.is_none()) {
            let help =
                "name what each side answers, so that it can be proven: records: { api: { name: …, … } }".to_owned();
            self.say("dns", "names no records", help);
        }
        let resolvers = dns.resolvers.iter().flatten().enumerate().map(|(at, s)| (format!("dns.resolvers[{at}]"), s));
        let servers = dns.nameservers.iter().enumerate().map(|(at, s)| (format!("dns.nameservers[{at}]"), s));
        for (path, server) in resolvers.chain(servers).filter(|(_, s)| !has_variables(s.raw())) {
            if let Err(e) = server.raw().parse::<DnsServer>() {
                self.say(&path, e.to_string(), e.help().map(str::to_owned));
            }
        }
        for (label, record) in &dns.records {
            self.record(&format!("dns.records.{label}"), record);
        }
    }

    fn route53(&mut self, r: &Route53Settings) {
        self.feature("dns.route53", "route53");
        for (key, text, file) in [
            ("access_key_id", r.access_key_id.is_some(), r.access_key_id_file.is_some()),
            ("secret_access_key", r.secret_access_key.is_some(), r.secret_access_key_file.is_some()),
            ("session_token", r.session_token.is_some(), r.session_token_file.is_some()),
        ] {
            self.at_most_one("dns.route53", &[(key, text), (&format!("{key}_file"), file)]);
        }
        let id = r.access_key_id.is_some() || r.access_key_id_file.is_some();
        if id != (r.secret_access_key.is_some() || r.secret_access_key_file.is_some()) {
            let message = "access_key_id and secret_access_key come together: one of them is missing";
            self.say("dns.route53", message, None);
        }
    }

    fn flag(&mut self, flag: &FlagSettings) {
        let path = "dns.flag";
        if let Some(site) = flag.site.as_ref().filter(|s| !self.config.sites.contains_key(*s)) {
            let known: Vec<&str> = self.config.sites.keys().map(String::as_str).collect();
            self.say(
                &format!("{path}.site"),
                format!("there is no site `{site}`"),
                format!("the sites are {}", known.join(", ")),
            );
        }
        if flag.site.is_some() && !has_variables(flag.file.raw()) && !flag.file.raw().starts_with('/') {
            let message = format!("`{}` is not an absolute path, and it is on another machine", flag.file.raw());
            self.say(&format!("{path}.file"), message, None);
        }
        if flag.site.is_some() && flag.listen.is_some() {
            let help = "`listen` belongs into the file of the machine that serves the flag".to_owned();
            self.say(&format!("{path}.listen"), "the file is on another machine: it cannot be served from here", help);
        }
        if let Some(listen) = flag.listen.as_ref().filter(|l| !has_variables(l.raw()))
            && let Err(why) = ServeSettings::address(listen.raw())
        {
            self.say(&format!("{path}.listen"), why, None);
        }
        if let Some(url) = flag.url.as_ref().filter(|u| !has_variables(u.raw()))
            && let Err(e) = HttpProbe::new(url.raw())
        {
            self.say(&format!("{path}.url"), e.to_string(), e.help().map(str::to_owned));
        }
    }

    fn record(&mut self, path: &str, record: &RecordSettings) {
        let name = record.name.raw();
        if !has_variables(name) && (!name.trim_end_matches('.').contains('.') || name.contains(['/', ' ', ':'])) {
            let help = "give the full name, such as api.veza.com".to_owned();
            self.say(&format!("{path}.name"), format!("`{name}` is not a full domain name"), help);
        }
        for (side, values) in [("primary", &record.primary), ("standby", &record.standby)] {
            for (at, value) in values.iter().enumerate().filter(|(_, v)| !has_variables(v.raw())) {
                if let Some(wanted) = misfit(record.kind, value) {
                    let message = format!("`{}` is not {wanted}", value.raw());
                    self.say(&format!("{path}.{side}[{at}]"), message, None);
                }
            }
        }
        let sorted = |values: &[Text]| {
            let mut all: Vec<String> = values.iter().map(|v| v.raw().to_owned()).collect();
            all.sort();
            all
        };
        if sorted(&record.primary) == sorted(&record.standby) {
            self.say(&format!("{path}.standby"), "is the same as `primary`: a switch would change nothing", None);
        }
        if record.weighted.as_ref().is_some_and(|w| w.primary == w.standby) {
            self.say(&format!("{path}.weighted"), "names one set for both sides", None);
        }
    }
}

fn misfit(kind: RecordTypeName, value: &Text) -> Option<&'static str> {
    let value = value.raw();
    match kind {
        RecordTypeName::A => value.parse::<Ipv4Addr>().is_err().then_some("an IPv4 address"),
        RecordTypeName::Aaaa => value.parse::<Ipv6Addr>().is_err().then_some("an IPv6 address"),
        RecordTypeName::Cname => {
            let name = value.contains('.') && !value.contains(['/', ' ', ':']);
            (!name).then_some("a domain name")
        }
    }
}
