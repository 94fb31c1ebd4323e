//! Web pages of other origins: what they may do is said by the gateway where the endpoint wants that, and nothing is
//! touched where it does not.

use http_body_util::BodyExt;

use crate::documents::{Deployment, Endpoint};
use crate::model::{Model, full};
use crate::process::Gateway;
use crate::wire::{self, Answer};

const ASK: &str = "OPTIONS /score HTTP/1.1\r\nhost: iris.default\r\norigin: https://app.example.com\r\n\
                   access-control-request-method: POST\r\naccess-control-request-headers: authorization,content-type\r\n\r\n";
const CORS: &str = "{allowOrigins: ['https://app.example.com', 'https://*.example.org'], allowMethods: [PUT],
      allowHeaders: [x-mine], exposeHeaders: [x-model], maxAge: 600}";

/// A model with ideas of its own about sharing.
async fn opinionated() -> Model {
    Model::start(|request| async move {
        let path = request.uri().path().to_owned();
        let _ = request.into_body().collect().await;
        let mut response = full("blue");
        for (name, value) in [
            ("access-control-allow-origin", "https://model.example.com"),
            ("access-control-allow-private-network", "true"),
            ("vary", "Accept"),
        ] {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        if path == "/error" {
            *response.status_mut() = hyper::StatusCode::IM_A_TEAPOT;
        }
        response
    })
    .await
}

async fn gateway(model: &Model, cors: &'static str) -> Gateway {
    let mut endpoint = Endpoint::new(&[Deployment::new("blue", 100, &[model.address])]);
    endpoint.cors = cors;
    Gateway::start(&endpoint).await
}

fn all<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    answer.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_gateway_without_a_credential() {
    let model = opinionated().await;
    let gateway = gateway(&model, CORS).await;
    let answer = wire::exchange(gateway.address, ASK).await;
    assert_eq!((answer.status, answer.phrase.as_str()), (204, "No Content"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD, POST, PUT"));
    let headers = answer.header("access-control-allow-headers").unwrap();
    for name in ["authorization", "content-type", "azureml-model-deployment", "x-mine"] {
        assert!(headers.split(", ").any(|allowed| allowed == name), "{name} is missing in {headers}");
    }
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert_eq!(answer.header("content-length"), None);
    assert_eq!(answer.header("x-request-id").unwrap().len(), 36);
    // Who is not meant learns nothing, and is no error.
    let stranger = wire::exchange(gateway.address, ASK.replace("app.example.com", "evil.example.com")).await;
    assert_eq!((stranger.status, stranger.header("vary")), (204, Some("Origin")));
    assert!(stranger.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{stranger:?}");
    assert_eq!(model.requests(), 0);
    gateway.wait_for_count("mooring_gateway_requests_total", &["code=\"204\"", "deployment=\"\""], 2).await;
}

#[tokio::test]
async fn every_answer_tells_the_page_what_it_may_read() {
    let model = opinionated().await;
    let gateway = gateway(&model, CORS).await;
    let origin = "origin: https://a.b.example.org\r\n";
    let pin = format!("{origin}azureml-model-deployment: none\r\n");
    let without_key = wire::exchange(
        gateway.address,
        format!("POST /score HTTP/1.1\r\nhost: iris.default\r\n{origin}content-length: 0\r\n\r\n"),
    );
    let large = "x".repeat(1_000_001);
    for (answer, status) in [
        (gateway.send("POST", "/score", origin, "{}").await, 200),
        (without_key.await, 401),
        (gateway.send("POST", "/score", &pin, "{}").await, 404),
        (gateway.send("POST", "/score", origin, &large).await, 413),
        (gateway.send("GET", "/error", origin, "").await, 424),
    ] {
        assert_eq!(answer.status, status);
        assert_eq!(all(&answer, "access-control-allow-origin"), ["https://a.b.example.org"]);
        assert_eq!(answer.header("access-control-allow-private-network"), None);
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in
            ["x-request-id", "azureml-model-deployment", "ms-azureml-model-error-reason", "retry-after", "x-model"]
        {
            assert!(exposed.split(", ").any(|other| other == name), "{name} is missing in {exposed}");
        }
        assert!(all(&answer, "vary").contains(&"Origin"));
        assert_eq!(all(&answer, "vary").contains(&"Accept"), [200, 424].contains(&status));
    }
    // Caches must know it of answers to others, too.
    for headers in ["", "origin: https://evil.example.com\r\n", "origin: null\r\n"] {
        let answer = gateway.send("POST", "/score", headers, "{}").await;
        assert_eq!((answer.status, all(&answer, "vary")), (200, vec!["Accept", "Origin"]));
        assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{answer:?}");
    }
}

#[tokio::test]
async fn options_that_are_no_preflight_reach_the_model() {
    let model = opinionated().await;
    let gateway = gateway(&model, CORS).await;
    for headers in ["", "origin: https://app.example.com\r\n", "access-control-request-method: POST\r\n"] {
        assert_eq!(gateway.send("OPTIONS", "/score", headers, "").await.text(), "blue");
    }
    assert_eq!(model.requests(), 3);
}

#[tokio::test]
async fn all_origins_and_those_with_credentials() {
    let model = Model::named("blue").await;
    let open = gateway(&model, "{allowOrigins: ['*']}").await;
    let answer = wire::exchange(open.address, ASK).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-max-age"), Some("5"));
    let named = gateway(&model, "{allowOrigins: ['https://app.example.com'], allowCredentials: true}").await;
    for answer in [
        wire::exchange(named.address, ASK).await,
        named.send("POST", "/score", "origin: https://app.example.com\r\n", "{}").await,
    ] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    }
}

#[tokio::test]
async fn an_endpoint_that_shares_nothing_is_not_touched() {
    let model = opinionated().await;
    let gateway = gateway(&model, "null").await;
    let refused = wire::exchange(gateway.address, ASK).await;
    assert_eq!((refused.status, refused.header("vary")), (401, None));
    assert!(refused.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{refused:?}");
    let page = gateway
        .send("OPTIONS", "/score", "origin: https://app.example.com\r\naccess-control-request-method: POST\r\n", "")
        .await;
    assert_eq!((page.text(), model.requests()), ("blue", 1));
    let mut names: Vec<_> = page.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "access-control-allow-origin",
            "access-control-allow-private-network",
            "azureml-model-deployment",
            "content-length",
            "date",
            "vary",
            "x-request-id"
        ]
    );
    assert_eq!(page.header("access-control-allow-origin"), Some("https://model.example.com"));
    assert_eq!(page.header("vary"), Some("Accept"));
}
