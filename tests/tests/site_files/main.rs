//! Files into a site: a tree is sent to its machine, proven there, swapped in, and put back; killed at every call of a tool,
//! cut off, without room, without rights, by two at once, what is live there is one tree or the other, and nothing is lost.

mod crash;
mod refusals;
mod scene;

use scene::{Scene, apply};
use veza_dr_core::{Cx, ErrorKind, Outcome, RestoreRequest, RestoreTarget, Verdict};
use veza_dr_tests::files_scene::{HOSTILE, assert_same, observe, python};
use veza_dr_tests::sshd::Sshd;

/// Nothing but attributes and an access list.
const TAMPER: &str = "
import os, sys
p = sys.argv[1]
acl = bytearray(os.getxattr(p + '/conf/secret', 'system.posix_acl_access'))
acl[14] ^= 2
os.setxattr(p + '/conf/secret', 'system.posix_acl_access', bytes(acl))
os.setxattr(p + '/text', 'user.note', b'another')
os.setxattr(p + '/conf/app.yml', 'user.planted', b'')
";

#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_the_machine_cannot_read_back_are_told() {
    let scene = Scene::new();
    let tools = scene.dir().join("tools");
    std::fs::create_dir(&tools).unwrap();
    for folder in ["/bin", "/usr/bin"] {
        for tool in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            let name = tool.file_name().unwrap();
            if name != "getfattr" && !tools.join(name).exists() {
                let _ = std::os::unix::fs::symlink(&tool, tools.join(name));
            }
        }
    }
    let sshd = Sshd::start(&format!("SetEnv PATH={}", tools.display())).unwrap();
    scene.files.put("a/plain", "x");
    let site = scene.site(Some((&sshd, sshd.port())));
    let uncompared = |report: &veza_dr_core::RestoreReport| {
        let told = report.report.steps.iter().filter(|s| s.outcome == Outcome::Warning).map(|s| s.detail.clone());
        told.collect::<Vec<_>>()
    };
    let report = apply(&site, &scene, &scene.backup().await).await.unwrap();
    assert_eq!(uncompared(&report), Vec::<String>::new(), "there are none");
    python("import os, sys\nos.setxattr(sys.argv[1], 'user.note', b'x')", &scene.files.at("a/plain"));
    let manifest = scene.backup().await;
    let report = apply(&site, &scene, &manifest).await.unwrap();
    let told = uncompared(&report);
    assert!(told.len() == 1 && told[0].contains("not compared") && told[0].contains("getfattr"), "{report:?}");
    // All else is compared there.
    assert_eq!(site.verify(&Cx::background(), &manifest).await.unwrap().verdict(), Verdict::Equal);
    assert_same(&observe(&scene.files.at("a")), &observe(&scene.live("a")));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_a_tree_can_hold_arrives_behind_ssh_and_what_was_there_is_put_back() {
    let sshd = Sshd::start("").unwrap();
    let scene = Scene::new();
    python(HOSTILE, &scene.files.at("a"));
    // No backup holds one.
    std::fs::remove_file(scene.files.at("a/socket")).unwrap();
    scene.files.put("b/only", "a second tree");
    let manifest = scene.backup().await;
    let site = scene.site(Some((&sshd, sshd.port())));
    let cx = Cx::background();

    // One tree is there already, the other is not.
    scene.there("a", "old", "what was there");
    std::os::unix::fs::chown(scene.live("a"), Some(77), Some(88)).unwrap();
    let old = observe(&scene.live("a"));
    let plan = site.plan(&cx, &RestoreRequest::in_place(), &manifest).await.unwrap();
    let told: Vec<&str> = plan.steps.iter().map(|s| s.what.as_str()).collect();
    assert!(plan.blockers.is_empty() && told.iter().any(|s| s.contains("send them to 127.0.0.1")), "{plan:?}");
    assert_eq!(plan.steps.iter().filter(|s| s.changes_live).count(), 2, "{told:?}");
    assert!(told.iter().any(|s| s.contains("where nothing is")), "{told:?}");
    assert_same(&old, &observe(&scene.live("a")));

    let report = apply(&site, &scene, &manifest).await.unwrap();
    assert_eq!(report.verification.verdict(), Verdict::Equal);
    let kept = report.replaced.clone().unwrap();
    assert!(kept.contains(".a.veza-dr/site-") && kept.ends_with("on 127.0.0.1") && !kept.contains("/.b."), "{kept}");
    for tree in ["a", "b"] {
        assert_same(&observe(&scene.files.at(tree)), &observe(&scene.live(tree)));
    }
    assert_eq!(site.kept_for(&cx, &manifest.id).await.unwrap(), Some(kept));
    assert_eq!(site.verify(&cx, &manifest).await.unwrap().verdict(), Verdict::Equal);
    assert!(scene.scratch_is_empty());

    assert!(report.report.steps.iter().all(|s| s.name != "attributes"), "nothing was left uncompared: {report:?}");

    // Attributes and access lists are read back, too.
    python(TAMPER, &scene.live("a"));
    let found = site.verify(&cx, &manifest).await.unwrap();
    assert_eq!(found.verdict(), Verdict::Different);
    for what in ["attr a/text user.note=0x", "attr a/conf/secret system.posix_acl_access=0x", "user.planted"] {
        assert!(found.findings.iter().any(|f| f.why.contains(what)), "{what}: {found:?}");
    }
    // What changes there is seen, and another backup is not taken for this one.
    std::fs::write(scene.live("a").join("conf/app.yml"), "a: 2\n").unwrap();
    let found = site.verify(&cx, &manifest).await.unwrap();
    assert_eq!(found.verdict(), Verdict::Different);
    assert!(found.findings.iter().any(|f| f.why.contains("conf/app.yml")), "{found:?}");
    let later = scene.backup().await;
    assert_eq!(site.verify(&cx, &later).await.unwrap().verdict(), Verdict::Unverified);

    // Back, and forth, and back: what was written there since lies beside it.
    let changed = observe(&scene.live("a"));
    site.rollback(&cx).await.unwrap();
    assert_same(&old, &observe(&scene.live("a")));
    assert!(!scene.live("b").exists(), "where nothing was, nothing is");
    assert_eq!(site.kept_for(&cx, &manifest.id).await.unwrap(), None);
    site.rollback(&cx).await.unwrap();
    assert_same(&changed, &observe(&scene.live("a")));
    assert_same(&observe(&scene.files.at("b")), &observe(&scene.live("b")));

    // Every restore since a point is taken back, once.
    let point = site.last_exchange(&cx).await.unwrap();
    apply(&site, &scene, &later).await.unwrap();
    assert_eq!(site.back_to(&cx, point.as_deref()).await.unwrap().steps.len(), 2);
    assert_same(&changed, &observe(&scene.live("a")));
    assert!(site.back_to(&cx, point.as_deref()).await.unwrap().steps.is_empty());
    site.back_to(&cx, None).await.unwrap();
    assert_same(&old, &observe(&scene.live("a")));

    // Let go: only then it is gone.
    assert!(!scene.aside().is_empty());
    site.release(&cx).await.unwrap();
    assert_same(&old, &observe(&scene.live("a")));
    assert_eq!(scene.aside(), Vec::<String>::new());
    assert_eq!(site.release(&cx).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(site.rollback(&cx).await.unwrap_err().kind(), ErrorKind::NotFound);
}
