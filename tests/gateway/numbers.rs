//! What the admin port tells, and what is passed on so that others can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http_body_util::BodyExt;

use crate::concurrency::gated;
use crate::documents::{Deployment, Endpoint};
use crate::model::{Model, full};
use crate::process::Gateway;
use crate::wire::{self, Connection};

/// The series of a scrape by their whole names, after everything that `OpenMetrics` asks of it was looked at.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    let text = text.strip_suffix("# EOF\n").expect("the end is missing");
    let mut series = BTreeMap::new();
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split_once(' ').expect("a help without words").0;
            assert!(!types.contains_key(family), "{family} is in two places");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family, "the type does not follow the help");
            assert!(["counter", "gauge", "histogram", "info"].contains(&kind), "{line}");
            types.insert(name, kind);
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let base = name.split('{').next().unwrap();
            let suffixes: &[&str] = match types[family] {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                _ => &[""],
            };
            let suffix = base.strip_prefix(family).expect("a series of another family");
            assert!(suffixes.contains(&suffix), "{line}");
            for label in name.split_once('{').map_or("", |(_, labels)| labels.strip_suffix('}').unwrap()).split("\",") {
                let good = label.is_empty()
                    || label
                        .split_once("=\"")
                        .is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
                assert!(good, "{line}");
            }
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            assert_eq!(series.insert(name.to_owned(), value), None, "{name} comes twice");
        }
    }
    for (name, count) in series.iter().filter(|(name, _)| name.contains("_count{")) {
        let (base, labels) = name.split_once("_count{").unwrap();
        let prefix = format!("{base}_bucket{{le=\"");
        let mut buckets: Vec<_> = series
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?.split_once("\",")?, *value)))
            .filter(|((_, rest), _)| *rest == labels)
            .map(|((bound, _), value)| (bound.replace("+Inf", "inf").parse::<f64>().unwrap(), value))
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.is_sorted_by(|one, other| one.1 <= other.1), "{name}: {buckets:?}");
        assert_eq!(buckets.last().map(|(bound, value)| (*bound, *value)), Some((f64::INFINITY, *count)), "{name}");
    }
    series
}

async fn scrape(gateway: &Gateway) -> BTreeMap<String, f64> {
    let answer = gateway.admin("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    parsed(answer.text())
}

/// A gateway that has answered all kinds of requests.
async fn seasoned(blue: &Model, green: &Model) -> Gateway {
    let mut mirror = Deployment::new("green", 0, &[green.address]);
    mirror.mirror = 100;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[blue.address]), mirror])).await;
    gateway.score("{}").await;
    gateway.send("GET", "/418", "", "").await;
    gateway.send("POST", "/score", "azureml-model-deployment: none\r\n", "{}").await;
    wire::exchange(gateway.address, "GET / HTTP/1.1\r\nhost: nobody\r\n\r\n").await;
    gateway.wait_for_count("mooring_gateway_mirrored_requests_total", &[], 2).await;
    gateway
}

async fn model() -> Model {
    Model::start(|request| async move {
        let code = request.uri().path().trim_start_matches('/').parse().unwrap_or(200);
        let _ = request.into_body().collect().await;
        let mut response = full("12345");
        *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
        response
    })
    .await
}

