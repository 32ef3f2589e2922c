//! Steps that lead names, from the configuration.

use std::sync::Arc;

use veza_dr_core::{Cx, Error, ErrorKind, Result};
use veza_dr_failover::{
    actions::{ActionWork, LeadBy, Leading, Names, Work},
    dns::{FlagStep, FlagSwitch, Goal, Side, Switch, SwitchStep},
};

use crate::{config::SiteRoleName, wiring::Wiring};

/// What the configuration has to lead users to a site.
#[derive(Debug)]
struct Configured {
    sides: Vec<(String, Side)>,
    records: Option<Switch>,
    flag: Option<FlagSwitch>,
}

impl Wiring {
    /// What leads names, where the configuration has something that does.
    pub(crate) async fn names(&self, cx: &Cx) -> Result<Option<Arc<dyn Names>>> {
        let config = &self.loaded.config;
        let Some(dns) = &config.dns else { return Ok(None) };
        let records = match &dns.route53 {
            Some(_) => Some(self.dns_switch(cx).await?),
            None => None,
        };
        let side = |role| if role == SiteRoleName::Primary { Side::Primary } else { Side::Standby };
        let sides = config.sites.iter().map(|(name, site)| (name.clone(), side(site.role))).collect();
        // One that is only served here is raised from elsewhere.
        let flag = if dns.records.is_empty() { None } else { self.flag_switch()? };
        if records.is_none() && flag.is_none() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Configured { sides, records, flag })))
    }
}

impl Configured {
    fn records(&self) -> Result<&Switch> {
        self.records.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Config, "no DNS provider is configured").with_help("add dns.route53: docs/dns.md")
        })
    }
}

impl Names for Configured {
    fn lead(&self, site: &str, how: &Leading) -> Result<Arc<dyn Work>> {
        let side = self.sides.iter().find(|(name, _)| name == site).map(|(_, side)| *side);
        let side = side.ok_or_else(|| Error::new(ErrorKind::Config, format!("there is no site `{site}`")))?;
        // Without a wish the flag comes first: it needs nobody's control plane.
        let plain = how.percent.is_none() && how.confirm_within.is_none();
        let by_flag = match how.by {
            Some(LeadBy::Flag) => true,
            Some(_) => false,
            None => self.flag.is_some() && plain,
        };
        if !by_flag {
            let goal = how.percent.map_or(Goal::To(side), |percent| Goal::Shift { to: side, percent });
            let step = SwitchStep::new(self.records()?.clone(), goal).with_confirm_within(how.confirm_within);
            return Ok(Arc::new(ActionWork(step)));
        }
        if !plain {
            return Err(Error::new(ErrorKind::Config, "the health flag knows no share and no confirmation")
                .with_help("leave `percent` and `confirm_within` out, or lead by records: by: records"));
        }
        let flag = self.flag.clone().ok_or_else(|| {
            Error::new(ErrorKind::Config, "no health flag is configured").with_help("add dns.flag: docs/dns.md")
        })?;
        Ok(Arc::new(ActionWork(FlagStep::new(flag, side))))
    }

    fn ttl(&self, lower_to: Option<u32>) -> Result<Arc<dyn Work>> {
        let goal = lower_to.map_or(Goal::RestoreTtl, Goal::LowerTtl);
        Ok(Arc::new(ActionWork(SwitchStep::new(self.records()?.clone(), goal))))
    }
}
