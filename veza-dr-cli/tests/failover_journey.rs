//! `veza-dr failover` by the command line: plan, approve a hash, run, wait for a person, resume, roll back, refuse.
#![allow(clippy::unwrap_used, reason = "in a test a failure is what it is for")]

use std::path::Path;

use serde_json::Value;
use veza_dr_cli::{Exit, Io, run};

const PLAN: &str = "name: night
steps:
  - id: first
    do: command
    with: { run: 'echo x >> DIR/first', probe: 'test -s DIR/first', undo: 'rm DIR/first' }
  - { id: gate, do: note, with: { text: somebody must agree }, approval: true, needs: [first] }
  - { id: last, do: command, with: { run: 'echo x >> DIR/last', at_most_once: true }, needs: [gate], skippable: true }
";

struct Desk(tempfile::TempDir);

impl Desk {
    fn new(plan: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let desk = Self(dir);
        desk.plan(plan);
        std::fs::write(
            desk.path().join("veza-dr.yml"),
            "state_dir: state\nstores: { local: { directory: { path: store } } }\nfailover: { runbooks: books }\n",
        )
        .unwrap();
        desk
    }

    fn plan(&self, plan: &str) {
        let books = self.path().join("books");
        std::fs::create_dir_all(&books).unwrap();
        let text = plan.replace("DIR", &self.path().display().to_string());
        std::fs::write(books.join("night.yml"), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Adds to the configuration.
    fn add(&self, more: &str) {
        let file = self.path().join("veza-dr.yml");
        let text = std::fs::read_to_string(&file).unwrap() + &more.replace("DIR", &self.path().display().to_string());
        std::fs::write(file, text).unwrap();
    }

    /// At a terminal, where somebody types this.
    fn types(&self, arguments: &[&str], answers: &str) -> (Exit, String) {
        let (io, output) = Io::captured();
        let file = self.path().join("veza-dr.yml").display().to_string();
        let mut all = vec!["veza-dr", "--config", &file, "failover"];
        all.extend(arguments);
        let exit = run(all, io.typing(answers));
        (exit, output.stdout() + &output.stderr())
    }

    fn go(&self, arguments: &[&str]) -> (Exit, Value) {
        let (io, output) = Io::captured();
        let file = self.path().join("veza-dr.yml").display().to_string();
        let mut all = vec!["veza-dr", "--json", "--config", &file, "failover"];
        all.extend(arguments);
        let exit = run(all, io);
        let told = serde_json::from_str(&output.stdout());
        (exit, told.unwrap_or_else(|e| panic!("{e}: {} {}", output.stdout(), output.stderr())))
    }

    fn marks(&self, name: &str) -> usize {
        std::fs::read_to_string(self.path().join(name)).map_or(0, |t| t.lines().count())
    }
}

#[test]
fn a_plan_is_shown_approved_run_and_resumed() {
    let desk = Desk::new(PLAN);
    let (exit, told) = desk.go(&["plan", "--scenario", "night"]);
    assert_eq!(exit, Exit::Ok, "{told}");
    assert_eq!(told["steps"][0]["commands"].as_array().unwrap().len(), 3);
    assert_eq!(told["steps"][0]["p50_seconds"], Value::Null, "unknown, not zero");
    let sha = told["sha256"].as_str().unwrap().to_owned();

    // Nobody is there to ask, and no hash is given.
    let (exit, _) = desk.go(&["run", "--scenario", "night"]);
    assert_eq!((exit, desk.marks("first")), (Exit::NotConfirmed, 0));
    // Another plan than the approved one.
    desk.plan(&PLAN.replace("agree", "nod"));
    let (exit, told) = desk.go(&["run", "--scenario", "night", "--plan-sha", &sha]);
    assert_eq!((exit, desk.marks("first")), (Exit::Conflict, 0), "{told}");
    desk.plan(PLAN);

    let (exit, told) = desk.go(&["run", "--scenario", "night", "--plan-sha", &sha]);
    assert_eq!((exit, &told["status"]), (Exit::NeedsHuman, &"needs_human".into()), "{told}");
    assert_eq!((desk.marks("first"), desk.marks("last")), (1, 0));
    let id = told["run"].as_str().unwrap().to_owned();
    // No other run begins meanwhile.
    let (exit, told) = desk.go(&["run", "--scenario", "night", "--yes"]);
    assert_eq!(exit, Exit::Conflict);
    assert!(told["error"]["help"].as_str().unwrap().contains(&format!("failover resume {id}")));

    let (exit, told) = desk.go(&["resume", "--approve", "gate"]);
    assert_eq!((exit, &told["status"]), (Exit::Ok, &"completed".into()), "{told}");
    assert_eq!((desk.marks("first"), desk.marks("last")), (1, 1));
    let (exit, told) = desk.go(&["status"]);
    assert_eq!((exit, &told["run"], &told["points"]["T0"]), (Exit::Ok, &id.clone().into(), &Value::Null));
    assert!(desk.path().join(format!("store/failover/{id}/journal.jsonl")).exists());
    let (_, told) = desk.go(&["plan", "--scenario", "night"]);
    assert_eq!(told["steps"][0]["samples"], 1);

    let (exit, told) = desk.go(&["resume", &id, "--rollback"]);
    assert_eq!((exit, &told["status"]), (Exit::Ok, &"rolled_back".into()), "{told}");
    assert_eq!((desk.marks("first"), desk.marks("last")), (0, 1));
    assert_eq!(told["warnings"][0], "step last has no way back and stays");
}

#[test]
fn skips_and_overrides_have_a_reason_and_numbers_of_their_own() {
    let desk = Desk::new(PLAN);
    let without = desk.go(&["run", "--scenario", "night", "--yes", "--skip", "last"]);
    assert_eq!(without.0, Exit::Usage);
    let skip =
        ["run", "--scenario", "night", "--yes", "--approve", "gate", "--skip", "last", "--reason", "not tonight"];
    let (exit, told) = desk.go(&skip);
    assert_eq!((exit, &told["status"]), (Exit::TargetMissed, &"completed_with_skips".into()), "{told}");

    desk.plan("name: night\nsteps: [{ id: w, do: command, with: { run: 'echo x >> DIR/w', idempotent: true, writes: true } }]");
    let (exit, told) = desk.go(&["run", "--scenario", "night", "--yes"]);
    assert_eq!(
        (exit, &told["error"]["context"]["rule"], desk.marks("w")),
        (Exit::Unsafe, &"one-writable-site".into(), 0)
    );
    let risk = ["run", "--scenario", "night", "--yes", "--override", "one-writable-site", "--reason", "no other site"];
    let (exit, told) = desk.go(&risk);
    assert_eq!((exit, desk.marks("w")), (Exit::Ok, 1), "{told}");
    assert_eq!(told["overrides"][0]["why"], "no other site");
}

#[test]
fn what_is_wrong_with_a_plan_is_told_with_its_line() {
    let desk = Desk::new("name: night\nsteps:\n  - { id: a, do: note, with: { text: x }, neds: [b] }\n");
    let (exit, told) = desk.go(&["plan", "--scenario", "night"]);
    assert_eq!(exit, Exit::Usage);
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.contains("night.yml:3:") && message.contains("`needs`"), "{message}");
    desk.plan("name: night\nsteps:\n  - { id: a, do: note, with: { text: x }, needs: [a] }\n");
    let (exit, told) = desk.go(&["plan", "--scenario", "night"]);
    assert_eq!((exit, &told["violations"][0]["rule"]), (Exit::Unsafe, &"no-cycle".into()));
    let (exit, told) = desk.go(&["plan", "--scenario", "databse"]);
    let help = told["error"]["help"].as_str().unwrap();
    assert!(exit == Exit::NotFound && help.starts_with("did you mean database?; "), "{help}");
    assert!(help.ends_with("books has night"), "{help}");
}

#[test]
fn the_report_of_a_run_is_a_draft_until_it_ends_and_then_kept_in_a_chain() {
    let desk = Desk::new(PLAN);
    let text = |arguments: &[&str]| {
        let (io, output) = Io::captured();
        let file = desk.path().join("veza-dr.yml").display().to_string();
        let exit = run(["veza-dr", "--config", &file, "failover", "status"].iter().chain(arguments), io);
        (exit, output.stdout())
    };
    let reports = || std::fs::read_dir(desk.path().join("state/reports")).map_or(0, |d| d.flatten().count());
    desk.go(&["run", "--scenario", "night", "--yes", "--outage-began", "2026-11-27T09:00:00Z"]);
    let (exit, draft) = text(&["--report", "md"]);
    assert_eq!((exit, reports()), (Exit::NeedsHuman, 0), "{draft}");
    assert!(draft.contains("Draft: not sealed") && draft.contains("**unknown**"), "{draft}");

    desk.go(&["resume", "--approve", "gate"]);
    let kept = || std::fs::read_dir(desk.path().join("state/reports")).unwrap().flatten();
    let kept = || kept().filter(|f| f.path().extension().is_some_and(|e| e == "json")).count();
    assert_eq!(kept(), 1, "it is kept without being asked for");
    let (exit, sealed) = desk.go(&["status", "--report", "json"]);
    assert_eq!(
        (exit, &sealed["chain"]["seq"], &sealed["outcome"]),
        (Exit::Ok, &1.into(), &"passed".into()),
        "{sealed}"
    );
    assert_eq!(sealed["clock"]["T0"], "2026-11-27T09:00:00Z");
    assert_eq!((&sealed["recovery_point"]["records_lost"], &sealed["clock"]["T6"]), (&Value::Null, &Value::Null));
    assert_eq!(sealed["people"][2]["of"], "gate");
    let journal = desk.path().join(format!("state/failover/{}.journal", sealed["run"].as_str().unwrap()));
    let sum = std::process::Command::new("sha256sum").arg(journal).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert!(sum.starts_with(sealed["journal_sha256"].as_str().unwrap()), "{sum}");
    // The second look gives the same report.
    let file = desk.path().join("report.html").display().to_string();
    let (exit, told) = desk.go(&["status", "--report", "html", "--language", "fr", "--output", &file]);
    assert_eq!((exit, &told["sha256"], &told["file"]), (Exit::Ok, &sealed["sha256"], &file.clone().into()));
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.contains("<html lang=\"fr\">") && page.contains(sealed["sha256"].as_str().unwrap()));

