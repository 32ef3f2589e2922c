//! `veza-dr dns`: where users are led.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use veza_dr_failover::dns::{Goal, Side};

use super::Consent;

#[derive(Debug, Args)]
pub(crate) struct Dns {
    #[command(subcommand)]
    pub(crate) command: DnsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DnsCommand {
    /// Show what the provider holds, what each name server and some resolvers answer, and the last switch
    Show,
    /// Lead users to the other site: saved, changed against exactly what was there, proven at every name server
    Switch(DnsSwitch),
    /// Put back exactly what was there before the last switch
    Rollback {
        /// Even over what somebody else set since
        #[arg(long)]
        force: bool,
    },
    /// Keep the last switch, which is taken back otherwise when its time is up
    Confirm,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("goal").required(true).args(["to", "lower_ttl", "restore_ttl"]))]
pub(crate) struct DnsSwitch {
    /// The site that users are led to
    #[arg(long, value_enum, value_name = "SITE")]
    to: Option<SideName>,
    /// Lead only this share of them there, the rest to the other site (weighted records)
    #[arg(long, value_name = "0-100", requires = "to", value_parser = clap::value_parser!(u8).range(0..=100))]
    percent: Option<u8>,
    /// By what: the records at the provider, or the health flag that the standby serves, for which nobody's control
    /// plane is called; the records where both are configured
    #[arg(long, value_enum, value_name = "WAY", requires = "to", conflicts_with_all = ["percent", "confirm_within"])]
    by: Option<Way>,
    /// Lower TTLs to this many seconds and remember what they were: helps once the old ones have run out
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    lower_ttl: Option<u32>,
    /// Put back the TTLs that were lowered
    #[arg(long)]
    restore_ttl: bool,
    /// Stay, and take the switch back after this time unless `veza-dr dns confirm` is run: 10m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) confirm_within: Option<Duration>,
    /// Even over a record that leads to neither site, as somebody else set it
    #[arg(long, requires = "to", conflicts_with = "by")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SideName {
    /// Where users are in normal times
    Primary,
    /// Where they go in a disaster
    Standby,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// The file that the standby serves
    Flag,
    /// The records at the provider
    Records,
}

impl DnsSwitch {
    /// The side that the flag is to lead to, where that is what leads: said so, or all there is.
    pub(crate) fn by_flag(&self, has_records: bool) -> Option<Side> {
        let Goal::To(side) = self.goal() else { return None };
        let flag = self.by.map_or(!has_records, |by| by == Way::Flag) && self.confirm_within.is_none();
        flag.then_some(side)
    }

    pub(crate) fn goal(&self) -> Goal {
        let side = |name| match name {
            SideName::Primary => Side::Primary,
            SideName::Standby => Side::Standby,
        };
        match (self.to, self.percent, self.lower_ttl) {
            (Some(to), Some(percent), _) => Goal::Shift { to: side(to), percent },
            (Some(to), None, _) => Goal::To(side(to)),
            (None, _, Some(ttl)) => Goal::LowerTtl(ttl),
            (None, _, None) => Goal::RestoreTtl,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    veza_dr_core::parse_duration(text).map_err(|e| e.to_string())
}
