//! Sites with a real Docker engine and a real sshd: services are brought up, stopped, started, waited for and fenced, here
//! and over SSH; what cannot be reached, is refused or is wrong is told as such, and a cut connection finds its work.

mod apart;
mod forward;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use veza_dr_core::{Cx, Effect, ErrorKind, Health};
use veza_dr_failover::recover::{Budget, RecoverOptions, RecoverOutcome, plan, recover};
use veza_dr_failover::site::{ComposeProject, ComposeSite, Job, SiteControl, Ssh};
use veza_dr_tests::compose_site::{ComposeScene, SERVICES, images};
use veza_dr_tests::docker::Dockerd;
use veza_dr_tests::sshd::Sshd;
use veza_dr_tests::tcp_proxy::TcpProxy;

const WAIT: Duration = Duration::from_secs(60);

fn project(name: &str, file: &Path, folder: &Path, docker: Option<&Dockerd>) -> ComposeProject {
    let mut project = ComposeProject::new(name, file.display().to_string(), format!("veza-{name}"));
    project.docker_host = docker.map(Dockerd::host);
    project.jobs_dir = folder.join("jobs").display().to_string();
    project.fence_dir = folder.join("fence").display().to_string();
    project
}

fn over(sshd: &Sshd, port: u16) -> Ssh {
    let mut ssh = Ssh::new("127.0.0.1");
    ssh.port = Some(port);
    ssh.user = Some("root".to_owned());
    ssh.key_file = Some(sshd.key());
    ssh.known_hosts_file = Some(sshd.known_hosts());
    ssh.connect_timeout = Duration::from_secs(2);
    ssh.alive_interval = Duration::from_secs(1);
    ssh
}

fn job(name: &str) -> Job {
    Job(name.to_owned())
}

async fn health(site: &ComposeSite, service: &str) -> Health {
    let states = site.services(&Cx::background()).await.unwrap();
    states.into_iter().find(|s| s.service == service).unwrap().health
}

fn http(port: u16, request: &str) -> String {
    use std::io::{Read, Write};
    let mut text = String::new();
    if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = stream.write_all(format!("{request} HTTP/1.0\r\n\r\n").as_bytes());
        let _ = stream.read_to_string(&mut text);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_run_here_and_over_ssh_and_one_service_of_it_recovered() {
    let docker = Dockerd::start().unwrap();
    images(&docker).unwrap();
    let sshd = Sshd::start("").unwrap();
    tokio::join!(life(&docker, None, "here"), life(&docker, Some(&sshd), "there"), forbidden(&docker));
}

/// An sshd that lets us in, and not to the socket.
async fn forbidden(docker: &Dockerd) {
    let strict = Sshd::start("AllowStreamLocalForwarding no").unwrap();
    let mut project = project("far", Path::new("/none.yml"), Path::new("/none"), Some(docker));
    project.ssh = Some(over(&strict, strict.port()));
    let e = ComposeSite::new(project).unwrap().services(&Cx::background()).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Denied && e.to_string().contains("does not forward"), "{}", e.chain());
}

