//! Takes a document apart so that no key of it can be lost.
//!
//! A mapping is open only inside [`Field::fields`], which refuses afterwards what was not taken; and what is taken is a
//! [`Field`], which the compiler wants to be used.

use std::ops::RangeInclusive;

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::{Note, Refusal};
use crate::cli::alike;

/// How like a known key an unknown one has to be (Jaro-Winkler) to be taken for a slip.
const NEAR: f64 = 0.9;

/// Up to so many known keys are listed when an unknown one is like none of them.
const FEW: usize = 12;

/// What is said about a document while it is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    notes: Vec<Note>,
    refusals: Vec<Refusal>,
}

impl Report {
    /// Says what happens in place of what a field asks for.
    pub(super) fn note(&mut self, field: &str, happens: impl Into<String>) {
        self.notes.push(Note { field: field.to_owned(), happens: happens.into() });
    }

    /// Says why a field can't be converted.
    pub(super) fn refuse(&mut self, field: &str, why: impl Into<String>) {
        self.refusals.push(Refusal { field: field.to_owned(), why: why.into() });
    }

    /// The notes, when nothing was refused.
    pub(super) fn finish(self) -> Result<Vec<Note>, Vec<Refusal>> {
        if self.refusals.is_empty() { Ok(self.notes) } else { Err(self.refusals) }
    }

    /// Whether nothing was refused so far.
    pub(super) fn is_clean(&self) -> bool {
        self.refusals.is_empty()
    }
}

/// A value with its path.
#[derive(Debug)]
#[must_use = "a field that is taken has to be converted, noted or refused"]
pub(super) struct Field<'a> {
    path: String,
    value: &'a Value,
}

/// The open mapping: the keys that nobody took yet.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    path: String,
    left: Vec<(String, Field<'a>)>,
    asked: Vec<&'static str>,
}

impl<'a> Field<'a> {
    /// The document as a whole.
    pub(super) fn document(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// There is no counterpart: this happens instead.
    pub(super) fn note(self, report: &mut Report, happens: impl Into<String>) {
        report.note(&self.path, happens);
    }

    /// It can't be converted.
    pub(super) fn refuse(self, report: &mut Report, why: impl Into<String>) {
        report.refuse(&self.path, why);
    }

    /// It is understood and asks for nothing.
    #[expect(clippy::unused_self, reason = "takes the field, as the other ways to be done with it do")]
    pub(super) fn understood(self) {}

    /// Reads a mapping with fixed keys, in Azure's snake case or REST's camel case; what `body` leaves is refused.
    pub(super) fn fields<T>(
        self,
        report: &mut Report,
        body: impl FnOnce(&mut Fields<'a>, &mut Report) -> T,
    ) -> Option<T> {
        let mut fields = Fields { path: self.path.clone(), left: Vec::new(), asked: Vec::new() };
        fields.add(self, report)?;
        let read = body(&mut fields, report);
        fields.finish(report);
        Some(read)
    }

    /// The entries of a mapping whose keys are the user's own.
    pub(super) fn entries(self, report: &mut Report) -> Vec<(&'a str, Field<'a>)> {
        let Value::Object(map) = self.value else {
            self.refuse(report, "must be a mapping, as KEY: VALUE");
            return Vec::new();
        };
        let entries = map.iter().map(|(key, value)| {
            let path = if key.contains('.') { format!("{}[{key}]", self.path) } else { join(&self.path, key) };
            (key.as_str(), Field { path, value })
        });
        entries.collect()
    }

    /// The items of a list.
    pub(super) fn items(self, report: &mut Report) -> Vec<Field<'a>> {
        let Value::Array(items) = self.value else {
            self.refuse(report, "must be a list");
            return Vec::new();
        };
        let path = &self.path;
        items.iter().enumerate().map(|(at, value)| Field { path: format!("{path}[{at}]"), value }).collect()
    }

    /// Text; numbers are taken as they are written.
    pub(super) fn text(self, report: &mut Report) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                self.refuse(report, "must be text");
                None
            }
        }
    }

    /// The text of a value that may be written as text, number or flag, and is text to whoever reads it.
    pub(super) fn written(self, report: &mut Report) -> Option<String> {
        match self.value {
            Value::Null => Some(String::new()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => self.text(report),
        }
    }

    /// Text that `is_valid` takes; `shape` says in words what that is.
    pub(super) fn text_like(self, report: &mut Report, shape: &str, is_valid: impl Fn(&str) -> bool) -> Option<String> {
        let path = self.path.clone();
        let text = self.text(report)?;
        if is_valid(&text) {
            return Some(text);
        }
        report.refuse(&path, format!("is {text:?}; it must be {shape}"));
        None
    }

    /// A whole number in a range, or the same as text.
    pub(super) fn whole(self, report: &mut Report, range: &RangeInclusive<i64>) -> Option<i64> {
        let number = match self.value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let found = number.filter(|number| range.contains(number));
        if found.is_none() {
            let why = format!("is {}; it must be {}", self.shown(), span(range));
            self.refuse(report, why);
        }
        found
    }

    /// Whole seconds in a range, as a number or as REST writes them: `PT10S`.
    pub(super) fn seconds(self, report: &mut Report, range: &RangeInclusive<i64>) -> Option<i64> {
        self.duration(report, range, "seconds", |duration| (duration.subsec_nanos() == 0).then(|| duration.as_secs()))
    }

    /// Milliseconds in a range, as a number or as REST writes them: `PT0.5S`.
    pub(super) fn milliseconds(self, report: &mut Report, range: &RangeInclusive<i64>) -> Option<i64> {
        self.duration(report, range, "milliseconds", |duration| i64::try_from(duration.as_millis()).ok())
    }

    fn duration(
        self,
        report: &mut Report,
        range: &RangeInclusive<i64>,
        unit: &str,
        count: impl Fn(SignedDuration) -> Option<i64>,
    ) -> Option<i64> {
        let Some(text) = self.value.as_str().filter(|text| text.starts_with(['P', 'p'])) else {
            return self.whole(report, range);
        };
        let found = text.parse().ok().and_then(count).filter(|number| range.contains(number));
        if found.is_none() {
            let why = format!("is {text:?}; it must be a duration in {unit}, {}", span(range));
            self.refuse(report, why);
        }
        found
    }

    /// True or false, in any of YAML's old spellings.
    pub(super) fn flag(self, report: &mut Report) -> Option<bool> {
        let found = match self.value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => None,
            },
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        };
        if found.is_none() {
            let why = format!("is {}; it must be true or false", self.shown());
            self.refuse(report, why);
        }
        found
    }

    /// One of several words, whatever their case and their `_`.
    pub(super) fn choice<T: Copy>(self, report: &mut Report, words: &[(&str, T)]) -> Option<T> {
        let plain = |text: &str| text.replace(['_', '-', ' '], "").to_ascii_lowercase();
        let text = self.value.as_str().map(plain);
        let found = words.iter().find(|(word, _)| text.as_deref() == Some(plain(word).as_str()));
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let why = format!("is {}; it must be {}", self.shown(), words.join(" or "));
            self.refuse(report, why);
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// The value for a message: what is long or has parts is only named.
    fn shown(&self) -> String {
        match self.value {
            Value::Object(_) => "a mapping".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            other => other.to_string(),
        }
    }
}

