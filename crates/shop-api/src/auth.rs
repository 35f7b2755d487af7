//! API keys: who calls, and what the role of the key may do.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::problem::{Problem, ProblemCode};
use ecom_shop_domain::identity::RequestKey;

/// The account of callers where no key is required.
pub const LOCAL_ACCOUNT: &str = "local";
/// The beginning of every key, so that scanners for leaked secrets know it.
pub const KEY_PREFIX: &str = "ecom_";
/// The shortest time between two looks at the keys file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a key may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallerRole {
    /// Everything, and names the customer in each request.
    Shop,
    /// Reads everything and writes nothing.
    Reader,
    /// The customer with this id: their own orders and payments only.
    Customer(i64),
}

/// Who calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The name of the key: idempotency keys are unique within it.
    pub account: Arc<str>,
    /// What it may do.
    pub role: CallerRole,
}

impl Caller {
    /// Returns the key of a request in the store.
    pub(crate) fn request_key(&self, key: &str) -> RequestKey {
        RequestKey { account: self.account.to_string(), key: key.to_owned() }
    }

    /// Returns an error if the caller may not write.
    pub(crate) fn may_write(&self) -> Result<(), Problem> {
        match self.role {
            CallerRole::Shop | CallerRole::Customer(_) => Ok(()),
            CallerRole::Reader => Err(Problem::detailed(ProblemCode::Forbidden, "a reader only reads")),
        }
    }

    /// Returns an error if the caller is a customer.
    pub(crate) fn is_not_a_customer(&self) -> Result<(), Problem> {
        match self.role {
            CallerRole::Shop | CallerRole::Reader => Ok(()),
            CallerRole::Customer(_) => Err(Problem::detailed(
                ProblemCode::Forbidden,
                "a customer sees their own orders and payments only",
            )),
        }
    }

    /// Returns the customer that a request is about: that of the key, or the one that it names. `None` if it names none.
    ///
    /// # Errors
    /// A customer's key with another customer.
    pub(crate) fn customer(&self, named: Option<i64>) -> Result<Option<i64>, Problem> {
        match self.role {
            CallerRole::Shop | CallerRole::Reader => Ok(named),
            CallerRole::Customer(own) if named.is_none_or(|named| named == own) => Ok(Some(own)),
            CallerRole::Customer(_) => {
                Err(Problem::detailed(ProblemCode::Forbidden, "customer_id is not that of this key"))
            }
        }
    }

    /// Returns whether the caller may see what belongs to a customer.
    pub(crate) fn may_see(&self, customer_id: i64) -> bool {
        match self.role {
            CallerRole::Shop | CallerRole::Reader => true,
            CallerRole::Customer(own) => own == customer_id,
        }
    }
}

/// The keys that are accepted.
pub enum Keys {
    /// No key is required: everybody who reaches the port is the shop.
    NotRequired,
    /// The keys of a file.
    File(KeysFile),
}

/// A file of keys: lines `SHA256 ROLE NAME [CUSTOMER]`, of which it keeps the last that could be read.
pub struct KeysFile {
    path: PathBuf,
    state: Mutex<FileState>,
}

struct FileState {
    callers: HashMap<[u8; 32], Caller>,
    text: String,
    looked_at: Instant,
}

/// The error of a keys file.
#[derive(thiserror::Error, Debug)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("could not read the keys file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {cause}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The fault.
        cause: String,
    },
}

impl Keys {
    /// Reads a keys file.
    ///
    /// # Errors
    /// If it cannot be read, or has a line that is wrong.
    pub fn open(path: &Path) -> Result<Self, KeysError> {
        let text = read(path)?;
        let callers = parse(path, &text)?;
        let state = Mutex::new(FileState { callers, text, looked_at: Instant::now() });
        Ok(Self::File(KeysFile { path: path.to_owned(), state }))
    }

    /// Returns who calls with this `Authorization` header.
    pub(crate) fn caller(&self, authorization: Option<&str>) -> Result<Caller, Problem> {
        let file = match self {
            Self::NotRequired => return Ok(Caller { account: LOCAL_ACCOUNT.into(), role: CallerRole::Shop }),
            Self::File(file) => file,
        };
        let caller = authorization.and_then(key_of).and_then(|key| file.caller(&key));
        caller.ok_or_else(|| Problem::new(ProblemCode::Unauthenticated))
    }
}

/// Returns the key in an `Authorization` header: the bearer token, or the password of HTTP Basic, as clients send it that
/// are given `http://USER:KEY@HOST`. The user name does not count.
fn key_of(authorization: &str) -> Option<Cow<'_, str>> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("Bearer") {
        return Some(credentials.into());
    }
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    Some(password.to_owned().into())
}

