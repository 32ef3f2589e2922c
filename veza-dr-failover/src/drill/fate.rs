//! What each kind of step is in a copy of a site.

use veza_dr_core::Result;

use super::course::{Deed, Fate, LeftOut, Selection};
use crate::{
    actions::{
        Kind,
        parameters::{Part, Point, RestoreSays, ServicesSay, VerifySays},
        said,
    },
    runbook::Step,
};

/// What a step is in a copy. Every kind is named: a new one does not compile before it is said here what it is.
pub(super) fn fate(step: &Step, site: Option<&str>, recovers: Option<&str>) -> Result<Fate> {
    let left_out = |why| Ok(Fate::LeftOut(why));
    if step.tags.contains("production") {
        return left_out(LeftOut::Tagged);
    }
    let Some(kind) = Kind::named(&step.action) else { return Ok(Fate::Unknown) };
    let given = || serde_json::Value::Object(step.parameters.clone());
    // What has no site of its own is in the component's own place: the copy is all there is of that.
    let here = site.is_none() || site == recovers;
    let deed = match kind {
        Kind::VerifyBackup => Deed::VerifyCopy { component: said::<VerifySays>(given())?.component },
        Kind::Restore if here => Deed::Restore { component: said::<RestoreSays>(given())?.component },
        Kind::Validate if here => Deed::Validate,
        Kind::Up | Kind::Start | Kind::Stop | Kind::WaitHealthy if here => services(kind, said(given())?),
        Kind::Restore | Kind::Validate | Kind::Up | Kind::Start | Kind::Stop | Kind::WaitHealthy => {
            return left_out(LeftOut::OtherSite);
        }
        Kind::Fence | Kind::Unfence => return left_out(LeftOut::Fence),
        Kind::Dns | Kind::DnsTtl => return left_out(LeftOut::Names),
        Kind::Notify => return left_out(LeftOut::Notify),
        Kind::Backup | Kind::FinalBackup => return left_out(LeftOut::Backup),
        Kind::Compare | Kind::Count => return left_out(LeftOut::Compare),
        Kind::Command => return left_out(LeftOut::Command),
        Kind::PromotePostgres => return left_out(LeftOut::Promotion),
        Kind::Note => return left_out(LeftOut::Person),
        Kind::Wait => return left_out(LeftOut::Pause),
    };
    Ok(Fate::InTheCopy(deed))
}

fn services(kind: Kind, says: ServicesSay) -> Deed {
    let selection = match says.part {
        Some(Part::Data) => Selection::Data,
        Some(Part::Apps) => Selection::Apps,
        None if says.services.is_empty() => Selection::All,
        None => Selection::Named(says.services),
    };
    match kind {
        Kind::Start => Deed::Start(selection),
        Kind::Stop => Deed::Stop(selection, says.grace),
        Kind::WaitHealthy => Deed::WaitHealthy(selection, says.within),
        _ => Deed::Up(selection),
    }
}

