//! Secrets out of texts that others wrote: logs, urls, error messages.

use std::sync::LazyLock;

use regex::Regex;

use crate::api::deployment::OnlineDeploymentSpec;

/// What takes the place of a secret.
const MASK: &str = "***";

/// Names that a secret goes by, in variables, fields and query parameters.
const NAMES: &str = r"[\w.-]*(?:password|passwd|pwd|passphrase|secret|token|api[_-]?key|apikey|access[_-]?key|account[_-]?key|shared[_-]?key|private[_-]?key|signing[_-]?key|credential|authorization|x-amz-signature|x-goog-signature|signature|sas)[\w-]*";

/// Patterns and what they become.
static PATTERNS: LazyLock<Vec<(Regex, String)>> = LazyLock::new(|| {
    let patterns = [
        // A private key goes whole, also when its end was cut off.
        (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)".to_owned(), MASK.to_owned()),
        // One whose beginning was cut off.
        (r"(?s)\A.*-----END [A-Z ]*PRIVATE KEY-----".to_owned(), MASK.to_owned()),
        // --name value.
        (format!(r"(?i)(--{NAMES}\s+)[^\s\x22',;]+"), format!("$1{MASK}")),
        // user:password@ of a url.
        (r"://[^/\s@]+@".to_owned(), format!("://{MASK}@")),
        (r"(?i)\b(bearer|basic|negotiate|apikey|sharedkey|aws4-hmac-sha256)\s+[^\s\x22',;]{6,}".to_owned(), format!("$1 {MASK}")),
        // A shared access signature's own parameter.
        (r"(?i)\b(sig)=[^\s&\x22';,]*[^\s&\x22';,:]".to_owned(), format!("$1={MASK}")),
        // name=value, also with quotes, and where the value is `name: value` itself.
        (format!(r"(?i)({NAMES})([\x22']?\s*=\s*)(?:{NAMES}[\x22']?\s*[:=]\s*)*(?:\x22[^\x22\n]*\x22|'[^'\n]*'|[^\s&;,)\]}}\x22']+)"), format!("$1$2{MASK}")),
        // "name": "value" and 'name': 'value'.
        (format!(r"(?i)([\x22']{NAMES}[\x22']\s*:\s*)(?:\x22(?:[^\x22\\\n]|\\.)*\x22|'(?:[^'\\\n]|\\.)*'|[^\s,}}\]]+)"), format!("$1{MASK}")),
        // name: value, with nothing behind it.
        (format!(r"(?im)({NAMES}\s*:\s+)\S+[ \t]*$"), format!("$1{MASK}")),
        // name: value, when the value looks like nothing but a secret.
        (format!(r"(?i)({NAMES}\s*:\s+)(?:[^\s:\d]*\d[^\s:]{{11,}}|[^\s:]{{11,}}\d[^\s:]*)"), format!("$1{MASK}")),
        // Keys that are known by their form: AWS, GitHub, GitLab, Hugging Face, Slack, Google, OpenAI and others, JWT.
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b".to_owned(), MASK.to_owned()),
        (r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{16,}|sk-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|AIza[\w-]{30,}|ya29\.[\w-]{20,}|npm_[A-Za-z0-9]{30,}|dckr_pat_[\w-]{20,})".to_owned(), MASK.to_owned()),
        (r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?".to_owned(), MASK.to_owned()),
    ];
    patterns.into_iter().filter_map(|(pattern, with)| Some((Regex::new(&pattern).ok()?, with))).collect()
});

/// Takes secrets out of a text: those that are known by their form or name, and the values of the deployment's own
/// environment variables that have such a name.
#[must_use]
pub fn redact(text: &str, spec: Option<&OnlineDeploymentSpec>) -> String {
    let mut text = text.to_owned();
    for value in spec.iter().flat_map(|spec| own_secrets(spec)) {
        text = text.replace(value, MASK);
    }
    for (pattern, with) in PATTERNS.iter() {
        if pattern.is_match(&text) {
            text = pattern.replace_all(&text, with.as_str()).into_owned();
        }
    }
    text
}

/// The shortest value of a variable that is taken for a secret: a shorter one is in every text.
const SHORTEST: usize = 4;

fn own_secrets(spec: &OnlineDeploymentSpec) -> impl Iterator<Item = &str> {
    spec.environment_variables.iter().filter_map(|variable| {
        let name = variable.name.to_ascii_lowercase();
        let secret = ["password", "passwd", "pwd", "secret", "token", "key", "credential", "sas", "connection_string"]
            .iter()
            .any(|word| name.contains(word));
        variable.value.as_deref().filter(|value| secret && value.len() >= SHORTEST)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one() {
        assert_eq!(PATTERNS.len(), 13);
    }

    #[test]
    fn words_around_a_secret_stay() {
        let text = "failed to fetch anonymous token: unexpected status from GET request to https://u:p@h/token?scope=a&sig=SECRET: 401";
        let told = redact(text, None);
        assert_eq!(
            told,
            "failed to fetch anonymous token: unexpected status from GET request to https://***@h/token?scope=a&sig=***: 401"
        );
    }

    #[test]
    fn a_secret_within_a_secret_goes_too() {
        for (text, told) in [
            ("refused token=aws_secret_access_key = V4LUE, trying", "refused token=***, trying"),
            ("refused token=Password: V4LUE, trying", "refused token=***, trying"),
            ("refused token=openai.api_key = \"V4LUE\", trying", "refused token=***, trying"),
            ("run --password V4LUE --verbose", "run --password *** --verbose"),
            ("4LUE\n-----END PRIVATE KEY-----\nbye", "***\nbye"),
        ] {
            assert_eq!(redact(text, None), told);
        }
    }

    #[test]
    fn ordinary_texts_are_left_alone() {
        for text in [
            "KeyError: 'weights'",
            "secret \"hf\" not found",
            "couldn't find key token in Secret team/hf",
            "exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0",
            "0/1 nodes are available: 1 Insufficient cpu.",
            "Unable to retrieve some image pull secrets (regcred)",
        ] {
            assert_eq!(redact(text, None), text);
        }
    }
}
