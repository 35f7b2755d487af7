//! Conditions of a request on the version of what it names, as of RFC 9110: `If-Match` and `If-None-Match`.

use axum::extract::FromRequestParts;
use axum::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use utoipa::IntoParams;

use super::problem::{Problem, ProblemCode};

/// The conditions of a request that reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it documents the header, which is read by an extractor")]
pub(crate) struct ReadConditions {
    /// Entity tags of versions that the client has.
    #[param(
        rename = "If-None-Match", value_type = String, required = false, pattern = "^(\\*|(W/)?\"[0-9]{1,18}\")$"
    )]
    if_none_match: Option<String>,
}

/// The conditions of a request that writes.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it documents the headers, which are read by an extractor")]
pub(crate) struct WriteConditions {
    /// The entity tag of the version to replace.
    #[param(rename = "If-Match", value_type = String, required = false, pattern = "^(\\*|\"[0-9]{1,18}\")$")]
    if_match: Option<String>,
    /// *, to create and never replace.
    #[param(rename = "If-None-Match", value_type = String, required = false, pattern = "^\\*$")]
    if_none_match: Option<String>,
}

/// The conditions of a request.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Preconditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// The entity tags of a condition.
#[derive(PartialEq, Eq, Debug)]
enum Tags {
    /// `*`: those of any version.
    Any,
    These(Vec<Tag>),
}

/// An entity tag.
#[derive(PartialEq, Eq, Debug)]
struct Tag {
    is_weak: bool,
    value: String,
}

/// Returns the entity tag of a version.
pub(crate) fn entity_tag(version: i64) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{version}\"")).ok()
}

impl Preconditions {
    /// Returns an error unless what is named may be written at its version; `None` if there is no such thing.
    pub(crate) fn allow_write(&self, version: Option<i64>) -> Result<(), Problem> {
        let is_match = self.if_match.as_ref().is_none_or(|tags| tags.name(version, false));
        let is_other = self.if_none_match.as_ref().is_none_or(|tags| !tags.name(version, true));
        if is_match && is_other {
            return Ok(());
        }
        let detail = version.map_or_else(
            || "there is no such product".to_owned(),
            |version| format!("the product is at version {version}"),
        );
        Err(Problem::detailed(ProblemCode::PreconditionFailed, detail))
    }

    /// Returns whether the client has this version already.
    pub(crate) fn is_known(&self, version: i64) -> bool {
        self.if_none_match.as_ref().is_some_and(|tags| tags.name(Some(version), true))
    }
}

impl Tags {
    /// Returns whether they name a version. A weak tag never does where the comparison is strong.
    fn name(&self, version: Option<i64>, is_weak_enough: bool) -> bool {
        let Some(version) = version.map(|version| version.to_string()) else { return false };
        match self {
            Self::Any => true,
            Self::These(tags) => {
                tags.iter().any(|tag| tag.value == version && (is_weak_enough || !tag.is_weak))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let [if_match, if_none_match] = [IF_MATCH, IF_NONE_MATCH].map(|name| read(&parts.headers, &name));
        Ok(Self { if_match: if_match?, if_none_match: if_none_match? })
    }
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    if values.is_empty() {
        return Ok(None);
    }
    let texts: Option<Vec<&str>> = values.into_iter().map(|value| value.to_str().ok()).collect();
    texts.and_then(|texts| parse(&texts.join(","))).map(Some).ok_or_else(|| {
        let detail = "must be * or entity tags in quotation marks, such as \"7\"";
        let pointer = if *name == IF_MATCH { "If-Match" } else { "If-None-Match" };
        Problem::of_field(ProblemCode::InvalidHeader, pointer, detail)
    })
}

fn parse(text: &str) -> Option<Tags> {
    if text.trim() == "*" {
        return Some(Tags::Any);
    }
    let (mut tags, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return (!tags.is_empty()).then_some(Tags::These(tags));
        }
        let strong = rest.strip_prefix("W/");
        let (value, behind) = strong.unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        tags.push(Tag { is_weak: strong.is_some(), value: value.to_owned() });
        rest = behind.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(if_match: Option<&str>, if_none_match: Option<&str>) -> Preconditions {
        let read = |text: Option<&str>| text.map(|text| parse(text).unwrap());
        Preconditions { if_match: read(if_match), if_none_match: read(if_none_match) }
    }

    #[test]
    fn a_write_is_allowed_at_the_versions_that_its_conditions_name() {
        for (if_match, if_none_match, absent, at_7) in [
            (None, None, true, true),
            (Some("*"), None, false, true),
            (Some("\"7\""), None, false, true),
            (Some("\"6\" ,\t\"7\",,"), None, false, true),
            (Some("\"6\""), None, false, false),
            (Some("W/\"7\""), None, false, false),
            (Some("\"6,7\""), None, false, false),
            (None, Some("*"), true, false),
            (None, Some("\"7\""), true, false),
            (None, Some("W/\"7\""), true, false),
            (None, Some("\"6\""), true, true),
            (Some("\"7\""), Some("*"), false, false),
        ] {
            let conditions = conditions(if_match, if_none_match);
            let allowed = [None, Some(7)].map(|version| conditions.allow_write(version).is_ok());
            assert_eq!(allowed, [absent, at_7], "{conditions:?}");
        }
        assert!(conditions(None, Some("W/\"7\", \"8\"")).is_known(7));
        assert!(!conditions(Some("\"7\""), Some("\"6\"")).is_known(7));
    }

    #[test]
    fn what_is_no_list_of_entity_tags_is_an_error() {
        for text in ["", " ", ",", "7", "\"7", "7\"", "\"7\" \"8\"", "\"7\"x", "*, \"7\"", "w/\"7\"", "W/7"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
