//! A million files: memory stays flat. Takes minutes and a million inodes, so it is run by hand.

use std::time::Instant;

use veza_dr_tests::files_scene::{FilesScene, settle};

/// The most memory that this process ever held, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes a million files: cargo test -p veza-dr-tests --test files_large -- --ignored"]
async fn memory_is_flat_for_a_million_files() {
    let count: usize = std::env::var("FILES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let scene = FilesScene::new();
    for dir in 0..count.div_ceil(1000) {
        let path = scene.at(&format!("some/folder/number-{dir:05}"));
        std::fs::create_dir_all(&path).unwrap();
        for i in 0..1000.min(count - dir * 1000) {
            std::fs::write(path.join(format!("a-file-with-a-name-{i:04}.conf")), format!("{dir} {i}\n")).unwrap();
        }
    }
    settle();
    let config = veza_dr_backup::files::FilesConfig::new([scene.live()]).with_jobs(2);
    let started = Instant::now();
    let first = scene.backup_with(config.clone()).await.unwrap();
    let memory = peak();
    let (full, started) = (started.elapsed(), Instant::now());
    assert_eq!(FilesScene::detail(&first).kinds.files, count as u64);
    let again = scene.backup_with(config).await.unwrap();
    assert_eq!((FilesScene::detail(&again).read, again.added_bytes()), (0, 0));
    let (unchanged, started) = (started.elapsed(), Instant::now());
    let target = scene.target();
    let data = std::sync::Arc::new(scene.repository.open(&again));
    let cx = veza_dr_core::Cx::background();
    use veza_dr_core::RestoreTarget;
    let request = veza_dr_core::RestoreRequest::default().to(scene.dir.path().join("out").display().to_string());
    let plan = target.plan(&cx, &request, &again).await.unwrap();
    target.apply(&cx, plan, &again, data).await.unwrap();
    let (restored, last) = (started.elapsed(), peak());
    // As a line of the test's own output: these are what it is run for.
    let told = format!(
        "{count} files: first {full:?}, unchanged {unchanged:?}, restore {restored:?}; {memory} and {last} MiB"
    );
    std::fs::write(std::env::temp_dir().join("files_large.txt"), &told).unwrap();
    assert!(last < 200, "{told}");
}