#[tokio::test]
async fn a_scrape_is_well_formed_and_has_all_numbers() {
    let (blue, green) = (model().await, model().await);
    let gateway = seasoned(&blue, &green).await;
    let connection = Connection::open(gateway.address).await;
    gateway.wait_for_count("mooring_gateway_open_connections", &[], 1).await;
    let series = scrape(&gateway).await;
    let blue = "namespace=\"default\",endpoint=\"iris\",deployment=\"blue\"";
    let green = "namespace=\"default\",endpoint=\"iris\",deployment=\"green\"";
    let prefix = "mooring_gateway";
    for (name, value) in [
        (format!("{prefix}_requests_total{{{blue},code=\"200\",model_code=\"200\"}}"), 1.0),
        (format!("{prefix}_requests_total{{{blue},code=\"424\",model_code=\"418\"}}"), 1.0),
        (
            format!(
                "{prefix}_requests_total{{namespace=\"default\",endpoint=\"iris\",deployment=\"\",code=\"404\",model_code=\"\"}}"
            ),
            1.0,
        ),
        (
            format!(
                "{prefix}_requests_total{{namespace=\"\",endpoint=\"\",deployment=\"\",code=\"404\",model_code=\"\"}}"
            ),
            1.0,
        ),
        (
            format!(
                "{prefix}_rejected_total{{namespace=\"default\",endpoint=\"iris\",deployment=\"\",reason=\"DeploymentNotFound\"}}"
            ),
            1.0,
        ),
        (format!("{prefix}_request_duration_seconds_count{{{blue}}}"), 2.0),
        (format!("{prefix}_upstream_duration_seconds_count{{{blue}}}"), 2.0),
        (format!("{prefix}_request_bytes_total{{{blue}}}"), 2.0),
        (format!("{prefix}_response_bytes_total{{{blue}}}"), 10.0),
        (format!("{prefix}_mirrored_requests_total{{{green},result=\"Succeeded\"}}"), 1.0),
        (format!("{prefix}_mirrored_requests_total{{{green},result=\"ModelError\"}}"), 1.0),
        (format!("{prefix}_mirrored_request_duration_seconds_count{{{green}}}"), 2.0),
        (format!("{prefix}_in_flight_requests{{{blue}}}"), 0.0),
        (format!("{prefix}_queued_requests{{{blue}}}"), 0.0),
        (format!("{prefix}_capacity_requests{{{blue}}}"), 100.0),
        (format!("{prefix}_ready_instances{{{blue}}}"), 1.0),
        (format!("{prefix}_open_connections"), 1.0),
        (format!("{prefix}_connections_total"), 5.0),
        (format!("{prefix}_access_log_dropped_lines_total"), 0.0),
        (format!("{prefix}_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(series.get(&name), Some(&value), "{name} in {:#?}", series.keys());
    }
    drop(connection);
}

/// The words of a text that name a metric of the gateway.
fn metrics(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("mooring_gateway_"))
        .collect()
}

#[tokio::test]
async fn the_rules_and_the_dashboard_of_the_chart_ask_for_nothing_that_is_not_there() {
    let (blue, green) = (model().await, model().await);
    let series = scrape(&seasoned(&blue, &green).await).await;
    let there: BTreeSet<&str> = series.keys().map(|name| name.split('{').next().unwrap()).collect();
    for file in ["rules.yaml", "dashboard.json"] {
        let path = format!("{}/charts/mooring/monitoring/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let asked = metrics(&text);
        // Words about a histogram as a whole name it without a suffix.
        let known = |name: &str| there.contains(name) || there.contains(format!("{name}_bucket").as_str());
        let unknown: Vec<_> = asked.iter().filter(|name| !known(name)).collect();
        assert!(asked.len() > 5 && unknown.is_empty(), "{file} asks for {unknown:?}");
    }
}

#[tokio::test]
async fn no_caller_can_make_new_series() {
    let (blue, green) = (model().await, model().await);
    let gateway = seasoned(&blue, &green).await;
    let names = |series: BTreeMap<String, f64>| series.into_keys().collect::<BTreeSet<_>>();
    let before = names(scrape(&gateway).await);
    let mut connection = Connection::open(gateway.address).await;
    for number in 0..50 {
        let pin = format!("azureml-model-deployment: none{number}\r\nuser-agent: {number}\r\n");
        for request in [
            format!("GET /{number} HTTP/1.1\r\nhost: host{number}\r\n\r\n"),
            wire::request(&format!("METHOD{number}"), &format!("/path{number}"), "", ""),
            wire::request("POST", "/score", &pin, "{}"),
        ] {
            connection.send(request).await;
            assert!(connection.answer().await.whole);
        }
    }
    assert_eq!(names(scrape(&gateway).await), before);
}

#[tokio::test]
async fn the_load_of_each_deployment_is_told() {
    let permits = Arc::new(tokio::sync::Semaphore::new(0));
    let ((one, _), (two, _)) = (gated(&permits).await, gated(&permits).await);
    let mut blue = Deployment::new("blue", 100, &[one.address, two.address]);
    blue.concurrent = 1;
    let gateway = Arc::new(Gateway::start(&Endpoint::new(&[blue, Deployment::new("green", 0, &[])])).await);
    let load = |busy, queued| {
        serde_json::json!({"deployments": [
            {"namespace": "default", "endpoint": "iris", "deployment": "blue", "service": "iris-blue",
             "busy": busy, "queued": queued, "instances": 2, "capacity": 2},
            {"namespace": "default", "endpoint": "iris", "deployment": "green", "service": "iris-green",
             "busy": 0, "queued": 0, "instances": 0, "capacity": 0},
        ]})
    };
    let told = async || {
        let answer = gateway.admin("/internal/load").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()
    };
    assert_eq!(told().await, load(0, 0));
    let scores: Vec<_> = (0..3)
        .map(|_| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { gateway.score("{}").await.status })
        })
        .collect();
    gateway.wait_for_count("mooring_gateway_queued_requests", &[], 1).await;
    gateway.wait_for_count("mooring_gateway_in_flight_requests", &[], 2).await;
    assert_eq!(told().await, load(2, 1));
    permits.add_permits(3);
    for score in scores {
        assert_eq!(score.await.unwrap(), 200);
    }
    gateway.wait_for_count("mooring_gateway_in_flight_requests", &[], 0).await;
    assert_eq!(told().await, load(0, 0));
    // On the data port that is a path of the model's.
    permits.add_permits(1);
    assert_eq!(gateway.send("GET", "/internal/load", "", "").await.text(), "done");
}

#[tokio::test]
async fn the_trace_of_a_request_is_passed_on_as_it_is() {
    let model = Model::inspecting().await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[model.address])])).await;
    let trace = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "rojo=00f067aa0ba902b7"),
        ("tracestate", "congo=t61rcWkgMzE,other=  1"),
        ("baggage", "a=b"),
    ];
    let headers = trace.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let answer = gateway.send("POST", "/score", &headers, "{}").await;
    let seen: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    let passed = |prefixes: &[&str]| -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let pairs = seen["headers"].as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1])));
        pairs.filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix))).collect()
    };
    let sent: Vec<_> = trace.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(passed(&["trace", "baggage"]), sent);
    // A malformed one is no business of a gateway that takes no part in the trace.
    let odd = gateway.send("POST", "/score", "traceparent: nonsense\r\n", "{}").await;
    assert!(odd.text().contains("nonsense"));
    // Whoever sends none gets none.
    assert!(!gateway.score("{}").await.text().contains("traceparent"));
}
