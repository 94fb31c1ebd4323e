//! Each answer of the contract: code, reason phrase, headers and body.

use http_body_util::BodyExt;
use hyper::{Response, StatusCode};
use tokio::io::AsyncWriteExt;

use crate::documents::{Deployment, Endpoint};
use crate::model::{self, Model, full};
use crate::process::Gateway;
use crate::wire::{self, Connection};

async fn gateway(model: &Model) -> Gateway {
    Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[model.address])])).await
}

#[tokio::test]
async fn a_good_answer_passes_with_the_deployments_name_and_both_ids() {
    let model = Model::inspecting().await;
    let gateway = gateway(&model).await;
    let headers = "x-request-id: mine\r\nx-ms-client-request-id: a b!c\r\nms-azureml-model-error-reason: forged\r\n\
                   connection: x-private\r\nx-private: 1\r\nte: trailers\r\nupgrade: websocket\r\n";
    let answer = gateway.send("POST", "/score?full=1", headers, "[1]").await;
    assert_eq!((answer.status, answer.phrase.as_str()), (200, "OK"));
    assert_eq!(answer.header("azureml-model-deployment"), Some("blue"));
    assert_eq!(answer.header("x-ms-client-request-id"), Some("abc"));
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(id.len(), 36, "a GUID: {id}");
    let seen: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!(seen["path"], "/predict?full=1");
    assert_eq!(seen["body"], "[1]");
    let headers: Vec<(&str, &str)> = seen["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect();
    assert!(headers.contains(&("x-request-id", id)), "{headers:?}");
    assert!(headers.contains(&("x-ms-client-request-id", "abc")));
    assert!(headers.contains(&("host", "iris.default")));
    for gone in ["authorization", "ms-azureml-model-error-reason", "connection", "x-private", "te", "upgrade"] {
        assert!(headers.iter().all(|(name, _)| *name != gone), "{gone} passed: {headers:?}");
    }
}

#[tokio::test]
async fn any_other_path_is_passed_on_as_it_is() {
    let model = Model::inspecting().await;
    let gateway = gateway(&model).await;
    for path in ["/v1/chat/completions?a=b", "/swagger.json", "/", "/scores", "/predict"] {
        let answer = gateway.send("GET", path, "", "").await;
        let seen: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(seen["path"], *path);
    }
}

#[tokio::test]
async fn without_a_good_key_the_answer_is_401() {
    let model = Model::named("blue").await;
    let gateway = gateway(&model).await;
    for credential in
        ["", "authorization: Bearer wrong\r\n", "authorization: Basic the-key\r\n", "authorization: Bearer\r\n"]
    {
        let request =
            format!("POST /score HTTP/1.1\r\nhost: iris.default\r\n{credential}content-length: 2\r\n\r\n{{}}");
        let answer = wire::exchange(gateway.address, request).await;
        assert_eq!((answer.status, answer.phrase.as_str()), (401, "Unauthorized"), "{credential}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.error()["code"], "Unauthorized");
        assert_eq!(answer.error()["requestId"].as_str(), answer.header("x-request-id"));
    }
    assert_eq!(model.requests(), 0);
    assert!(
        gateway.metric("mooring_gateway_rejected_total", &["reason=\"Unauthorized\"", "endpoint=\"iris\""]).await
            >= 4.0
    );
}

#[tokio::test]
async fn an_endpoint_that_wants_tokens_says_so() {
    let model = Model::named("blue").await;
    let mut endpoint = Endpoint::new(&[Deployment::new("blue", 100, &[model.address])]);
    endpoint.auth_mode = "AMLToken";
    let answer = Gateway::start(&endpoint).await.score("{}").await;
    assert_eq!(answer.status, 401);
    assert!(answer.error()["message"].as_str().unwrap().contains("AMLToken"));
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let model = Model::named("blue").await;
    let gateway = gateway(&model).await;
    let unknown = wire::exchange(gateway.address, "GET / HTTP/1.1\r\nhost: other.default\r\n\r\n").await;
    assert_eq!((unknown.status, unknown.phrase.as_str()), (404, "Not Found"));
    assert_eq!(unknown.error()["code"], "EndpointNotFound");
    let pinned = gateway.send("POST", "/score", "azureml-model-deployment: green\r\n", "{}").await;
    assert_eq!((pinned.status, &pinned.error()["code"]), (404, &"DeploymentNotFound".into()));
    gateway.serve(&Endpoint::new(&[Deployment::new("blue", 0, &[model.address])])).await;
    let weightless = gateway.score("{}").await;
    assert_eq!((weightless.status, &weightless.error()["code"]), (404, &"NoTraffic".into()));
    assert!(gateway.metric("mooring_gateway_requests_total", &["endpoint=\"\"", "code=\"404\""]).await >= 1.0);
}

#[tokio::test]
async fn a_model_that_takes_too_long_is_408_and_stays_busy_until_it_is_done() {
    let (model, finish) = Model::held().await;
    let mut blue = Deployment::new("blue", 100, &[model.address]);
    (blue.timeout_ms, blue.concurrent, blue.queue_ms) = (200, 1, 100);
    let gateway = Gateway::start(&Endpoint::new(&[blue])).await;
    let answer = gateway.score("{}").await;
    assert_eq!((answer.status, answer.phrase.as_str()), (408, "Request Timeout"));
    assert_eq!((&answer.error()["code"], &answer.error()["deployment"]), (&"RequestTimeout".into(), &"blue".into()));
    assert!(answer.error()["message"].as_str().unwrap().contains("200 ms"));
    let in_flight = "mooring_gateway_in_flight_requests";
    gateway.wait_for_metric(in_flight, &[], 1.0).await;
    assert_eq!(gateway.score("{}").await.status, 429, "its only place is still taken");
    finish.send(true).unwrap();
    gateway.wait_for_metric(in_flight, &[], 0.0).await;
    assert_eq!(gateway.score("{}").await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_it_says_so_or_not() {
    let model = Model::inspecting().await;
    let mut endpoint = Endpoint::new(&[Deployment::new("blue", 100, &[model.address])]);
    endpoint.max_bytes = 1000;
    let gateway = Gateway::start(&endpoint).await;
    let said = gateway.score(&"x".repeat(1001)).await;
    assert_eq!((said.status, said.phrase.as_str()), (413, "Payload Too Large"));
    assert_eq!(said.error()["code"], "PayloadTooLarge");
    assert_eq!(model.requests(), 0);
    let chunks = format!("{}0\r\n\r\n", format!("64\r\n{}\r\n", "x".repeat(100)).repeat(11));
    let request = format!("{}{chunks}", wire::request("POST", "/score", "transfer-encoding: chunked\r\n", ""));
    let unsaid = wire::exchange(gateway.address, request).await;
    assert_eq!((unsaid.status, unsaid.phrase.as_str()), (413, "Payload Too Large"));
    // One that sends on and on gets its answer too, before the connection closes.
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "content-length: 10000000\r\n", "")).await;
    assert_eq!(connection.answer().await.status, 413);
    connection.send(vec![b'x'; 1_000_000]).await;
    assert!(connection.closes().await);
}

#[tokio::test]
async fn whoever_waits_for_a_word_before_a_large_body_gets_413_at_once() {
    let model = Model::inspecting().await;
    let gateway = gateway(&model).await;
    let head = wire::request("POST", "/score", "content-length: 10000000\r\nexpect: 100-continue\r\n", "");
    assert_eq!(wire::exchange(gateway.address, head).await.status, 413);
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "content-length: 2\r\nexpect: 100-continue\r\n", "")).await;
    assert_eq!(connection.head().await.status, 100);
    connection.send("{}").await;
    assert_eq!(connection.answer().await.status, 200);
}

