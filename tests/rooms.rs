//! The walls: reads the sources and fails when a room uses one that it must not know (see the table in src/lib.rs).

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

/// What a room must not have in its sources.
struct Room {
    name: &'static str,
    /// The rooms of ours that it may use.
    may_use: &'static [&'static str],
    /// Words that stand for something it must not touch.
    never: &'static [&'static str],
}

const ROOMS: [&str; 10] =
    ["api", "catalogue", "cli", "fetch", "gateway", "local", "operator", "plan", "process", "webhook"];

const CLOCK_AND_CHANCE: [&str; 5] = ["Timestamp::now", "SystemTime", "Instant::now", "getrandom", "rand::"];

const WALLS: [Room; 10] = [
    Room { name: "catalogue", may_use: &[], never: &["kube::", "k8s_openapi::", "tokio::", "std::env", "std::fs"] },
    Room { name: "api", may_use: &["catalogue"], never: &["kube::Client", "tokio::", "std::env", "std::fs"] },
    Room { name: "process", may_use: &[], never: &["kube::", "k8s_openapi::"] },
    Room {
        name: "plan",
        may_use: &["api", "catalogue"],
        never: &["kube::Client", "kube::api", "kube_runtime::", "tokio::", "async fn", "std::env", "std::fs"],
    },
    Room { name: "operator", may_use: &["plan", "webhook", "api", "catalogue", "process"], never: &[] },
    Room {
        name: "webhook",
        may_use: &["plan", "api", "catalogue", "process"],
        never: &["kube::Client", "kube::api", "kube_runtime::"],
    },
    Room { name: "gateway", may_use: &["api", "catalogue", "process"], never: &[] },
    Room {
        name: "fetch",
        may_use: &["api", "catalogue", "process"],
        never: &["kube::", "kube_runtime::", "k8s_openapi::"],
    },
    Room {
        name: "local",
        may_use: &["plan", "gateway", "fetch", "api", "catalogue", "process"],
        never: &["kube::Client", "kube_runtime::"],
    },
    Room {
        name: "cli",
        may_use: &["local", "fetch", "plan", "api", "catalogue", "process"],
        // What is told goes through `cli::talk`, which knows what the program was called as.
        never: &["kube_runtime::", "eprintln!", "eprint!"],
    },
];

/// The trespasses in one file of a room.
fn trespasses(room: &Room, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let pure = matches!(room.name, "plan" | "api" | "catalogue");
    for (number, line) in source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut report = |what: &str| found.push(format!("line {}: {what}: {}", number + 1, line.trim()));
        for word in room.never.iter().chain(CLOCK_AND_CHANCE.iter().filter(|_| pure)) {
            if code.contains(word) {
                report(&format!("room `{}` must not touch `{word}`", room.name));
            }
        }
    }
    for other in rooms_named(source) {
        if other != room.name && !room.may_use.contains(&other) {
            found.push(format!("room `{}` must not know `{other}`", room.name));
        }
    }
    found
}

/// The rooms that a source names: `crate::plan::…`, and each of `crate::{plan::…, operator}`.
fn rooms_named(source: &str) -> Vec<&'static str> {
    let code: String =
        source.lines().filter_map(|line| line.split("//").next()).flat_map(|line| [line, "\n"]).collect();
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut words = Vec::new();
    for (_, path) in code.match_indices("crate::").map(|(at, path)| (at, &code[at + path.len()..])) {
        let Some(group) = path.strip_prefix('{') else {
            words.push(word(path));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !letter.is_whitespace() => {
                    words.push(word(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    ROOMS.into_iter().filter(|room| words.iter().any(|word| word == room)).collect()
}

/// The files of a room, its unit tests too.
fn files(room: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else {
                files.push(path);
            }
        }
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join(format!("{room}.rs"))];
    walk(&source.join(room), &mut files);
    files
}

#[test]
fn no_room_uses_one_that_it_must_not_know() {
    let mut found = Vec::new();
    for room in &WALLS {
        for path in files(room.name) {
            let source = fs::read_to_string(&path).unwrap();
            found.extend(trespasses(room, &source).into_iter().map(|what| format!("{}: {what}", path.display())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_room_has_its_wall() {
    let library = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let mut rooms: Vec<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    rooms.sort_unstable();
    assert_eq!(rooms, ROOMS);
    let mut walled: Vec<&str> = WALLS.iter().map(|room| room.name).collect();
    walled.sort_unstable();
    assert_eq!(walled, ROOMS);
}

#[test]
fn a_room_is_found_in_a_group_too_and_a_namesake_further_down_is_none() {
    let source = "use crate::{\n    api::{name, plan},\n    gateway::table,\n};\nuse crate::catalogue::operator;\n";
    assert_eq!(rooms_named(source), ["api", "catalogue", "gateway"]);
}

#[test]
fn a_trespass_is_found_and_a_comment_is_none() {
    let plan = WALLS.iter().find(|room| room.name == "plan").unwrap();
    let source = "use crate::operator::act;\nlet now = Timestamp::now();\n// kube::Client is for others\nuse crate::api::name;\n";
    let found = trespasses(plan, source);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("must not touch `Timestamp::now`") && found[1].contains("must not know `operator`"));
}

#[test]
fn the_roots_of_the_programs_hold_no_logic_of_their_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 200, "{} has {lines} lines; a root only wires", path.display());
    }
}
