//! The only code that prints: results for people and as JSON, progress, errors.

mod ask;
mod assess;
mod bars;
mod dns;
mod drill;
mod errors;
mod failover;
mod human;
mod human_restore;
mod json;
mod output;
mod plain_progress;
mod prune;
mod readiness;
mod report;
mod status;
mod validate;
mod words;

pub(crate) use ask::Asker;
pub(crate) use assess::{assess_json, assess_text};
pub(crate) use bars::Bars;
pub(crate) use dns::{dns_plan_text, dns_report_text, dns_view_text, flag_plan_text, flag_text};
pub(crate) use drill::{
    DrillLines, drill_text, drills_json, drills_text, reaped_json, reaped_text, rehearsed_json, rehearsed_text,
};
pub(crate) use errors::{error_json, error_text};
pub(crate) use failover::{PlanView, RunLines, plan_json, plan_text, question_text, run_json, run_text};
pub(crate) use human::{backup_text, check_text, list_text, manifest_text, verify_text};
pub(crate) use human_restore::{restore_plan_text, restore_text, steps_text};
#[cfg(feature = "postgres")]
pub(crate) use human_restore::{rows_plan_text, rows_text};
pub(crate) use json::{backup_json, check_json, entry_json, manifest_json, steps_json, verify_json};
pub(crate) use output::{Output, Paint, SharedWriter};
pub(crate) use plain_progress::PlainProgress;
pub(crate) use prune::{prune_json, prune_text};
pub(crate) use readiness::{acknowledged_text, readiness_json, readiness_text};
pub(crate) use report::{findings_json, findings_text, reports_text, revised_text};
pub(crate) use status::{status_json, status_text};
pub(crate) use validate::{validate_json, validate_plan_json, validate_plan_text, validate_text};
#[cfg(feature = "postgres")]
pub(crate) use words::many;
pub(crate) use words::{age_of, bytes};
