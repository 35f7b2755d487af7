//! Answers, whose form is checked at every request of every test.

use std::sync::Arc;

use axum::http::{HeaderMap, Method, Response};
use ecom_shop_api::ProblemCode;
use serde_json::Value;

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The body as JSON; null if it is none.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn read(
        response: Response<axum::body::Body>,
        method: &Method,
        path: &str,
        description: Arc<Value>,
    ) -> Self {
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        let answer = Self { status: head.status.as_u16(), headers: head.headers, text, body };
        answer.check_form(method);
        answer.check_documented(method, path, &description);
        answer
    }

    /// Returns a header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the code of the problem; empty if it is none.
    pub(crate) fn code(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).unwrap_or_default()
    }

    /// Returns the pointers of the faults of a problem.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array();
        errors.into_iter().flatten().map(|error| error["pointer"].as_str().unwrap()).collect()
    }

    pub(crate) fn is_replayed(&self) -> bool {
        self.header("idempotent-replayed") == "true"
    }

    /// Every answer has a request id and no card number; an error is a problem as of RFC 9457.
    fn check_form(&self, method: &Method) {
        let request_id = self.header("x-request-id");
        assert!(!request_id.is_empty(), "{self:?}");
        assert!(ecom_card_numbers::find(format!("{self:?}").as_bytes()).is_empty(), "{self:?}");
        let is_probe = self.header("content-type").starts_with("text/plain");
        if self.status < 400 || is_probe || method == Method::HEAD {
            return;
        }
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.body.as_object().unwrap();
        let known = ["type", "title", "status", "detail", "instance", "errors"];
        assert!(problem.keys().all(|member| known.contains(&member.as_str())), "{self:?}");
        let code = ProblemCode::ALL.iter().find(|code| code.as_str() == self.code());
        let code = code.unwrap_or_else(|| panic!("an unknown problem: {self:?}"));
        assert_eq!((code.status().as_u16(), Some(code.title())), (self.status, problem["title"].as_str()));
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["instance"], format!("/requests/{request_id}"));
        assert!(
            problem.get("detail").is_none_or(|detail| detail.as_str().is_some_and(|text| !text.is_empty()))
        );
        for fault in problem.get("errors").map_or(&Vec::new(), |errors| errors.as_array().unwrap()) {
            let members: Vec<_> = fault.as_object().unwrap().iter().collect();
            assert!(members.len() == 2 && fault["pointer"].is_string() && fault["detail"].is_string());
        }
        let is_temporary = matches!(self.status, 429 | 503);
        let retry_after = self.header("retry-after");
        assert_eq!(retry_after.parse().is_ok_and(|seconds: u64| seconds > 0), is_temporary, "{self:?}");
        let challenges: Vec<_> = self.headers.get_all("www-authenticate").iter().collect();
        let expected = ["Bearer", "Basic realm=\"ecom\", charset=\"UTF-8\""];
        assert_eq!(challenges, if self.status == 401 { &expected[..] } else { &[] }, "{self:?}");
        assert!(self.status != 405 || !self.header("allow").is_empty(), "{self:?}");
    }

    /// The description has the status, the media type and the problem of every answer of an operation.
    fn check_documented(&self, method: &Method, path: &str, description: &Value) {
        let paths = description["paths"].as_object().unwrap();
        let literal = paths.get_key_value(path);
        let Some((_, item)) = literal.or_else(|| paths.iter().find(|(template, _)| is_of(path, template)))
        else {
            assert!(!path.starts_with("/api/v1/") || self.status >= 400, "{path} is not described");
            return;
        };
        let Some(operation) = item.get(method.as_str().to_lowercase()) else { return };
        let response = &operation["responses"][self.status.to_string()];
        let what = format!("{method} {path}: {} {}", self.status, self.code());
        assert!(response.is_object(), "{what} is not described");
        let media_type = self.header("content-type");
        let has_body = !matches!(self.status, 204 | 304);
        assert_eq!(
            response["content"][media_type].is_object(),
            has_body,
            "{what}: {media_type} is not described"
        );
        let described = response["description"].as_str().unwrap();
        assert!(
            self.status < 400 || described.split(", ").any(|code| code == self.code()),
            "{what}: {described}"
        );
        for (name, _) in response["headers"].as_object().into_iter().flatten() {
            assert!(
                self.headers.contains_key(name)
                    || ["Idempotent-Replayed", "Link", "Preference-Applied"].contains(&name.as_str())
            );
        }
    }
}

fn is_of(path: &str, template: &str) -> bool {
    let (path, template) = (path.split('/'), template.split('/'));
    path.clone().count() == template.clone().count()
        && path.zip(template).all(|(part, of)| part == of || of.starts_with('{') && !part.is_empty())
}
