//! Planted secrets: none is told.

use serde_json::json;

use super::example::deployment;
use super::world::{containers, crash_loop, done, live_through, moment, waiting};

/// Characters of a secret that is made from a number, so that no two are the same.
fn made(seed: usize, alphabet: &str, length: usize) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let mut state = seed as u64 * 2_654_435_761 + 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            alphabet[usize::try_from(state >> 33).unwrap() % alphabet.len()]
        })
        .collect()
}

const WORD: &str = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A secret and a line that gives it away, for each number.
fn planted(number: usize) -> (String, String) {
    let secret = made(number, WORD, 32);
    let line = match number % 25 {
        0 => format!("GET https://acct.blob.core.windows.net/m/x?sv=2022-11-02&sr=b&sig={secret}%3D&se=2026 failed"),
        1 => {
            return {
                let key = format!("AKIA{}", made(number, UPPER, 16));
                (key.clone(), format!("using credentials {key} from environment"))
            };
        }
        2 => format!("aws_secret_access_key = {secret}"),
        3 => format!("Authorization: Bearer {secret}"),
        4 => format!("could not clone https://robot:{secret}@git.example.com/team/repo.git"),
        5 => format!("connecting with password={secret} to db"),
        6 => format!(
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={secret}==;EndpointSuffix=core.windows.net"
        ),
        7 => {
            return {
                let key = format!("hf_{secret}");
                (key.clone(), format!("401 Client Error for token {key}"))
            };
        }
        8 => {
            return {
                let key = format!("ghp_{secret}1234");
                (key.clone(), format!("remote: Invalid {key}"))
            };
        }
        9 => {
            return {
                let jwt = format!("eyJhbGciOiJIUzI1NiJ9.eyJz{secret}.{secret}");
                (secret, format!("jwt {jwt} expired"))
            };
        }
        10 => format!("{{\"user\": \"a\", \"password\": \"{secret}\", \"host\": \"db\"}}"),
        11 => format!("{{'api_key': '{secret}'}}"),
        12 => format!("OPENAI_API_KEY={secret}"),
        13 => {
            return {
                let key = format!("sk-proj-{secret}");
                (key.clone(), format!("Incorrect API key provided: {key}."))
            };
        }
        14 => format!("redis://:{secret}@cache:6379/0 refused"),
        15 => format!("X-Amz-Signature={secret}&X-Amz-Date=20261124"),
        16 => format!("\u{1b}[31mclient_secret: {secret}\u{1b}[0m"),
        17 => format!("Authorization: Basic {secret}=="),
        18 => format!("https://storage.googleapis.com/b/o?X-Goog-Signature={secret}"),
        19 => {
            return {
                let key = format!("xoxb-{secret}");
                (key.clone(), format!("slack {key}"))
            };
        }
        20 => format!("-----BEGIN RSA PRIVATE KEY-----\n{secret}\n{secret}\n-----END RSA PRIVATE KEY-----"),
        21 => format!("SharedAccessSignature=sr=x&sig={secret}&se=1"),
        22 => format!("export DB_PASSWORD='{secret}'"),
        23 => format!("token: {secret}"),
        _ => format!("refresh_token=\"{secret}\""),
    };
    (secret, line)
}

#[test]
fn none_of_two_hundred_planted_secrets_is_told() {
    for number in 0..225 {
        let (secret, line) = planted(number);
        let trace = format!(
            "Traceback (most recent call last):\n  File \"/var/azureml-app/s/score.py\", line 2, in init\nValueError: {line}\n"
        );
        for (place, pod) in [
            ("log", containers("a", &done(), &crash_loop(1, "Error", &format!("starting\n{line}\nfailed\n")))),
            ("last line", containers("a", &done(), &crash_loop(1, "Error", &line))),
            ("exception", containers("a", &done(), &crash_loop(3, "Error", &trace))),
            (
                "pull",
                containers(
                    "a",
                    &done(),
                    &waiting("ErrImagePull", &format!("failed to pull and unpack image: {line}: 401 Unauthorized")),
                ),
            ),
            ("config", containers("a", &done(), &waiting("CreateContainerConfigError", &line))),
        ] {
            let status = live_through(&deployment(&json!({})), &moment(1, (1, 1, 0), [pod]));
            assert!(status.error.is_some(), "{place}");
            let told = serde_json::to_string(&status).unwrap();
            assert!(!told.contains(&secret), "secret {number} in {place}: {line}\n{:#?}", status.error);
        }
    }
}

#[test]
fn values_of_variables_with_secret_names_are_not_told() {
    let variables =
        json!([{"name": "DB_PASSWORD", "value": "correct horse battery"}, {"name": "MODEL_KIND", "value": "forest"}]);
    let log = "could not log in as root with correct horse battery for a forest";
    let pod = containers("a", &done(), &crash_loop(1, "Error", log));
    let status = live_through(&deployment(&json!({"environmentVariables": variables})), &moment(1, (1, 1, 0), [pod]));
    let error = status.error.unwrap();
    assert_eq!(error.log_tail.as_deref(), Some("could not log in as root with *** for a forest"));
    assert!(error.message.ends_with("with *** for a forest"), "{}", error.message);
}
