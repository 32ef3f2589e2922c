//! Killed before every call of a tool: the tools of both ends are ours, and one of their calls kills
//! whoever made it. What is live is the old tree or the new one until the next run, which ends what was begun.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use veza_dr_backup::store::DirectoryStore;
use veza_dr_backup::{Encryption, Repository, Selector};
use veza_dr_core::{Cx, Effect, RestoreRequest, RestoreTarget};
use veza_dr_tests::files_scene::{FilesScene, assert_same, observe};
use veza_dr_tests::sshd::Sshd;
use veza_dr_tests::tcp_proxy::TcpProxy;

use crate::scene::{Scene, apply, site};

const ENV: &str = "VEZA_DR_TESTS_SITE_FILES_VICTIM";
/// All that change something or send it; the others only look, or make durable what is there.
const TOOLS: [&str; 4] = ["mkdir", "mv", "rm", "tar"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test of its own: the others start it in a process of its own, to kill that"]
async fn victim() {
    let Ok(order) = std::env::var(ENV) else { return };
    let (what, dir) = order.split_once(' ').unwrap();
    let (dir, cx) = (Path::new(dir), Cx::background());
    let store = DirectoryStore::open("local", dir.join("store")).unwrap();
    let repository = Repository::new(Arc::new(store), Encryption::default());
    let manifest = repository.manifest(&cx, &FilesScene::component(), &Selector::Latest).await.unwrap();
    let site = site(dir, None);
    match what {
        "restore" => {
            let plan = site.plan(&cx, &RestoreRequest::in_place(), &manifest).await.unwrap();
            site.apply(&cx, plan, &manifest, Arc::new(repository.open(&manifest))).await.map(drop)
        }
        "rollback" => site.rollback(&cx).await.map(drop),
        _ => site.release(&cx).await.map(drop),
    }
    .unwrap();
}

/// Tools that count their calls, and kill their caller at one of them.
fn trap(dir: &Path) {
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    for tool in TOOLS {
        let real = ["/usr/bin", "/bin"].map(|p| Path::new(p).join(tool)).into_iter().find(|p| p.exists()).unwrap();
        let (at, real) = (dir.display(), real.display());
        let script = format!(
            "#!/bin/sh\n\
             case '{tool} '$1 in 'rm -f') exec {real} \"$@\" ;; esac\n\
             exec 7>{at}/turn; /usr/bin/flock 7\n\
             read -r n < {at}/count; n=$((n + 1)); echo $n > {at}/count; read -r k < {at}/kill\n\
             exec 7>&-\n\
             if [ $n = $k ]; then echo '{tool}' > {at}/killed; kill -9 $PPID; exit 1; fi\n\
             exec {real} \"$@\"\n"
        );
        std::fs::write(bin.join(tool), script).unwrap();
        std::fs::set_permissions(bin.join(tool), PermissionsExt::from_mode(0o755)).unwrap();
    }
}

/// Runs a deed that is killed at a call; whether there was such a call.
fn run(scene: &Scene, what: &str, call: u32) -> bool {
    let dir = scene.dir();
    let _ = std::fs::remove_file(dir.join("killed"));
    std::fs::write(dir.join("count"), "0\n").unwrap();
    std::fs::write(dir.join("kill"), format!("{call}\n")).unwrap();
    let path = format!("{}:{}", dir.join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "crash::victim"]).env(ENV, format!("{what} {}", dir.display()));
    command.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let ended = command.status().unwrap();
    let killed = dir.join("killed").exists();
    assert!(killed || ended.success(), "{what} fails without being killed");
    killed
}

