//! Secrets of many kinds, each in a line in which a program would log it. None of them opens anything.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// A line of a log, and what in it must never be seen elsewhere.
pub struct Planted {
    pub line: String,
    pub secret: String,
}

/// How a secret is made from a seed.
type Alphabet = fn(&str) -> String;

/// Kinds of lines, with the alphabet of their secret, which stands at `§`.
const KINDS: &[(Alphabet, &str)] = &[
    (hexadecimal, "GET https://acct.blob.core.windows.net/m/x.bin?sv=2022-11-02&sr=b&sig=§%3D&se=2030-01-01"),
    (base64, "SharedAccessSignature sr=hub.example&sig=§&se=1700000000"),
    (upper, "using the key AKIA§ of the profile default"),
    (upper, "using the temporary key ASIA§ of the profile default"),
    (base64, "aws_secret_access_key = §"),
    (base64, "AWS_SECRET_ACCESS_KEY=§"),
    (base64, "export AWS_SESSION_TOKEN='§'"),
    (url_safe, "Authorization: Bearer §"),
    (url_safe, "curl -H 'Authorization: Bearer §' https://api.example"),
    (url_safe, "{'Authorization': 'Bearer §', 'Accept': '*/*'}"),
    (base64, "authorization: Basic §"),
    (hexadecimal, "connecting to postgres://model:§@db.example:5432/features"),
    (hexadecimal, "connecting to mongodb+srv://model:§@db.example/features?retryWrites=true"),
    (hexadecimal, "connecting to redis://:§@cache.example:6379/0"),
    (hexadecimal, "GET https://user:§@store.example/model.bin"),
    (hexadecimal, "login failed for user=model password=§ host=db"),
    (hexadecimal, "Password: §"),
    (hexadecimal, "{\"user\": \"model\", \"password\": \"§\", \"host\": \"db\"}"),
    (hexadecimal, "config = {'db_passwd': '§', 'port': 5432}"),
    (url_safe, "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtb2RlbCJ9.§ expired"),
    (alphanumeric, "huggingface: hf_§ may not read the model"),
    (alphanumeric, "git: ghp_§ may not read the repository"),
    (alphanumeric, "git: github_pat_§ may not read the repository"),
    (alphanumeric, "git: glpat-§ may not read the repository"),
    (alphanumeric, "slack: xoxb-§ is revoked"),
    (alphanumeric, "openai: sk-§ is over its quota"),
    (alphanumeric, "google: AIza§ is not enabled"),
    (alphanumeric, "google: ya29.§ is expired"),
    (alphanumeric, "npm: npm_§ is expired"),
    (alphanumeric, "docker: dckr_pat_§ is expired"),
    (base64, "{\"private_key\": \"-----BEGIN PRIVATE KEY-----\\n§\\n-----END PRIVATE KEY-----\\n\"}"),
    (base64, "-----BEGIN RSA PRIVATE KEY----- § -----END RSA PRIVATE KEY-----"),
    (base64, "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=§;EndpointSuffix=core.windows.net"),
    (hexadecimal, "GET https://b.s3.amazonaws.com/m?X-Amz-Expires=60&X-Amz-Signature=§"),
    (hexadecimal, "GET https://storage.googleapis.com/b/m?X-Goog-Signature=§"),
    (hexadecimal, "x-api-key: §"),
    (hexadecimal, "openai.api_key = \"§\""),
    (hexadecimal, "POST /token client_id=model&client_secret=§&grant_type=client_credentials"),
    (hexadecimal, "starting with --api-key=§ --verbose"),
    (hexadecimal, "starting with --password § --verbose"),
];

/// Three of each kind, other ones for each `salt`: what an earlier test has left in a log is not this one's.
pub fn planted(salt: &str) -> Vec<Planted> {
    let three =
        (0..3).flat_map(|round| KINDS.iter().enumerate().map(move |(index, kind)| (round * 1000 + index, kind)));
    three
        .map(|(seed, (alphabet, line))| {
            let secret = alphabet(&format!("{salt} {seed}"));
            Planted { line: line.replace('§', &secret), secret }
        })
        .collect()
}

impl Planted {
    /// One without a line of its own.
    pub fn plain(salt: &str, name: &str) -> Self {
        let secret = hexadecimal(&format!("{salt} {name}"));
        Self { line: secret.clone(), secret }
    }
}

fn digest(seed: &str) -> [u8; 32] {
    Sha256::digest(seed).into()
}

fn hexadecimal(seed: &str) -> String {
    digest(seed).iter().take(16).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn base64(seed: &str) -> String {
    BASE64_STANDARD.encode(digest(seed))
}

fn url_safe(seed: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(seed))
}

fn alphanumeric(seed: &str) -> String {
    hexadecimal(seed).replace('0', "Z") + "Qx7"
}

fn upper(seed: &str) -> String {
    hexadecimal(seed).to_uppercase().chars().take(16).collect()
}
