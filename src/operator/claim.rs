//! The right to write, which runs out by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::TryFutureExt;
use futures::future::{Either, ErrInto, Ready, ready};
use hyper::{Method, Request};
use tower::{BoxError, Layer, Service};

/// Why a write was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another replica of the operator may lead now, so nothing is written")]
pub struct NotLeading;

/// Whether this process may write. A copy is the same claim.
#[derive(Clone, Debug)]
pub struct Claim(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    /// Milliseconds after `start` until which it holds.
    until: AtomicU64,
}

impl Claim {
    /// One that does not hold yet.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(Inner { start: Instant::now(), until: AtomicU64::new(0) }))
    }

    /// One that always holds: there is no other replica.
    #[must_use]
    pub fn alone() -> Self {
        Self(Arc::new(Inner { start: Instant::now(), until: AtomicU64::new(u64::MAX) }))
    }

    /// Lets it hold until `until`.
    pub fn extend(&self, until: Instant) {
        let until = until.saturating_duration_since(self.0.start).as_millis();
        self.0.until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Gives it up.
    pub fn drop_now(&self) {
        self.0.until.store(0, Ordering::SeqCst);
    }

    /// Whether it holds at this moment.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let now = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        now < self.0.until.load(Ordering::SeqCst)
    }
}

/// Lets a client write only while a [`Claim`] holds: every write of the operator passes here, whoever wrote the code that
/// sends it; but those of the Lease itself and of the webhook's first certificate, each of which names the version it read.
#[derive(Clone, Debug)]
pub struct Guard(pub Claim);

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, claim: self.0.clone() }
    }
}

/// A client behind a [`Guard`].
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    claim: Claim,
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Either<ErrInto<S::Future, BoxError>, Ready<Result<S::Response, BoxError>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if reads || self.claim.is_held() {
            Either::Left(self.inner.call(request).err_into())
        } else {
            Either::Right(ready(Err(NotLeading.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::time::Duration;
    use tower::{ServiceExt, service_fn};

    #[tokio::test]
    async fn nothing_is_written_without_the_claim_and_everything_is_read() {
        let claim = Claim::none();
        let served = || Guard(claim.clone()).layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(()) }));
        let call = |method: Method| served().oneshot(Request::builder().method(method).body(()).unwrap());
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        for method in &writes {
            let error = call(method.clone()).await.unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&NotLeading), "{method}");
        }
        assert!(call(Method::GET).await.is_ok());
        claim.extend(Instant::now() + Duration::from_mins(1));
        for method in &writes {
            assert!(call(method.clone()).await.is_ok(), "{method}");
        }
        claim.drop_now();
        assert!(call(Method::PATCH).await.is_err());
    }

    #[test]
    fn a_claim_runs_out_by_itself() {
        let claim = Claim::none();
        assert!(!claim.is_held());
        claim.extend(Instant::now() + Duration::from_mins(1));
        assert!(claim.is_held());
        claim.extend(Instant::now());
        assert!(!claim.is_held());
        assert!(Claim::alone().is_held());
    }
}
