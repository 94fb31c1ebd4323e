//! The certificate and its key, read again when their files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

/// Pause between two looks at the files. A kubelet brings a new Secret within about a minute.
const LOOK: Duration = Duration::from_secs(2);

/// Where certificate and key are, both as PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate, followed by those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("reading {path} failed")]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file is no PEM of the right kind.
    #[error("{path} is no good")]
    Pem {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// There is no certificate.
    #[error("{0} has no certificate")]
    Empty(PathBuf),
    /// Certificate and key don't fit, or can't be used.
    #[error("certificate and key can't be used together")]
    Tls(#[from] rustls::Error),
}

/// The certificate in force. Connections keep the one that they began with.
#[derive(Debug)]
pub struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// What both files hold.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    async fn read(files: &Files) -> Result<Self, CertificateError> {
        Ok(Self { certificate: read(&files.certificate).await?, key: read(&files.key).await? })
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::new_with_prefix(Sha256::digest(&self.certificate)).chain_update(&self.key).finalize().into()
    }

    fn certified(&self, files: &Files) -> Result<CertifiedKey, CertificateError> {
        let pem = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Pem { path, source }
        };
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(pem(&files.certificate))?;
        if chain.is_empty() {
            return Err(CertificateError::Empty(files.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(pem(&files.key))?;
        Ok(CertifiedKey::from_der(chain, key, &default_provider())?)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    tokio::fs::read(path).await.map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}

/// Reads the certificate that is in force from now on, and gives the work of keeping it current, without end.
///
/// # Errors
/// When it can't be used.
pub async fn open(files: Files) -> Result<(Arc<Certificate>, BoxFuture<'static, ()>), CertificateError> {
    let pair = Pair::read(&files).await?;
    let certificate = Arc::new(Certificate(ArcSwap::from_pointee(pair.certified(&files)?)));
    let kept = Arc::clone(&certificate);
    Ok((certificate, Box::pin(async move { follow(&kept, &files, pair.digest()).await })))
}

async fn follow(certificate: &Certificate, files: &Files, judged: [u8; 32]) {
    let mut judged = Some(judged);
    let mut last = None;
    let mut complaint = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let read = Pair::read(files).await;
        // One file may be new and the other not yet; so what has just changed is looked at once more.
        let digest = read.as_ref().ok().map(Pair::digest);
        let stays = std::mem::replace(&mut last, digest) == digest;
        if !stays || (digest.is_some() && digest == judged) {
            continue;
        }
        judged = digest;
        match read.and_then(|pair| pair.certified(files)) {
            Ok(certified) => {
                certificate.0.store(Arc::new(certified));
                complaint = None;
                tracing::info!("the certificate was read again; new connections get it");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let new = Some((digest, error.to_string()));
                if complaint != new {
                    tracing::error!(%error, cause, "the new certificate can't be used; keeping the old one");
                    complaint = new;
                }
            }
        }
    }
}