#[tokio::test]
async fn anything_but_200_from_the_scoring_path_is_424_with_the_models_own_code_and_body() {
    let model = Model::start(|request| async move {
        let code: u16 = request.headers()["x-code"].to_str().unwrap().parse().unwrap();
        let mut response = full(format!("model says {code}"));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
        response.headers_mut().insert("ms-azureml-model-error-reason", "forged".parse().unwrap());
        response
    })
    .await;
    let gateway = gateway(&model).await;
    for code in ["500", "400", "201", "302", "503"] {
        let answer = gateway.send("POST", "/score", &format!("x-code: {code}\r\n"), "{}").await;
        assert_eq!((answer.status, answer.phrase), (424, format!("Model Error; original-code={code}")));
        let reasons: Vec<_> =
            answer.headers.iter().filter(|(name, _)| name == "ms-azureml-model-error-reason").collect();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert_eq!(reasons[0].1, "model_error");
        assert_eq!(
            answer.headers.iter().find(|(name, _)| name == "ms-azureml-model-error-statuscode").unwrap().1,
            code
        );
        assert_eq!(answer.headers.iter().find(|(name, _)| name == "content-type").unwrap().1, "text/plain");
        assert_eq!(answer.body, format!("model says {code}").as_bytes());
    }
    for (code, expected) in [("201", 201), ("302", 302), ("404", 424), ("500", 424)] {
        let answer = gateway.send("POST", "/v1/models", &format!("x-code: {code}\r\n"), "{}").await;
        assert_eq!(answer.status, expected, "on other paths {code}");
    }
    let labels = ["code=\"424\"", "model_code=\"503\"", "deployment=\"blue\""];
    assert!(gateway.metric("mooring_gateway_requests_total", &labels).await >= 1.0);
}

#[tokio::test]
async fn a_connection_that_breaks_before_an_answer_is_424_with_code_0() {
    let address = model::raw(|mut stream, _| async move {
        model::read_head(&mut stream).await;
    })
    .await;
    for (what, address) in [("broken", address), ("refused", model::nobody().await)] {
        let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[address])])).await;
        let answer = gateway.score("{}").await;
        assert_eq!((answer.status, answer.phrase.as_str()), (424, "Model Error; original-code=0"), "{what}");
        assert_eq!(answer.header("ms-azureml-model-error-statuscode"), Some("0"));
        assert_eq!(answer.header("ms-azureml-model-error-reason"), Some("connection"));
        assert_eq!(answer.error()["code"], "ModelConnectionFailed");
    }
}

