//! How far a download is, from the storage initializer to the status of the deployment.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use mooring_operator::api::artifact::{ArtifactKind, DownloadProgress, PROGRESS_PATH, PROGRESS_PORT, VERSION};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::process::answer;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::documents::{deployment, endpoint};
use crate::support::kubelet;
use crate::support::operator::Operator;
use crate::support::place::{Place, setting};
use crate::support::stage::Stage;
use crate::support::waits::DEADLINE;
use crate::support::{audit, state};

const GIB: u64 = 1 << 30;

/// The only instance, once it has an address.
async fn instance(place: &Place) -> (String, IpAddr) {
    let begin = Instant::now();
    loop {
        let pods = place.api::<Pod>().list(&ListParams::default()).await.unwrap();
        let address = |pod: &Pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok();
        if let Some(found) = pods.iter().find_map(|pod| Some((pod.name_any(), address(pod)?))) {
            return found;
        }
        assert!(begin.elapsed() < DEADLINE, "no instance has an address");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn summary_is(place: &Place, summary: Option<&'static str>) {
    let told = move |object: Option<&OnlineDeployment>| {
        let status = object.and_then(|object| object.status.as_ref());
        let download = status.and_then(|status| status.download.as_ref());
        status.is_some() && download.map(|download| download.summary.as_str()) == summary
    };
    place.until("iris-blue", summary.unwrap_or("without a download"), told).await;
}

/// An instance that downloads, played by the test.
struct Instance {
    name: String,
    document: Arc<Mutex<DownloadProgress>>,
    /// Bytes that come between two questions.
    step: Arc<AtomicU64>,
    questions: Arc<AtomicU64>,
    /// Whether it answers nothing of use.
    mute: Arc<AtomicBool>,
    over: CancellationToken,
}

impl Instance {
    /// The only one of `iris-blue`, a quarter of whose model is there.
    async fn of(place: &Place) -> Self {
        place.apply(endpoint(&json!({"blue": 100}))).await;
        place.apply(deployment("blue", "downloads:1")).await;
        let (name, address) = instance(place).await;
        let document = Arc::new(Mutex::new(DownloadProgress {
            version: VERSION,
            artifact: ArtifactKind::Model,
            bytes_done: GIB,
            bytes_total: Some(4 * GIB),
            bytes_per_second: GIB / 4,
            remaining_seconds: Some(12),
            current_file: Some("model.bin".to_owned()),
        }));
        let (step, questions) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mute = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind((address, PROGRESS_PORT)).await.unwrap();
        let shown = {
            let (document, step, questions) = (Arc::clone(&document), Arc::clone(&step), Arc::clone(&questions));
            let mute = Arc::clone(&mute);
            move |path: &str| {
                assert_eq!(path, PROGRESS_PATH);
                questions.fetch_add(1, Ordering::SeqCst);
                if mute.load(Ordering::SeqCst) {
                    return answer::text(StatusCode::SERVICE_UNAVAILABLE, String::new());
                }
                let mut document = document.lock().unwrap();
                document.bytes_done += step.load(Ordering::SeqCst);
                answer::with_type(StatusCode::OK, serde_json::to_string(&*document).unwrap(), "application/json")
            }
        };
        let over = CancellationToken::new();
        tokio::spawn(answer::serve(listener, shown, over.clone()));
        Self { name, document, step, questions, mute, over }
    }

    /// Waits until it has been asked so many times more.
    async fn asked(&self, times: u64) {
        let begin = (Instant::now(), self.questions.load(Ordering::SeqCst));
        while self.questions.load(Ordering::SeqCst) < begin.1 + times {
            assert!(begin.0.elapsed() < DEADLINE, "nobody asks how far it is");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn a_restarted_operator_takes_back_nothing_of_a_download() {
    let Stage { place, kubelet, operator } = Stage::empty("download-restart").await;
    let instance = Instance::of(&place).await;
    summary_is(&place, Some("1.0 GiB of 4.0 GiB (25 %), 12 s left")).await;
    audit::quiet(&place.namespace).await;
    let writes = audit::writes(&place.namespace);
    operator.stop().await;
    // Its first pass comes before any answer.
    instance.mute.store(true, Ordering::SeqCst);
    let operator = Operator::start(&place.namespace, setting("MOORING_TEST_KUBECONFIG").as_ref());
    instance.asked(2).await;
    audit::quiet(&place.namespace).await;
    assert_eq!(audit::writes(&place.namespace), writes, "{:#?}", audit::requests(&place.namespace));
    operator.stop().await;
    place.done().await;
    kubelet.stop().await;
}

#[tokio::test]
async fn a_download_is_told_in_good_measure_and_gone_when_it_is_over() {
    let stage = Stage::empty("download").await;
    let place = &stage.place;
    let instance = Instance::of(place).await;
    let first = instance.document.lock().unwrap().clone();
    summary_is(place, Some("1.0 GiB of 4.0 GiB (25 %), 12 s left")).await;

    // Nothing moves: it is asked for, and nothing is written.
    audit::quiet(&place.namespace).await;
    let writes = audit::writes(&place.namespace);
    instance.asked(4).await;
    assert_eq!(audit::writes(&place.namespace), writes);

    // It moves with every question: written at most once in 10 s.
    let begin = Instant::now();
    instance.step.store(1 << 20, Ordering::SeqCst);
    instance.asked(8).await;
    instance.step.store(0, Ordering::SeqCst);
    *instance.document.lock().unwrap() = DownloadProgress { bytes_done: 3 * GIB, remaining_seconds: Some(4), ..first };
    summary_is(place, Some("3.0 GiB of 4.0 GiB (75 %), 4 s left")).await;
    let most = usize::try_from(begin.elapsed().as_secs()).unwrap() / 10 + 1;
    audit::quiet(&place.namespace).await;
    let told = audit::writes(&place.namespace) - writes;
    assert!((2..=most).contains(&told), "{told} writes, at most {most} were to come");

    instance.over.cancel();
    let ready = json!({"status": kubelet::ready("downloads:1")});
    place.api::<Pod>().patch_status(&instance.name, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    summary_is(place, None).await;
    place.ready("iris", &["iris-blue"]).await;
    state::settled(place).await;
    stage.done().await;
}
