//! Real texts of runtimes, registries, schedulers, kubelets and servers, with the cause that each tells: `tests/corpus`.

use serde::Deserialize;

use crate::catalogue::Reason;
use crate::plan::diagnose::taint::{Standing, Taints};
use crate::plan::diagnose::{end, eviction, image, refusal, schedule, start, tail, volume};

/// The files, each of one kind of text.
const FILES: [&str; 7] = [
    include_str!("../../../tests/corpus/end.jsonl"),
    include_str!("../../../tests/corpus/evicted.jsonl"),
    include_str!("../../../tests/corpus/mount.jsonl"),
    include_str!("../../../tests/corpus/pull.jsonl"),
    include_str!("../../../tests/corpus/refused.jsonl"),
    include_str!("../../../tests/corpus/schedule.jsonl"),
    include_str!("../../../tests/corpus/start.jsonl"),
];

/// A line of the corpus.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    source: String,
    kind: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    waiting: String,
    #[serde(default)]
    terminated: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    initializer_done: bool,
    #[serde(default)]
    secrets_missing: Vec<String>,
    #[serde(default)]
    taints: String,
    #[serde(default)]
    adversarial: bool,
    expect: String,
}

/// What the nodes show beside the scheduler's text.
fn taints(standing: &str) -> Option<Taints> {
    let (nodes, standing) = match standing {
        "" => return None,
        "behind" => (0, Standing::Elsewhere),
        "elsewhere" => (usize::MAX, Standing::Elsewhere),
        "selected" => (usize::MAX, Standing::Selected),
        "passing" => (usize::MAX, Standing::Passing),
        other => panic!("{other}"),
    };
    Some(Taints { nodes, standing })
}

fn found(line: &Line) -> Option<Reason> {
    let message = line.message.as_str();
    match line.kind.as_str() {
        "pull" => Some(image::cause(&line.waiting, message, &line.secrets_missing).0),
        "schedule" => schedule::cause(message, taints(&line.taints)),
        "refused" => refusal::cause(message).map(|(reason, _)| reason),
        "mount" => {
            assert!(!line.event.is_empty());
            Some(volume::cause(message, false))
        }
        "start" if line.terminated.is_empty() => start::cause(&line.waiting, message),
        "start" => end::cause(line.exit_code, &line.terminated, message).map(|(reason, _)| reason),
        "end" => end::cause(line.exit_code, &line.reason, &tail::plain(message)).map(|(reason, _)| reason),
        "evicted" => eviction::cause(&line.reason, message, line.initializer_done),
        kind => panic!("{kind} is no kind of text"),
    }
}

#[test]
fn real_texts_are_told_apart() {
    let mut wrong = Vec::new();
    let (mut plain, mut adversarial) = (0, 0);
    for file in FILES {
        for text in file.lines().filter(|text| !text.is_empty()) {
            let line: Line = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            *if line.adversarial { &mut adversarial } else { &mut plain } += 1;
            let found = found(&line).map_or("none", Reason::as_str);
            if found != line.expect {
                wrong.push(format!("{found} for {} ({}, {}): {}", line.expect, line.source, line.image, line.message));
            }
        }
    }
    assert!(plain + adversarial >= 300 && adversarial * 3 >= plain + adversarial, "{plain} and {adversarial} texts");
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), plain + adversarial);
}

#[test]
fn no_text_is_too_long_or_too_odd() {
    let long = "not found: denied: 429 Too Many Requests ".repeat(250_000);
    assert!(long.len() > 10_000_000);
    let odd = String::from_utf8_lossy(b"\xff\xfe: \x1b[31m\x00 denied\xc3").into_owned();
    for text in [long.as_str(), &odd, "", ": ", "\"", "{", "0/1 nodes are available: ", "pods \"", "  File \""] {
        let _ = image::cause("ErrImagePull", text, &[]);
        let _ = schedule::cause(text, None);
        let _ = refusal::cause(text);
        let _ = volume::cause(text, true);
        let _ = start::cause("StartError", text);
        let _ = end::cause(1, "Error", text);
        let _ = eviction::cause("Evicted", text, false);
    }
}