#[tokio::test]
async fn an_answer_that_says_that_it_is_too_large_is_424_and_one_that_does_not_is_cut() {
    let model = Model::start(|request| async move {
        if request.uri().path() == "/predict" {
            return full("x".repeat(1001));
        }
        let (sender, response) = model::streamed();
        tokio::spawn(async move { while sender.send("0123456789").await.is_ok() {} });
        response
    })
    .await;
    let mut endpoint = Endpoint::new(&[Deployment::new("blue", 100, &[model.address])]);
    endpoint.max_bytes = 1000;
    let gateway = Gateway::start(&endpoint).await;
    let said = gateway.score("{}").await;
    assert_eq!((said.status, said.phrase.as_str()), (424, "Response Payload Too Large"));
    assert_eq!(said.error()["code"], "ResponsePayloadTooLarge");
    let unsaid = gateway.send("GET", "/stream", "", "").await;
    assert_eq!((unsaid.status, unsaid.whole), (200, false));
    assert!(unsaid.body.len() <= 1000);
    gateway.wait_for("the response body is over the limit of 1000 bytes", 1).await;
}

#[tokio::test]
async fn without_a_ready_instance_the_answer_is_424_model_not_ready() {
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[])])).await;
    let answer = gateway.score("{}").await;
    assert_eq!((answer.status, answer.phrase.as_str()), (424, "Model Error; original-code=0"));
    assert_eq!(answer.header("ms-azureml-model-error-reason"), Some("model_not_ready"));
    assert_eq!(answer.error()["code"], "ModelNotReady");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn an_answer_without_a_body_stays_one() {
    let model = Model::start(|request| async move {
        let _ = request.into_body().collect().await;
        let mut response: Response<model::Body> = full("");
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    })
    .await;
    let gateway = gateway(&model).await;
    let mut connection = Connection::open(gateway.address).await;
    for _ in 0..3 {
        connection.send(wire::request("DELETE", "/thing", "", "")).await;
        let answer = connection.head().await;
        assert_eq!((answer.status, answer.header("content-length")), (204, None));
    }
    for _ in 0..2 {
        connection.send(wire::request("HEAD", "/thing", "", "")).await;
        assert_eq!(connection.head().await.status, 204);
    }
}

#[tokio::test]
async fn the_data_port_has_no_health_of_its_own() {
    let model = Model::named("blue").await;
    let gateway = gateway(&model).await;
    let answer = wire::exchange(gateway.address, "GET / HTTP/1.0\r\n\r\n".replace("1.0", "1.1\r\nhost: x")).await;
    assert_eq!(answer.status, 404);
    assert_eq!(gateway.admin("/live").await.status, 200);
}

#[tokio::test]
async fn each_request_leaves_a_line_in_the_access_log() {
    let model = Model::named("blue").await;
    let gateway = gateway(&model).await;
    let ok =
        gateway.send("POST", "/score?secret=1", "user-agent: test\r\nx-ms-client-request-id: mine\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", "{}").await;
    gateway.send("GET", "/score", "azureml-model-deployment: nope\r\n", "").await;
    gateway.terminate();
    let lines = gateway.ended().await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    let line = &lines[0];
    assert_eq!(line["XRequestId"].as_str(), ok.header("x-request-id"));
    for (field, value) in [
        ("Method", "POST"),
        ("Path", "/score"),
        ("Namespace", "default"),
        ("EndpointName", "iris"),
        ("DeploymentName", "blue"),
        ("Protocol", "HTTP/1.1"),
        ("UserAgent", "test"),
        ("XMSClientRequestId", "mine"),
        ("TraceId", "0af7651916cd43dd8448eb211c80319c"),
        ("AuthMode", "Key"),
        ("ModelStatusReason", "OK"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!((&line["ResponseCode"], &line["ModelStatusCode"]), (&200.into(), &200.into()));
    assert_eq!((&line["RequestPayloadSize"], &line["ResponsePayloadSize"]), (&2.into(), &4.into()));
    assert_eq!(line["ResponseCodeReason"], serde_json::Value::Null);
    let [request, response, total] =
        ["RequestDurationMs", "ResponseDurationMs", "TotalDurationMs"].map(|field| line[field].as_f64().expect(field));
    assert!(0.0 < request && request <= response && response <= total, "{line}");
    assert_eq!(lines[1]["TraceId"], serde_json::Value::Null);
    assert_eq!(
        (&lines[1]["ResponseCode"], &lines[1]["ResponseCodeReason"]),
        (&404.into(), &"DeploymentNotFound".into())
    );
}

#[tokio::test]
async fn a_model_that_breaks_off_in_the_middle_is_cut_off_for_the_caller_too() {
    let address = model::raw(|mut stream, _| async move {
        model::read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
    })
    .await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[address])])).await;
    let answer = gateway.send("GET", "/score", "", "").await;
    assert_eq!((answer.status, answer.whole), (200, false));
}
