//! A restore killed with SIGKILL at every moment: the live trees are the old or the new ones, at most half of each until
//! the next run, which finishes what was begun; what was replaced is never lost.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use veza_dr_backup::files::FilesConfig;
use veza_dr_backup::store::DirectoryStore;
use veza_dr_backup::{Encryption, Repository, Selector};
use veza_dr_core::{Cx, ErrorKind, RestoreRequest, RestoreTarget, Verdict};
use veza_dr_restore::files::FilesRestore;
use veza_dr_tests::files_scene::{FilesScene, assert_same, observe, settle};

const ENV: &str = "VEZA_DR_TESTS_FILES_VICTIM";

/// The included paths: three trees, so that a swap is three renames.
fn roots(dir: &std::path::Path) -> FilesConfig {
    FilesConfig::new(["live/a", "live/b", "live/c"].map(|p| dir.join(p))).with_jobs(2).with_segment_bytes(200_000)
}

async fn run(dir: &std::path::Path, what: &str) -> veza_dr_core::Result<()> {
    let store = DirectoryStore::open("local", dir.join("store"))?;
    let repository = Repository::new(Arc::new(store), Encryption::default());
    let cx = Cx::background();
    let manifest = repository.manifest(&cx, &FilesScene::component(), &Selector::Latest).await?;
    let target = FilesRestore::new(FilesScene::component(), roots(dir))?;
    match what {
        "restore" => {
            let plan = target.plan(&cx, &RestoreRequest::in_place(), &manifest).await?;
            target.apply(&cx, plan, &manifest, Arc::new(repository.open(&manifest))).await.map(drop)
        }
        "rollback" => target.rollback(&cx).await.map(drop),
        _ => target.release(&cx).await.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test of its own: the others start it in a process of its own, to kill that"]
async fn victim() {
    let Ok(order) = std::env::var(ENV) else { return };
    let (what, dir) = order.split_once(' ').unwrap();
    run(std::path::Path::new(dir), what).await.unwrap();
}

fn command(scene: &FilesScene, what: &str, before: &[&str]) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = match before {
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            command.args(rest).arg(this);
            command
        }
        [] => Command::new(this),
    };
    command.args(["--ignored", "--exact", "victim"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.env(ENV, format!("{what} {}", scene.dir.path().display()));
    command
}

fn scene() -> FilesScene {
    let scene = FilesScene::new();
    for root in ["a", "b", "c"] {
        for i in 0..40 {
            scene.put(&format!("{root}/d{}/f{i}", i % 3), format!("old {root} {i} ").repeat(500));
        }
    }
    settle();
    scene
}

fn move_on(scene: &FilesScene) {
    for root in ["a", "b", "c"] {
        scene.put(&format!("{root}/d1/f1"), "newer");
        scene.put(&format!("{root}/since"), "since");
        let _ = std::fs::remove_file(scene.at(&format!("{root}/d2/f2")));
    }
}

fn states(scene: &FilesScene) -> [String; 3] {
    ["a", "b", "c"].map(|root| observe(&scene.at(root)))
}

/// What is kept beside the roots, as far as it is a whole tree.
fn kept(scene: &FilesScene) -> usize {
    let asides = std::fs::read_dir(scene.live()).unwrap().flatten();
    asides.filter(|e| e.file_name().to_string_lossy().ends_with(".veza-dr")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_the_next_run_repairs() {
    let scene = scene();
    let config = roots(scene.dir.path());
    let manifest = scene.backup_with(config.clone()).await.unwrap();
    let old = states(&scene);
    // How long a whole restore takes is how far the sweep goes.
    move_on(&scene);
    let started = Instant::now();
    assert!(command(&scene, "restore", &[]).status().unwrap().success());
    let whole = started.elapsed();
    assert_eq!(states(&scene), old);
    let target = FilesRestore::new(FilesScene::component(), config).unwrap();
    let cx = Cx::background();
    target.release(&cx).await.unwrap();
    let mut seen = [0; 3];
    let rounds = 24;
    for round in 0..rounds {
        move_on(&scene);
        let moved = states(&scene);
        let mut child = command(&scene, "restore", &[]).spawn().unwrap();
        std::thread::sleep(whole * round / (rounds - 8) + Duration::from_micros(300));
        let _ = child.kill();
        child.wait().unwrap();
        let after = states(&scene);
        let mut news = 0;
        for i in 0..3 {
            assert!(after[i] == old[i] || after[i] == moved[i], "round {round}: neither the old nor the new tree");
            news += usize::from(after[i] == old[i]);
        }
        seen[match news {
            0 => 0,
            3 => 2,
            _ => 1,
        }] += 1;
        // Rollback finishes a swap that was begun, and takes it back; where none was, there is nothing to take back.
        match target.rollback(&cx).await {
            Ok(_) => assert_eq!(states(&scene), moved, "round {round}"),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::NotFound, "round {round}: {}", e.chain());
                assert_eq!(states(&scene), moved, "round {round}");
            }
        }
        run(scene.dir.path(), "restore").await.unwrap();
        assert_eq!(states(&scene), old, "round {round}");
        assert_eq!(target.verify(&cx, &manifest).await.unwrap().verdict(), Verdict::Equal);
        target.release(&cx).await.unwrap();
        assert_eq!(kept(&scene), 0, "round {round}");
    }
    assert!(seen[0] > 0 && seen[2] > 0, "killed before, between and after the renames: {seen:?}");
}

/// The states between the renames are too short to be met by chance: they are made.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_cut_between_its_renames_is_finished_or_taken_back() {
    let scene = scene();
    let config = roots(scene.dir.path());
    scene.backup_with(config.clone()).await.unwrap();
    let old = states(&scene);
    let target = FilesRestore::new(FilesScene::component(), config).unwrap();
    let cx = Cx::background();
    for finish in ["restore", "rollback"] {
        for made in 1..3 {
            move_on(&scene);
            let moved = states(&scene);
            run(scene.dir.path(), "restore").await.unwrap();
            // The state that a crash after `made` of three renames leaves: the journal of the swap, and those made.
            let asides: Vec<_> = ["a", "b", "c"].map(|r| only_folder(&scene.at(&format!(".{r}.veza-dr")))).into();
            for (i, aside) in asides.iter().enumerate() {
                let path = aside.join("journal.json");
                let mut journal: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                journal["phase"] = "swapping".into();
                journal["sequence"] = 1.into();
                std::fs::write(&path, journal.to_string()).unwrap();
                if i >= made {
                    let root = scene.at(["a", "b", "c"][i]);
                    exchange(&root, &aside.join("tree"));
                }
            }
            let half = states(&scene);
            assert!((0..3).all(|i| half[i] == if i < made { old[i].clone() } else { moved[i].clone() }));
            let manifest = scene.latest().await.unwrap();
            assert_ne!(target.verify(&cx, &manifest).await.unwrap().verdict(), Verdict::Equal);
            let e = target.release(&cx).await.unwrap_err();
            assert!(
                e.kind() == ErrorKind::Conflict && e.help().is_some_and(|h| h.contains("rollback")),
                "{}",
                e.chain()
            );
            assert_eq!(
                states(&scene),
                half,
                "a release must not finish a swap, and even less remove what it is made of"
            );
            run(scene.dir.path(), finish).await.unwrap();
            assert_eq!(states(&scene), if finish == "restore" { old.clone() } else { moved.clone() });
            if finish == "rollback" {
                target.rollback(&cx).await.unwrap();
                assert_eq!(states(&scene), old);
            }
            target.release(&cx).await.unwrap();
            assert_eq!(kept(&scene), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_was_cut_off_is_not_rolled_back_to_what_is_left() {
    let scene = scene();
    let config = roots(scene.dir.path());
    scene.backup_with(config.clone()).await.unwrap();
    move_on(&scene);
    run(scene.dir.path(), "restore").await.unwrap();
    let restored = states(&scene);
    let target = FilesRestore::new(FilesScene::component(), config).unwrap();
    let cx = Cx::background();
    // What is mounted in what is kept is not ours to empty.
    let aside = only_folder(&scene.at(".c.veza-dr"));
    let inside = aside.join("tree/d1");
    assert!(
        Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&inside).status().unwrap().success(),
        "needs root"
    );
    let mounted = Unmount(inside);
    let e = target.release(&cx).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Conflict && e.chain().contains("mounted in it"), "{}", e.chain());
    drop(mounted);
    assert!(scene.at(".a.veza-dr").exists(), "nothing goes when something cannot");
    // The state after its first steps: the journals are gone, and some of a tree.
    for root in ["a", "b", "c"] {
        std::fs::remove_file(only_folder(&scene.at(&format!(".{root}.veza-dr"))).join("journal.json")).unwrap();
    }
    std::fs::remove_dir_all(only_folder(&scene.at(".a.veza-dr")).join("tree/d1")).unwrap();
    assert_eq!(target.rollback(&cx).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(states(&scene), restored);
    target.release(&cx).await.unwrap();
    assert_eq!((kept(&scene), states(&scene)), (0, restored));
}

fn only_folder(path: &std::path::Path) -> std::path::PathBuf {
    let found: Vec<_> = std::fs::read_dir(path).unwrap().flatten().map(|e| e.path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn exchange(a: &std::path::Path, b: &std::path::Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_leaves_the_live_trees_and_nothing_else() {
    let scene = scene();
    let config = roots(scene.dir.path());
    scene.put("a/large", vec![5; 3 << 20]);
    settle();
    scene.backup_with(config).await.unwrap();
    move_on(&scene);
    let before = states(&scene);
    // No file may grow beyond 1 MB: writing the large one fails in the middle.
    let limited = "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\"";
    let status = command(&scene, "restore", &["sh", "-c", limited]).status().unwrap();
    assert!(!status.success());
    assert_eq!(states(&scene), before);
    assert_eq!(kept(&scene), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_a_mount_point_is_swapped_from_within() {
    let scene = FilesScene::new();
    let mount = |options: &[&str]| {
        let done = Command::new("mount").args(options).arg(scene.live()).status().unwrap();
        assert!(done.success(), "this test mounts a tmpfs and needs root");
    };
    mount(&["-t", "tmpfs", "-o", "size=20m,mode=0750", "tmpfs"]);
    let unmount = Unmount(scene.live());
    scene.put("conf/a", "a");
    scene.put("b", vec![1; 100_000]);
    settle();
    let before = scene.state();
    scene.backup().await;
    scene.put("conf/a", "changed");
    scene.put("stray", "s");
    std::fs::remove_file(scene.at("b")).unwrap();
    let damaged = scene.state();
    let report = scene.restore(&RestoreRequest::in_place()).await.unwrap();
    assert!(report.replaced.unwrap().contains("live/.veza-dr/"));
    assert_same(&before, &scene.state());
    let (target, cx) = (scene.target(), Cx::background());
    // What is kept inside the tree is no part of a backup.
    let manifest = scene.backup().await;
    assert!(manifest.skipped.iter().any(|s| s.what.ends_with("/.veza-dr")), "{:?}", manifest.skipped);
    target.rollback(&cx).await.unwrap();
    assert_same(&damaged, &scene.state());
    target.rollback(&cx).await.unwrap();
    target.release(&cx).await.unwrap();
    let files = |s: &str| s.lines().filter(|l| !l.starts_with("b'.' ")).map(|l| format!("{l}\n")).collect::<String>();
    assert_same(&files(&before), &files(&scene.state()));
    // Too little room is found before anything is written.
    let mut big = scene.latest().await.unwrap();
    let mut detail = FilesScene::detail(&big);
    detail.roots[0].bytes = 1 << 40;
    big.details = serde_json::to_value(detail).unwrap();
    let plan = target.plan(&cx, &RestoreRequest::in_place(), &big).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("are free")), "{plan:?}");
    drop(unmount);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_in_a_tree_is_not_carried_away() {
    let scene = FilesScene::new();
    scene.put("conf/a", "a");
    std::fs::create_dir(scene.at("data")).unwrap();
    let done = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(scene.at("data")).status().unwrap();
    assert!(done.success(), "this test mounts a tmpfs and needs root");
    let _unmount = Unmount(scene.at("data"));
    scene.put("data/inside", "i");
    let all = scene.backup().await;
    assert_eq!(FilesScene::detail(&all).mounts.len(), 1);
    let stays = scene.backup_with(scene.config().with_one_file_system(true)).await.unwrap();
    assert!(
        stays.skipped.iter().any(|s| s.what.ends_with("/data") && s.why.contains("mount point")),
        "{:?}",
        stays.skipped
    );
    assert!(scene.restored(&all).await.contains("inside") && !scene.restored(&stays).await.contains("inside"));
    let plan = scene.target().plan(&Cx::background(), &RestoreRequest::in_place(), &all).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("mounted in") && b.contains("/data")), "{plan:?}");
}
