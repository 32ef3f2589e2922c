//! What is wrong with a plan is told before anything is touched, by the name of the rule.

use veza_dr_core::{Cx, ErrorKind};
use veza_dr_failover::runbook::{Plan, Rule, RunOptions};

use crate::world::{Stage, bound};

/// The rules that a plan of these steps breaks, each with its step.
fn broken(steps: &str) -> Vec<(Rule, String)> {
    let stage = Stage::new();
    let bound = stage.bound(&format!("name: x\nsteps:\n{steps}"));
    bound.violations().into_iter().map(|v| (v.rule, v.step)).collect()
}

const FENCE: &str = "- { id: fence, do: fence, with: { name: fence, site: primary } }\n";
const VALIDATE: &str = "- { id: look, do: validate, with: { name: look, site: standby } }\n";

#[test]
fn a_cycle_is_named_with_its_ring() {
    let steps = "- { id: a, do: verify, with: { name: a }, needs: [c] }\n\
                 - { id: b, do: verify, with: { name: b }, needs: [a] }\n\
                 - { id: c, do: verify, with: { name: c }, needs: [b] }\n\
                 - { id: d, do: verify, with: { name: d }, needs: [c] }\n";
    let stage = Stage::new();
    let found = stage.bound(&format!("name: x\nsteps:\n{steps}")).violations();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule, Rule::NoCycle);
    assert_eq!(found[0].text, "it comes before itself: a → c → b → a");
}

#[test]
fn an_unknown_step_and_a_name_used_twice_are_told() {
    let steps = "- { id: fence, do: verify, with: { name: a } }\n\
                 - { id: b, do: verify, with: { name: b }, needs: [fense] }\n\
                 - { id: b, do: verify, with: { name: c } }\n";
    let stage = Stage::new();
    let found = stage.bound(&format!("name: x\nsteps:\n{steps}")).violations();
    let told: Vec<(Rule, &str)> = found.iter().map(|v| (v.rule, v.text.as_str())).collect();
    assert_eq!(
        told,
        [
            (Rule::KnownSteps, "it needs `fense`, which is no step of the plan; did you mean fence?"),
            (Rule::UniqueIds, "two steps have this name"),
        ]
    );
}

#[test]
fn a_demanded_undo_must_be_there() {
    for policy in ["required", "on_failure"] {
        let step = |can| format!("- {{ id: a, do: verify, undo: {policy}, with: {{ name: a, can_undo: {can} }} }}\n");
        assert_eq!(broken(&step(false)), [(Rule::UndoGiven, "a".to_owned())]);
        assert!(broken(&step(true)).is_empty());
    }
    assert!(broken("- { id: a, do: verify, with: { name: a } }\n").is_empty());
}

#[test]
fn what_cannot_be_looked_up_is_done_at_most_once() {
    let rule = [(Rule::ProbeOrAtMostOnce, "a".to_owned())];
    assert_eq!(broken("- { id: a, do: mark, with: { name: a } }\n"), rule);
    assert!(broken("- { id: a, do: mark, with: { name: a, effects: at_most_once } }\n").is_empty());
    assert_eq!(broken("- { id: a, do: mark, retry: { max: 2 }, with: { name: a, effects: at_most_once } }\n"), rule);
    assert!(broken("- { id: a, do: mark, retry: { max: 2 }, with: { name: a, effects: probeable } }\n").is_empty());
}

#[test]
fn no_site_takes_writes_before_the_other_is_fenced() {
    let write = "- { id: w, do: write, with: { name: w, site: standby }, needs: [fence] }\n";
    let rule = [(Rule::OneWritableSite, "w".to_owned())];
    assert!(broken(&format!("{FENCE}{write}")).is_empty());
    assert_eq!(broken(&write.replace(", needs: [fence]", "")), rule);
    // Before it in the file is not before it in time.
    assert_eq!(broken(&format!("{FENCE}{}", write.replace(", needs: [fence]", ""))), rule);
    // A fence of the very site that is to take writes is none.
    assert_eq!(broken(&format!("{}{write}", FENCE.replace("primary", "standby"))), rule);
    // Through other steps.
    let far = "- { id: m, do: verify, with: { name: m }, needs: [fence] }\n";
    assert!(broken(&format!("{FENCE}{far}{}", write.replace("[fence]", "[m]"))).is_empty());
    // Only the ungraceful variant writes.
    let variant =
        "- { id: w, do: verify, with: { name: w }, ungraceful: { do: write, with: { name: w, site: standby } } }\n";
    assert_eq!(broken(variant), rule);
}

