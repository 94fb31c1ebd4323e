//! The webhook's own authorities and certificate: which there are, and which are due.
//!
//! The API server trusts all authorities of the stock. A new one signs nothing before it had the time to become known,
//! and an old one goes only when nobody uses its certificate any more: at no time is a certificate shown that is not
//! trusted.

use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde::{Deserialize, Serialize};

/// Periods after which there is a new authority.
const AUTHORITY_PERIODS: i32 = 4;
/// Periods that an authority is good for.
const AUTHORITY_LIFE: i32 = 12;
/// Periods that a certificate is good for.
const LEAF_LIFE: i32 = 3;
/// Part of a period in which everybody has heard of what is new.
const SETTLED_PART: i32 = 3;

/// Someone whom the API server trusts.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
struct Authority {
    issued: Timestamp,
    certificate: String,
    key: String,
}

/// What the webhook shows.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
struct Leaf {
    issued: Timestamp,
    /// When its authority was issued.
    authority: Timestamp,
    certificate: String,
    key: String,
    names: Vec<String>,
}

/// All that there is, the oldest authority first.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    authorities: Vec<Authority>,
    leaf: Option<Leaf>,
}

/// How long a certificate is shown before the next one is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub SignedDuration);

impl Period {
    /// Pause between two looks at what is due.
    #[must_use]
    pub fn look(self) -> std::time::Duration {
        (self.0 / (4 * SETTLED_PART)).unsigned_abs().min(std::time::Duration::from_hours(1))
    }

    fn is_over(self, since: Timestamp, periods: i32, now: Timestamp) -> bool {
        since.saturating_add(self.0 * periods).is_ok_and(|end| end <= now)
    }

    fn has_settled(self, since: Timestamp, now: Timestamp) -> bool {
        since.saturating_add(self.0 / SETTLED_PART).is_ok_and(|end| end <= now)
    }
}

impl Stock {
    /// The authorities, as PEM.
    #[must_use]
    pub fn trusted(&self) -> String {
        self.authorities.iter().map(|authority| authority.certificate.as_str()).collect()
    }

    /// The certificate and its key, as PEM.
    #[must_use]
    pub fn shown(&self) -> Option<(&str, &str)> {
        self.leaf.as_ref().map(|leaf| (leaf.certificate.as_str(), leaf.key.as_str()))
    }

    /// The stock as it has to be at `now`, for a webhook of these DNS `names`.
    ///
    /// # Errors
    /// When keys can't be made or read.
    pub fn renewed(&self, now: Timestamp, period: Period, names: &[String]) -> Result<Self, rcgen::Error> {
        let mut authorities = self.authorities.clone();
        authorities.retain(|it| !period.is_over(it.issued, AUTHORITY_LIFE, now));
        if authorities.last().is_none_or(|newest| period.is_over(newest.issued, AUTHORITY_PERIODS, now)) {
            authorities.push(new_authority(now, period)?);
        }
        let settled = authorities.iter().rposition(|it| period.has_settled(it.issued, now)).unwrap_or(0);
        let Some(signer) = authorities.get(settled) else { return Ok(Self { authorities, leaf: None }) };
        let is_good = |leaf: &&Leaf| {
            !period.is_over(leaf.issued, 1, now) && leaf.authority == signer.issued && leaf.names == names
        };
        let leaf = match self.leaf.as_ref().filter(is_good) {
            Some(leaf) => leaf.clone(),
            None => new_leaf(signer, now, period, names)?,
        };
        if period.has_settled(leaf.issued, now) {
            authorities.drain(..settled);
        }
        Ok(Self { authorities, leaf: Some(leaf) })
    }
}

