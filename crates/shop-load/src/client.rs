//! A client of the API.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode};
use serde_json::Value;

/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(35);
/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the API. Clones share their connections.
#[derive(Clone, Debug)]
pub struct ApiClient {
    http: Client,
    base: String,
}

/// An answer of the API.
#[derive(Clone, Debug)]
pub struct ApiAnswer {
    /// The status.
    pub status: StatusCode,
    /// Whether the request had been recorded before.
    pub is_replayed: bool,
    /// The body.
    pub body: Value,
}

/// A request without an answer.
#[derive(thiserror::Error, Debug)]
pub enum ClientError {
    /// The API key cannot be a header.
    #[error("the API key has characters that a header cannot have")]
    Key,
    /// There was no answer, or none that could be read.
    #[error("no answer to {what}: {source}")]
    NoAnswer {
        /// The request, as method and path.
        what: String,
        /// The cause.
        source: reqwest::Error,
    },
}

impl ApiClient {
    /// Creates a client of the API at `base`, such as `http://127.0.0.1:8000`.
    ///
    /// # Errors
    /// The key cannot be a header.
    pub fn try_new(base: &str, key: Option<&str>) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| ClientError::Key)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let http = Client::builder()
            .default_headers(headers)
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|source| ClientError::NoAnswer { what: "the first request".to_owned(), source })?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// Sends a POST request with an idempotency key.
    ///
    /// # Errors
    /// There was no answer: it is unknown whether it was recorded.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Result<ApiAnswer, ClientError> {
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request.header("Idempotency-Key", key).header(CONTENT_TYPE, "application/json");
        self.answer(format!("POST {path}"), request.body(body.to_string())).await
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn get(&self, path: &str) -> Result<ApiAnswer, ClientError> {
        self.answer(format!("GET {path}"), self.http.get(format!("{}{path}", self.base))).await
    }

    async fn answer(&self, what: String, request: reqwest::RequestBuilder) -> Result<ApiAnswer, ClientError> {
        let no_answer = |source| ClientError::NoAnswer { what: what.clone(), source };
        let response = request.send().await.map_err(no_answer)?;
        let status = response.status();
        let is_replayed = response.headers().contains_key("idempotent-replayed");
        let body: Bytes = response.bytes().await.map_err(no_answer)?;
        Ok(ApiAnswer { status, is_replayed, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }
}