#[test]
fn names_are_not_led_to_a_site_that_was_not_validated() {
    let dns = "- { id: d, do: dns, with: { name: d, site: standby }, needs: [look] }\n";
    let rule = [(Rule::ValidatedBeforeDns, "d".to_owned())];
    assert!(broken(&format!("{VALIDATE}{dns}")).is_empty());
    assert_eq!(broken(&dns.replace(", needs: [look]", "")), rule);
    assert_eq!(broken(&format!("{}{dns}", VALIDATE.replace("standby", "primary"))), rule);
}

#[test]
fn data_is_not_destroyed_without_a_verified_copy() {
    let destroy = "- { id: r, do: destroy, with: { name: r }, needs: [copy] }\n";
    let copy = "- { id: copy, do: verify, with: { name: copy } }\n";
    assert!(broken(&format!("{copy}{destroy}")).is_empty());
    assert_eq!(broken(&destroy.replace(", needs: [copy]", "")), [(Rule::VerifiedCopy, "r".to_owned())]);
}

#[test]
fn a_wrong_key_is_told_with_its_line_and_the_nearest_name() {
    for (yaml, wanted) in [
        ("name: x\nsteps:\n  - id: a\n    do: verify\n    neds: [b]\n", ["plan.yml:5:", "`needs`"]),
        ("name: x\nstps: []\n", ["plan.yml:2:", "`steps`"]),
        (
            "name: x\nsteps:\n  - id: a\n    do: verify\n    timeout: soon\n",
            ["plan.yml:5:", "`soon` is not a duration"],
        ),
        ("name: x\nsteps:\n  - { id: a, do: verify, retry: { maxx: 3 } }\n", ["plan.yml:3:", "`max`"]),
    ] {
        let told = Plan::from_yaml(yaml, "plan.yml").unwrap_err().to_string();
        assert!(wanted.iter().all(|w| told.contains(w)), "{told}");
    }
    let stage = Stage::new();
    let parameter = "name: x\nsteps:\n\n  - { id: a, do: verify, with: { name: a, sitee: b } }\n";
    let e = bound(&stage.world, parameter).unwrap_err();
    assert_eq!(e.to_string(), "plan.yml:4: step a: unknown key `sitee`, did you mean `site`?");
    let e = bound(&stage.world, "name: x\nsteps: [{ id: a, do: verfy }]\n").unwrap_err();
    assert_eq!(
        (e.to_string().as_str(), e.help()),
        ("plan.yml:2: step a: there is no action `verfy`", Some("did you mean verify?"))
    );
}

#[tokio::test]
async fn a_plan_that_breaks_a_rule_or_is_not_the_approved_one_touches_nothing() {
    let stage = Stage::new();
    let cx = Cx::background();
    let write = "name: x\nsteps: [{ id: w, do: write, with: { name: w, site: standby } }]";
    let e = stage.engine().start(&cx, &stage.bound(write), RunOptions::default()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.context().any(|c| c == ("rule", "one-writable-site")), "{e:?}");
    assert!(e.help().unwrap().contains("--override one-writable-site"));
    // Rules of form have no override.
    let twice = "name: x\nsteps: [{ id: w, do: verify, with: { name: a } }, { id: w, do: verify, with: { name: b } }]";
    let all = Rule::ALL.into_iter().filter(|r| r.can_be_overridden());
    let overrides = all.fold(RunOptions::default(), |o, rule| o.with_override(rule, "because"));
    let e = stage.engine().start(&cx, &stage.bound(twice), overrides).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
    let cyclic = RunOptions::default().with_override(Rule::NoCycle, "because");
    assert_eq!(stage.engine().start(&cx, &stage.bound(twice), cyclic).await.unwrap_err().kind(), ErrorKind::Config);
    // A stale hash.
    let plan = |name: &str| format!("name: x\nsteps: [{{ id: a, do: verify, with: {{ name: {name}, takes: 1 }} }}]");
    let approved = stage.bound(&plan("one")).sha256();
    let other = "steps: [{ with: { takes: 1, name: one }, do: verify, id: a }]\n# the same\nname: x";
    assert_eq!(stage.bound(other).sha256(), approved);
    let options = RunOptions::default().with_plan_sha(&approved);
    let e = stage.engine().start(&cx, &stage.bound(&plan("two")), options.clone()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.to_string().contains(&approved));
    assert!(stage.world.marks().is_empty() && stage.engine().runs().unwrap().is_empty());
    stage.engine().start(&cx, &stage.bound(&plan("one")), options).await.unwrap();
    assert_eq!(stage.world.marks().len(), 1);
}
