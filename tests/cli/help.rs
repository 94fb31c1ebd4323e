//! What can be said without a cluster.

use clap::CommandFactory;
use mooring_operator::cli::arguments::Arguments;

use crate::program::run;

/// Every command, as the words that lead to it.
fn commands() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, words: &[String], commands: &mut Vec<Vec<String>>) {
        commands.push(words.to_vec());
        for verb in command.get_subcommands() {
            walk(verb, &[words, &[verb.get_name().to_owned()]].concat(), commands);
        }
    }
    let mut commands = Vec::new();
    walk(&Arguments::command(), &[], &mut commands);
    commands
}

#[tokio::test]
async fn every_command_explains_itself() {
    for words in commands() {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        arguments.push("--help");
        let ended = run(&arguments, "").await;
        insta::assert_snapshot!(format!("mooring {}", arguments.join(" ")).replace(' ', "_"), ended);
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_answered_with_its_usage() {
    for (name, arguments) in [
        ("nothing", &[][..]),
        ("an_unknown_verb", &["endpoint", "shew"]),
        ("no_name", &["endpoint", "show"]),
        ("an_unknown_form", &["endpoint", "get-credentials", "-n", "iris", "-o", "table"]),
        ("no_address", &["endpoint", "invoke", "-n", "iris", "--request-file", "-", "--url", "127.0.0.1:8080"]),
        (
            "two_ways",
            &[
                "endpoint",
                "invoke",
                "-n",
                "iris",
                "--request-file",
                "-",
                "--url",
                "http://a",
                "--gateway-namespace",
                "b",
            ],
        ),
        ("a_query", &["endpoint", "show", "-n", "iris", "--query", "scoring_uri", "-o", "tsv"]),
        ("a_negative_number", &["deployment", "get-logs", "-n", "iris", "--lines=-1"]),
        ("no_patience", &["endpoint", "list", "--timeout", "0"]),
    ] {
        let ended = run(arguments, "").await;
        assert_eq!(ended.code, Some(2), "{name}: {ended}");
        insta::assert_snapshot!(name, ended);
    }
}

#[tokio::test]
async fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = run(&["completion", shell], "").await;
        assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""), "{shell}");
        assert!(ended.data.contains("get-credentials"), "{shell}");
    }
}

#[tokio::test]
async fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("share/man/man1");
    let ended = run(&["man", "--directory", directory.to_str().unwrap()], "").await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(0), ""), "{ended}");
    for words in commands() {
        let name = [&["mooring".to_owned()], &words[..]].concat().join("-");
        let page = std::fs::read_to_string(directory.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH EXAMPLES\n"), "{name}");
    }
    let ended = run(&["man", "--directory", "/proc/nowhere"], "").await;
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.said.contains("writing the manual pages into /proc/nowhere failed; name a directory"), "{ended}");
}

#[tokio::test]
async fn flags_of_a_workspace_are_left_aside_and_that_is_said() {
    let flags = ["-w", "team", "-g", "group", "--subscription", "id"];
    let note = "note: a cluster has no workspaces: --workspace-name, --resource-group, --subscription are left aside; \
                --namespace and --context say where\n";
    let ended = run(&[&["explain", "ImageNotFound"], &flags[..]].concat(), "").await;
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), note));
    let ended = run(&[&["explain", "ImageNotFound", "--only-show-errors"], &flags[..]].concat(), "").await;
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""));
}

#[test]
fn every_command_of_the_page_on_troubleshooting_is_understood() {
    let page = include_str!("../../docs/troubleshooting.md");
    let grammar = Arguments::command();
    let mut count = 0;
    for line in page.lines().filter_map(|line| line.strip_prefix("$ ")).filter(|line| line.starts_with("mooring ")) {
        let read = grammar.clone().try_get_matches_from(line.split(' '));
        assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
        count += 1;
    }
    assert!(count > 15, "only {count} commands were found");
}

#[tokio::test]
async fn the_version_is_that_of_the_package() {
    let ended = run(&["version"], "").await;
    assert_eq!(ended.data, format!("mooring {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn without_a_cluster_it_says_how_to_name_one() {
    let ended = run(&["endpoint", "list", "--kubeconfig", "/nowhere"], "").await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""));
    assert!(ended.said.contains("kubeconfig /nowhere can't be used; name a file with --kubeconfig"), "{}", ended.said);
}
