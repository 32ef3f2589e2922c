//! What the settings of DNS must also say.

use std::net::{Ipv4Addr, Ipv6Addr};

use veza_dr_failover::dns::DnsServer;

use super::{RecordSettings, RecordTypeName, Text, expand::has_variables, meaning::Meaning};

impl Meaning<'_> {
    pub(super) fn dns(&mut self) {
        let Some(dns) = &self.config.dns else { return };
        self.feature("dns.route53", "route53");
        let r = &dns.route53;
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