impl KeysFile {
    fn caller(&self, key: &str) -> Option<Caller> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked_at.elapsed() >= LOOK_EVERY {
            state.looked_at = Instant::now();
            self.look(&mut state);
        }
        state.callers.get(&hash(key)).cloned()
    }

    /// Reads the file again. One that is wrong is not taken over.
    fn look(&self, state: &mut FileState) {
        match read(&self.path) {
            Ok(text) if text == state.text => {}
            Ok(text) => {
                match parse(&self.path, &text) {
                    Ok(callers) => {
                        tracing::info!("{} was changed: it has {} keys", self.path.display(), callers.len());
                        state.callers = callers;
                    }
                    Err(error) => tracing::error!("{error}; the keys before this change remain valid"),
                }
                state.text = text;
            }
            Err(error) => tracing::error!("{error}; the keys that were read last remain valid"),
        }
    }
}

fn read(path: &Path) -> Result<String, KeysError> {
    std::fs::read_to_string(path).map_err(|source| KeysError::Unreadable { path: path.to_owned(), source })
}

fn parse(path: &Path, text: &str) -> Result<HashMap<[u8; 32], Caller>, KeysError> {
    let mut callers = HashMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let fault = |cause| KeysError::Line { path: path.to_owned(), line, cause };
        let (hash, caller) = parse_line(content).map_err(fault)?;
        // Idempotency keys are unique within a name: two keys of one name must not be of two customers.
        let is_other = |known: &Caller| known.account == caller.account && known.role != caller.role;
        if callers.values().any(is_other) {
            return Err(fault(format!("{} has another role or customer above", caller.account)));
        }
        callers.insert(hash, caller);
    }
    Ok(callers)
}

fn parse_line(line: &str) -> Result<([u8; 32], Caller), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (hash, role, name, customer) = match words.as_slice() {
        [hash, role, name] => (hash, *role, *name, None),
        [hash, role, name, customer] => (hash, *role, *name, Some(*customer)),
        _ => return Err("expects SHA256 ROLE NAME, and CUSTOMER for the role customer".to_owned()),
    };
    let hash = unhex(hash).ok_or("the first word is not a SHA-256 in hex")?;
    let role = match (role, customer) {
        ("shop", None) => CallerRole::Shop,
        ("reader", None) => CallerRole::Reader,
        ("customer", Some(id)) => {
            let id = id.parse().ok().filter(|id| *id > 0);
            CallerRole::Customer(id.ok_or("the customer is not a positive number")?)
        }
        ("customer", None) => return Err("the role customer needs the id of the customer".to_owned()),
        ("shop" | "reader", Some(_)) => return Err("only the role customer has a customer".to_owned()),
        _ => return Err("the role is none of shop, reader and customer".to_owned()),
    };
    Ok((hash, Caller { account: name.into(), role }))
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Returns the line of the keys file for a key.
pub fn key_line(key: &str, role: CallerRole, name: &str) -> String {
    let hash: String = hash(key).iter().map(|byte| format!("{byte:02x}")).collect();
    match role {
        CallerRole::Shop => format!("{hash} shop {name}"),
        CallerRole::Reader => format!("{hash} reader {name}"),
        CallerRole::Customer(id) => format!("{hash} customer {name} {id}"),
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_are_those_of_the_file_also_after_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let lines = [("a", CallerRole::Shop), ("b", CallerRole::Reader), ("c", CallerRole::Customer(7))];
        let text: Vec<String> =
            lines.iter().map(|(key, role)| key_line(key, *role, &format!("name-{key}"))).collect();
        std::fs::write(&path, format!("# keys\n\n{}\n", text.join("\n"))).unwrap();
        let keys = Keys::open(&path).unwrap();
        for (key, role) in lines {
            let caller = keys.caller(Some(&format!("bearer {key}"))).unwrap();
            assert_eq!((caller.role, &*caller.account), (role, format!("name-{key}").as_str()));
        }
        for wrong in [None, Some("Bearer d"), Some("Basic a"), Some("a"), Some("Bearer")] {
            assert_eq!(keys.caller(wrong).unwrap_err().code, ProblemCode::Unauthenticated);
        }
        let is_known = |key: &str| keys.caller(Some(&format!("Bearer {key}"))).is_ok();
        std::fs::write(&path, &text[1]).unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert!(!is_known("a") && is_known("b"));
        std::fs::write(&path, "nonsense").unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert!(is_known("b"), "a file with a fault is not taken over");
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert!(is_known("b"), "a file that cannot be read is not taken over");
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let hash = "00".repeat(32);
        for line in [
            "x",
            &format!("{hash} admin a"),
            &format!("{hash} customer a"),
            &format!("{hash} customer a -1"),
            &format!("{hash} shop a 7"),
            "00 shop a",
        ] {
            let error = parse(Path::new("keys"), &format!("\n{line}")).unwrap_err();
            assert!(error.to_string().starts_with("keys:2: "), "{error}");
        }
        let two = |second: CallerRole| {
            let lines = [key_line("a", CallerRole::Customer(7), "ada"), key_line("b", second, "ada")];
            parse(Path::new("keys"), &lines.join("\n"))
                .map(|keys| keys.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(two(CallerRole::Customer(7)), Ok(2), "a key may be replaced by another");
        for other in [CallerRole::Customer(8), CallerRole::Shop] {
            assert_eq!(two(other), Err("keys:2: ada has another role or customer above".to_owned()));
        }
    }
}
