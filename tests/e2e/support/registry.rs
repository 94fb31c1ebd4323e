//! Image registries that go wrong. Each stands before the cluster's own registry and serves its images once it is well.
//!
//! containerd speaks plain HTTP to a registry on loopback, and TLS to one with any other name.

mod certificate;
mod fault;
mod image;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use fault::Fault;
use image::Image;

use super::server::{Body, Server};

/// Who may pull from a registry with [`Fault::WantsPassword`].
pub const USER: &str = "puller";
/// The password of [`USER`].
pub const PASSWORD: &str = "right";

/// A registry that ends when dropped.
pub struct Registry {
    state: Arc<State>,
    address: SocketAddr,
    standing: Standing,
}

/// Whether it can be talked to.
enum Standing {
    /// The port is ours and refuses connections.
    Closed(Option<TcpSocket>),
    Open(Server),
    /// Only who names the image otherwise can pull it.
    Misnamed(Server),
}

struct State {
    fault: watch::Sender<Option<Fault>>,
    image: Image,
    /// The cluster's own registry.
    upstream: String,
    client: reqwest::Client,
}

impl Registry {
    /// A registry on loopback with a fault; `image` is one of the cluster's own registry, by digest.
    pub async fn faulty(image: &str, fault: Fault) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let state = State::new(image, Some(fault)).await;
        let server = state.serve(listener, None);
        Self { state, address: server.address, standing: Standing::Open(server) }
    }

    /// A registry on loopback that refuses connections.
    pub async fn closed(image: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let state = State::new(image, None).await;
        Self { state, address, standing: Standing::Closed(Some(socket)) }
    }

    /// A registry at the node's address, where containerd asks for TLS and gets plain HTTP.
    pub async fn plain(node: IpAddr, image: &str) -> Self {
        Self::misnamed(node, image, None).await
    }

    /// A registry at the node's address with a certificate that nobody else has signed.
    pub async fn self_signed(node: IpAddr, image: &str) -> Self {
        Self::misnamed(node, image, Some(certificate::self_signed(node))).await
    }

    async fn misnamed(node: IpAddr, image: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((node, 0)).await.unwrap();
        let state = State::new(image, None).await;
        let server = state.serve(listener, tls);
        Self { state, address: server.address, standing: Standing::Misnamed(server) }
    }

    /// The image as a pod names it. Nobody has pulled it before, though its layers may be known.
    pub fn image(&self) -> String {
        self.state.image.at(&self.address.to_string())
    }

    /// From now on it has this fault.
    pub fn fail(&self, fault: Fault) {
        self.state.fault.send_replace(Some(fault));
    }

    /// From now on it serves the image.
    pub fn heal(&mut self) {
        self.state.fault.send_replace(None);
        match &mut self.standing {
            Standing::Open(_) => {}
            Standing::Closed(socket) => {
                let listener = socket.take().unwrap().listen(128).unwrap();
                self.standing = Standing::Open(self.state.serve(listener, None));
            }
            Standing::Misnamed(_) => panic!("it is well; the image must be named otherwise"),
        }
    }

    /// Waits until somebody asked it for something.
    pub async fn asked(&self) {
        match &self.standing {
            Standing::Open(server) | Standing::Misnamed(server) => server.asked().await,
            Standing::Closed(_) => panic!("nobody can ask {}", self.address),
        }
    }

    /// A Secret for `imagePullSecretNames`. [`PASSWORD`] is the right one.
    pub fn pull_secret(&self, name: &str, password: &str) -> Value {
        let auth = BASE64_STANDARD.encode(format!("{USER}:{password}"));
        let registries = json!({"auths": {self.address.to_string(): {"auth": auth}}});
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": registries.to_string()},
        })
    }
}

/// An image of a registry whose name does not exist, in any network.
pub fn nameless() -> String {
    "registry.invalid/test/abrupt:one".to_owned()
}

/// An image of a registry that no route leads to: an address of the cluster's range that nobody has.
pub fn unroutable() -> String {
    "198.18.255.254:5000/test/abrupt:one".to_owned()
}

impl State {
    async fn new(image: &str, fault: Option<Fault>) -> Arc<Self> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (upstream, image) = image.split_once('/').unwrap();
        let image = Image::fresh(&client, upstream, image).await;
        Arc::new(Self { fault: watch::Sender::new(fault), image, upstream: upstream.to_owned(), client })
    }

    fn serve(self: &Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>) -> Server {
        let state = Arc::clone(self);
        Server::start(listener, tls, move |request| Arc::clone(&state).answer(request))
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let spoken = self.fault.subscribe().wait_for(|fault| *fault != Some(Fault::Silent)).await.map(|fault| *fault);
        let fault = spoken.unwrap();
        if let Some(refusal) = fault.and_then(|fault| fault.refusal(&request, &self.image)) {
            return refusal;
        }
        match self.image.answer(request.uri().path(), fault == Some(Fault::OtherPlatform)) {
            Some(answer) => answer,
            None => self.forward(request).await,
        }
    }

    async fn forward(&self, request: Request<Incoming>) -> Response<Body> {
        let url = format!("http://{}{}", self.upstream, request.uri());
        let mut onward = self.client.request(request.method().clone(), url);
        for name in ["accept", "range"] {
            if let Some(value) = request.headers().get(name) {
                onward = onward.header(name, value);
            }
        }
        let (mut parts, body) = Response::from(onward.send().await.unwrap()).into_parts();
        for name in ["connection", "transfer-encoding"] {
            parts.headers.remove(name);
        }
        Response::from_parts(parts, reqwest::Body::map_err(body, Into::into).boxed_unsync())
    }
}