fn new_authority(now: Timestamp, period: Period) -> Result<Authority, rcgen::Error> {
    let key = KeyPair::generate()?;
    let certificate = of_authority(now, period).self_signed(&key)?;
    Ok(Authority { issued: now, certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Of a name of its own, so that no two authorities are taken for one another.
fn of_authority(issued: Timestamp, period: Period) -> CertificateParams {
    let mut parameters = dated(issued, period, AUTHORITY_LIFE);
    parameters.distinguished_name = named(&format!("mooring webhook authority {}", issued.as_millisecond()));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters
}

fn new_leaf(signer: &Authority, now: Timestamp, period: Period, names: &[String]) -> Result<Leaf, rcgen::Error> {
    let (key, names) = (KeyPair::generate()?, names.to_vec());
    let mut parameters = dated(now, period, LEAF_LIFE);
    parameters.subject_alt_names = CertificateParams::new(names.clone())?.subject_alt_names;
    parameters.distinguished_name = named("mooring webhook");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    let issuer = Issuer::new(of_authority(signer.issued, period), KeyPair::from_pem(&signer.key)?);
    let certificate = parameters.signed_by(&key, &issuer)?;
    Ok(Leaf { issued: now, authority: signer.issued, certificate: certificate.pem(), key: key.serialize_pem(), names })
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Good from the day before, so that a clock that is late finds it good too, in whole days.
fn dated(issued: Timestamp, period: Period, periods: i32) -> CertificateParams {
    let day = |time: Timestamp, days: i64| {
        let date = time.to_zoned(TimeZone::UTC).date().saturating_add(days.days());
        let number = |number: i8| u8::try_from(number).unwrap_or(1);
        date_time_ymd(date.year().into(), number(date.month()), number(date.day()))
    };
    let mut parameters = CertificateParams::default();
    parameters.not_before = day(issued, -1);
    parameters.not_after = day(issued.saturating_add(period.0 * periods).unwrap_or(Timestamp::MAX), 1);
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use std::sync::Arc;

    const PERIOD: Period = Period(SignedDuration::from_hours(30 * 24));

    fn names() -> Vec<String> {
        vec!["mooring-webhook.mooring-system.svc".to_owned()]
    }

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn after(days: i64) -> Timestamp {
        start() + SignedDuration::from_hours(24 * days)
    }

    /// Whether who trusts `trusted` believes what `shown` shows.
    fn is_believed(trusted: &Stock, shown: &Stock, now: Timestamp) -> bool {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(trusted.trusted().as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build().unwrap();
        let leaf = CertificateDer::from_pem_slice(shown.shown().unwrap().0.as_bytes()).unwrap();
        let name = ServerName::try_from("mooring-webhook.mooring-system.svc").unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_second().try_into().unwrap()));
        verifier.verify_server_cert(&leaf, &[], &name, &[], now).is_ok()
    }

    #[test]
    fn a_first_stock_is_good_at_once() {
        let stock = Stock::default().renewed(start(), PERIOD, &names()).unwrap();
        assert!(is_believed(&stock, &stock, start()));
        assert_eq!(stock.renewed(after(1), PERIOD, &names()).unwrap(), stock, "nothing is due");
    }

    #[test]
    fn whoever_is_a_third_of_a_period_late_believes_and_is_believed() {
        let mut stocks = vec![Stock::default().renewed(start(), PERIOD, &names()).unwrap()];
        // Ten days are the time to hear of it; one day before is the last that must do.
        let lag = 9;
        for day in 1..800 {
            stocks.push(stocks.last().unwrap().renewed(after(day), PERIOD, &names()).unwrap());
            let (now, late) = (stocks.last().unwrap(), &stocks[stocks.len().saturating_sub(1 + lag)]);
            assert!(is_believed(late, now, after(day)), "day {day}: the API server is late");
            assert!(is_believed(now, late, after(day)), "day {day}: the webhook is late");
        }
        let leaves: std::collections::BTreeSet<_> = stocks.iter().map(|stock| stock.shown().unwrap().0).collect();
        assert!(leaves.len() >= 800 / 30, "{}", leaves.len());
        let last = stocks.last().unwrap();
        assert!(last.authorities.len() <= 2 && last.authorities[0] != stocks[0].authorities[0]);
    }

    #[test]
    fn a_stock_that_was_forgotten_for_years_is_replaced_at_once() {
        let old = Stock::default().renewed(start(), PERIOD, &names()).unwrap();
        let new = old.renewed(after(3000), PERIOD, &names()).unwrap();
        assert!(is_believed(&new, &new, after(3000)));
        assert_eq!(new.authorities.len(), 1);
    }

    #[test]
    fn another_name_needs_another_certificate_and_no_other_authority() {
        let old = Stock::default().renewed(start(), PERIOD, &names()).unwrap();
        let new = old.renewed(start(), PERIOD, &["other.svc".to_owned()]).unwrap();
        assert_eq!(new.authorities, old.authorities);
        assert_ne!(new.leaf, old.leaf);
    }
}
