//! TLS on a port of its own, beside the plain one.

pub mod certificate;
pub mod handshakes;

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::connection;
use super::protocol::Protocol;
use super::upstream::Pool;
use certificate::{Certificate, CertificateError};
use handshakes::Handshakes;

/// The longest that a handshake may take, from its first byte on.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Both versions of HTTP, as callers name them in the handshake (RFC 7301), the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What makes a TLS connection of a plain one. Each thread has its own; all have the same certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    handshakes: Arc<Handshakes>,
}

impl Tls {
    /// TLS 1.2 and 1.3 with whatever certificate is in force when a connection begins.
    ///
    /// # Errors
    /// When the library has no randomness for its tickets.
    pub fn new(certificate: Arc<Certificate>) -> Result<Self, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // Sessions live with the callers, so that all threads know them and none is remembered here.
        config.ticketer = Ticketer::new()?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), handshakes: Arc::default() })
    }

    /// The same for another thread.
    #[must_use]
    pub fn for_another_thread(&self) -> Self {
        Self { acceptor: self.acceptor.clone(), handshakes: Arc::default() }
    }

    /// Shakes hands. None when the caller is silent, slow or speaks something else.
    async fn secured(&self, stream: TcpStream) -> Option<(TlsStream<TcpStream>, Protocol)> {
        stream.set_nodelay(true).ok()?;
        let given_up = self.handshakes.begin();
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)) => shaken.ok()?,
            _ = given_up => return None,
        };
        match shaken {
            Ok(stream) => {
                let spoken = stream.get_ref().1.alpn_protocol();
                let protocol = if spoken == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
                Some((stream, protocol))
            }
            Err(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
        }
    }
}

/// Serves a caller over TLS until it leaves, is idle for too long, or `close`.
pub async fn of_caller(stream: TcpStream, tls: Tls, gateway: Arc<Gateway>, pool: Arc<Pool>, close: CancellationToken) {
    let _open = gateway.connections.open();
    // As without TLS, whoever says nothing costs next to nothing.
    if connection::spoken(&stream, &close).await.is_none() {
        return;
    }
    if let Some((stream, protocol)) = tls.secured(stream).await {
        connection::serve(stream, protocol, gateway, pool, close).await;
    }
}
