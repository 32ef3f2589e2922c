//! The engine's own sentences in another language. Records and journals hold them in English, with names and numbers put
//! in; here they are recognised by their form, and said again. What is not the engine's own (what an operator wrote, what
//! a server complained of) stays as it is.

use std::{borrow::Cow, sync::LazyLock};

use super::{Language, phrases_french::FRENCH};

/// What stands in a gap of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// `{}`: anything, as it is.
    Any,
    /// `{w}`: one word, as it is.
    Word,
    /// `{*}`: another sentence of the engine.
    Said,
    /// `{,}`: things with a comma in between, each said again where it is the engine's own.
    List,
}

#[derive(Debug)]
enum Piece {
    Text(&'static str),
    Gap(Gap),
}

#[derive(Debug)]
struct Form {
    from: Vec<Piece>,
    to: Vec<Piece>,
}

static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    FRENCH.iter().map(|(english, french)| Form { from: pieces(english), to: pieces(french) }).collect()
});

/// Sentences are nested at most this deep: what is deeper is somebody else's text.
const DEPTH: u32 = 6;

impl Language {
    /// A sentence of the engine in this language; any other text as it is.
    pub(super) fn say(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::English => Cow::Borrowed(text),
            Self::French => said(text, DEPTH).map_or(Cow::Borrowed(text), Cow::Owned),
        }
    }
}

/// One sentence, or several in a row.
fn said(text: &str, depth: u32) -> Option<String> {
    let text = text.trim();
    if let Some(one) = fitted(text, depth, false) {
        return Some(one);
    }
    // A sentence may have a semicolon of its own, so each is tried as an end.
    let row = [("; ", " ; "), (". ", ". ")].into_iter().find_map(|(mark, ours)| {
        text.match_indices(mark).find_map(|(at, _)| {
            // The full stop belongs to the sentence.
            let (first, rest) = (text[..at + mark.len() - 1].trim_end_matches(';'), &text[at + mark.len()..]);
            let first = one(first, depth, true)?;
            let rest = said(rest, depth).unwrap_or_else(|| rest.to_owned());
            Some(format!("{}{ours}{rest}", first.trim_end_matches('.')))
        })
    });
    // What ends with anything would take the sentences after it for a part of itself.
    row.or_else(|| fitted(text, depth, true))
}

fn one(text: &str, depth: u32, open: bool) -> Option<String> {
    fitted(text, depth, false).or_else(|| if open { fitted(text, depth, true) } else { None })
}

/// By the forms that have an end of their own, or also by those that are `open` to whatever comes last.
fn fitted(text: &str, depth: u32, open: bool) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    FORMS.iter().filter(|form| open || !form.is_open()).find_map(|form| form.fit(text, depth, open))
}

impl Form {
    fn is_open(&self) -> bool {
        matches!(self.from.last(), Some(Piece::Gap(Gap::Any | Gap::List)))
    }

    fn fit(&self, text: &str, depth: u32, open: bool) -> Option<String> {
        let mut found = Vec::new();
        if !fill(&self.from, text, (depth, open), &mut found) {
            return None;
        }
        let mut found = found.into_iter();
        let each = self.to.iter().map(|piece| match piece {
            Piece::Text(text) => Some((*text).to_owned()),
            Piece::Gap(_) => found.next(),
        });
        each.collect()
    }
}

/// Fits `text` to the pieces, shortest gaps first; what stands in the gaps is in `found`, said again where it has to be.
fn fill(pieces: &[Piece], text: &str, how: (u32, bool), found: &mut Vec<String>) -> bool {
    let Some((piece, rest)) = pieces.split_first() else { return text.is_empty() };
    let gap = match piece {
        Piece::Text(wanted) => {
            return text.strip_prefix(wanted).is_some_and(|text| fill(rest, text, how, found));
        }
        Piece::Gap(gap) => *gap,
    };
    let before = found.len();
    let mut try_at = |end: usize| {
        found.truncate(before);
        let Some(inside) = gap.take(&text[..end], how) else { return false };
        found.push(inside);
        fill(rest, &text[end..], how, found)
    };
    match rest.first() {
        Some(Piece::Text(next)) => text.match_indices(next).any(|(at, _)| at > 0 && try_at(at)),
        _ => !text.is_empty() && try_at(text.len()),
    }
}

impl Gap {
    fn take(self, text: &str, (depth, open): (u32, bool)) -> Option<String> {
        match self {
            Self::Any => Some(text.to_owned()),
            Self::Word => (!text.contains(char::is_whitespace)).then(|| text.to_owned()),
            Self::Said => one(text, depth, open),
            Self::List => {
                let each = text.split(", ").map(|each| one(each, depth, open).unwrap_or_else(|| each.to_owned()));
                Some(each.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn pieces(form: &'static str) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut rest = form;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        if !before.is_empty() {
            all.push(Piece::Text(before));
        }
        all.push(Piece::Gap(match name {
            "w" => Gap::Word,
            "*" => Gap::Said,
            "," => Gap::List,
            _ => Gap::Any,
        }));
        rest = after;
    }
    if !rest.is_empty() {
        all.push(Piece::Text(rest));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_the_same_gaps_in_both_languages_and_text_between_two() {
        for (n, form) in FORMS.iter().enumerate() {
            let gaps = |pieces: &[Piece]| {
                let only = pieces.iter().filter_map(|p| match p {
                    Piece::Gap(gap) => Some(*gap),
                    Piece::Text(_) => None,
                });
                only.collect::<Vec<_>>()
            };
            assert_eq!(gaps(&form.from), gaps(&form.to), "{:?}", FRENCH[n]);
            let beside = form.from.windows(2).any(|w| matches!(w, [Piece::Gap(_), Piece::Gap(_)]));
            assert!(!beside && form.from.iter().any(|p| matches!(p, Piece::Text(_))), "{:?}", FRENCH[n]);
        }
    }

    #[test]
    fn sentences_of_the_engine_are_said_again_with_their_names_and_numbers() {
        let french = |text| Language::French.say(text).into_owned();
        assert_eq!(french("backup b1 in store local is whole"), "la sauvegarde b1 du dépôt local est intègre");
        assert_eq!(
            french("database equal (42000 records), redis equal (200 records)"),
            "database identique (42000 enregistrements), redis identique (200 enregistrements)"
        );
        assert_eq!(
            french(
                "redis: unknown: production could not be counted; database: counted on the old site by run r1; x: y"
            ),
            "redis : inconnu : la production n'a pu être comptée ; database : compté sur l'ancien site par l'exécution r1 ; x: y"
        );
        assert_eq!(
            french("2 of 5 services run on standby; and more"),
            "2 services sur 5 fonctionnent sur standby ; and more"
        );
        assert_eq!(
            french(
                "Rehearsal of scenario database from backups, in isolation. Plan own is followed; the disaster takes the data of database."
            ),
            "Répétition du scénario database à partir des sauvegardes, en isolation. Le plan own est suivi ; le sinistre emporte les données de database."
        );
        assert_eq!(
            french("standby is backed up: b2 in local; database: unknown: it was not looked at after the disaster"),
            "standby est sauvegardé : b2 dans local ; database : inconnu : il n'a pas été examiné après le sinistre"
        );
        // What somebody else said is not touched, nor is anything in English.
        for text in ["", "FATAL: role \"x\" does not exist", "the cat is on the mat; it sleeps", "; ", ": "] {
            assert_eq!(french(text), text);
            assert_eq!(Language::English.say(text), text);
        }
        assert_eq!(Language::English.say("backup b1 in store local is whole"), "backup b1 in store local is whole");
    }
}