/// All of it, on one site.
async fn life(docker: &Dockerd, sshd: Option<&Sshd>, name: &str) {
    let cx = Cx::background();
    let scene = ComposeScene::new(name).unwrap();
    let folder = scene.folder("machine");
    let mut project = project(name, &scene.file(), &folder, Some(docker));
    project.ssh = sshd.map(|s| over(s, s.port()));
    let fence_mark = project.fence_mark();
    let closed = scene.folder("closed");
    project.fence_command = Some(format!("echo \"$VEZA_DR_EPOCH\" > {}", closed.display()));
    project.unfence_command = Some(format!("rm {}", closed.display()));
    let site = ComposeSite::new(project).unwrap();

    let order: Vec<String> = site.order(&cx).await.unwrap().into_iter().map(|(s, _)| s).collect();
    let place = |service: &str| order.iter().position(|s| s == service).unwrap();
    assert!(place("postgres") < place("veza-backend-api") && place("veza-backend-api") < place("veza-chat-server"));
    assert!(site.services(&cx).await.unwrap().iter().all(|s| s.state == "absent" && s.health == Health::Down));

    let up = site.up(&cx, &job("run-1/up"), &[]).await.unwrap();
    assert_eq!(up.code, 0, "{}", up.output);
    let states = site.wait_healthy(&cx, &[], WAIT).await.unwrap();
    assert_eq!(states.len(), SERVICES.len());
    assert!(states.iter().all(|s| s.state == "running" && s.image.as_ref().unwrap().starts_with("sha256:")));
    let seen = http(scene.ports.api, "GET /health");
    assert!(seen.contains(&format!("\"site\":\"{name}\"")), "{seen}");
    assert!(http(scene.ports.api, "POST /write?id=7").contains("\"written\":7"));
    assert!(http(scene.ports.api, "GET /events").ends_with("[7]"));

    // The same code, wherever the site is: once is enough.
    if sshd.is_none() {
        one_service(&site, &scene).await;
    }

    // Stopped with its dependents first, and started again.
    site.stop(&cx, &[], Duration::from_secs(2)).await.unwrap();
    let states = site.services(&cx).await.unwrap();
    assert!(states.iter().all(|s| s.state == "exited" && s.health == Health::Down), "{states:?}");
    let ended = |service: &str| states.iter().find(|s| s.service == service).unwrap().since.unwrap();
    assert!(ended("veza-chat-server") <= ended("veza-backend-api") && ended("veza-backend-api") <= ended("postgres"));
    let late = site.wait_healthy(&cx, &["redis".to_owned()], Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unavailable);
    assert!(
        late.chain().contains("redis (exited with code 0)") && late.chain().contains("ready to exit"),
        "{}",
        late.chain()
    );

    // Fenced: nothing starts it, an older run does not lift it, and everything is put back with it.
    let policy =
        |container: &str| docker.run(&["inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", container]).unwrap();
    let container = site.services(&cx).await.unwrap().pop().unwrap().container.unwrap();
    assert_eq!((policy(&container).as_str(), site.fenced(&cx).await.unwrap()), ("unless-stopped", None));
    site.fence(&cx, 7, "the other\nsite serves").await.unwrap();
    site.fence(&cx, 8, "again").await.unwrap();
    assert_eq!((policy(&container).as_str(), site.fenced(&cx).await.unwrap()), ("no", Some(8)));
    assert_eq!(std::fs::read_to_string(&closed).unwrap(), "8\n");
    assert!(std::fs::read_to_string(&fence_mark).unwrap().contains("reason: again"));
    assert_eq!(site.start(&cx, &[]).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(site.up(&cx, &job("run-2/up"), &[]).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(site.fence(&cx, 7, "late").await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(site.unfence(&cx, 7).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(site.services(&cx).await.unwrap().iter().all(|s| s.state == "exited"));
    site.unfence(&cx, 8).await.unwrap();
    assert_eq!((policy(&container).as_str(), site.fenced(&cx).await.unwrap()), ("unless-stopped", None));
    assert!(!closed.exists());

    // The same job that was refused is free to run now; the data is there, also after `down`.
    assert_eq!(site.up(&cx, &job("run-2/up"), &[]).await.unwrap().code, 0);
    site.wait_healthy(&cx, &[], WAIT).await.unwrap();
    assert!(site.logs(&cx, "veza-backend-api", 5).await.unwrap().contains("is ready"));
    let down = site.down(&cx, &job("run-3/down"), Duration::from_secs(1)).await.unwrap();
    assert_eq!(down.code, 0, "{}", down.output);
    assert!(site.services(&cx).await.unwrap().iter().all(|s| s.state == "absent"));
    assert!(docker.run(&["volume", "ls", "-q"]).unwrap().contains(&format!("veza-{name}_data")));
}

/// A service that is ill is brought back with what needs it, until its budget is spent.
async fn one_service(site: &ComposeSite, scene: &ComposeScene) {
    let cx = Cx::background();
    let api = "veza-backend-api";
    let mut options = RecoverOptions::new(scene.folder("state"));
    options.budget = Budget::new(2, Duration::from_secs(600));
    options.grace = Duration::from_secs(1);
    options.healthy_within = Duration::from_secs(30);
    options.reason = "it answers 503".to_owned();
    http(scene.ports.api, "GET /break");
    site.stop(&cx, &["veza-chat-server".to_owned()], Duration::from_secs(1)).await.unwrap();
    let began = Instant::now();
    while health(site, api).await == Health::Healthy {
        assert!(began.elapsed() < WAIT, "the health check says nothing");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let planned = plan(&cx, site, api).await.unwrap();
    let names: Vec<&str> = planned.restart.iter().map(|r| r.service.as_str()).collect();
    assert_eq!(names, [api, "veza-chat-server"]);

    let report = recover(&cx, site, api, &options).await.unwrap();
    assert_eq!(report.outcome, RecoverOutcome::Recovered, "{report:?}");
    assert!(report.after.iter().all(|s| s.health == Health::Healthy), "{:?}", report.after);
    assert!(http(scene.ports.api, "GET /health").contains("\"ok\""));
    let log = std::fs::read_to_string(report.kept_in.join(format!("{api}.log"))).unwrap();
    assert!(log.contains("is ready"), "{log}");
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report.kept_in.join("report.json")).unwrap()).unwrap();
    assert_eq!((&kept["outcome"], &kept["reason"]), (&"recovered".into(), &"it answers 503".into()));

    // A healthy one may be restarted as well: the last time within the budget.
    options.healthy_within = Duration::from_millis(1);
    let report = recover(&cx, site, api, &options).await.unwrap();
    assert_eq!(report.outcome, RecoverOutcome::Failed);
    let since = site.services(&cx).await.unwrap();
    let report = recover(&cx, site, api, &options).await.unwrap();
    assert_eq!(report.outcome, RecoverOutcome::Escalate);
    assert_eq!(report.escalates_to.unwrap().to_string(), "backend");
    assert!(report.restarted.is_empty() && report.kept_in.join("report.json").exists());
    let still = |states: &[veza_dr_failover::site::ServiceState]| states.iter().map(|s| s.since).collect::<Vec<_>>();
    assert_eq!(still(&site.services(&cx).await.unwrap()), still(&since), "nothing is restarted without a budget");
    site.wait_healthy(&cx, &[], WAIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_finds_its_work_and_work_runs_once() {
    let sshd = Sshd::start("").unwrap();
    let proxy = TcpProxy::start(&format!("127.0.0.1:{}", sshd.port())).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut project = project("far", Path::new("/none.yml"), dir.path(), None);
    project.ssh = Some(over(&sshd, proxy.port()));
    let site = ComposeSite::new(project).unwrap();
    let cx = Cx::background();
    let count = dir.path().join("count");
    let command = format!("echo x >> {}; sleep 2; echo done; exit 4", count.display());

    let step = job("run-1/step");
    let work = site.run(&cx, &step, &command);
    let cut = async {
        while !count.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        proxy.cut();
    };
    let (result, ()) = tokio::join!(work, cut);
    let result = result.unwrap();
    assert_eq!((result.code, result.output.as_str()), (4, "done\n"));
    assert!(proxy.accepted() >= 2, "it was not connected anew");
    // Whoever asks again, another process too, gets the same.
    assert_eq!(site.run(&cx, &job("run-1/step"), &command).await.unwrap(), result);
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n");

    // The watcher is gone for good while the work goes on.
    let marks = dir.path().join("marks");
    let slow = format!("sleep 1; echo x >> {}", marks.display());
    assert!(tokio::time::timeout(Duration::from_millis(700), site.run(&cx, &job("slow"), &slow)).await.is_err());
    assert_eq!(site.run(&cx, &job("slow"), &slow).await.unwrap().code, 0);
    assert_eq!(std::fs::read_to_string(&marks).unwrap(), "x\n");

    // A network that swallows everything in the middle of it is given up in time, and it is said that it is not known.
    let endless = job("long");
    let limited = Cx::background().with_deadline(SystemTime::now() + Duration::from_secs(8));
    let long = site.run(&limited, &endless, "sleep 30");
    let hole = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        proxy.blackhole();
    };
    let began = Instant::now();
    let (lost, ()) = tokio::join!(long, hole);
    assert_eq!(lost.unwrap_err().effect(), Effect::Unknown);
    assert!(began.elapsed() < Duration::from_secs(10));
    let began = Instant::now();
    let e = site.fenced(&Cx::background()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{}", e.chain());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_told_apart() {
    let sshd = Sshd::start("").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cx = Cx::background();
    let broken = |change: &dyn Fn(&mut Ssh)| {
        let mut project = project("far", Path::new("/none.yml"), dir.path(), None);
        let mut ssh = over(&sshd, sshd.port());
        change(&mut ssh);
        project.ssh = Some(ssh);
        project
    };

    let site = ComposeSite::new(broken(&|s| s.known_hosts_file = Some(sshd.wrong_hosts()))).unwrap();
    let e = site.up(&cx, &job("a"), &[]).await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Denied, Effect::None), "{}", e.chain());
    assert!(e.to_string().contains(&sshd.wrong_hosts().display().to_string()), "{e}");
    let e = site.services(&cx).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Denied && e.to_string().contains("host key"), "{}", e.chain());

    let site = ComposeSite::new(broken(&|s| s.key_file = Some(sshd.strangers_key()))).unwrap();
    let e = site.run(&cx, &job("a"), "true").await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Denied, Effect::None));
    assert!(e.to_string().contains("does not let user root in with the key"), "{}", e.chain());

    let site = ComposeSite::new(broken(&|s| s.port = Some(1))).unwrap();
    let e = site.run(&cx, &job("a"), "true").await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Unavailable, Effect::None), "{}", e.chain());
    let e = ComposeSite::new(broken(&|s| s.key_file = Some("/none/key".into()))).unwrap_err();
    assert!(e.kind() == ErrorKind::Config && e.chain().contains("/none/key"), "{}", e.chain());

    // A socket that is not there, and one that nobody listens at.
    let mut there = broken(&|_| {});
    there.docker_host = Some("unix:///none/docker.sock".to_owned());
    let e = ComposeSite::new(there.clone()).unwrap().services(&cx).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.to_string().contains("no Docker socket at /none/docker.sock on 127.0.0.1"), "{}", e.chain());
    there.ssh = None;
    let e = ComposeSite::new(there.clone()).unwrap().services(&cx).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Unavailable && e.to_string().contains("/none/docker.sock"), "{}", e.chain());
    let socket = dir.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    there.docker_host = Some(format!("unix://{}", socket.display()));
    there.ssh = Some(over(&sshd, sshd.port()));
    let e = ComposeSite::new(there).unwrap().services(&cx).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Unavailable && e.to_string().contains("does not answer"), "{}", e.chain());
    assert!(!dir.path().join("jobs").exists() || std::fs::read_dir(dir.path().join("jobs")).unwrap().count() == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compose_file_that_is_wrong_starts_nothing_and_the_guides_file_is_right() {
    let docker = Dockerd::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cx = Cx::background();
    let file = dir.path().join("site.yml");
    let site = ComposeSite::new(project("wrong", &file, dir.path(), Some(&docker))).unwrap();
    for (text, expected) in [
        ("services:\n  api:\n    image: [x\n", "site.yml:"),
        ("services:\n  api:\n    image: x\n    depends_on: [db]\n", "site.yml:2: service api needs `db`"),
        ("services:\n  api:\n    imagee: x\n", "Compose refuses"),
    ] {
        std::fs::write(&file, text).unwrap();
        let e = site.up(&cx, &job("up"), &[]).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config, "{}", e.chain());
        assert!(e.to_string().contains(expected), "{}", e.chain());
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(site.up(&cx, &job("up"), &[]).await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(docker.run(&["ps", "-aq"]).unwrap(), "");
    assert_eq!(docker.run(&["network", "ls", "-q", "--filter", "name=veza"]).unwrap(), "");

    let guide = "version: '3.8'\nservices:\n  veza-backend-api:\n    image: veza/backend-api:latest\n    environment:\n      \
                 - DB_HOST=backup-db.veza.com\n      - ENVIRONMENT=disaster-recovery\n    ports:\n      - \"8080:8080\"\n    \
                 restart: unless-stopped\n\n  veza-chat-server:\n    image: veza/chat-server:latest\n    ports:\n      \
                 - \"8081:8081\"\n    restart: unless-stopped\n\n  veza-stream-server:\n    image: veza/stream-server:latest\n    \
                 environment:\n      - STORAGE_BACKEND=s3-backup\n    ports:\n      - \"8082:8082\"\n    restart: unless-stopped\n";
    std::fs::write(&file, guide).unwrap();
    let states = site.services(&cx).await.unwrap();
    let names: Vec<&str> = states.iter().map(|s| s.service.as_str()).collect();
    assert_eq!(names, ["veza-backend-api", "veza-chat-server", "veza-stream-server"]);
    let checked =
        site.run(&cx, &job("guide"), &format!("docker-compose -f {} config -q", file.display())).await.unwrap();
    assert_eq!(checked.code, 0, "{}", checked.output);
}
