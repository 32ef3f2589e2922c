//! What the machine lacks is told before anything is begun, or leaves everything as it was.

use std::path::Path;
use std::process::Command;

use veza_dr_core::{Cx, Effect, ErrorKind, RestorePlan, RestoreRequest, RestoreTarget};
use veza_dr_tests::files_scene::{assert_same, observe};
use veza_dr_tests::sshd::Sshd;
use veza_dr_tests::tcp_proxy::TcpProxy;

use crate::scene::{Scene, apply};

fn ok(program: &str, arguments: &[&str]) {
    let ended = Command::new(program).args(arguments).status().unwrap();
    assert!(ended.success(), "{program} {arguments:?}");
}

/// A small file system, gone with this value.
struct Mount(String);

impl Mount {
    fn new(at: &Path, options: &str) -> Self {
        let at = at.display().to_string();
        ok("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &at]);
        Self(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

fn blocked(plan: &RestorePlan, what: &[&str]) {
    let said = plan.blockers.join("; ");
    assert!(!said.is_empty() && what.iter().all(|w| said.contains(w)), "{what:?}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_lacks_is_told_and_changes_nothing() {
    let sshd = Sshd::start("").unwrap();
    let (scene, cx) = (Scene::new(), Cx::background());
    scene.files.put("a/large", vec![1; 3 << 20]);
    for n in 0..50 {
        scene.files.put(&format!("a/many/{n}"), "x");
    }
    let manifest = scene.backup().await;
    let site = scene.site(Some((&sshd, sshd.port())));
    let plan = async || site.plan(&cx, &RestoreRequest::in_place(), &manifest).await.unwrap();

    // The folder that all goes below: not there, not to be written to, too small.
    std::fs::remove_dir(scene.root()).unwrap();
    blocked(&plan().await, &["machine does not exist on 127.0.0.1", "make it"]);
    assert!(apply(&site, &scene, &manifest).await.is_err() && !scene.root().exists());
    std::fs::create_dir(scene.root()).unwrap();
    {
        let _readonly = Mount::new(&scene.root(), "ro,size=1m");
        blocked(&plan().await, &["may not be written to"]);
    }
    {
        let _small = Mount::new(&scene.root(), "size=1m");
        blocked(&plan().await, &["bytes are needed", "make room there"]);
        let e = apply(&site, &scene, &manifest).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Conflict);
        assert!(e.chain().contains("make room there"), "{}", e.chain());
    }
    // Room enough for the bytes, and not for so many files: seen only while they arrive.
    {
        let _few = Mount::new(&scene.root(), "size=64m,nr_inodes=40");
        scene.there("a", "app.yml", "old");
        let old = observe(&scene.live("a"));
        assert!(plan().await.blockers.is_empty());
        let e = apply(&site, &scene, &manifest).await.unwrap_err();
        assert_eq!((e.kind(), e.effect()), (ErrorKind::Full, Effect::None), "{}", e.chain());
        assert!(e.help().unwrap().contains("make room on 127.0.0.1"), "{e:?}");
        assert_same(&old, &observe(&scene.live("a")));
        assert_eq!(scene.aside(), Vec::<String>::new(), "what had arrived is gone");
        assert!(scene.scratch_is_empty());
    }
    // A live tree that cannot be renamed.
    scene.there("a", "app.yml", "old");
    {
        let _mounted = Mount::new(&scene.live("a"), "size=8m");
        blocked(&plan().await, &["file systems are mounted there"]);
    }
    std::fs::remove_dir_all(scene.live("a")).unwrap();
    std::os::unix::fs::symlink("/etc", scene.live("a")).unwrap();
    blocked(&plan().await, &["is a symbolic link"]);
    std::fs::remove_file(scene.live("a")).unwrap();

    // What is not offered there.
    let part = RestoreRequest::in_place().only(["/x".to_owned()]);
    let e = site.plan(&cx, &part, &manifest).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    // It changed since the plan.
    let planned = plan().await;
    scene.there("a", "app.yml", "in between");
    let data = std::sync::Arc::new(scene.files.repository.open(&manifest));
    let e = site.apply(&cx, planned, &manifest, data).await.unwrap_err();
    assert_eq!(
        (e.kind(), std::fs::read_to_string(scene.live("a").join("app.yml")).unwrap().as_str()),
        (ErrorKind::Conflict, "in between")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_tar_and_one_that_does_not_answer() {
    let scene = Scene::new();
    scene.files.put("a/app.yml", "new");
    let manifest = scene.backup().await;
    let (cx, bin) = (Cx::background(), scene.dir().join("poor"));
    std::fs::create_dir(&bin).unwrap();
    for folder in ["/usr/bin", "/bin"] {
        for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap()) {
            let link = bin.join(entry.file_name());
            if entry.file_name() != "tar" && std::fs::symlink_metadata(&link).is_err() {
                std::os::unix::fs::symlink(entry.path(), link).unwrap();
            }
        }
    }
    let poor = Sshd::start(&format!("SetEnv PATH={}", bin.display())).unwrap();
    let site = scene.site(Some((&poor, poor.port())));
    let plan = site.plan(&cx, &RestoreRequest::in_place(), &manifest).await.unwrap();
    blocked(&plan, &["127.0.0.1 lacks tar", "install what has it"]);
    assert!(apply(&site, &scene, &manifest).await.is_err() && !scene.live("a").exists());

    let proxy = TcpProxy::start(&format!("127.0.0.1:{}", poor.port())).await.unwrap();
    proxy.refuse().await;
    let site = scene.site(Some((&poor, proxy.port())));
    let e = site.plan(&cx, &RestoreRequest::in_place(), &manifest).await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Unavailable, Effect::None), "{}", e.chain());
    let e = site.rollback(&cx).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Unavailable && e.to_string().contains("cannot be reached"), "{}", e.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_are_one_after_the_other() {
    let scene = Scene::new();
    scene.files.put("a/large", vec![3; 8 << 20]);
    let manifest = scene.backup().await;
    let (one, other) = (scene.site(None), scene.site(None));
    let (a, b) = tokio::join!(apply(&one, &scene, &manifest), apply(&other, &scene, &manifest));
    let refused: Vec<_> = [&a, &b].into_iter().filter_map(|r| r.as_ref().err()).collect();
    assert!(refused.len() <= 1 && refused.iter().all(|e| e.kind() == ErrorKind::Conflict), "{refused:?}");
    assert_same(&observe(&scene.files.at("a")), &observe(&scene.live("a")));
    let works = std::fs::read_dir(scene.live("a").parent().unwrap().join(".a.veza-dr")).map_or(0, Iterator::count);
    assert!(works <= 1, "nothing is left of the one that was refused");
}
