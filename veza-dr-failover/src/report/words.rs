//! The words of reports, in each language.

use super::{FindingSeverity, Language, Outcome, ReportKind};
use crate::{drill::LeftOut, runbook::StepStatus};

/// A table of words; a word that is missing in one language does not compile.
macro_rules! words {
    ($($name:ident: $english:literal, $french:literal;)*) => {
        /// The words.
        #[derive(Debug)]
        pub(super) struct Words {
            $(pub(super) $name: &'static str,)*
        }

        static ENGLISH: Words = Words { $($name: $english,)* };
        static FRENCH: Words = Words { $($name: $french,)* };
    };
}

words! {
    report: "Report", "Rapport";
    unknown: "unknown", "inconnu";
    none: "None.", "Néant.";
    not_set: "not set yet", "à définir";
    draft: "Draft: not sealed, not part of the chain of reports.", "Brouillon : non scellé, hors de la chaîne des rapports.";
    verdict: "Verdict", "Verdict";
    why_not: "What keeps it from being a pass", "Ce qui empêche de conclure à la réussite";
    summary: "Summary", "Synthèse";
    identity: "Identity", "Identification";
    id: "Identifier", "Identifiant";
    kind: "Type", "Type";
    scenario: "Scenario", "Scénario";
    about: "Purpose", "Objet";
    started: "Began", "Début";
    ended: "Ended", "Fin";
    revises: "Takes the place of", "Remplace";
    run: "Run", "Exécution";
    journal: "SHA-256 of the journal", "SHA-256 du journal";
    scope: "Scope and exclusions", "Périmètre et exclusions";
    components: "Components", "Composants";
    sites: "Sites", "Sites";
    place: "Environment", "Environnement";
    third_parties: "Third parties", "Tiers impliqués";
    risk: "Risk or impact analysis", "Analyse de risque ou d'impact";
    exclusions: "Exclusions", "Exclusions";
    what: "What", "Quoi";
    why: "Why", "Pourquoi";
    who: "Who", "Qui";
    when: "When", "Quand";
    role: "Role", "Rôle";
    concerning: "Concerning", "Concernant";
    objectives: "Objectives", "Objectifs";
    preconditions: "Preconditions", "Conditions préalables";
    criteria: "Criteria", "Critères";
    criteria_fixed: "Fixed", "Fixés le";
    criteria_source: "Source", "Source";
    criterion: "Criterion", "Critère";
    target: "Target", "Cible";
    measured: "Measured", "Mesuré";
    outcome: "Outcome", "Résultat";
    fixed_late: "The criteria were fixed after it had begun.", "Les critères ont été fixés après le début.";
    plan: "Plan and versions", "Plan et versions";
    plan_name: "Plan", "Plan";
    plan_hash: "SHA-256 of the plan", "SHA-256 du plan";
    left_out: "Left out of the plan", "Retiré du plan";
    version: "Version", "Version";
    versions: "Tools and servers", "Outils et serveurs";
    people: "People and approvals", "Personnes et approbations";
    timeline: "Timeline", "Chronologie";
    timeline_chart: "Steps over time, with the clock points", "Étapes dans le temps, avec les repères";
    steps: "Steps", "Étapes";
    step: "Step", "Étape";
    state: "State", "État";
    took: "Took", "Durée";
    tries: "Tries", "Essais";
    result: "Result", "Constat";
    recovered: "found out afterwards", "établi après coup";
    clock: "Clock points", "Repères temporels";
    point: "Point", "Repère";
    meaning: "Meaning", "Signification";
    deviations: "Deviations", "Écarts";
    skips: "Steps left out", "Étapes omises";
    overrides: "Rules overridden", "Règles outrepassées";
    rule: "Rule", "Règle";
    objectives_met: "Objectives: target and actual", "Objectifs : cible et réalisé";
    measure: "Measure", "Mesure";
    actual: "Actual", "Réalisé";
    gap: "Gap", "Écart";
    rta: "Recovery time, from the outage (T6 − T0)", "Temps de reprise, depuis la panne (T6 − T0)";
    rta_decision: "Recovery time, from the decision (T6 − T3)", "Temps de reprise, depuis la décision (T6 − T3)";
    rta_plan: "Recovery time, from the first step (T6 − T4)", "Temps de reprise, depuis la première étape (T6 − T4)";
    rpa: "Data loss, as time", "Perte de données, en temps";
    records_lost: "Data loss, in records", "Perte de données, en enregistrements";
    newest: "Newest data proven to be there", "Donnée la plus récente prouvée";
    method: "How data loss was measured", "Mesure de la perte de données";
    availability: "Service availability", "Disponibilité du service";
    availability_chart: "Availability over time", "Disponibilité dans le temps";
    not_measured: "Not measured: unknown.", "Non mesurée : inconnue.";
    window: "Window", "Fenêtre";
    good_probes: "Good probes", "Sondes réussies";
    missing_probes: "Missing probes (counted as bad)", "Sondes manquantes (comptées comme échecs)";
    rate: "Probes a second", "Sondes par seconde";
    outage: "Outage in all", "Indisponibilité totale";
    longest_gap: "Longest outage", "Plus longue indisponibilité";
    degraded: "Degraded service", "Service dégradé";
    vantage: "Vantage points", "Points d'observation";
    consistency: "Consistency", "Cohérence";
    against: "Compared with", "Comparé à";
    nothing_compared: "Nothing was compared: unknown.", "Rien n'a été comparé : inconnue.";
    component: "Component", "Composant";
    expected: "Expected", "Attendu";
    found: "Found", "Trouvé";
    lost: "Lost", "Perdus";
    extra: "Extra", "En trop";
    different: "Different", "Différents";
    digest: "Digest", "Empreinte";
    same_digest: "equal", "identique";
    other_digest: "differs", "différente";
    remark: "Remark", "Remarque";
    total: "Total", "Total";
    validation: "Validation", "Validation";
    no_validation: "No check was run: unknown.", "Aucun contrôle exécuté : inconnue.";
    check: "Check", "Contrôle";
    tolerance: "Tolerance", "Tolérance";
    reason: "Reason", "Raison";
    communication: "Communication", "Communication";
    channel: "Channel", "Canal";
    to: "To", "Destinataire";
    text: "Text", "Texte";
    clean_up: "Clean-up", "Nettoyage";
    removed: "Removed", "Supprimé";
    untouched: "Production unchanged", "Production inchangée";
    proof: "Proof", "Preuve";
    findings: "Findings", "Constats";
    severity: "Severity", "Gravité";
    finding: "Finding", "Constat";
    owner: "Owner", "Responsable";
    due: "Due", "Échéance";
    retests: "Earlier findings, tested again", "Constats antérieurs, revérifiés";
    earlier_report: "Report", "Rapport";
    lessons: "Lessons", "Enseignements";
    plan_changes: "Changes to the plan", "Modifications du plan";
    sign_off: "Sign-off", "Approbation";
    unsigned: "Nobody has signed it yet.", "Personne ne l'a encore signé.";
    name: "Name", "Nom";
    statement: "Statement", "Déclaration";
    next_due: "Next due", "Prochaine échéance";
    chain: "Chain of reports", "Chaîne des rapports";
    number: "Number", "Numéro";
    own_hash: "SHA-256 of this report", "SHA-256 de ce rapport";
    previous_hash: "SHA-256 of the report before", "SHA-256 du rapport précédent";
    first: "none: it is the first", "aucun : c'est le premier";
    evidence: "Annex: evidence", "Annexe : preuves";
    evidence_cut: "The rest is in the JSON form of the report.", "La suite se trouve dans la version JSON du rapport.";
    contents: "Contents", "Sommaire";
    skip_link: "Skip to the report", "Aller au rapport";
    within: "within the objective", "dans l'objectif";
    beyond: "beyond the objective", "hors objectif";
    objective: "objective", "objectif";
    rto_card: "Recovery time (RTA)", "Temps de reprise (RTA)";
    rpo_card: "Data loss (RPA)", "Perte de données (RPA)";
    lost_card: "Records lost", "Enregistrements perdus";
    steps_done: "Steps done", "Étapes terminées";
}

impl Language {
    pub(super) fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::French => &FRENCH,
        }
    }

    pub(crate) fn outcome(self, outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Passed => self.pick("passed", "réussi"),
            Outcome::Failed => self.pick("failed", "échoué"),
            Outcome::Unknown => self.words().unknown,
            Outcome::NotDone => self.pick("not done", "non fait"),
        }
    }

    pub(crate) fn kind(self, kind: ReportKind) -> &'static str {
        match kind {
            ReportKind::TableTop => self.pick("Table-top exercise", "Exercice sur table"),
            ReportKind::IsolatedDrill => self.pick("Isolated drill", "Exercice isolé"),
            ReportKind::ProcessDrill => self.pick("Drill with private servers", "Exercice sur serveurs privés"),
            ReportKind::ColdStartDrill => self.pick("Cold-start drill", "Exercice de démarrage à froid"),
            ReportKind::NegativeControl => self.pick("Negative control", "Contrôle négatif"),
            ReportKind::LiveSwitchover => self.pick("Live switchover", "Bascule réelle planifiée"),
            ReportKind::Recovery => self.pick("Recovery", "Reprise réelle"),
        }
    }

    pub(crate) fn scenario(self, name: &str) -> &str {
        match name {
            "database" => self.pick("database", "base de données"),
            "backend" => self.pick("backend", "backend"),
            "infrastructure" => self.pick("infrastructure", "infrastructure"),
            "security" => self.pick("security", "sécurité"),
            "count" => self.pick("count of what was lost", "décompte des pertes"),
            "back" => self.pick("way back to the primary", "retour au site primaire"),
            other => other,
        }
    }

    pub(crate) fn step_status(self, status: StepStatus) -> &'static str {
        match status {
            StepStatus::Waiting => self.pick("not begun", "non commencée"),
            StepStatus::Started => self.pick("begun", "commencée"),
            StepStatus::Done => self.pick("done", "terminée"),
            StepStatus::Failed => self.pick("failed", "échouée"),
            StepStatus::TimedOut => self.pick("out of time", "hors délai"),
            StepStatus::Unknown => self.words().unknown,
            StepStatus::Waits => self.pick("waits for somebody", "attend quelqu'un"),
            StepStatus::Skipped => self.pick("left out", "omise"),
            StepStatus::Undone => self.pick("undone", "annulée"),
            StepStatus::UndoFailed => self.pick("not undone", "annulation échouée"),
        }
    }

    pub(crate) fn severity(self, severity: FindingSeverity) -> &'static str {
        match severity {
            FindingSeverity::Info => self.pick("info", "information"),
            FindingSeverity::Low => self.pick("low", "faible"),
            FindingSeverity::Medium => self.pick("medium", "moyenne"),
            FindingSeverity::High => self.pick("high", "élevée"),
            FindingSeverity::Critical => self.pick("critical", "critique"),
        }
    }

    /// What a clock point means.
    pub(super) fn point(self, name: &str) -> &'static str {
        match name {
            "T0" => self.pick("the outage began", "début de la panne"),
            "T1" => self.pick("detected", "détection"),
            "T2" => self.pick("declared a disaster", "sinistre déclaré"),
            "T3" => self.pick("decision to recover", "décision de reprise"),
            "T4" => self.pick("the plan began", "début du plan"),
            "T5" => self.pick("validated by its own address", "validé par adresse directe"),
            "T6" => self.pick("users are served", "utilisateurs servis"),
            "T7" => self.pick("redundancy is back", "redondance rétablie"),
            "T8" => self.pick("the way back is done", "retour terminé"),
            _ => "",
        }
    }

    /// What people did, where it is one of the engine's own words.
    pub(super) fn role(self, role: &str) -> &str {
        match role {
            "began" => self.pick("began the run", "a lancé l'exécution"),
            "resumed" => self.pick("took it up again", "l'a reprise"),
            "changed the mode" => self.pick("changed the mode", "a changé de mode"),
            "approved" => self.pick("approved", "a approuvé"),
            "named the time" => self.pick("named the time to go back to", "a indiqué l’instant à retrouver"),
            "attested" => self.pick("declared", "a attesté"),
            "settled" => self.pick("said what happened", "a établi les faits"),
            "rolled back" => self.pick("asked for the rollback", "a demandé le retour arrière"),
            other => other,
        }
    }

    /// A criterion's text, where it is one of the engine's own.
    pub(super) fn criterion<'a>(self, id: &str, text: &'a str) -> &'a str {
        match (self, id) {
            (Self::French, "steps") => "toutes les étapes du plan sont terminées",
            (Self::French, "rto") => "temps de reprise dans l'objectif (RTO)",
            (Self::French, "rpo") => "perte de données dans l'objectif (RPO)",
            (Self::French, "production") => "rien n'a changé en production",
            (Self::French, "control") => "toute copie endommagée est refusée",
            (Self::French, "end") => "l'exercice va à son terme",
            (Self::French, "plan") => {
                "toutes les étapes du plan sont exécutées dans la copie, ou omises pour un motif indiqué"
            }
            _ => text,
        }
    }

    /// Why a step was left out of a drill, where it is one of the drill's own reasons.
    pub(super) fn left_out(self, text: &str) -> &str {
        let Some(why) = LeftOut::ALL.into_iter().find(|why| self == Self::French && why.why() == text) else {
            return text;
        };
        match why {
            LeftOut::Fence => "un exercice n'isole ni n'ouvre les sites de production",
            LeftOut::Names => "les noms de production mènent où ils mènent",
            LeftOut::Notify => "personne n'est averti d'une bascule de la production",
            LeftOut::Backup => "une sauvegarde de la copie se mêlerait à celles de la production",
            LeftOut::Compare => "ce que la production a conservé n'est pas dans la copie",
            LeftOut::Command => "un exercice n'exécute aucune commande destinée à une machine de production",
            LeftOut::Promotion => "une copie n'a pas de réplique à promouvoir",
            LeftOut::Person => "une personne la fait ou en décide",
            LeftOut::Pause => "elle attend quelque chose de la production",
            LeftOut::OtherSite => "elle agit sur un autre site que celui que le plan rétablit",
            LeftOut::Tagged => "elle porte l'étiquette `production`",
        }
    }
}