/// Which backup a step speaks of.
pub(super) fn point(step: &Step) -> Option<Point> {
    let given = serde_json::Value::Object(step.parameters.clone());
    match Kind::named(&step.action)? {
        Kind::Restore => said::<RestoreSays>(given).ok()?.at,
        Kind::VerifyBackup => said::<VerifySays>(given).ok()?.at,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use async_trait::async_trait;
    use serde_json::{Map, Value};
    use veza_dr_core::{Cx, ErrorKind};

    use super::*;
    use crate::{
        drill::{Course, Lost},
        runbook::{Actions, Bound, Done, Effects, Plan, Safety, StepAction, StepContext},
    };

    /// Whatever a plan asks for, on the site that it names.
    #[derive(Debug)]
    struct Any;

    #[derive(Debug)]
    struct OnSite(Option<String>);

    impl Actions for Any {
        fn kinds(&self) -> Vec<String> {
            Kind::ALL.iter().map(|kind| kind.name().to_owned()).chain(["dance".to_owned()]).collect()
        }

        fn build(&self, _: &str, parameters: &Map<String, Value>) -> Result<Arc<dyn StepAction>> {
            let site = parameters.get("site").or(parameters.get("to")).and_then(Value::as_str);
            Ok(Arc::new(OnSite(site.map(str::to_owned))))
        }
    }

    #[async_trait]
    impl StepAction for OnSite {
        fn commands(&self) -> Vec<String> {
            Vec::new()
        }

        fn effects(&self) -> Effects {
            Effects::Pure
        }

        fn safety(&self) -> Vec<Safety> {
            Vec::new()
        }

        fn site(&self) -> Option<&str> {
            self.0.as_deref()
        }

        async fn act(&self, _: &Cx, _: &StepContext, _: &Value) -> Result<Done> {
            Ok(Done::new("", Value::Null))
        }
    }

    fn course(plan: Plan) -> Result<Course> {
        Course::of(&Bound::new(plan, &Any)?, Vec::new())
    }

    fn own(steps: &str) -> Result<Course> {
        course(Plan::from_yaml(&format!("name: own\nsteps:\n{steps}"), "own.yml")?)
    }

    fn done(course: &Course) -> Vec<&str> {
        course.steps.iter().filter(|w| w.deed().is_some()).map(|w| w.step.id.as_str()).collect()
    }

    #[test]
    fn every_step_of_the_plans_that_ship_is_carried_out_or_left_out_for_a_reason() {
        let both = ["restore-database", "restore-redis", "start-standby", "standby-healthy", "validate-standby"];
        let whole =
            [&["verify-copy", "verify-redis", "start-standby-data", "standby-data-healthy"][..], &both].concat();
        for (name, recovers, lost, wanted) in [
            (
                "database",
                "primary",
                Lost::Data(vec!["database".to_owned()]),
                vec!["verify-copy", "restore-database", "validate-primary"],
            ),
            ("backend", "standby", Lost::Services, vec!["start-standby", "standby-healthy", "validate-standby"]),
            ("infrastructure", "standby", Lost::Site, whole.clone()),
            ("security", "standby", Lost::Site, whole),
        ] {
            let plan = Plan::shipped(name).unwrap();
            // A copy has no place for files: no drill binds those steps.
            let all = plan.steps.iter().flat_map(|s| s.only_with.iter().cloned());
            let present = all.filter(|with| !with.starts_with("files")).collect();
            let found = course(plan.fitted(&present).0).unwrap();
            assert_eq!((found.recovers.as_deref(), &found.lost), (Some(recovers), &lost), "{name}");
            assert_eq!(done(&found), wanted, "{name}");
            assert!(found.steps.iter().all(|w| w.fate != Fate::Unknown), "{name}");
            assert_eq!(found.asks_for_a_time(), name == "security");
            assert_eq!(found.starts_data_first(), name != "database");
        }
        // The way back acts on both sites: only what concerns the one that it recovers is done.
        let back = course(Plan::shipped("back").unwrap()).unwrap();
        assert_eq!(back.recovers.as_deref(), Some("primary"));
        let stop = back.steps.iter().find(|w| w.step.id == "stop-writers").unwrap();
        assert_eq!(stop.fate, Fate::LeftOut(LeftOut::OtherSite));
    }

    #[test]
    fn what_is_not_known_is_never_taken_for_done_and_a_tag_keeps_a_step_out() {
        let found =
            own("  - { id: go, do: start, with: { site: a, services: [api] } }\n  - { id: odd, do: dance }\n  \
             - { id: not, do: stop, with: { site: a }, tags: [production] }\n")
            .unwrap();
        let fates: Vec<&Fate> = found.steps.iter().map(|w| &w.fate).collect();
        let services = Selection::Named(vec!["api".to_owned()]);
        assert_eq!(fates, [&Fate::InTheCopy(Deed::Start(services)), &Fate::Unknown, &Fate::LeftOut(LeftOut::Tagged)]);
        let e = own("  - { id: say, do: note, with: { text: a } }\n").unwrap_err();
        assert!(e.kind() == ErrorKind::Config && e.to_string().contains("recovers nothing"), "{e}");
    }

    #[test]
    fn restores_before_anything_is_started_find_their_services_running() {
        let text = "  - { id: r, do: restore, with: { component: database, site: a, at: '2026-05-01T03:00:00Z' } }\n  \
                    - { id: u, do: up, with: { site: a }, needs: [r] }\n";
        let found = own(text).unwrap();
        assert!(!found.starts_data_first() && !found.asks_for_a_time());
        assert_eq!(found.time_of("database").unwrap().to_rfc3339(), "2026-05-01T03:00:00+00:00");
        assert_eq!(found.components(), BTreeSet::from(["database".to_owned()]));
        assert!(found.restores("database") && !found.stands("database"));
    }
}
