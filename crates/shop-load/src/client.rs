//! A client of the API.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;

/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(35);
/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait before a request is repeated, times the number of its attempts.
const RETRY: Duration = Duration::from_millis(250);
/// The longest wait before a request is repeated, unless the API asks for a longer one.
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// The longest wait that the API may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

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
    /// The wait that the API asks for before the request is repeated.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Value,
}

impl ApiAnswer {
    /// Returns whether the same request may be answered otherwise when it is repeated.
    pub fn may_be_repeated(&self) -> bool {
        let is_of_now = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&self.status);
        is_of_now || self.status.is_server_error()
    }
}

/// Returns the wait before a request is repeated after this many attempts, the last of which had this answer, if any.
pub(crate) fn pause(attempts: u32, answer: Option<&ApiAnswer>) -> Duration {
    let own = RETRY.saturating_mul(attempts).min(LONGEST_RETRY);
    let asked = answer.and_then(|answer| answer.retry_after).unwrap_or_default();
    own.max(asked.min(LONGEST_RETRY_AFTER))
}

/// A request without an answer.
#[derive(thiserror::Error, Debug)]
pub enum ClientError {
    /// The URL of the API is none that it can have.
    #[error("the URL of the API is not of the form http://HOST:PORT: {0}")]
    Url(String),
    /// The API key cannot be a header.
    #[error("the API key has characters that a header cannot have")]
    Key,
    /// There was no answer, or none that could be read.
    #[error("no answer to {what}: {}", cause(source))]
    NoAnswer {
        /// The request, as method and path.
        what: String,
        /// The cause.
        source: reqwest::Error,
    },
}

/// Returns the innermost cause of an error; those around it repeat the URL and say nothing else.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Checks the URL of the API. It is printed and written into manifests, so a password must not be in it.
fn check_url(base: &str) -> Result<(), String> {
    let url = Url::parse(base).map_err(|error| error.to_string())?;
    if url.scheme() != "http" {
        return Err(format!("it begins with {}:", url.scheme()));
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err("it has a user name or a password".to_owned());
    }
    Ok(())
}

impl ApiClient {
    /// Creates a client of the API at `base`, such as `http://127.0.0.1:8000`.
    ///
    /// # Errors
    /// The URL is none that the API can have, or the key cannot be a header.
    pub fn try_new(base: &str, key: Option<&str>) -> Result<Self, ClientError> {
        check_url(base).map_err(ClientError::Url)?;
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

    /// Sends a PUT request.
    ///
    /// # Errors
    /// There was no answer: it is unknown whether it took effect.
    pub async fn put(&self, path: &str, body: &Value) -> Result<ApiAnswer, ClientError> {
        let request = self.http.put(format!("{}{path}", self.base)).header(CONTENT_TYPE, "application/json");
        self.answer(format!("PUT {path}"), request.body(body.to_string())).await
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
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        let body: Bytes = response.bytes().await.map_err(no_answer)?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(ApiAnswer { status, is_replayed, retry_after, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_the_api_has_a_scheme_a_host_and_no_password() {
        for good in ["http://127.0.0.1:8000", "http://api/", "http://[::1]:8000"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in
            ["http://", "http://h:99999", "localhost:8000", "api", "https://api", "http://ada:secret@api"]
        {
            assert!(check_url(bad).is_err_and(|why| !why.contains("secret")), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_request_without_an_answer_says_why() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = ApiClient::try_new(&format!("http://{closed}"), None).unwrap();
        let error = client.get("/x").await.unwrap_err().to_string();
        assert!(error.starts_with("no answer to GET /x: ") && error.contains("refused"), "{error}");
    }
}
