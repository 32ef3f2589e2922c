//! A page taken apart: strict about what browsers forgive, so that what they guess never matters.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::{BTreeMap, BTreeSet};

const VOID: [&str; 9] = ["meta", "link", "br", "hr", "img", "input", "line", "rect", "circle"];

/// The elements of a page and its text.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) elements: Vec<(String, BTreeMap<String, String>)>,
    /// All text but that of styles, white space put together.
    pub(crate) text: String,
}

impl Page {
    /// Takes a page apart. Panics where tags are not closed in order, an attribute is not quoted, or a bare `<` or `&`
    /// stands in text.
    pub(crate) fn parse(page: &str) -> Self {
        let mut rest = page.strip_prefix("<!doctype html>").expect("it begins with a doctype");
        let (mut elements, mut text, mut open) = (Vec::new(), String::new(), Vec::<String>::new());
        while let Some(start) = rest.find('<') {
            text.push_str(&plain(&rest[..start]));
            text.push(' ');
            rest = &rest[start + 1..];
            let end = rest.find('>').unwrap_or_else(|| panic!("a tag without an end: {:.80}", rest));
            let tag = &rest[..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "tags are closed in order, before {rest:.80}");
                continue;
            }
            let (name, attributes) = attributes(tag);
            if name == "style" || name == "script" {
                let end = rest.find("</").expect("a style has an end");
                rest = &rest[end..];
            }
            if !VOID.contains(&name.as_str()) {
                open.push(name.clone());
            }
            elements.push((name, attributes));
        }
        assert!(open.is_empty(), "{open:?} stay open");
        text.push_str(&plain(rest));
        let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        // A tag around a word is no word's end.
        let text = text.replace(" :", ":").replace(" ,", ",");
        Self { elements, text }
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.elements.iter().filter(|(n, _)| n == name).count()
    }

    /// What can be told without a browser: language, title, one main heading, no heading level left out, captions and
    /// scopes of tables, names of drawings and controls, links and labels that lead somewhere.
    pub(crate) fn is_accessible(&self, language: &str) {
        let of = |name: &str| self.elements.iter().filter(|(n, _)| n == name).map(|(_, a)| a).collect::<Vec<_>>();
        assert_eq!(of("html")[0].get("lang").map(String::as_str), Some(language));
        assert!(self.count("title") >= 1 && self.count("h1") == 1 && self.count("main") == 1);
        let mut ids = BTreeSet::new();
        for (name, attributes) in &self.elements {
            if let Some(id) = attributes.get("id") {
                assert!(ids.insert(id.as_str()), "id {id} of {name} is there twice");
            }
        }
        let mut level = 1;
        for (name, attributes) in &self.elements {
            if let Some(n) = name.strip_prefix('h').and_then(|n| n.parse::<u8>().ok()) {
                assert!(n <= level + 1, "heading {name} after level {level}");
                level = n;
            }
            for key in ["aria-labelledby", "aria-describedby", "for"] {
                for id in attributes.get(key).map(String::as_str).unwrap_or_default().split_whitespace() {
                    assert!(ids.contains(id), "{key} of {name} leads to {id}, which is nowhere");
                }
            }
            if let Some(anchor) = attributes.get("href").and_then(|h| h.strip_prefix('#')) {
                assert!(ids.contains(anchor), "link to #{anchor}, which is nowhere");
            }
            if name == "th" {
                assert!(attributes.contains_key("scope"), "a head of a table without scope");
            }
            if name == "svg" && attributes.get("aria-hidden").map(String::as_str) != Some("true") {
                assert_eq!(attributes.get("role").map(String::as_str), Some("img"));
                assert!(attributes.contains_key("aria-labelledby"));
            }
        }
        assert_eq!(self.count("table"), self.count("caption"), "every table has a caption");
        assert_eq!(
            self.count("input"),
            self.count("label") + of("input").iter().filter(|a| a.get("type").is_some_and(|t| t == "hidden")).count()
        );
    }
}

/// The text behind entities.
fn plain(text: &str) -> String {
    assert!(!text.contains('>'), "a bare > in {text:.80}");
    for part in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|e| part.starts_with(e));
        assert!(known, "a bare & before {part:.40}");
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}

fn attributes(tag: &str) -> (String, BTreeMap<String, String>) {
    let tag = tag.strip_suffix('/').unwrap_or(tag);
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "a tag `{name:.60}`");
    let mut found = BTreeMap::new();
    rest = rest.trim();
    while !rest.is_empty() {
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let key = &rest[..end];
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "attribute `{key}` in {tag:.80}");
        rest = &rest[end..];
        let mut value = "";
        if let Some(quoted) = rest.strip_prefix("=\"") {
            let end = quoted.find('"').unwrap_or_else(|| panic!("no quote ends {tag:.80}"));
            value = &quoted[..end];
            rest = &quoted[end + 1..];
        }
        assert!(found.insert(key.to_owned(), plain(value)).is_none(), "attribute {key} twice in {tag:.80}");
        rest = rest.trim_start();
    }
    (name.to_owned(), found)
}