    // A journal that went on is another report, and the first one stays.
    desk.go(&["resume", sealed["run"].as_str().unwrap(), "--rollback"]);
    assert_eq!(kept(), 2);
    let (_, second) = desk.go(&["status", "--report", "json"]);
    assert_eq!((&second["chain"]["seq"], &second["outcome"]), (&2.into(), &"failed".into()), "{second}");
    assert_eq!((&second["revises"], &second["chain"]["previous_sha256"]), (&sealed["sha256"], &sealed["sha256"]));

    let (exit, told) = desk.go(&["status", "--verify-chain"]);
    assert_eq!((exit, &told["reports"], &told["head"]), (Exit::Ok, &2.into(), &second["sha256"]), "{told}");
    let first = format!("state/reports/000001-{}.json", sealed["id"].as_str().unwrap());
    let first = desk.path().join(first);
    let text = std::fs::read_to_string(&first).unwrap();
    std::fs::write(&first, text.replace("\"passed\"", "\"failed\"")).unwrap();
    let (exit, told) = desk.go(&["status", "--verify-chain"]);
    assert_eq!(exit, Exit::Corrupt, "{told}");
    assert!(told.to_string().contains("its hash is not that of its content"), "{told}");

    let (exit, told) = desk.go(&["status", "--output", &file]);
    assert_eq!(exit, Exit::Usage, "{told}");
    let nowhere = desk.path().join("no/such.html").display().to_string();
    let (exit, _) = desk.go(&["status", "--report", "html", "--output", &nowhere]);
    assert_eq!(exit, Exit::Usage);
    assert_eq!(desk.go(&["status", "--report", "pdf"]).0, Exit::Usage);
    assert_eq!(desk.go(&["status", "--report", "md", "--language", "de"]).0, Exit::Usage);
}

