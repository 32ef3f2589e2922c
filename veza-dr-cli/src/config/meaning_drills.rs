//! What the settings of drills must also say.

use super::{expand::has_variables, meaning::Meaning, shape::nearest};

impl Meaning<'_> {
    pub(super) fn drills(&mut self) {
        let config = self.config;
        let relative = |dir: &&super::Text| !has_variables(dir.raw()) && dir.raw().trim().is_empty();
        if config.drills.scratch_dir.as_ref().is_some_and(|d| relative(&d)) {
            self.say("drills.scratch_dir", "names no folder", None);
        }
        let (given, planned) = (&config.scenarios, &config.drills.schedule);
        let any = given.database.is_some()
            || given.backend.is_some()
            || given.infrastructure.is_some()
            || given.security.is_some();
        for (name, schedule) in planned.planned() {
            if let Some(site) = schedule.compose() {
                self.drill_site(&format!("drills.schedule.{name}.compose"), site);
            }
            // Without scenarios of its own the file has all of the guide's.
            if any && given.of(name).is_none() {
                let path = format!("drills.schedule.{name}");
                let help = format!("add it: scenarios: {{ {name}: {{ rto: 4h, rpo: 1h }} }}");
                self.say(&path, format!("there is no scenario `{name}` under `scenarios`"), help);
            }
        }
    }

    /// The site that a drill makes a copy of.
    fn drill_site(&mut self, path: &str, name: &str) {
        let config = self.config;
        let sites = &config.sites;
        self.feature(path, "docker");
        match sites.get(name) {
            None => {
                let known: Vec<&str> = sites.keys().map(String::as_str).collect();
                let help = match (nearest(name, known.iter().copied()), known.as_slice()) {
                    (Some(near), _) => format!("did you mean `{near}`?"),
                    (None, []) => "add it under `sites`".to_owned(),
                    (None, known) => format!("the sites are {}", known.join(", ")),
                };
                self.say(path, format!("there is no site `{name}`"), help);
            }
            Some(site) if site.data.is_empty() => {
                let help = format!("add it: sites.{name}.data.database: {{ services: [postgres] }}");
                self.say(path, format!("site `{name}` does not say which services keep data"), help);
            }
            Some(_) => {}
        }
    }
}
