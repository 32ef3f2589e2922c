//! Real containers at rest while their data is read: only what was running is touched, everything is put back, two
//! backups that rest the same container wait for each other, and what a dead process left is put right.

use std::time::Duration;

use veza_dr_backup::quiesce::{ContainerSelection, OnError, QuiescePlan, Quiescer, Step};
use veza_dr_core::{ComponentName, Cx, ErrorKind};
use veza_dr_tests::docker::Dockerd;

const PROJECT: &str = "com.docker.compose.project=veza";

fn name(text: &str) -> ComponentName {
    text.parse().unwrap()
}

fn quiescer(folder: &std::path::Path, component: &str, plan: QuiescePlan) -> Quiescer {
    Quiescer::new(folder).unwrap().with_plan(name(component), plan)
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_rest_and_are_put_back() {
    let docker = Dockerd::start().expect("a docker daemon");
    for (container, service) in [("app-1", "app"), ("app-2", "app"), ("other", "other"), ("cache", "cache")] {
        docker.sleeper(container, &[PROJECT, &format!("com.docker.compose.service={service}")]).unwrap();
    }
    docker.run(&["stop", "-t", "0", "app-2"]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cx = Cx::background();
    let app = || Step::stop(ContainerSelection::service("app").of_project("veza")).within(Duration::from_secs(1));
    let plan = || {
        let cache = Step::pause(ContainerSelection::named("cache"));
        QuiescePlan::new(vec![app(), cache]).with_docker_host(docker.host())
    };
    let states = || ["app-1", "app-2", "cache", "other"].map(|c| docker.state(c).unwrap());
    let files = name("files");
    let first = quiescer(dir.path(), "files", plan());

    first.rest(&cx, &files).await.unwrap();
    assert_eq!(states(), ["exited", "exited", "paused", "running"]);
    first.put_back(&cx, &files).await.unwrap();
    assert_eq!(states(), ["running", "exited", "running", "running"], "only what was running is started");
    let left = || std::fs::read_dir(dir.path().join("quiesce")).unwrap().count();
    assert_eq!(left(), 0);

    // Gone without a word, as a killed process is: its locks end with it, its to-do file stays.
    let gone = quiescer(dir.path(), "files", plan());
    gone.rest(&cx, &files).await.unwrap();
    assert!(first.repair(&cx).await.unwrap().is_empty(), "what a live process rests is left alone");
    drop(gone);
    let repaired = first.repair(&cx).await.unwrap();
    assert_eq!(repaired[0].result.as_ref().unwrap(), &["unpause container cache", "start container app-1"]);
    assert_eq!(states(), ["running", "exited", "running", "running"]);

    // Two components that rest the same container: the second waits, and does not take it for one that was stopped.
    let second = quiescer(dir.path(), "database", QuiescePlan::new(vec![app()]).with_docker_host(docker.host()));
    let database = name("database");
    first.rest(&cx, &files).await.unwrap();
    let mut waits = Box::pin(second.rest(&cx, &database));
    assert!(tokio::time::timeout(Duration::from_millis(700), &mut waits).await.is_err());
    first.put_back(&cx, &files).await.unwrap();
    waits.await.unwrap();
    assert_eq!(docker.state("app-1").unwrap(), "exited");
    second.put_back(&cx, &database).await.unwrap();
    assert_eq!(states(), ["running", "exited", "running", "running"]);

    // Cancelled while a container still stops, which `sleep` as its first process does only when it is killed.
    let short = cx.child();
    let (ended, ()) = tokio::join!(first.rest(&short, &files), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        short.cancel();
    });
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(states(), ["running", "exited", "running", "running"]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(docker.state("app-1").unwrap(), "running", "the order to stop came late");
    // The same with nobody left to wait: whoever repairs watches the container until the order must have come.
    let gone = quiescer(dir.path(), "files", plan());
    assert!(tokio::time::timeout(Duration::from_millis(300), gone.rest(&cx, &files)).await.is_err());
    drop(gone);
    first.repair(&cx).await.unwrap();
    assert_eq!(states(), ["running", "exited", "running", "running"]);

    // Removed meanwhile: nobody's to start any more.
    first.rest(&cx, &files).await.unwrap();
    docker.run(&["rm", "app-1"]).unwrap();
    first.put_back(&cx, &files).await.unwrap();
    assert_eq!(docker.state("cache").unwrap(), "running");

    // What is not there fails the backup, with everything put back, or is passed over, as the plan says.
    let missing = Step::stop(ContainerSelection::named("nobody"));
    let strict = QuiescePlan::new(vec![Step::pause(ContainerSelection::named("other")), missing]);
    let strict = strict.with_docker_host(docker.host());
    let third = quiescer(dir.path(), "files", strict.clone());
    let e = third.rest(&cx, &files).await.unwrap_err();
    assert_eq!((e.kind(), e.to_string().as_str()), (ErrorKind::NotFound, "there is no container of name nobody"));
    assert_eq!(docker.state("other").unwrap(), "running");
    let lenient = quiescer(dir.path(), "files", strict.on_error(OnError::Continue));
    lenient.rest(&cx, &files).await.unwrap();
    assert_eq!(docker.state("other").unwrap(), "paused");
    assert!(lenient.put_back_all(&cx).await.is_empty());
    assert_eq!(docker.state("other").unwrap(), "running");
    assert_eq!(left(), 0);
}
