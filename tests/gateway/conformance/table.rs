//! The table as it is written in `table.yaml`.

use std::collections::BTreeMap;
use std::fmt::Write;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

const TABLE: &str = include_str!("table.yaml");

/// Cases that share a gateway.
pub struct Group {
    pub endpoint: Settings,
    pub cases: Vec<Case>,
}

/// What is special about the endpoint of a group.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub weight: u32,
    pub max_bytes: u32,
    pub requests_per_second: u32,
    pub timeout_ms: u32,
    pub concurrent: u32,
    pub queue_ms: u32,
    pub scoring_path: String,
    pub instances: Instances,
    /// Requests that work or wait all the time.
    pub busy: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            weight: 100,
            max_bytes: 1_000_000,
            requests_per_second: 1_000_000,
            timeout_ms: 60_000,
            concurrent: 100,
            queue_ms: 60_000,
            scoring_path: "/predict".to_owned(),
            instances: Instances::One,
            busy: 0,
        }
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    One,
    None,
    Nobody,
}

/// A request, what the model does with it, and what comes of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub only: Option<u8>,
    pub method: String,
    pub path: String,
    pub version: String,
    pub host: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, Option<String>>,
    pub body: String,
    pub size: Option<usize>,
    #[serde(default)]
    pub chunked: bool,
    pub model: Option<Model>,

    pub code: u16,
    pub phrase: String,
    pub deployment: Option<String>,
    pub text: Option<String>,
    pub error: Option<String>,
    #[serde(default)]
    pub cut: bool,
    #[serde(default)]
    pub has: BTreeMap<String, Values>,
    #[serde(default)]
    pub lacks: Vec<String>,

    pub saw: Option<Vec<String>>,
    pub saw_body: Option<String>,
    #[serde(default)]
    pub saw_has: BTreeMap<String, String>,
    #[serde(default)]
    pub saw_lacks: Vec<String>,
}

impl Case {
    pub fn body(&self) -> String {
        self.size.map_or_else(|| self.body.clone(), |size| "x".repeat(size))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Values {
    One(String),
    Several(Vec<String>),
}

impl Values {
    pub fn all(&self) -> Vec<&str> {
        match self {
            Self::One(value) => vec![value],
            Self::Several(values) => values.iter().map(String::as_str).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Model {
    Bytes(String),
    Answer(ModelAnswer),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelAnswer {
    #[serde(default = "ok")]
    status: u16,
    phrase: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Values>,
    #[serde(default = "a_word")]
    body: String,
    size: Option<usize>,
    #[serde(default)]
    framing: Framing,
}

const fn ok() -> u16 {
    200
}

fn a_word() -> String {
    "word".to_owned()
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Framing {
    #[default]
    Length,
    Chunked,
    Close,
}

impl Model {
    /// What goes over the wire.
    pub fn bytes(&self, method: &str) -> Vec<u8> {
        match self {
            Self::Bytes(text) => text.clone(),
            Self::Answer(answer) => answer.text(method),
        }
        .into_bytes()
    }
}

impl ModelAnswer {
    fn text(&self, method: &str) -> String {
        let usual = StatusCode::from_u16(self.status).unwrap().canonical_reason();
        let phrase = self.phrase.as_deref().or(usual).unwrap_or_default();
        let mut text = format!("HTTP/1.1 {} {phrase}\r\n", self.status);
        for (name, values) in &self.headers {
            for value in values.all() {
                write!(text, "{name}: {value}\r\n").unwrap();
            }
        }
        let body = self.size.map_or_else(|| self.body.clone(), |size| "x".repeat(size));
        let sent = if method == "HEAD" { "" } else { &body };
        match self.framing {
            Framing::Length => format!("{text}content-length: {}\r\n\r\n{sent}", body.len()),
            Framing::Chunked => {
                format!("{text}transfer-encoding: chunked\r\n\r\n{:x}\r\n{sent}\r\n0\r\n\r\n", body.len())
            }
            Framing::Close => format!("{text}\r\n{sent}<close>"),
        }
    }
}

fn groups() -> Vec<Map<String, Value>> {
    serde_saphyr::from_str(TABLE).unwrap()
}

/// The names of all groups.
pub fn rows() -> Vec<String> {
    groups().iter().map(|group| group["row"].as_str().unwrap().to_owned()).collect()
}

/// The group of this name.
pub fn group(row: &str) -> Group {
    let mut group = groups().into_iter().find(|group| group["row"] == row).unwrap();
    group.remove("row");
    let endpoint = group.remove("endpoint").map(|settings| serde_json::from_value(settings).unwrap());
    let cases = group.remove("cases").unwrap();
    let usual = serde_json::json!({
        "method": "POST", "path": "/score", "version": "1.1", "host": "iris.default", "body": "{}",
    });
    let mut shared = merged(usual, group.remove("answer").unwrap());
    shared = merged(shared, Value::Object(group));
    let case = |case: &Value| {
        let mut case = merged(shared.clone(), case.clone());
        case.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let read = serde_json::from_value(case.clone()).map_err(|error| format!("{error} in {case}"));
        read.unwrap()
    };
    Group { endpoint: endpoint.unwrap_or_default(), cases: cases.as_array().unwrap().iter().map(case).collect() }
}

/// `over` laid over `under`, in maps name by name.
fn merged(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (name, value) in over {
                let below = under.remove(&name).unwrap_or_default();
                under.insert(name, merged(below, value));
            }
            Value::Object(under)
        }
        (_, over) => over,
    }
}
