//! TLS, with the clients of a library that is known to be strict.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::{HOST, Mount, Pair};
use crate::documents::{Deployment, Endpoint, KEY};
use crate::model::Model;
use crate::process::{Gateway, PATIENCE};

async fn gateway(model: &Model, mount: &Mount) -> Gateway {
    let endpoint = Endpoint::new(&[Deployment::new("blue", 100, &[model.address])]);
    let arguments = mount.arguments();
    Gateway::start_with(&endpoint, &arguments.each_ref().map(std::ffi::OsString::as_os_str)).await
}

/// A client that trusts `pair` alone, and speaks these versions and protocols.
fn client(pair: &Pair, versions: &[&'static SupportedProtocolVersion], protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(pair.der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(address: Option<SocketAddr>, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address.unwrap()).await?;
    let connected = client.connect(ServerName::try_from(HOST).unwrap(), stream);
    tokio::time::timeout(PATIENCE, connected).await.expect("the handshake takes too long")
}

fn presented(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn request() -> Request<Full<Bytes>> {
    let request = Request::post(format!("https://{HOST}/score")).header("authorization", format!("Bearer {KEY}"));
    request.body(Full::new(Bytes::from_static(b"{}"))).unwrap()
}

async fn over_http1(stream: TlsStream<TcpStream>) -> http1::SendRequest<Full<Bytes>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn score(sender: &mut http1::SendRequest<Full<Bytes>>) -> (StatusCode, Bytes) {
    sender.ready().await.unwrap();
    let mut request = request();
    request.headers_mut().insert("host", HOST.parse().unwrap());
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn both_versions_of_tls_and_both_of_http_are_spoken_beside_the_plain_port() {
    let model = Model::named("blue").await;
    let pair = Pair::new();
    let gateway = gateway(&model, &Mount::new(&pair)).await;
    for (version, is) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        for (offered, chosen) in [(&["http/1.1"][..], Some("http/1.1")), (&[], None)] {
            let stream = connect(gateway.tls, &client(&pair, &[version], offered)).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(is));
            assert_eq!(stream.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes));
            let mut sender = over_http1(stream).await;
            for _ in 0..2 {
                assert_eq!(score(&mut sender).await, (StatusCode::OK, Bytes::from_static(b"blue")));
            }
        }
        let stream = connect(gateway.tls, &client(&pair, &[version], &["h2", "http/1.1"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let answer = sender.send_request(request()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "blue");
    }
    assert!(connect(gateway.tls, &client(&pair, &[&TLS13], &["ftp"])).await.is_err());
    assert!(connect(gateway.tls, &client(&Pair::new(), &[&TLS13], &[])).await.is_err(), "a client that trusts another");
    assert_eq!(gateway.score("{}").await.status, 200);
}

#[tokio::test]
async fn without_tls_nothing_is_served_on_its_port() {
    let model = Model::named("blue").await;
    let gateway = gateway(&model, &Mount::new(&Pair::new())).await;
    for hello in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(gateway.tls.unwrap()).await.unwrap();
        stream.write_all(hello.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // It may reset the connection, too.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert_eq!(gateway.score("{}").await.status, 200);
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_broken_one_for_none() {
    let model = Model::named("blue").await;
    let (old, new) = (Pair::new(), Pair::new());
    let mount = Mount::new(&old);
    let gateway = gateway(&model, &mount).await;
    let early = connect(gateway.tls, &client(&old, &[&TLS13], &[])).await.unwrap();
    assert_eq!(presented(&early), old.der());
    let mut early = over_http1(early).await;
    assert_eq!(score(&mut early).await.0, StatusCode::OK);

    let broken = [
        Pair { certificate: new.certificate.clone(), key: old.key.clone() },
        Pair { certificate: "no certificate".to_owned(), key: new.key.clone() },
        Pair { certificate: new.certificate.clone(), key: String::new() },
    ];
    for (number, pair) in broken.iter().enumerate() {
        mount.put(pair);
        gateway.wait_for("keeping the old one", number + 1).await;
        let stream = connect(gateway.tls, &client(&old, &[&TLS13], &[])).await.unwrap();
        assert_eq!(presented(&stream), old.der());
    }

    mount.put(&new);
    gateway.wait_for("the certificate was read again", 1).await;
    let late = connect(gateway.tls, &client(&new, &[&TLS13], &[])).await.unwrap();
    assert_eq!(presented(&late), new.der());
    assert_eq!(score(&mut over_http1(late).await).await.0, StatusCode::OK);
    assert!(connect(gateway.tls, &client(&old, &[&TLS13], &[])).await.is_err(), "the old one is gone");
    assert_eq!(score(&mut early).await.0, StatusCode::OK, "the old connection goes on");
    assert_eq!(gateway.lines("keeping the old one"), broken.len());
    for line in gateway.log() {
        assert!(!line.contains("PRIVATE KEY"), "{line}");
    }
}

#[tokio::test]
async fn slow_handshakes_hold_up_nobody_and_end() {
    let model = Model::named("blue").await;
    let pair = Pair::new();
    let gateway = gateway(&model, &Mount::new(&pair)).await;
    // The beginning of a hello that says it has 512 bytes.
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let slow = join_all((0..3000).map(|_| async {
        let mut stream = TcpStream::connect(gateway.tls.unwrap()).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        stream
    }))
    .await;
    for _ in 0..20 {
        let stream = connect(gateway.tls, &client(&pair, &[&TLS12, &TLS13], &[])).await.unwrap();
        assert_eq!(score(&mut over_http1(stream).await).await.0, StatusCode::OK);
    }
    let ends = slow.into_iter().map(|mut stream| async move {
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("one stays for ever");
    });
    join_all(ends).await;
    assert_eq!(gateway.score("{}").await.status, 200);
}

#[tokio::test]
async fn a_gateway_does_not_start_with_a_certificate_that_is_no_good() {
    let mount = Mount::new(&Pair { certificate: Pair::new().certificate, key: Pair::new().key });
    let started = tokio::process::Command::new(env!("CARGO_BIN_EXE_mooring-gateway"))
        .args(["--source=file", "--file=.", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"])
        .args(mount.arguments())
        .stdin(Stdio::null())
        .output();
    let output = tokio::time::timeout(PATIENCE, started).await.unwrap().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(words.contains("the certificate for TLS can't be used"), "{words}");
}

#[tokio::test]
async fn a_request_over_tls_is_finished_when_the_gateway_ends() {
    let (model, finish) = Model::held().await;
    let pair = Pair::new();
    let gateway = gateway(&model, &Mount::new(&pair)).await;
    let stream = connect(gateway.tls, &client(&pair, &[&TLS13], &[])).await.unwrap();
    let mut sender = over_http1(stream).await;
    let answer = tokio::spawn(async move { score(&mut sender).await });
    while model.requests() == 0 {
        tokio::task::yield_now().await;
    }
    gateway.terminate();
    while TcpStream::connect(gateway.tls.unwrap()).await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    finish.send(true).unwrap();
    assert_eq!(answer.await.unwrap(), (StatusCode::OK, Bytes::from_static(b"late")));
    gateway.ended().await;
}
