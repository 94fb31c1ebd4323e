//! Requests as a client of an endpoint sends them, through the Service of the gateway.

use super::place::{Place, setting};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub deployment: Option<String>,
    pub body: String,
}

/// A client of one endpoint.
#[derive(Clone)]
pub struct Scorer {
    client: reqwest::Client,
    url: String,
    host: String,
    key: String,
}

impl Scorer {
    /// Through the Service `mooring-gateway`; the endpoint's own name is an alias of it.
    pub async fn new(place: &Place, endpoint: &str) -> Self {
        Self::at(place, endpoint, &setting("MOORING_TEST_GATEWAY")).await
    }

    /// Through a gateway at `address`.
    pub async fn at(place: &Place, endpoint: &str, address: &str) -> Self {
        Self {
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            url: format!("http://{address}/score"),
            host: format!("{endpoint}.{}.svc.cluster.local", place.namespace),
            key: place.key(endpoint).await,
        }
    }

    /// The same client with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    pub async fn score(&self, body: &str, pin: Option<&str>) -> Result<Answer, reqwest::Error> {
        let mut request = self
            .client
            .post(&self.url)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .bearer_auth(&self.key)
            .body(body.to_owned());
        if let Some(pin) = pin {
            request = request.header("azureml-model-deployment", pin);
        }
        let response = request.send().await?;
        let header = response.headers().get("azureml-model-deployment");
        Ok(Answer {
            status: response.status().as_u16(),
            deployment: header.map(|value| value.to_str().unwrap().to_owned()),
            body: response.text().await?,
        })
    }
}
