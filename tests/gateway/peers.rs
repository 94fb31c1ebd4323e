//! Limits over several replicas of the gateway, which are processes of their own.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use http_body_util::BodyExt;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::documents::{Deployment, Endpoint};
use crate::model::{Model, full};
use crate::process::{Gateway, PATIENCE};
use crate::wire::{self, Connection};

/// An instance that counts what it has to do at once.
struct Instance {
    model: Model,
    busy: Arc<Busy>,
}

#[derive(Default)]
struct Busy {
    now: AtomicUsize,
    most: AtomicUsize,
    /// Microseconds that requests took, all together.
    worked: AtomicUsize,
}

impl Instance {
    async fn start(time: Duration) -> Self {
        let busy = Arc::new(Busy::default());
        let counts = Arc::clone(&busy);
        let model = Model::start(move |request| {
            let work = Work::begin(&counts);
            async move {
                let _ = request.into_body().collect().await;
                tokio::time::sleep(time).await;
                drop(work);
                full("done")
            }
        });
        Self { model: model.await, busy }
    }

    fn most(&self) -> usize {
        self.busy.most.load(Ordering::SeqCst)
    }
}

/// A request at an instance; over too when its connection goes.
struct Work(Arc<Busy>, Instant);

impl Work {
    fn begin(busy: &Arc<Busy>) -> Self {
        let now = busy.now.fetch_add(1, Ordering::SeqCst) + 1;
        busy.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(busy), Instant::now())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.worked.fetch_add(usize::try_from(self.1.elapsed().as_micros()).unwrap(), Ordering::SeqCst);
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn instances(count: usize, time: Duration) -> Vec<Instance> {
    join_all((0..count).map(|_| Instance::start(time))).await
}

fn endpoint(instances: &[Instance], concurrent: u32) -> Endpoint {
    let addresses: Vec<_> = instances.iter().map(|instance| instance.model.address).collect();
    let mut blue = Deployment::new("blue", 100, &addresses);
    (blue.concurrent, blue.timeout_ms) = (concurrent, 1_000);
    Endpoint::new(&[blue])
}

fn assert_within(instances: &[Instance], concurrent: u32) {
    let most: Vec<_> = instances.iter().map(Instance::most).collect();
    assert!(most.iter().all(|most| *most <= usize::try_from(concurrent).unwrap()), "{most:?} of {concurrent}");
}

/// How a replica stands in the Service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready,
    Leaving,
    /// The process has ended, and the Service does not know it yet.
    Ended,
    Gone,
}

struct Replica {
    gateway: Gateway,
    id: String,
    address: SocketAddr,
    place: Place,
}

/// Replicas of one gateway.
struct Replicas {
    secret: TempDir,
    endpoint: Endpoint,
    revision: usize,
    all: Vec<Replica>,
}

impl Replicas {
    async fn start(endpoint: &Endpoint, count: usize) -> Self {
        let secret = tempfile::tempdir().unwrap();
        std::fs::write(secret.path().join("secret"), "not for strangers\n").unwrap();
        let mut replicas = Self { secret, endpoint: endpoint.clone(), revision: 0, all: Vec::new() };
        for _ in 0..count {
            replicas.begin().await;
        }
        replicas.tell().await;
        replicas
    }

    /// Starts one more, which the Service does not have yet.
    async fn begin(&mut self) {
        let id = format!("gateway-{}", self.all.len());
        let secret = self.secret.path().join("secret");
        let arguments = [
            "--service-name=gateway".to_owned(),
            "--service-namespace=mooring".to_owned(),
            format!("--pod-name={id}"),
            format!("--peer-secret-file={}", secret.display()),
            "--peer-listen=127.0.0.1:0".to_owned(),
        ];
        let gateway = Gateway::start_from(&self.text(), &arguments.each_ref().map(OsStr::new)).await;
        let address = gateway.logged("listening for other replicas", "address").await.parse().unwrap();
        self.all.push(Replica { gateway, id, address, place: Place::Ready });
    }

    /// The endpoint, and the Service as it is now.
    fn text(&self) -> String {
        let slices: Vec<_> = self
            .all
            .iter()
            .filter(|replica| replica.place != Place::Gone)
            .map(|replica| {
                let leaving = replica.place != Place::Ready;
                json!({
                    "metadata": {"name": replica.id, "resourceVersion": self.revision.to_string()},
                    "addressType": "IPv4",
                    "ports": [{"name": "peers", "port": replica.address.port()}],
                    "endpoints": [{
                        "addresses": ["127.0.0.1"],
                        "targetRef": {"kind": "Pod", "name": replica.id},
                        "conditions": {"ready": !leaving, "serving": true, "terminating": leaving}
                    }]
                })
            })
            .collect();
        format!("{}replicas: {}\n", self.endpoint.yaml(), serde_json::to_string(&slices).unwrap())
    }