/// One of the two in each place, or nothing between the two renames of one; what is not live is not lost.
fn never_half(scene: &Scene, (old, new): (&[String; 2], &[String; 2]), why: &str) {
    for (n, tree) in ["a", "b"].into_iter().enumerate() {
        let live = scene.live(tree);
        if !live.exists() {
            let aside = live.parent().unwrap().join(format!(".{tree}.veza-dr"));
            let kept = std::fs::read_dir(aside).unwrap().map(|e| e.unwrap().path().join("old").join(tree));
            assert!(kept.filter(|p| p.exists()).any(|p| observe(&p) == old[n]), "{why}: {tree} is lost");
            continue;
        }
        let is = observe(&live);
        assert!(is == old[n] || is == new[n], "{why}: {tree} is half of each:\n{is}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_call_of_a_tool_the_next_run_ends_what_was_begun() {
    let scene = Scene::new();
    scene.files.put("a/conf/app.yml", "new");
    scene.files.put("b/one", "new, too");
    scene.there("a", "app.yml", "old");
    scene.there("b", "two", "old, too");
    let manifest = scene.backup().await;
    trap(scene.dir());
    let both = |at: &dyn Fn(&str) -> std::path::PathBuf| ["a", "b"].map(|tree| observe(&at(tree)));
    let (old, new) = (both(&|t| scene.live(t)), both(&|t| scene.files.at(t)));
    let cx = Cx::background();
    let site = scene.site(None);

    for call in 1.. {
        let why = format!("restore, killed before call {call}");
        let killed = run(&scene, "restore", call);
        never_half(&scene, (&old, &new), &why);
        if killed {
            // The next one restores, or finds that it was done; nothing is left of the one that was killed.
            apply(&site, &scene, &manifest).await.unwrap_or_else(|e| panic!("{why}: {}", e.chain()));
        }
        assert_eq!(both(&|t| scene.live(t)), new, "{why}");
        assert!(scene.scratch_is_empty(), "{why}");
        site.back_to(&cx, None).await.unwrap();
        assert_eq!(both(&|t| scene.live(t)), old, "{why}");
        site.release(&cx).await.unwrap();
        assert_eq!(scene.aside(), Vec::<String>::new(), "{why}");
        if !killed {
            assert!(call > 15, "only {call} moments");
            break;
        }
    }

    for what in ["rollback", "release"] {
        for call in 1.. {
            let why = format!("{what}, killed before call {call}");
            apply(&site, &scene, &manifest).await.unwrap();
            let killed = run(&scene, what, call);
            never_half(&scene, (&old, &new), &why);
            if what == "release" {
                assert_eq!(both(&|t| scene.live(t)), new, "{why}");
                // Once it has begun, what was set aside is nothing to go back to.
                if site.release(&cx).await.is_err() {
                    apply(&site, &scene, &manifest).await.unwrap();
                    site.release(&cx).await.unwrap();
                }
                assert_eq!(scene.aside(), Vec::<String>::new(), "{why}");
                for (tree, name, text) in [("a", "app.yml", "old"), ("b", "two", "old, too")] {
                    std::fs::remove_dir_all(scene.live(tree)).unwrap();
                    scene.there(tree, name, text);
                }
                if !killed {
                    break;
                }
                continue;
            }
            site.back_to(&cx, None).await.unwrap();
            assert_eq!(both(&|t| scene.live(t)), old, "{why}");
            site.release(&cx).await.unwrap();
            if !killed {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_while_a_tree_is_on_its_way_changes_nothing() {
    let sshd = Sshd::start("").unwrap();
    let proxy = TcpProxy::start(&format!("127.0.0.1:{}", sshd.port())).await.unwrap();
    let scene = Scene::new();
    scene.files.put("a/large", vec![7; 24 << 20]);
    scene.there("a", "app.yml", "old");
    let old = observe(&scene.live("a"));
    let manifest = scene.backup().await;
    let site = scene.site(Some((&sshd, proxy.port())));
    let arriving = || {
        let aside = scene.live("a").parent().unwrap().join(".a.veza-dr");
        let works = std::fs::read_dir(aside).into_iter().flatten().flatten();
        works.map(|w| w.path().join("new/a/large")).any(|p| p.exists())
    };
    let restore = apply(&site, &scene, &manifest);
    let cut = async {
        let began = Instant::now();
        while !arriving() {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing arrives");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        proxy.refuse().await;
        proxy.cut();
    };
    let (failed, ()) = tokio::join!(restore, cut);
    let e = failed.unwrap_err();
    assert_eq!(e.effect(), Effect::None, "{}", e.chain());
    assert_same(&old, &observe(&scene.live("a")));
    proxy.heal().await;
    apply(&site, &scene, &manifest).await.unwrap();
    assert_same(&observe(&scene.files.at("a")), &observe(&scene.live("a")));
    let works = std::fs::read_dir(scene.live("a").parent().unwrap().join(".a.veza-dr")).unwrap().count();
    assert_eq!(works, 1, "what was cut off is gone");
    site.rollback(&Cx::background()).await.unwrap();
    assert_same(&old, &observe(&scene.live("a")));
}
