//! Services of a site that is closed off, set apart and put back: by a real engine, and by a program that ends at any call.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{UnixListener, UnixStream};
use veza_dr_core::testing::MemoryStore;
use veza_dr_core::{Cx, ErrorKind, Event, EventSink};
use veza_dr_failover::site::{ComposeSite, DutySettings, FenceNotice, SiteControl, SiteDuty};
use veza_dr_tests::compose_site::redis_image;
use veza_dr_tests::docker::{Dockerd, IMAGE};
use veza_dr_tests::netns;
use veza_dr_tests::ports::free_port;

use crate::{WAIT, job, project};

const REDIS: &str = "veza-dr-tests/site-redis";

/// A site whose store of data is in two networks, with names and an address of its own.
struct Scene {
    docker: Dockerd,
    dir: tempfile::TempDir,
    port: u16,
}

impl Scene {
    fn new(docker: Dockerd) -> Self {
        redis_image(&docker).unwrap();
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
        // A range that no other test of this machine has.
        let (a, b) = (port / 256, port % 256);
        let text = format!(
            "version: '2.4'\nservices:\n  store:\n    image: {REDIS}\n    ports: ['127.0.0.1:{port}:6379']\n    restart: always\n    \
             networks: {{ back: {{ ipv4_address: 10.{a}.{b}.7, aliases: [cache, sessions] }}, front: {{}} }}\n    \
             healthcheck: {{ test: [CMD, /usr/bin/redis-cli, ping], interval: 1s, timeout: 2s, retries: 5 }}\n  \
             worker: {{ image: {IMAGE}, command: [/bin/sleep, '10000'], networks: [front], restart: always, stop_signal: KILL }}\n  \
             bare: {{ image: {IMAGE}, command: [/bin/sleep, '10000'], network_mode: none, stop_signal: KILL }}\n\
             networks: {{ back: {{ ipam: {{ config: [{{ subnet: 10.{a}.{b}.0/24 }}] }} }}, front: {{}} }}\n"
        );
        std::fs::write(dir.path().join("site.yml"), text).unwrap();
        Self { docker, dir, port }
    }

    fn site_at(&self, host: String) -> ComposeSite {
        let mut project = project("old", &self.dir.path().join("site.yml"), self.dir.path(), None);
        project.docker_host = Some(host);
        ComposeSite::new(project).unwrap()
    }

    fn site(&self) -> ComposeSite {
        self.site_at(self.docker.host())
    }

    fn store(&self) -> Value {
        let id = self.docker.run(&["ps", "-aq", "--filter", "label=com.docker.compose.service=store"]).unwrap();
        let told = self.docker.run(&["inspect", &id]).unwrap();
        serde_json::from_str::<Value>(&told).unwrap()[0].take()
    }

    /// All that the engine tells of how a container is connected and started, while it is stopped.
    fn as_it_is(&self) -> Value {
        let store = self.store();
        assert_eq!(store["State"]["Running"], false, "{store}");
        let (mut networks, settings) = (store["NetworkSettings"]["Networks"].clone(), &store["HostConfig"]);
        for network in networks.as_object_mut().unwrap().values_mut() {
            // What has no order, and what the engine notes and forgets as it likes.
            let mut names: Vec<String> = serde_json::from_value(network["Aliases"].take()).unwrap();
            names.sort();
            network["Aliases"] = names.into();
            network.as_object_mut().unwrap().remove("NetworkID");
        }
        serde_json::json!([networks, settings["PortBindings"], settings["RestartPolicy"], settings["NetworkMode"]])
    }

    fn apart_networks(&self) -> String {
        self.docker.run(&["network", "ls", "--format", "{{.Name}}", "--filter", "label=veza-dr.apart"]).unwrap()
    }

    /// Whether a container in that network gets an answer within some seconds.
    fn is_reached_from(&self, network: &str, at: std::net::IpAddr) -> bool {
        let run = ["run", "-d", "--name", "asks", "--network", network, REDIS];
        let ask = ["/usr/bin/redis-cli", "-h", &at.to_string(), "ping"];
        self.docker.run(&[&run[..], &ask].concat()).unwrap();
        let began = Instant::now();
        let mut answered = false;
        while !answered && began.elapsed() < Duration::from_secs(4) {
            std::thread::sleep(Duration::from_millis(100));
            answered = self.docker.run(&["logs", "asks"]).unwrap().contains("PONG");
        }
        self.docker.run(&["rm", "-f", "asks"]).unwrap();
        answered
    }

