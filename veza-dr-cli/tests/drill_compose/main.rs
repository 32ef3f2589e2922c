//! Drills in a copy of a whole Compose project, with a real container engine on another machine behind a real sshd: the
//! plan of each scenario is followed in it, its checks are asked of it, nothing leads out, and nothing is left, also after
//! `kill -9` and where that machine cannot be reached for a while. Some of it is called on the sites' own machine.

#![cfg(all(feature = "postgres", feature = "redis", feature = "docker"))]
#![allow(clippy::unwrap_used, reason = "in a test a failure is what it is for")]

mod scenarios;
mod world;

use std::{
    net::{IpAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use veza_dr_tests::{compose_site::SERVICES, netns};
use world::World;

/// One after the other in one world: an engine and its images take longer to make than most of what is done here. In a
/// network of its own that forwards, as machines of production do: what closes the copy is the engine's firewall.
#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_recovered_by_its_plans_in_a_copy_without_a_way_out_and_nothing_of_it_is_left() {
    let name = "a_platform_is_recovered_by_its_plans_in_a_copy_without_a_way_out_and_nothing_of_it_is_left";
    if !netns::alone(name, true).unwrap() {
        return;
    }
    let mut world = World::new().await;
    let before = world.production();
    out_of_reach(&world);
    not_shown_to_be_closed(&world);
    assert_eq!(world.production(), before);
    world.assert_nothing_left();
    for rehearse in [scenarios::database, scenarios::backend, scenarios::infrastructure, scenarios::security] {
        rehearse(&world);
        assert_eq!(world.production(), before);
        world.assert_nothing_left();
    }
    scenarios::a_check_that_fails_fails_the_drill_and_one_that_cannot_be_led_to_the_copy_is_no_pass(&world);
    assert_eq!(world.production(), before);
    world.assert_nothing_left();
    killed(&world);
    assert_eq!(world.production(), before);
    world.assert_nothing_left();
    killed_from_afar(&mut world);
    assert_eq!(world.production(), before);
    world.assert_nothing_left();
    refused(&world);
    assert_eq!(world.production(), before);
    world.assert_nothing_left();
}

/// The addresses of containers are the other machine's alone.
fn out_of_reach(world: &World) {
    let id = world.docker.run(&["ps", "-q", "--filter", "name=postgres"]).unwrap();
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address: IpAddr = world.docker.run(&["inspect", "-f", format, &id]).unwrap().parse().unwrap();
    assert!(TcpStream::connect_timeout(&(address, 5432).into(), Duration::from_secs(2)).is_err(), "{address}");
    let there = format!("exec 3<>/dev/tcp/{address}/5432");
    world.far.run("bash", &["-c", &there]).unwrap();
}

/// Where the rules of the firewall cannot be read, nothing of the copy is started.
fn not_shown_to_be_closed(world: &World) {
    let blind = world.path("blind");
    std::fs::create_dir(&blind).unwrap();
    for program in ["iptables-save", "nft"] {
        let file = blind.join(program);
        std::fs::write(&file, "#!/bin/sh\nexit 1\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", blind.display(), std::env::var("PATH").unwrap());
    let drill = ["drill", "run", "--scenario", "infrastructure", "--compose", "production"];
    let ran = world.command_there(&drill).env("PATH", path).output().unwrap();
    assert_eq!(ran.status.code(), Some(24), "{}", String::from_utf8_lossy(&ran.stderr));
    let record: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let said = record["findings"][0]["text"].as_str().unwrap();
    assert!(said.starts_with("it cannot be shown that nothing leads out of the network br-"), "{said}");
    let timeline = record["timeline"].as_array().unwrap();
    assert!(timeline.iter().all(|t| t["what"] != "containers" && t["what"] != "services"), "{record:#}");
    assert_eq!(record["cleanup"]["state"], "cleaned");
}

/// The daemon runs one as scheduled, and is killed while all of its services run.
fn killed(world: &World) {
    let made = world.engine();
    world.config_there(
        &world.scene.file(),
        "drills:\n  scratch_dir: scratch\n  schedule: { infrastructure: { cron: '* * * * * *', compose: production } }\n",
    );
    let mut child = world.command_there(&["serve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ids = world.running(&mut child, SERVICES.len());
    for id in &ids {
        let told = world.docker.run(&[
            "inspect",
            "-f",
            "{{json .HostConfig.PortBindings}} {{json .NetworkSettings.Networks}}",
            id,
        ]);
        let told = told.unwrap();
        let (ports, networks) = told.split_once(' ').unwrap();
        assert!(matches!(ports, "{}" | "null"), "{ports}");
        let networks: Value = serde_json::from_str(networks).unwrap();
        for name in networks.as_object().unwrap().keys() {
            assert_eq!(world.docker.run(&["network", "inspect", "-f", "{{.Internal}}", name]).unwrap(), "true");
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_ne!(world.engine(), made, "something is left for the next start");
    // From afar its engine's socket is seen as well: that it is the same machine is an accident of this test.
    let cleaned = world.command_there(&["drill", "clean"]).output().unwrap();
    assert!(cleaned.status.success() && String::from_utf8_lossy(&cleaned.stdout).contains("veza-dr-drill-"));
    let list = world.ends(0, &["drill", "list"]);
    let last = list["drills"].as_array().unwrap().last().unwrap();
    let told = [&last["outcome"], &last["kind"], &last["by"], &last["scenario"]];
    assert_eq!(told, ["interrupted", "compose", "schedule", "infrastructure"], "{list}");
    // The daemon tells of its drills, as of anything that it does.
    std::fs::remove_file(world.path("told")).ok();
    world.config_there(&world.scene.file(), "");
}

/// Killed while all of the copy runs on the other machine, which then cannot be reached for a while: nothing of it is
/// forgotten, and all of it is removed once it can.
fn killed_from_afar(world: &mut World) {
    let made = world.engine();
    let drill = ["drill", "run", "--scenario", "backend", "--compose", "standby"];
    let mut child = world.command(&drill).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    world.running(&mut child, SERVICES.len());
    let [folder] = world.drill_folders().try_into().unwrap();
    let modes = world.far.run("stat", &["-c", "%a", &folder, &format!("{folder}/project.yml")]).unwrap();
    assert_eq!(modes, "700\n600");
    child.kill().unwrap();
    child.wait().unwrap();
    let left = world.engine();
    assert_ne!(left, made);

    world.sshd.stop();
    for _ in 0..2 {
        let cleaned = world.ends(27, &["drill", "clean"]);
        let said = cleaned.to_string();
        for word in ["cleanup_incomplete", "project veza-dr-drill-", "cannot be reached"] {
            assert!(said.contains(word), "{word}: {cleaned:#}");
        }
        assert_eq!((world.engine(), world.drill_folders().len()), (left.clone(), 1));
    }
    let World { sshd, far, .. } = world;
    sshd.listen(Some(far)).unwrap();
    let cleaned = world.ends(0, &["drill", "clean"]).to_string();
    for word in ["container ", "network ", "volume ", &format!("folder {folder} on ")] {
        assert!(cleaned.contains(word), "{word}: {cleaned}");
    }
    assert_eq!(world.engine(), made);
    let list = world.ends(0, &["drill", "list"]);
    let last = list["drills"].as_array().unwrap().last().unwrap();
    assert_eq!([&last["outcome"], &last["kind"], &last["scenario"]], ["interrupted", "compose", "backend"], "{list}");
}

/// What cannot be copied safely, and a plan that no failover would run: refused before anything is made.
fn refused(world: &World) {
    let drill = ["drill", "run", "--scenario", "infrastructure", "--compose", "production"];
    let says = |code: i32, wanted: &[&str]| {
        let refused = world.run(&drill);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
        assert_eq!(refused.status.code(), Some(code), "{said}");
        for word in wanted {
            assert!(said.contains(word), "{word}: {said}");
        }
    };
    let own = world.path("books/infrastructure.yml");
    std::fs::write(&own, "name: own\nsteps:\n  - { id: go, do: up, with: { site: stanby } }\n").unwrap();
    says(2, &["infrastructure.yml:3", "there is no site `stanby`"]);
    std::fs::write(&own, "name: own\nsteps:\n  - { id: go, do: up, with: { site: standby } }\n").unwrap();
    says(23, &["one-writable-site"]);
    std::fs::write(&own, "name: own\nsteps:\n  - { id: say, do: note, with: { text: hello } }\n").unwrap();
    says(2, &["plan own recovers nothing in a copy"]);
    std::fs::remove_file(own).unwrap();
    let text = std::fs::read_to_string(world.scene.file()).unwrap().replace("'data:/data'", "'/etc:/data'");
    std::fs::write(world.path("bound.yml"), text).unwrap();
    world.config_there(&world.path("bound.yml"), "");
    let refused = world.command_there(&drill).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("service postgres keeps a component and has the host's /etc"), "{said}");
}
