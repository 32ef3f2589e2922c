//! The frame of every page: its style, what browsers are told, the way to the other pages.

use std::{fmt::Write, sync::LazyLock};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};

use crate::{
    http::session::Visitor,
    report::{Language, STYLE, escape_html as escape, style_source},
};

/// What the dashboard has beside what reports have, too.
const OWN: &str = r".bar{display:flex;flex-wrap:wrap;gap:.4rem 1.2rem;align-items:baseline;border-bottom:1px solid var(--line);padding-bottom:.5rem}
.bar strong{font-size:1.05rem}.bar nav{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem}.bar form{margin-left:auto}
.bar a[aria-current]{font-weight:650;color:var(--fg);text-decoration-thickness:.15em}
button,input{font:inherit;color:inherit;background:var(--panel);border:1px solid var(--muted);border-radius:.4rem;padding:.3rem .7rem}
button{cursor:pointer}input{background:var(--bg);min-width:18rem;max-width:100%}
.live{border:2px solid var(--link);border-radius:.5rem;padding:.2rem 1rem 1rem;margin-top:1rem}
.live h2{border:0;margin-top:.7rem}
progress{width:100%;height:1rem;accent-color:var(--link)}
td ul{margin:0;padding-left:1.1rem}
.calendar svg{min-width:52rem}
.cut{stroke:var(--bg);stroke-width:2}
.day-none{fill:none;stroke:var(--line)}.ring{fill:none;stroke:var(--fg);stroke-width:2}.ring-bad{fill:none;stroke:var(--fg);stroke-width:2;stroke-dasharray:2 2}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;list-style:none;color:var(--muted);font-size:.9rem}
.key svg{display:inline-block;min-width:0;width:14px;height:14px;vertical-align:-2px;margin-right:.35rem}
@media (max-width:36rem){body{padding:.7rem .8rem 2rem}dl{grid-template-columns:1fr;gap:0}dt{margin-top:.5rem}
.stack thead{position:absolute;left:-999rem}.stack tr{display:block;border-bottom:2px solid var(--line);padding:.4rem 0}
.stack th,.stack td{display:block;border:0;padding:.12rem 0;text-align:left;white-space:normal}.stack td[data-label]::before{content:attr(data-label) ': ';color:var(--muted)}}
@media print{.bar form,.bar nav,.skip{display:none}tr,svg{break-inside:avoid}.scroll{overflow:visible}svg,.calendar svg{min-width:0}}
";

static LOOK: LazyLock<String> = LazyLock::new(|| format!("{STYLE}{OWN}"));

static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src {}; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        style_source(&LOOK)
    )
});

/// The style of every page but reports.
pub(crate) fn style() -> &'static str {
    LOOK.as_str()
}

/// The policy of every page but reports.
pub(crate) fn policy() -> &'static str {
    POLICY.as_str()
}

/// What a page is made for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) language: Language,
    /// The language was chosen in the address, and links keep it.
    pub(super) chosen: bool,
    pub(super) visitor: Option<Visitor>,
    /// The path, without what follows `?`.
    pub(super) path: String,
    pub(super) now: DateTime<Utc>,
}

impl Asked {
    /// A link to another page, in the language of this one.
    pub(super) fn link(&self, path: &str) -> String {
        if self.chosen { format!("{path}?lang={}", self.language.code()) } else { path.to_owned() }
    }

    pub(super) fn t<'a>(&self, english: &'a str, french: &'a str) -> &'a str {
        self.language.pick(english, french)
    }

    /// How long ago something was.
    pub(super) fn ago(&self, at: DateTime<Utc>) -> String {
        let span = self.language.span(coarse((self.now - at).num_seconds()));
        match self.language {
            Language::French => format!("il y a {span}"),
            _ => format!("{span} ago"),
        }
    }

    /// How long ago something was and its time, as markup.
    pub(super) fn when(&self, at: DateTime<Utc>) -> String {
        format!("{} <span class=\"muted\">{}</span>", self.ago(at), self.language.instant(at))
    }

    /// How long until something is.
    pub(super) fn until(&self, at: DateTime<Utc>) -> String {
        let left = (at - self.now).num_seconds();
        if left < 0 {
            let span = self.language.span(coarse(-left));
            return format!("{} {span}", self.t("overdue by", "en retard de"));
        }
        format!("{} {}", self.t("in", "dans"), self.language.span(coarse(left)))
    }

    /// A whole page around this content.
    pub(super) fn page(&self, title: &str, main: &str) -> Response {
        (StatusCode::OK, headers(), self.frame(title, main)).into_response()
    }

    /// A page that says why there is no other.
    pub(super) fn problem(&self, status: StatusCode, title: &str, text: &str) -> Response {
        let main = format!("<h1>{}</h1><p>{}</p>", escape(title), escape(text));
        (status, headers(), self.frame(title, &main)).into_response()
    }

    fn frame(&self, title: &str, main: &str) -> String {
        let code = self.language.code();
        let mut out = String::with_capacity(main.len() + 16_384);
        let _ = write!(
            out,
            "<!doctype html>\n<html lang=\"{code}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{} · Veza DR</title><link rel=\"icon\" href=\"data:,\"><style>{}</style>\
             <script src=\"/app.js\" defer></script></head><body><a class=\"skip\" href=\"#main\">{}</a>\
             <header class=\"bar\"><strong>Veza DR</strong><nav aria-label=\"{}\">",
            escape(title),
            style(),
            self.t("Skip to the content", "Aller au contenu"),
            self.t("Pages", "Pages"),
        );
        for (path, name) in [
            ("/", self.t("Readiness", "État de préparation")),
            ("/runs", self.t("Runs", "Exécutions")),
            ("/reports", self.t("Reports", "Rapports")),
        ] {
            let here = if self.path == path { " aria-current=\"page\"" } else { "" };
            let _ = write!(out, "<a href=\"{}\"{here}>{name}</a>", self.link(path));
        }
        let (other, name) = if self.language == Language::French { ("en", "English") } else { ("fr", "Français") };
        let _ = write!(
            out,
            "<a href=\"{}?lang={other}\" lang=\"{other}\" hreflang=\"{other}\">{name}</a></nav>",
            escape(&self.path)
        );
        if self.visitor == Some(Visitor::Cookie) {
            let leave = self.t("Sign out", "Se déconnecter");
            let _ =
                write!(out, "<form method=\"post\" action=\"/logout\"><button type=\"submit\">{leave}</button></form>");
        }
        let _ = writeln!(out, "</header><main id=\"main\">{main}</main></body></html>");
        out
    }
}

fn headers() -> [(header::HeaderName, &'static str); 5] {
    [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy()),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ]
}

/// No seconds where there are hours, no minutes where there are days: what nobody reads.
#[allow(clippy::cast_precision_loss, reason = "seconds of centuries fit")]
fn coarse(seconds: i64) -> f64 {
    let grain = match seconds.abs() {
        0..3600 => 1,
        3600..172_800 => 60,
        172_800.. => 3600,
        _ => 1,
    };
    (seconds / grain * grain) as f64
}

/// A word in a frame that says whether it is good, and says it in words, too.
pub(super) fn tag(class: &str, text: &str) -> String {
    format!("<span class=\"tag {class}\">{}</span>", escape(text))
}