impl<'a> Fields<'a> {
    /// Adds the keys of a mapping.
    fn add(&mut self, of: Field<'a>, report: &mut Report) -> Option<()> {
        let Value::Object(map) = of.value else {
            of.refuse(report, "must be a mapping, as KEY: VALUE");
            return None;
        };
        self.add_entries(&of.path, map, report);
        Some(())
    }

    fn add_entries(&mut self, path: &str, map: &'a Map<String, Value>, report: &mut Report) {
        for (key, value) in map {
            let field = Field { path: join(path, key), value };
            let name = snake(key);
            if let Some((_, other)) = self.left.iter().find(|(other, _)| *other == name) {
                let why = format!("says the same as {}; leave one of them out", other.path);
                field.refuse(report, why);
            } else {
                self.left.push((name, field));
            }
        }
    }

    /// Reads the keys of the mapping `name` as if they were here: REST keeps most of a resource below `properties`.
    pub(super) fn absorb(&mut self, name: &'static str, report: &mut Report) {
        if let Some(inner) = self.take(name) {
            // A refusal says what is wrong; there is nothing more to read then.
            let _ = self.add(inner, report);
        }
    }

    /// Takes a key. One without a value (`tags:`) says nothing and counts as not written.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Field<'a>> {
        if !self.asked.contains(&name) {
            self.asked.push(name);
        }
        let at = self.left.iter().position(|(other, _)| other == name)?;
        let (_, field) = self.left.swap_remove(at);
        (!field.value.is_null()).then_some(field)
    }

    /// Takes a key that has several names; more than one of them is refused.
    pub(super) fn take_any(&mut self, names: &[&'static str], report: &mut Report) -> Option<Field<'a>> {
        let mut found: Option<Field<'a>> = None;
        for name in names {
            let Some(field) = self.take(name) else { continue };
            match &found {
                Some(first) => {
                    let why = format!("says the same as {}; leave one of them out", first.path);
                    field.refuse(report, why);
                }
                None => found = Some(field),
            }
        }
        found
    }

    /// Whether a key is there that nobody took yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(other, field)| other == name && !field.value.is_null())
    }

    /// The value of a key, which stays to be taken.
    pub(super) fn look(&self, name: &str) -> Option<&'a Value> {
        self.left.iter().find(|(other, _)| other == name).map(|(_, field)| field.value)
    }

    /// Takes every key that `is_wanted` names, whatever it is.
    pub(super) fn take_where(&mut self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, Field<'a>)> {
        let (taken, left) = std::mem::take(&mut self.left).into_iter().partition(|(name, _)| is_wanted(name));
        self.left = left;
        taken
    }

    /// The path of a key of this mapping, whether it is there or not.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Refuses the mapping because a key is missing.
    pub(super) fn missing(&self, key: &str, report: &mut Report, what: &str) {
        report.refuse(&self.path_of(key), format!("is missing; {what}"));
    }

    /// Refuses what is left.
    fn finish(self, report: &mut Report) {
        let mut left = self.left;
        left.sort_by(|(_, one), (_, other)| one.path.cmp(&other.path));
        for (name, field) in left {
            let near = alike::most(&name, self.asked.iter().copied(), NEAR);
            let why = match near {
                Some(known) => format!("unknown field; did you mean {known}?"),
                None if self.asked.len() > FEW => "unknown field".to_owned(),
                None => {
                    let mut known = self.asked.clone();
                    known.sort_unstable();
                    format!("unknown field; known here are {}", known.join(", "))
                }
            };
            field.refuse(report, why);
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn span(range: &RangeInclusive<i64>) -> String {
    let (least, most) = (range.start(), range.end());
    if least == most { least.to_string() } else { format!("a whole number from {least} to {most}") }
}

/// `scoringScript` → `scoring_script`; what is in snake case stays.
pub(super) fn snake(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
