//! Somebody takes care.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use veza_dr_core::{Error, ErrorKind, Result};

use super::{
    book::Book,
    desk::Desk,
    evaluate::Look,
    facts::Facts,
    record::{Entry, Record},
};

/// What an acknowledgement did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Acknowledged {
    /// The incident or alert.
    pub id: String,
    /// Until when nobody is called, for an incident.
    pub until: Option<DateTime<Utc>>,
    /// The alert is closed by it: it was about something that has ended.
    pub closed: bool,
    /// It was over already; nothing was changed.
    pub was_over: bool,
}

impl Desk {
    /// Takes note that somebody takes care. Of an incident: nobody is called until the time that the policy gives has
    /// passed, then again if it still goes on. Of an alert about a recovery that has ended: it is over. `id` may be the
    /// name of a message about it.
    ///
    /// # Errors
    /// `NotFound` when there is no such incident or alert; what is open is named.
    pub fn acknowledge(&self, id: &str, who: &str) -> Result<Acknowledged> {
        let id = id.split('.').next().unwrap_or(id).to_owned();
        let hold = TimeDelta::from_std(self.settings.policy.acknowledged_for).unwrap_or(TimeDelta::MAX);
        let done = self.change(|book, now| {
            if book.incident.as_ref().is_some_and(|i| i.incident.id == id) {
                let until = now.checked_add_signed(hold).unwrap_or(DateTime::<Utc>::MAX_UTC);
                let entry = acknowledged(&id, who, Some(until), now);
                book.add(&entry);
                let done = Acknowledged { id: id.clone(), until: Some(until), closed: false, was_over: false };
                return (vec![entry], Ok(done));
            }
            if let Some(alarm) = book.alarms.get(&id) {
                // A fact of the past cannot change any more: to have seen it ends it.
                let closed = alarm.raised.kind.is_some();
                let entry = acknowledged(&id, who, None, now);
                book.add(&entry);
                let mut entries = vec![entry];
                if closed {
                    let facts = Facts::at(now);
                    let mut look = Look { settings: &self.settings, book, facts: &facts, entries: Vec::new() };
                    look.end(&id, &format!("{who} took note"), true);
                    entries.extend(look.entries);
                }
                return (entries, Ok(Acknowledged { id: id.clone(), until: None, closed, was_over: false }));
            }
            let over =
                book.over.iter().any(|a| a.raised.id == id) || book.past.iter().any(|(i, _)| i.incident.id == id);
            if over {
                return (Vec::new(), Ok(Acknowledged { id: id.clone(), until: None, closed: false, was_over: true }));
            }
            (Vec::new(), Err(unknown(&id, book)))
        })??;
        self.more.notify_one();
        Ok(done)
    }
}

fn acknowledged(id: &str, who: &str, until: Option<DateTime<Utc>>, at: DateTime<Utc>) -> Entry {
    let record = Record::Acknowledged { id: id.to_owned(), who: who.to_owned(), until };
    Entry { at, record, message: None }
}

fn unknown(id: &str, book: &Book) -> Error {
    let open: Vec<&str> =
        book.incident.iter().map(|i| i.incident.id.as_str()).chain(book.alarms.keys().map(String::as_str)).collect();
    let help = match open.as_slice() {
        [] => "nothing is open".to_owned(),
        open => format!("open are {}", open.join(", ")),
    };
    Error::new(ErrorKind::NotFound, format!("there is no incident and no alert {id}")).with_help(help)
}
