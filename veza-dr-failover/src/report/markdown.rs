//! A report as Markdown.

use std::fmt::Write;

use super::{
    Language, RecoveryReport,
    document::{Block, Cell, Tone, View},
    escape::markdown as escape,
};

impl RecoveryReport {
    /// The report as a Markdown document (with the tables of GitHub's flavour).
    #[must_use]
    pub fn markdown(&self, language: Language) -> String {
        let view = View::new(self, language);
        let mut out = String::new();
        let verdict = view.outcome(self.outcome).text.to_uppercase();
        let _ = writeln!(out, "# {}\n", escape(&view.title()));
        let _ = writeln!(
            out,
            "**{}{}{}** · `{}` · {}\n",
            view.words.verdict,
            language.colon(),
            verdict,
            code(&self.id),
            language.instant(self.started_at)
        );
        if self.chain.is_none() {
            let _ = writeln!(out, "> {}\n", view.words.draft);
        }
        for section in view.sections() {
            let _ = writeln!(out, "## {}\n", section.title);
            for block in &section.blocks {
                write_block(&mut out, block, view);
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }
}

fn write_block(out: &mut String, block: &Block, view: View<'_>) {
    match block {
        Block::Figures(figures) => {
            let rows = figures.iter().map(|f| vec![f.label.into(), f.value.clone(), Cell::new(&f.detail)]);
            table(out, &[view.words.measure, view.words.actual, view.words.target], &rows.collect::<Vec<_>>());
        }
        Block::Text(text) => {
            let _ = writeln!(out, "{}\n", cell(text));
        }
        Block::List(lines) => {
            for line in lines {
                let _ = writeln!(out, "- {}", escape(line));
            }
            out.push('\n');
        }
        Block::Facts { rows, .. } => {
            for (label, value) in rows {
                let _ = writeln!(out, "- {label}{}{}", view.language.colon(), cell(value));
            }
            out.push('\n');
        }
        Block::Table { caption, head, rows } => {
            let _ = writeln!(out, "*{}*\n", escape(caption));
            table(out, head, rows);
        }
        // The tables beside them say the same.
        Block::TimelineChart | Block::AvailabilityChart => {}
        Block::Code { title, text } => {
            // A fence that is longer than any within.
            let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
            let fence = "`".repeat(longest.max(2) + 1);
            let _ = writeln!(out, "### {}\n\n{fence}json\n{text}\n{fence}\n", escape(title));
        }
    }
}

fn table(out: &mut String, head: &[&'static str], rows: &[Vec<Cell>]) {
    let _ = writeln!(out, "| {} |", head.join(" | "));
    let _ = writeln!(out, "|{}", "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(cell).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out.push('\n');
}

fn cell(cell: &Cell) -> String {
    match cell.tone {
        Tone::Code => format!("`{}`", code(&cell.text)),
        Tone::Bad | Tone::Unknown if !cell.text.is_empty() => format!("**{}**", escape(&cell.text)),
        _ => escape(&cell.text),
    }
}

/// Text between single back-quotes, also within a table.
fn code(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '`' => '\'',
            '|' => '¦',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}
