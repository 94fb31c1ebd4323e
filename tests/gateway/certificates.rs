//! Certificates in a folder, as a kubelet puts those of a Secret there.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

/// The host that certificates here are for; it leads to the endpoint.
pub const HOST: &str = "iris.example.com";

/// Certificate and key as PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    /// A new one that only itself has signed; made by openssl, which the cluster's certificates need as well.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "1"])
            .args(["-subj", "/CN=iris", "-addext", &format!("subjectAltName=DNS:{HOST}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let read = |path| fs::read_to_string(path).unwrap();
        Self { certificate: read(certificate), key: read(key) }
    }

    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// A mounted Secret: the files are links into a folder that a link points to, which changes as a whole.
pub struct Mount(TempDir);

impl Mount {
    pub fn new(pair: &Pair) -> Self {
        let mount = Self(tempfile::tempdir().unwrap());
        mount.put(pair);
        for file in ["tls.crt", "tls.key"] {
            symlink(PathBuf::from("..data").join(file), mount.0.path().join(file)).unwrap();
        }
        mount
    }

    /// Puts another pair in the place of the one that is there.
    pub fn put(&self, pair: &Pair) {
        let folder = tempfile::Builder::new().prefix("..").tempdir_in(self.0.path()).unwrap().keep();
        fs::write(folder.join("tls.crt"), &pair.certificate).unwrap();
        fs::write(folder.join("tls.key"), &pair.key).unwrap();
        let new = self.0.path().join("..data_tmp");
        symlink(folder.file_name().unwrap(), &new).unwrap();
        fs::rename(new, self.0.path().join("..data")).unwrap();
    }

    /// The arguments that lead a gateway here.
    pub fn arguments(&self) -> [OsString; 3] {
        let flag = |flag: &str, file| {
            let mut argument = OsString::from(flag);
            argument.push(self.0.path().join(file));
            argument
        };
        [
            OsString::from("--tls-listen=127.0.0.1:0"),
            flag("--tls-certificate=", "tls.crt"),
            flag("--tls-key=", "tls.key"),
        ]
    }
}