    /// Tells all that are there, and waits until they know.
    async fn tell(&mut self) {
        self.revision += 1;
        let (text, revision) = (self.text(), format!("\"revision\":{},", self.revision));
        let runs = |replica: &&Replica| matches!(replica.place, Place::Ready | Place::Leaving);
        let there: Vec<_> = self.all.iter().filter(runs).collect();
        let read = "the files were read";
        let reads: Vec<_> = there.iter().map(|replica| replica.gateway.lines(read)).collect();
        for replica in &there {
            replica.gateway.write(&text);
        }
        for (replica, reads) in there.iter().zip(reads) {
            // The view may come from another replica, and before the routes.
            replica.gateway.wait_for(read, reads + 1).await;
            replica.gateway.wait_for(&revision, 1).await;
        }
    }

    /// Changes the endpoint.
    async fn serve(&mut self, endpoint: &Endpoint) {
        let generation = self.endpoint.generation + 1;
        self.endpoint = endpoint.clone();
        self.endpoint.generation = generation;
        self.tell().await;
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|replica| replica.gateway.address).collect()
    }

    /// The index of the replica that admits.
    async fn owner(&self) -> usize {
        let mut owners = Vec::new();
        for (index, replica) in self.all.iter().enumerate().filter(|(_, replica)| replica.place == Place::Ready) {
            if replica.gateway.metric("mooring_gateway_owned_endpoints", &[]).await > 0.0 {
                owners.push(index);
            }
        }
        assert_eq!(owners.len(), 1, "one owner");
        owners[0]
    }
}

/// Callers that score without a pause at one of `addresses` each, and count the answers by status, 0 for none.
struct Callers {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Callers {
    fn start(addresses: &[SocketAddr], count: usize) -> Self {
        let (stop, good, refused) = (Arc::default(), Arc::default(), Arc::default());
        let tasks =
            addresses.iter().cycle().take(count).map(|address| {
                tokio::spawn(call(*address, Arc::clone(&stop), Arc::clone(&good), Arc::clone(&refused)))
            });
        let tasks = tasks.collect();
        Self { stop, good, refused, tasks }
    }

    async fn progress(&self, count: usize) {
        let mut good = self.good.load(Ordering::SeqCst);
        let goal = good + count;
        let mut last = Instant::now();
        while good < goal {
            assert!(last.elapsed() < PATIENCE, "the callers stand still");
            tokio::time::sleep(Duration::from_millis(5)).await;
            let before = std::mem::replace(&mut good, self.good.load(Ordering::SeqCst));
            if good > before {
                last = Instant::now();
            }
        }
    }

