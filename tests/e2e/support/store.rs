//! An object store that goes wrong: S3 by path (`http://STORE/BUCKET/KEY`), and a web server for the same objects.
//!
//! It takes every credential and listens at the node's address, where pods reach it.

mod answers;
mod fault;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::form_urlencoded;

pub use fault::Fault;

use super::server::{Body, Server};

/// A store that ends when dropped.
pub struct Store {
    state: Arc<State>,
    server: Server,
}

#[derive(Default)]
struct State {
    /// Objects by key, by bucket.
    buckets: Mutex<BTreeMap<String, BTreeMap<String, Bytes>>>,
    /// By the start of the path that they befall.
    faults: Mutex<BTreeMap<String, Fault>>,
}

impl Store {
    pub async fn start(node: IpAddr) -> Self {
        let state = Arc::new(State::default());
        let listener = TcpListener::bind((node, 0)).await.unwrap();
        let answering = Arc::clone(&state);
        let server = Server::start(listener, None, move |request| std::future::ready(answering.answer(&request)));
        Self { state, server }
    }

    /// Makes a bucket, empty when it is new. What is in none is `NoSuchBucket`.
    pub fn bucket(&self, bucket: &str) {
        self.state.buckets.lock().unwrap().entry(bucket.to_owned()).or_default();
    }

    /// Puts an object, in the place of one before. The key is kept as it is, `../` too.
    pub fn put(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) {
        let mut buckets = self.state.buckets.lock().unwrap();
        buckets.entry(bucket.to_owned()).or_default().insert(key.to_owned(), bytes.into());
    }

    /// From now on, what begins with `path` (`/BUCKET/KEY`, or a part of that) has this fault. Of several faults the one
    /// with the longest path counts.
    pub fn fail(&self, path: &str, fault: Fault) {
        self.state.faults.lock().unwrap().insert(path.to_owned(), fault);
    }

    /// From now on, `path` has no fault of its own.
    pub fn heal(&self, path: &str) {
        assert!(self.state.faults.lock().unwrap().remove(path).is_some(), "{path} has no fault");
    }

    /// Waits until somebody asked it for something.
    pub async fn asked(&self) {
        self.server.asked().await;
    }

    /// Where S3 is, for the key `endpoint` of a Secret.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// The uri of an object as of a web server's.
    pub fn url(&self, bucket: &str, key: &str) -> String {
        format!("{}/{bucket}/{key}", self.endpoint())
    }

    /// A Secret for `credentialsSecretName` of an `s3://` uri.
    pub fn secret(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": {
                "AWS_ENDPOINT_URL": self.endpoint(),
                "AWS_ACCESS_KEY_ID": "AKIAMOORING",
                "AWS_SECRET_ACCESS_KEY": "S3CR3T",
            },
        })
    }
}

impl State {
    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let path = percent_decode_str(request.uri().path()).decode_utf8().unwrap();
        let fault = self.fault(&path);
        if let Some(refusal) = fault.and_then(Fault::refusal) {
            return refusal;
        }
        let (bucket, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let buckets = self.buckets.lock().unwrap();
        let Some(objects) = buckets.get(bucket) else { return answers::no_such_bucket() };
        if key.is_empty() {
            let prefix = parameter(request, "prefix").unwrap_or_default();
            let sizes = objects.iter().map(|(key, bytes)| (key.as_str(), bytes.len()));
            return answers::listing(bucket, &prefix, sizes.filter(|(key, _)| key.starts_with(&prefix)));
        }
        match objects.get(key) {
            None => answers::no_such_key(),
            Some(bytes) => answers::object(bytes, fault),
        }
    }

    fn fault(&self, path: &str) -> Option<Fault> {
        let faults = self.faults.lock().unwrap();
        let longest = faults.iter().rev().find(|(start, _)| path.starts_with(start.as_str()));
        longest.map(|(_, fault)| *fault)
    }
}

fn parameter(request: &Request<Incoming>, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