#[test]
fn at_the_terminal_the_step_is_shown_and_its_name_is_typed() {
    let desk = Desk::new(PLAN);
    let (exit, told) = desk.types(&["run", "--scenario", "night", "--yes"], "no\n");
    assert_eq!(exit, Exit::NeedsHuman, "{told}");
    assert!(told.contains("Step gate of run") && told.contains("    somebody must agree"), "{told}");
    assert_eq!(desk.marks("last"), 0);
    // A `y` is no name.
    let (exit, told) = desk.types(&["resume"], "y\ngate\n");
    assert_eq!((exit, desk.marks("last")), (Exit::Ok, 1), "{told}");
    assert!(told.contains("That is not `gate`") && told.contains("Agreed to gate by operator@"), "{told}");
}

#[test]
fn a_run_that_waits_for_its_approval_gets_it_from_another_process() {
    let desk = Desk::new(PLAN);
    let (exit, told) = std::thread::scope(|s| {
        let waits = s.spawn(|| desk.go(&["run", "--scenario", "night", "--yes", "--wait-for-approval", "2m"]));
        let began = std::time::Instant::now();
        while desk.marks("first") == 0 {
            assert!(began.elapsed().as_secs() < 60, "the run never began");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let (exit, told) = desk.go(&["resume", "--approve", "gate", "--by", "bob", "--reason", "by telephone"]);
        assert_eq!(exit, Exit::Ok, "{told}");
        assert!(told["held_by"].as_str().unwrap().contains("process"), "{told}");
        waits.join().unwrap()
    });
    assert_eq!((exit, desk.marks("last")), (Exit::Ok, 1), "{told}");
    assert_eq!(told["approvals"][0]["comment"], "by telephone");
    assert!(told["approvals"][0]["who"].as_str().unwrap().starts_with("bob (entered by operator@"), "{told}");
}

#[test]
fn channels_of_the_configuration_are_told_and_a_broken_one_holds_nothing_up() {
    let plan = "name: night
steps:
  - { id: tell, do: notify, with: { text: it begins }, only_with: [notify] }
  - { id: act, do: command, with: { run: 'echo x >> DIR/act', idempotent: true }, needs: [tell] }
";
    let desk = Desk::new(plan);
    let (_, told) = desk.go(&["plan", "--scenario", "night"]);
    assert_eq!((&told["left_out"][0], told["steps"].as_array().unwrap().len()), (&"tell".into(), 1));
    // The second has a secret that cannot be read, and the third wants failures alone: a step tells it all the same.
    desk.add(
        "notify:
  ops: { command: [sh, -c, 'cat >> DIR/ops'] }
  chat: { slack: { url_file: DIR/missing } }
  quiet: { command: [sh, -c, 'cat >> DIR/quiet'], phases: [failed] }
",
    );
    let (exit, told) = desk.go(&["run", "--scenario", "night", "--yes"]);
    assert_eq!((exit, desk.marks("act")), (Exit::Ok, 1), "{told}");
    assert_eq!(told["steps"][0]["text"], "told ops, quiet; 1 could not be told");
    let warning = told["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("step tell: channel chat was not told") && warning.contains("missing"), "{warning}");
    for name in ["ops", "quiet"] {
        let heard: Value = serde_json::from_str(&std::fs::read_to_string(desk.path().join(name)).unwrap()).unwrap();
        let run = told["run"].as_str().unwrap();
        assert_eq!(heard["text"], format!("it begins (run {run}, step tell)"));
    }
}

/// A site that cannot be used, in each of the ways that there are: told in a word of what to do, and nothing was done.
#[cfg(feature = "docker")]
#[test]
fn a_site_that_cannot_be_used_fails_its_step_and_leaves_the_world_as_it_was() {
    // Takes connections and never says a word.
    let hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = hole.local_addr().unwrap().port();
    let ssh = format!("ssh: {{ host: 127.0.0.1, port: {port}, user: nobody, connect_timeout: 1s }}, ");
    let plan = "name: night
steps:
  - { id: start, do: up, with: { site: standby }, timeout: 30s }
  - { id: then, do: command, with: { run: 'echo x >> DIR/then', idempotent: true }, needs: [start] }
";
    let whole = "services: { api: { image: none } }";
    for (file, more, parts) in
        [(whole, ssh.as_str(), ["127.0.0.1 cannot be reached", "timed out"]), (whole, "", ["nobody.sock", "Docker"])]
    {
        let desk = Desk::new(plan);
        std::fs::write(desk.path().join("site.yml"), file).unwrap();
        desk.add(&format!(
            "sites:
  primary: {{ role: primary, compose: {{ file: DIR/site.yml, project: a }} }}
  standby: {{ role: standby, {more}jobs_dir: DIR/jobs, fence: {{ dir: DIR/fence }}, compose: {{ file: DIR/site.yml, project: \
             b, docker_host: 'unix://DIR/nobody.sock' }} }}
"
        ));
        let risk = ["--override", "one-writable-site", "--reason", "a test"];
        let mut arguments = vec!["run", "--scenario", "night", "--yes"];
        arguments.extend(risk);
        let (exit, told) = desk.go(&arguments);
        assert_eq!((exit, &told["status"]), (Exit::Partial, &"failed".into()), "{told}");
        let why = told["why"].as_str().unwrap();
        assert!(why.starts_with("step start: ") && parts.iter().all(|p| why.contains(p)), "{parts:?}: {why}");
        assert_eq!(told["steps"][1]["status"], "waiting");
        assert!(desk.marks("then") == 0 && !desk.path().join("fence").exists(), "{told}");
        assert!(told["next"].as_str().unwrap().starts_with("veza-dr failover resume"), "{told}");
    }
}
