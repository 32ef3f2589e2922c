//! A report as one page that needs nothing else: no script, no font, no picture from elsewhere.

use std::fmt::Write;

use super::{
    Language, RecoveryReport,
    document::{Block, Cell, Section, Tone, View},
    escape::html as escape,
    html_style::{REPORT_POLICY, REPORT_STYLE},
    timeline,
};

impl RecoveryReport {
    /// The report as a page, complete in itself, for the screen (light and dark) and for paper.
    #[must_use]
    pub fn html(&self, language: Language) -> String {
        let view = View::new(self, language);
        let sections = view.sections();
        let mut page = Page { out: String::with_capacity(64 << 10), title: "", view, captions: 0 };
        page.head();
        page.contents(&sections);
        page.out.push_str("<main id=\"main\">");
        for section in &sections {
            page.section(section);
        }
        page.out.push_str("</main>");
        let sum = self.sha256.as_deref().unwrap_or(view.words.draft);
        let _ = writeln!(
            page.out,
            "<footer><p>{} <code>{}</code> · <code>{}</code></p></footer></body></html>",
            view.words.report,
            escape(&self.id),
            escape(sum)
        );
        page.out
    }

    /// What a server must send as `Content-Security-Policy` with [`RecoveryReport::html`]: its own style and nothing else.
    /// The page says it of itself, too.
    #[must_use]
    pub fn html_policy() -> &'static str {
        REPORT_POLICY.as_str()
    }
}

struct Page<'a> {
    out: String,
    /// The section that is being written.
    title: &'static str,
    view: View<'a>,
    captions: usize,
}

impl Page<'_> {
    fn head(&mut self) {
        let (r, w, l) = (self.view.report, self.view.words, self.view.language);
        let title = escape(&self.view.title());
        let verdict = tag(&self.view.outcome(r.outcome));
        let _ = write!(
            self.out,
            "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\
             <title>{title} · {}</title><style>{}</style></head><body>\
             <a class=\"skip\" href=\"#main\">{}</a><header><p class=\"muted\">{} · <code>{}</code></p><h1>{title}</h1>\
             <p>{}{}{verdict} <span class=\"muted\">{}</span></p>",
            l.code(),
            escape(&REPORT_POLICY),
            escape(&r.id),
            REPORT_STYLE.as_str(),
            w.skip_link,
            w.report,
            escape(&r.id),
            w.verdict,
            l.colon(),
            l.instant(r.started_at),
        );
        if r.chain.is_none() {
            let _ = write!(self.out, "<p class=\"draft\">{}</p>", w.draft);
        }
        self.out.push_str("</header>");
    }

    fn contents(&mut self, sections: &[Section]) {
        let _ = write!(self.out, "<nav aria-label=\"{}\"><ol>", escape(self.view.words.contents));
        for section in sections {
            let _ = write!(self.out, "<li><a href=\"#{}\">{}</a></li>", section.anchor, escape(section.title));
        }
        self.out.push_str("</ol></nav>");
    }

    fn section(&mut self, section: &Section) {
        let (anchor, title) = (section.anchor, escape(section.title));
        self.title = section.title;
        let _ = write!(self.out, "<section aria-labelledby=\"{anchor}\"><h2 id=\"{anchor}\">{title}</h2>");
        for block in &section.blocks {
            self.block(block);
        }
        self.out.push_str("</section>");
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Figures(figures) => {
                self.out.push_str("<ul class=\"figures\">");
                for f in figures {
                    let _ = write!(
                        self.out,
                        "<li><span class=\"label\">{}</span><span class=\"value\">{}</span><span class=\"detail\">{}</span></li>",
                        escape(f.label),
                        tag(&f.value),
                        escape(&f.detail)
                    );
                }
                self.out.push_str("</ul>");
            }
            Block::Text(text) => {
                let _ = write!(self.out, "<p>{}</p>", tag(text));
            }
            Block::List(lines) => {
                self.out.push_str("<ul>");
                for line in lines {
                    let _ = write!(self.out, "<li>{}</li>", escape(line));
                }
                self.out.push_str("</ul>");
            }
            Block::Facts { rows, .. } => {
                self.out.push_str("<dl>");
                for (label, value) in rows {
                    let _ = write!(self.out, "<dt>{}</dt><dd>{}</dd>", escape(label), tag(value));
                }
                self.out.push_str("</dl>");
            }
            Block::Table { caption, head, rows } => self.table(caption, head, rows),
            Block::TimelineChart => {
                let (drawing, title) = (timeline::steps(self.view), self.view.words.timeline_chart);
                self.drawing(drawing, title);
            }
            Block::AvailabilityChart => {
                let (drawing, title) = (timeline::availability(self.view), self.view.words.availability_chart);
                self.drawing(drawing, title);
            }
            Block::Code { title, text } => {
                let _ = write!(self.out, "<h3>{}</h3><pre>{}</pre>", escape(title), escape(text));
            }
        }
    }

    fn drawing(&mut self, drawing: Option<String>, title: &str) {
        let Some(drawing) = drawing else { return };
        // What can be scrolled must be reached by the keyboard.
        let _ = write!(
            self.out,
            "<div class=\"scroll\" role=\"group\" aria-label=\"{}\" tabindex=\"0\">{drawing}</div>",
            escape(title)
        );
    }

    fn table(&mut self, caption: &str, head: &[&'static str], rows: &[Vec<Cell>]) {
        self.captions += 1;
        let n = self.captions;
        let _ = write!(
            self.out,
            "<div class=\"scroll\" role=\"group\" aria-labelledby=\"caption-{n}\" tabindex=\"0\"><table><caption id=\"caption-{n}\"{}>{}</caption><thead><tr>",
            // The heading right above says the same.
            if caption == self.title { " class=\"heard\"" } else { "" },
            escape(caption)
        );
        for (at, name) in head.iter().enumerate() {
            // A column of numbers has its head above the numbers.
            let number = rows.iter().any(|r| r.get(at).is_some_and(|c| c.tone == Tone::Number));
            let class = if number { " class=\"number\"" } else { "" };
            let _ = write!(self.out, "<th scope=\"col\"{class}>{}</th>", escape(name));
        }
        self.out.push_str("</tr></thead><tbody>");
        for row in rows {
            self.out.push_str("<tr>");
            for (at, cell) in row.iter().enumerate() {
                let class = if cell.tone == Tone::Number { " class=\"number\"" } else { "" };
                let shown = tag(cell);
                let _ = if at == 0 {
                    write!(self.out, "<th scope=\"row\"{class}>{shown}</th>")
                } else {
                    write!(self.out, "<td{class}>{shown}</td>")
                };
            }
            self.out.push_str("</tr>");
        }
        self.out.push_str("</tbody></table></div>");
    }
}

/// A cell's text as its tone wants it.
fn tag(cell: &Cell) -> String {
    let text = escape(&cell.text);
    match cell.tone {
        Tone::Plain | Tone::Number => text,
        Tone::Code => format!("<code>{text}</code>"),
        Tone::Good => format!("<span class=\"tag good\">{text}</span>"),
        Tone::Bad => format!("<span class=\"tag bad\">{text}</span>"),
        Tone::Unknown => format!("<span class=\"tag unknown\">{text}</span>"),
    }
}
