//! What a drill sets out to do and to show, fixed before it begins.

use sha2::{Digest, Sha256};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{
    course::{Course, Fate},
    model::{DrillKind, Objectives, PartRecord},
    run::Drill,
};
use crate::runbook::Step;

const STEPS: [&str; 9] = [
    "look at production",
    "where it is due: restore a damaged copy of every component, which must fail",
    "restore every component into a private place and compare it with its manifest",
    "destroy the private places",
    "restore every component again and compare it with its manifest",
    "ask every place three times",
    "remove everything that was made",
    "look at production again",
    "keep the record",
];

const COLD_STEPS: [&str; 7] = [
    "look at production",
    "fetch the objects of every backup into an empty folder",
    "follow the recipe beside each with stock tools alone, and compare the result with the manifest",
    "ask every place three times",
    "remove everything that was made",
    "look at production again",
    "keep the record",
];

const COMPOSE_STEPS: [&str; 11] = [
    "look at production",
    "where it is due: restore a damaged copy of every component, which must fail",
    "make a copy of the project by itself, and start the services that keep components",
    "restore every component into them and compare it with its manifest",
    "start all services and wait for their health",
    "end all containers at once and remove them with their volumes",
    "make them again, restore every component again and compare it with its manifest",
    "start all services, wait for their health and ask every port three times",
    "remove everything that was made",
    "look at production again",
    "keep the record",
];

/// What is rehearsed, step by step.
pub(super) fn steps(kind: DrillKind, course: Option<&Course>) -> Vec<String> {
    let fixed = match (kind, course) {
        (DrillKind::ColdStart, _) => COLD_STEPS.as_slice(),
        (DrillKind::Compose, None) => COMPOSE_STEPS.as_slice(),
        (DrillKind::Compose, Some(course)) => return with_plan(course),
        (DrillKind::Processes, _) => STEPS.as_slice(),
    };
    fixed.iter().map(|s| (*s).to_owned()).collect()
}

fn with_plan(course: &Course) -> Vec<String> {
    let mut all: Vec<String> = COMPOSE_STEPS[..5].iter().map(|s| (*s).to_owned()).collect();
    all.push(format!("the disaster ends {} at once, and removes it with its data", course.lost));
    all.push(format!("follow plan {} (SHA-256 {})", course.plan, course.sha256));
    all.extend(course.steps.iter().map(|walk| {
        let Step { id, action, .. } = &walk.step;
        match &walk.fate {
            Fate::InTheCopy(_) => format!("step {id} ({action}): carried out in the copy"),
            Fate::LeftOut(why) => format!("step {id} ({action}): left out, {}", why.why()),
            Fate::Unknown => format!("step {id} ({action}): it is not known what it is in a copy"),
        }
    }));
    all.extend(COMPOSE_STEPS[7..].iter().map(|s| (*s).to_owned()));
    all
}

/// What must hold for a pass.
pub(super) fn criteria(drill: &Drill) -> Vec<String> {
    let mut all = vec![
        "every component's rows, keys and files equal the manifest of its backup".to_owned(),
        "recovery time within the RTO of the scenario".to_owned(),
        "age of the recovered data within its RPO".to_owned(),
        "nothing of production changed, and all of it could be looked at".to_owned(),
    ];
    if drill.control {
        all.push("every damaged copy is refused because of its damage".to_owned());
    }
    if drill.kind == DrillKind::Compose {
        all.push("every service of the project healthy over the recovered data, every port answering".to_owned());
    }
    if let Some(course) = &drill.course {
        let text =
            format!("every step of plan {} carried out in the copy, or left out for a stated reason", course.plan);
        all.push(text);
    }
    if drill.checks.is_some() {
        all.push("every check of the validation passes on the copy".to_owned());
    }
    all
}

/// SHA-256 of all of it.
pub(super) fn sha256(
    objectives: &Objectives,
    criteria: &[String],
    parts: &[PartRecord],
    steps: &[String],
) -> Result<String> {
    let backups: Vec<_> = parts.iter().map(|p| (&p.component, &p.backup, &p.store)).collect();
    let json = serde_json::to_vec(&(objectives, criteria, backups, steps))
        .map_err(|e| Error::new(ErrorKind::Unexpected, "the plan as JSON").with_source(e))?;
    Ok(hex::encode(Sha256::digest(json)))
}