    fn is_published(&self) -> bool {
        pings(([127, 0, 0, 1], self.port).into())
    }
}

fn pings(at: SocketAddr) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect_timeout(&at, Duration::from_secs(2)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = [0; 7];
    stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut answer).is_ok() && &answer == b"+PONG\r\n"
}

fn store() -> Vec<String> {
    vec!["store".to_owned()]
}

/// How often something was told.
#[derive(Debug, Default)]
struct Told(AtomicUsize);

#[async_trait::async_trait]
impl EventSink for Told {
    async fn tell(&self, _: &Cx, _: &Event) -> veza_dr_core::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < WAIT, "{what}: never");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The engine's socket, for a program that ends once it has asked for so many changes.
struct Ends {
    socket: PathBuf,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ends {
    /// `carried_out`: the last one is done all the same, and its answer never comes.
    fn after(scene: &Scene, changes: usize, carried_out: bool) -> Self {
        let socket = scene.dir.path().join(format!("ends-{changes}-{carried_out}"));
        let listener = UnixListener::bind(&socket).unwrap();
        let engine = scene.docker.host().strip_prefix("unix://").unwrap().to_owned();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let task = tokio::spawn(async move {
            let mut ways = tokio::task::JoinSet::new();
            while let Ok((here, _)) = listener.accept().await {
                let (engine, counted) = (engine.clone(), counted.clone());
                ways.spawn(async move {
                    let there = UnixStream::connect(engine).await.unwrap();
                    let (mut from, mut back) = here.into_split();
                    let (mut answers, mut to) = there.into_split();
                    let mut piece = vec![0; 65536];
                    let mut answering = tokio::spawn(async move { copy(&mut answers, &mut back).await });
                    while let Ok(n) = from.read(&mut piece).await
                        && n > 0
                    {
                        let changes_something = piece.starts_with(b"POST /") || piece.starts_with(b"DELETE /");
                        let before = if changes_something {
                            counted.fetch_add(1, Ordering::SeqCst)
                        } else {
                            counted.load(Ordering::SeqCst)
                        };
                        if before >= changes {
                            if carried_out && changes_something && before == changes {
                                answering.abort();
                                let _ = (&mut answering).await;
                                to.write_all(&piece[..n]).await.unwrap();
                                // The rest of the request.
                                let rest = async { copy(&mut from, &mut to).await };
                                let _ = tokio::time::timeout(Duration::from_millis(300), rest).await;
                            }
                            break;
                        }
                        if to.write_all(&piece[..n]).await.is_err() {
                            break;
                        }
                    }
                    answering.abort();
                });
            }
        });
        Self { socket, asked, task }
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_a_closed_site_are_started_where_nobody_reaches_them_and_put_back_as_they_were() {
    // As in production: a machine that forwards, and an engine that manages its firewall.
    let name = "apart::services_of_a_closed_site_are_started_where_nobody_reaches_them_and_put_back_as_they_were";
    if !netns::alone(name, true).unwrap() {
        return;
    }
    let (scene, cx) = (Scene::new(Dockerd::start_with_firewall().unwrap()), Cx::background());
    let site = scene.site();
    let e = site.can_be_set_apart(&cx, &store()).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Conflict && e.to_string().contains("is not fenced"), "{}", e.chain());
    let up = site.up(&cx, &job("up"), &[]).await.unwrap();
    assert_eq!(up.code, 0, "{}", up.output);
    site.wait_healthy(&cx, &[], WAIT).await.unwrap();
    assert!(scene.is_published());
    assert_eq!(site.set_apart(&cx, &store(), "x").await.unwrap_err().kind(), ErrorKind::Conflict, "it serves");
    site.fence(&cx, 5, "the other serves").await.unwrap();
    let e = site.set_apart(&cx, &store(), "x").await.unwrap_err();
    assert!(e.kind() == ErrorKind::Conflict && e.to_string().contains("run there"), "{}", e.chain());
    assert!(scene.is_published() && scene.apart_networks().is_empty(), "nothing was changed");

    site.stop(&cx, &[], Duration::from_secs(5)).await.unwrap();
    let before = scene.as_it_is();
    assert_eq!(before[0].as_object().unwrap().len(), 2, "{before}");
    let e = site.set_apart(&cx, &["bare".to_owned()], "x").await.unwrap_err();
    assert!(e.kind() == ErrorKind::Unsupported && e.to_string().contains("`none`"), "{}", e.chain());
    let e = site.set_apart(&cx, &["nobody".to_owned()], "x").await.unwrap_err();
    assert!(e.kind() == ErrorKind::NotFound && e.help().unwrap().contains("--no-start"), "{}", e.chain());
    assert_eq!((scene.as_it_is(), scene.apart_networks().as_str()), (before.clone(), ""));

    // Apart: it runs, and this program alone reaches it.
    site.set_apart(&cx, &store(), "run 7").await.unwrap();
    site.apart_healthy(&cx, &store()).await.unwrap();
    let at = site.apart_address(&cx, &store(), Some(scene.port), 1).await.unwrap();
    assert_eq!((at.port(), site.apart_address(&cx, &store(), None, 1).await.unwrap()), (6379, at));
    assert!(pings(site.reach(&cx, at).await.unwrap()), "it answers where it is");
    assert!(!scene.is_published(), "the port that it is published at while it serves leads nowhere");
    assert!(!scene.is_reached_from("veza-old_front", at.ip()), "nor does any other network of the engine");
    assert!(scene.is_reached_from("veza-old_veza-dr-apart", at.ip()), "where it is, it is reached that way");
    let all = scene.store();
    let published = all["NetworkSettings"]["Ports"].as_object().unwrap().values().all(|p| p.is_null());
    assert!(published, "{}", all["NetworkSettings"]["Ports"]);
    let networks: Vec<&String> = all["NetworkSettings"]["Networks"].as_object().unwrap().keys().collect();
    assert_eq!(networks, ["veza-old_veza-dr-apart"]);
    assert_eq!(all["HostConfig"]["RestartPolicy"]["Name"], "no", "as the fence left it");
    let internal = scene.docker.run(&["network", "inspect", "-f", "{{.Internal}}", networks[0]]).unwrap();
    assert_eq!((internal.as_str(), site.fenced(&cx).await.unwrap()), ("true", Some(5)));
    let states = site.services(&cx).await.unwrap();
    let apart: Vec<&str> = states.iter().filter(|s| s.apart).map(|s| s.service.as_str()).collect();
    let running: Vec<&str> = states.iter().filter(|s| s.state == "running").map(|s| s.service.as_str()).collect();
    assert_eq!((apart, running), (vec!["store"], vec!["store"]));
    assert_eq!(site.up(&cx, &job("up-2"), &[]).await.unwrap_err().kind(), ErrorKind::Conflict, "still fenced");

    // The site's own daemon, which stops whatever runs at a fenced site, leaves it alone.
    let (told, daemon) = (Arc::new(Told::default()), Cx::background());
    let place = Arc::new(MemoryStore::new("leases"));
    FenceNotice::new("old", "run-1", 5, chrono::Utc::now()).put(&cx, place.as_ref()).await.unwrap();
    let mut settings = DutySettings::new("site-old", scene.dir.path().join("duty"));
    settings.ttl = Duration::from_millis(2400);
    let duty = SiteDuty::new(Arc::new(scene.site()), place, told.clone(), settings);
    let ends = daemon.clone();
    let keeping = tokio::spawn(async move { duty.run(&ends).await });
    until("the daemon closes the site", || told.0.load(Ordering::SeqCst) > 0).await;
    scene.docker.run(&["start", "veza-old_worker_1"]).unwrap();
    until("it stops what runs", || scene.docker.state("veza-old_worker_1").unwrap() == "exited").await;
    assert!(pings(site.reach(&cx, at).await.unwrap()), "it is not stopped while it is read");
    daemon.cancel();
    keeping.await.unwrap().unwrap();

    // Once more, as by one that takes up what another left; then everything is as it was.
    site.can_be_set_apart(&cx, &store()).await.unwrap();
    site.set_apart(&cx, &store(), "run 7").await.unwrap();
    assert_eq!(site.put_back(&cx).await.unwrap(), ["veza-old_store_1"]);
    assert!(site.put_back(&cx).await.unwrap().is_empty());
    assert_eq!((scene.as_it_is(), scene.apart_networks().as_str()), (before.clone(), ""));

    // One that does not come up says why, and can be put back.
    site.set_apart(&cx, &store(), "run 8").await.unwrap();
    scene.docker.run(&["kill", "veza-old_store_1"]).unwrap();
    let e = site.apart_healthy(&cx, &store()).await.unwrap_err();
    assert!(e.to_string().contains("veza-old_store_1 does not run: exited with code 137"), "{}", e.chain());
    // A fence that is lifted leaves nothing apart, whoever set it so: the site serves as before.
    site.unfence(&cx, 5).await.unwrap();
    assert_eq!(scene.apart_networks(), "");
    assert_eq!(scene.as_it_is()[0], before[0]);
    let up = site.up(&cx, &job("up-3"), &[]).await.unwrap();
    assert_eq!(up.code, 0, "{}", up.output);
    site.wait_healthy(&cx, &[], WAIT).await.unwrap();
    assert!(scene.is_published());

    // Where it could not be put back, it is not taken off.
    site.fence(&cx, 6, "again").await.unwrap();
    site.stop(&cx, &[], Duration::from_secs(5)).await.unwrap();
    scene.docker.run(&["network", "rm", "veza-old_front"]).unwrap();
    let e = site.set_apart(&cx, &store(), "run 9").await.unwrap_err();
    assert!(e.kind() == ErrorKind::NotFound && e.to_string().contains("veza-old_front"), "{}", e.chain());
    assert_eq!(scene.apart_networks(), "");
}

/// The program ends with each change that it asks the engine for: that is made, and the program never learns it.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_program_leaves_that_ends_in_the_middle_the_next_one_puts_back() {
    let (scene, cx) = (Scene::new(Dockerd::start().unwrap()), Cx::background());
    let site = scene.site();
    assert_eq!(site.up(&cx, &job("up"), &[]).await.unwrap().code, 0);
    site.fence(&cx, 5, "the other serves").await.unwrap();
    site.stop(&cx, &[], Duration::from_secs(5)).await.unwrap();
    let before = scene.as_it_is();
    // Twice taken off, joined, started; stopped, taken off, twice joined; the network made and removed.
    let all = {
        let ends = Ends::after(&scene, usize::MAX, false);
        let counting = scene.site_at(ends.host());
        counting.set_apart(&cx, &store(), "run 1").await.unwrap();
        counting.put_back(&cx).await.unwrap();
        assert_eq!(scene.as_it_is(), before);
        ends.asked.load(Ordering::SeqCst)
    };
    assert_eq!(all, 10);
    // Ended before a change, it leaves what the one before it left: that need not be seen twice.
    for (changes, carried_out) in std::iter::once((0, false)).chain((0..all).map(|n| (n, true))) {
        let ends = Ends::after(&scene, changes, carried_out);
        let dying = scene.site_at(ends.host());
        let work = async {
            dying.set_apart(&cx, &store(), "run 2").await?;
            dying.put_back(&cx).await
        };
        let e = work.await.unwrap_err();
        let place = format!("ended at {changes}, {carried_out}: {}", e.chain());
        assert!(!scene.is_published(), "{place}");
        // The next one takes the work up, all of it.
        site.set_apart(&cx, &store(), "run 3").await.unwrap_or_else(|e| panic!("{place}: {}", e.chain()));
        assert!(!scene.is_published(), "{place}");
        assert_eq!(site.put_back(&cx).await.unwrap(), ["veza-old_store_1"], "{place}");
        assert_eq!((scene.as_it_is(), scene.apart_networks().as_str()), (before.clone(), ""), "{place}");
    }
}
