//! Pages of lists, as of AIP-158: `page_size` and an opaque `page_token`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use super::problem::{Problem, ProblemCode};
use super::query::Query;
use ecom_shop_store::Cursor;

/// The size of a page if none is asked for.
const DEFAULT_SIZE: i64 = 50;
/// The largest page; more is cut to it.
pub(crate) const MAX_SIZE: i64 = 1_000;

/// The parameters of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "it documents the parameters, which are read one by one to name every fault at once"
)]
pub(crate) struct PageParameters {
    /// Entries a page; 50 by default, and at most 1000 whatever is asked for.
    #[param(minimum = 0)]
    page_size: Option<i64>,
    /// The next_page_token of the page before; empty for the first page.
    page_token: Option<String>,
}

/// The page of a list that is asked for.
pub(crate) struct PageRequest<P> {
    /// The most entries.
    pub(crate) size: usize,
    /// Where it begins; `None` for the first page.
    pub(crate) from: Option<P>,
}

/// A place in a list, as bytes.
pub(crate) trait Place: Sized {
    fn to_bytes(&self) -> Vec<u8>;
    /// Returns the place; `None` if the bytes are none.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Place for i64 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl Place for Cursor {
    fn to_bytes(&self) -> Vec<u8> {
        [self.at.to_be_bytes(), self.id.to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, id) = bytes.split_at_checked(8)?;
        Some(Self { at: i64::from_bytes(at)?, id: i64::from_bytes(id)? })
    }
}

impl Place for String {
    fn to_bytes(&self) -> Vec<u8> {
        self.clone().into_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
}

impl<P: Place> PageRequest<P> {
    /// Reads the page from the query of a list, of which nothing else is unread; `list` names it with its filters.
    pub(crate) fn read(mut query: Query, list: &str) -> Result<Self, Problem> {
        let size = query.integer("page_size", 0..=i64::MAX).filter(|size| *size > 0).unwrap_or(DEFAULT_SIZE);
        let token = query.take("page_token").filter(|token| !token.is_empty());
        query.finish()?;
        let from = token.map(|token| place(&token, list)).transpose()?;
        Ok(Self { size: usize::try_from(size.min(MAX_SIZE)).unwrap_or(1), from })
    }
}

/// Returns the token of the page that begins at a place of a list.
pub(crate) fn token(place: &impl Place, list: &str) -> String {
    let mut bytes = check(list).to_vec();
    bytes.extend(place.to_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn place<P: Place>(token: &str, list: &str) -> Result<P, Problem> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        P::from_bytes(bytes.strip_prefix(&check(list))?)
    };
    read().ok_or_else(|| Problem::new(ProblemCode::PageTokenInvalid))
}

/// Returns what tells the tokens of one list from those of another.
fn check(list: &str) -> [u8; 6] {
    let digest = Sha256::digest(list.as_bytes());
    digest[..6].try_into().expect("a digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_place_of_its_own_list_only() {
        let cursor = Cursor { at: 1_750_000_000_000_000, id: -7 };
        let token = token(&cursor, "transactions?status=Failed");
        assert_eq!(place(&token, "transactions?status=Failed"), Ok(cursor));
        for (token, list) in [
            (token.as_str(), "transactions"),
            ("", "orders"),
            ("AAAA", "orders"),
            ("ä", "orders"),
            (&token[1..], "transactions?status=Failed"),
        ] {
            assert_eq!(
                place::<Cursor>(token, list).unwrap_err().code,
                ProblemCode::PageTokenInvalid,
                "{token}"
            );
        }
    }
}