    /// Ends them, and gives what failed.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        join_all(self.tasks).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

async fn call(
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut connection = Connection::open(address).await;
    while !stop.load(Ordering::SeqCst) {
        connection.send(wire::request("POST", "/score", "", "{}")).await;
        let answer = connection.answer().await;
        match answer.status {
            200 if answer.whole => {
                good.fetch_add(1, Ordering::SeqCst);
            }
            // More callers than may wait.
            429 => {
                refused.fetch_add(1, Ordering::SeqCst);
            }
            _ => {
                failures.push(format!("{} {} {}", answer.status, answer.phrase, String::from_utf8_lossy(&answer.body)));
            }
        }
        if answer.header("connection") == Some("close") || answer.status == 0 {
            match TcpStream::connect(address).await {
                Ok(stream) => connection = Connection::over(stream),
                Err(_) => break,
            }
        }
    }
    failures
}

/// Ten thousand requests in all, or `MOORING_RACING_REQUESTS` for each of the 36 combinations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_requests_never_exceed_the_limit_and_use_all_of_it() {
    let requests = std::env::var("MOORING_RACING_REQUESTS").map_or(278, |number| number.parse().unwrap());
    for count in 1..=3 {
        let first = instances(1, Duration::from_millis(3)).await;
        let mut replicas = Replicas::start(&endpoint(&first, 1), count).await;
        for (instance_count, concurrent) in
            [1, 2, 4].iter().flat_map(|instances| [1, 2, 4, 8].map(|concurrent| (*instances, concurrent)))
        {
            let cap = instance_count * usize::try_from(concurrent).unwrap();
            // So long that the callers come round before all have ended.
            let time = Duration::from_millis(u64::try_from(3 + 2 * cap).unwrap());
            let models = instances(instance_count, time).await;
            replicas.serve(&endpoint(&models, concurrent)).await;
            let callers = Callers::start(&replicas.addresses(), 2 * cap);
            callers.progress(2 * cap).await;
            let worked = || models.iter().map(|model| model.busy.worked.load(Ordering::SeqCst)).sum::<usize>();
            let (before, since) = (worked(), Instant::now());
            callers.progress(requests).await;
            let busy = f64::from(u32::try_from(worked() - before).unwrap()) / 1e6 / since.elapsed().as_secs_f64();
            println!("{count} replicas, {instance_count} × {concurrent}: {busy:.2} of {cap} places were busy");
            assert_eq!(callers.stop().await, Vec::<String>::new());
            assert_within(&models, concurrent);
            let most: usize = models.iter().map(Instance::most).sum();
            assert_eq!(most, cap, "{count} replicas, {instance_count} instances");
        }
    }
}

/// What is lost between two requests at one place is only the way to the gateway and back: a fiftieth of a long request
/// is far more than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nearly_all_places_are_busy_all_the_time() {
    let models = instances(2, Duration::from_millis(400)).await;
    let replicas = Replicas::start(&endpoint(&models, 4), 3).await;
    let callers = Callers::start(&replicas.addresses(), 16);
    callers.progress(8).await;
    let worked = || models.iter().map(|model| model.busy.worked.load(Ordering::SeqCst)).sum::<usize>();
    // From the end of one generation of requests to that of another, so that only whole ones count.
    let (before, since, good) = (worked(), Instant::now(), callers.good.load(Ordering::SeqCst));
    callers.progress(80).await;
    let (busy, time) = (worked() - before, since.elapsed());
    let good = callers.good.load(Ordering::SeqCst) - good;
    callers.stop().await;
    assert_within(&models, 4);
    let mean = f64::from(u32::try_from(busy).unwrap()) / 1e6 / time.as_secs_f64();
    println!("{mean:.3} of 8 places were busy, {good} requests in {time:?}");
    assert!(mean > 8.0 * 0.9, "{mean} of 8");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_come_and_leave_under_load_without_a_failed_request_or_one_too_many() {
    let models = instances(2, Duration::from_millis(20)).await;
    let mut replicas = Replicas::start(&endpoint(&models, 2), 1).await;
    let stay = Callers::start(&replicas.addresses(), 4);
    stay.progress(20).await;
    for _ in 0..3 {
        replicas.begin().await;
        stay.progress(20).await;
        replicas.tell().await;
        let joined = replicas.all.last().unwrap().gateway.address;
        let more = Callers::start(&[joined], 2);
        more.progress(20).await;
        assert_eq!(more.stop().await, Vec::<String>::new());
    }
    // Whoever admits leaves, as a rollout has it, and with it the others but the first.
    for _ in 0..3 {
        let mut leaving = replicas.owner().await;
        if leaving == 0 {
            leaving = replicas.all.iter().rposition(|replica| replica.place == Place::Ready).unwrap();
        }
        let more = Callers::start(&[replicas.all[leaving].gateway.address], 2);
        more.progress(10).await;
        replicas.all[leaving].place = Place::Leaving;
        replicas.tell().await;
        replicas.all[leaving].gateway.terminate();
        assert_eq!(more.stop().await, Vec::<String>::new());
        replicas.all[leaving].place = Place::Gone;
        let gone = &mut replicas.all[leaving].gateway;
        gone.wait().await;
        stay.progress(20).await;
        replicas.tell().await;
        stay.progress(20).await;
    }
    assert_eq!(stay.stop().await, Vec::<String>::new());
    assert_within(&models, 2);
}

/// As a rollout has it: the Service lists a pod for some time after its process has ended, and others come meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_replica_that_has_ended_though_the_service_still_lists_it() {
    let models = instances(2, Duration::from_millis(20)).await;
    let mut endpoint = endpoint(&models, 2);
    // Shorter than the silence that tells the others without its last word.
    endpoint.deployments[0].queue_ms = 2_000;
    // Far more than comes, but not more at once than an owner may let pass when it has just begun.
    endpoint.requests_per_second = 1_000;
    let mut replicas = Replicas::start(&endpoint, 2).await;
    for leaving in 0..3 {
        let stay = Callers::start(&[replicas.all[leaving + 1].gateway.address], 8);
        replicas.all[leaving].place = Place::Leaving;
        replicas.tell().await;
        replicas.begin().await;
        replicas.all[leaving].gateway.terminate();
        replicas.all[leaving].gateway.wait().await;
        replicas.all[leaving].place = Place::Ended;
        replicas.tell().await;
        stay.progress(20).await;
        assert_eq!(stay.refused.load(Ordering::SeqCst), 0, "none is turned away");
        assert_eq!(stay.stop().await, Vec::<String>::new());
        replicas.all[leaving].place = Place::Gone;
        replicas.tell().await;
    }
    assert_within(&models, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_killed_or_stands_still_is_replaced_and_no_instance_gets_too_many() {
    for signal in ["-KILL", "-STOP"] {
        let models = instances(2, Duration::from_millis(20)).await;
        let mut replicas = Replicas::start(&endpoint(&models, 2), 3).await;
        let owner = replicas.owner().await;
        let mut addresses = replicas.addresses();
        // More than there are places for, so that some always wait.
        let lost = Callers::start(&[addresses.remove(owner)], 5);
        let stay = Callers::start(&addresses, 3);
        lost.progress(50).await;
        stay.progress(20).await;
        replicas.all[owner].gateway.signal(signal);
        if signal == "-STOP" {
            for _ in 0..3 {
                // Long before the Service notices: the others use their own shares, when all that it admitted is over.
                stay.progress(20).await;
                assert_within(&models, 2);
                // The first that it learns of are answers that came meanwhile: their places are no longer its own.
                replicas.all[owner].gateway.signal("-CONT");
                lost.progress(50).await;
                stay.progress(20).await;
                assert_within(&models, 2);
                replicas.all[owner].gateway.signal("-STOP");
            }
        }
        replicas.all[owner].place = Place::Gone;
        replicas.tell().await;
        stay.progress(50).await;
        assert_eq!(stay.stop().await, Vec::<String>::new());
        assert_within(&models, 2);
        replicas.all[owner].gateway.signal("-KILL");
        lost.stop().await;
    }
}

/// The owner may use half of the places then, but those who may wait are as many as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_replica_stands_still_callers_wait_and_none_is_turned_away() {
    let models = instances(1, Duration::from_millis(20)).await;
    let replicas = Replicas::start(&endpoint(&models, 4), 2).await;
    let owner = replicas.owner().await;
    let callers = Callers::start(&[replicas.all[owner].gateway.address], 8);
    callers.progress(20).await;
    replicas.all[1 - owner].gateway.signal("-STOP");
    // More than are served before the owner notices.
    callers.progress(1_000).await;
    replicas.all[1 - owner].gateway.signal("-CONT");
    callers.progress(100).await;
    assert_eq!(callers.refused.load(Ordering::SeqCst), 0);
    assert_eq!(callers.stop().await, Vec::<String>::new());
    assert_within(&models, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rate_holds_over_all_replicas_together() {
    let models = instances(1, Duration::ZERO).await;
    let mut endpoint = endpoint(&models, 50);
    endpoint.requests_per_second = 50;
    let replicas = Replicas::start(&endpoint, 3).await;
    let since = Instant::now();
    let callers = Callers::start(&replicas.addresses(), 6);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let good = callers.good.load(Ordering::SeqCst);
    let wanted = 50.0 * since.elapsed().as_secs_f64();
    assert!(callers.refused.load(Ordering::SeqCst) > 0);
    assert_eq!(callers.stop().await, Vec::<String>::new());
    let good = f64::from(u32::try_from(good).unwrap());
    assert!((good - wanted).abs() <= wanted / 100.0 + 1.0, "{good} of {wanted}");
}

#[tokio::test]
async fn whoever_does_not_know_the_secret_is_turned_away() {
    let models = instances(1, Duration::ZERO).await;
    let replicas = Replicas::start(&endpoint(&models, 1), 1).await;
    let mut stranger = Connection::open(replicas.all[0].address).await;
    let hello = json!({"Hello": {"secret": "guessed", "id": "gateway-0", "incarnation": 1}}).to_string();
    let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
    stranger.send([length.as_slice(), hello.as_bytes()].concat()).await;
    assert!(stranger.closes().await);
    replicas.all[0].gateway.wait_for("does not know the secret", 1).await;
    assert_eq!(replicas.all[0].gateway.score("{}").await.status, 200);
}
