//! `[store]`: where facts and dead letters are kept.

use std::path::PathBuf;
use std::time::Duration;

use super::super::hosts;
use super::super::known::PASSWORD;
use super::super::reader::Reader;
use super::super::secret::Secret;

const USER: &str = "store.cassandra.user";
const PASSWORD_FILE: &str = "store.cassandra.password_file";

/// Which store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// In the folder of `[embedded]`.
    Embedded,
    /// Apache Cassandra.
    Cassandra,
}

/// Where facts and dead letters are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// Which store.
    pub kind: StoreKind,
    /// How Cassandra is reached; meaningful where it is the store.
    pub cassandra: CassandraConfig,
}

/// How Cassandra is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CassandraConfig {
    /// Nodes to ask first, `host` or `host:port`; at least one where Cassandra is the store.
    pub contact_points: Vec<String>,
    /// The datacenter whose quorum counts; not empty where Cassandra is the store.
    pub local_datacenter: String,
    /// The keyspace; needs no quoting in CQL.
    pub keyspace: String,
    /// Copies of each row in the local datacenter; used where the keyspace is created, only.
    pub replication_factor: u32,
    /// Who we are; `None` where the cluster does not ask, or is not the store.
    pub credentials: Option<Credentials>,
    /// Whether connections are encrypted.
    pub tls: Tls,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Connections to each node.
    pub connections_per_node: usize,
}

/// A user and the password, wherever it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// Name.
    pub user: String,
    /// Password.
    pub password: Secret,
}

/// Whether connections are encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tls {
    /// They are not.
    Off,
    /// They are.
    On {
        /// PEM file of the authorities to trust; `None` = the system's.
        ca_file: Option<PathBuf>,
    },
}

impl StoreConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let kind = reader
            .choice("store.kind", &[("embedded", StoreKind::Embedded), ("cassandra", StoreKind::Cassandra)]);
        let cassandra = CassandraConfig::read(reader, kind == Some(StoreKind::Cassandra));
        Some(Self { kind: kind?, cassandra: cassandra? })
    }
}

impl CassandraConfig {
    fn read(reader: &mut Reader<'_>, chosen: bool) -> Option<Self> {
        let contact_points = contact_points(reader, chosen);
        let local_datacenter = reader.parsed("store.cassandra.local_datacenter", hosts::datacenter);
        if chosen && local_datacenter.as_deref() == Some("") {
            reader.missing("store.cassandra.local_datacenter", "store.kind");
        }
        let keyspace = reader.parsed("store.cassandra.keyspace", hosts::keyspace);
        let replication_factor = reader.number("store.cassandra.replication_factor", 1..=16);
        let credentials = credentials(reader, chosen);
        let tls = tls(reader);
        let request_timeout = reader
            .duration("store.cassandra.request_timeout", Duration::from_millis(1)..=Duration::from_mins(10));
        let connections_per_node = reader.number("store.cassandra.connections_per_node", 1..=64);
        Some(Self {
            contact_points: contact_points?,
            local_datacenter: local_datacenter?,
            keyspace: keyspace?,
            replication_factor: replication_factor?,
            credentials: credentials?,
            tls: tls?,
            request_timeout: request_timeout?,
            connections_per_node: connections_per_node?,
        })
    }
}

fn contact_points(reader: &mut Reader<'_>, chosen: bool) -> Option<Vec<String>> {
    const KEY: &str = "store.cassandra.contact_points";
    let points = reader.list(KEY)?;
    if chosen && points.is_empty() {
        reader.missing(KEY, "store.kind");
    }
    let mut sound = true;
    for point in &points {
        if let Err(why) = hosts::host(point) {
            sound = false;
            reader.fault(KEY, &why);
        }
    }
    sound.then_some(points)
}

/// `Some(None)` = nobody asks for credentials; `None` = there is a fault.
fn credentials(reader: &mut Reader<'_>, chosen: bool) -> Option<Option<Credentials>> {
    let user = reader.text(USER);
    let password = reader.text(PASSWORD);
    let file = reader.text(PASSWORD_FILE);
    let (user, password, file) = (user?, password?, file?);
    if !password.is_empty() && !file.is_empty() {
        reader.fault(PASSWORD_FILE, &format!("and {PASSWORD} are both set, keep one"));
        return None;
    }
    let no_password = password.is_empty() && file.is_empty();
    if !chosen || (user.is_empty() && no_password) {
        return Some(None);
    }
    if user.is_empty() {
        reader.fault(USER, "is required because a password is set");
        return None;
    }
    if no_password {
        reader.fault(USER, &format!("needs {PASSWORD_FILE} or {PASSWORD}"));
        return None;
    }
    let password = if file.is_empty() { password } else { reader.parsed(PASSWORD_FILE, read_password)? };
    Some(Some(Credentials { user, password: Secret::new(password) }))
}

fn read_password(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path} could not be read: {error}"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("{path} is empty")),
        password => Ok(password.to_owned()),
    }
}

fn tls(reader: &mut Reader<'_>) -> Option<Tls> {
    let on = reader.truth("store.cassandra.tls");
    let ca_file = reader.text("store.cassandra.ca_file");
    let (on, ca_file) = (on?, ca_file?);
    let ca_file = (!ca_file.is_empty()).then(|| PathBuf::from(ca_file));
    if on {
        return Some(Tls::On { ca_file });
    }
    if ca_file.is_some() {
        reader.fault("store.cassandra.ca_file", "is set, but store.cassandra.tls is false");
        return None;
    }
    Some(Tls::Off)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{Written, load_env, load_sets, load_text};
    use super::*;

    const CHOSEN: (&str, &str) = ("ECOM__STORE__KIND", "cassandra");
    const AS_ECOM: (&str, &str) = ("ECOM__STORE__CASSANDRA__USER", "ecom");

    #[test]
    fn a_password_is_never_taken_from_the_command_line() {
        let faults = load_sets(&["store.cassandra.password=hunter2"]).unwrap_err();
        assert!(faults.starts_with("--set: store.cassandra.password is a secret"), "{faults}");
        assert!(faults.contains("ECOM__STORE__CASSANDRA__PASSWORD"), "{faults}");
        assert!(!faults.contains("hunter2"));
    }

    #[test]
    fn a_password_is_never_part_of_a_fault() {
        for text in [
            "[store]\nkind = \"cassandra\"\ncassandra.password = \"hunter2\"",
            "[store.cassandra]\npassword = \"hunter2\"\npassword_file = \"x\"",
            "[store.cassandra]\npassword = [\"hunter2\"]",
            "[store.cassandra]\npasswort = \"hunter2\"",
            "[store.cassandra]\npassword = \"hunter2",
            "[store.cassandra]\npassword = hunter2",
        ] {
            let faults = load_text(text).unwrap_err();
            assert!(!faults.contains("hunter2"), "{faults}");
        }
        let file = Written::new("[store.cassandra]\npassword = \"hunter2\"");
        let other = Written::new("[store.cassandra]\npassword = 5");
        let files = vec![file.path(), other.path()];
        let faults = super::super::super::load(&super::super::super::Sources { files, ..Default::default() });
        assert!(!faults.unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn a_password_file_is_read_without_its_last_newline() {
        let file = Written::new("hunter2 \n");
        let path = file.path().display().to_string();
        let loaded = load_env(&[CHOSEN, AS_ECOM, ("ECOM__STORE__CASSANDRA__PASSWORD_FILE", &path)]).unwrap();
        let expected = Credentials { user: "ecom".into(), password: Secret::new("hunter2 ".into()) };
        assert_eq!(loaded.config.store.cassandra.credentials, Some(expected));
        assert!(!loaded.print().contains("hunter2"));
        let faults =
            load_env(&[CHOSEN, AS_ECOM, ("ECOM__STORE__CASSANDRA__PASSWORD_FILE", "no/such")]).unwrap_err();
        assert!(faults.contains("store.cassandra.password_file no/such could not be read"), "{faults}");
    }

    #[test]
    fn contradictions_are_faults() {
        for (set, why) in [
            ("store.cassandra.user=ecom", "user needs store.cassandra.password_file or"),
            ("store.cassandra.password_file=x", "user is required because a password is set"),
            ("store.cassandra.ca_file=ca.pem", "ca_file is set, but store.cassandra.tls is false"),
            ("store.cassandra.contact_points=", "contact_points is required because store.kind is"),
            ("store.cassandra.contact_points=http://x:1", "contact_points must be host:port without"),
            ("store.cassandra.keyspace=Ecom", "keyspace must be a-z"),
            ("store.cassandra.local_datacenter=d'c", "local_datacenter must not hold quotes"),
        ] {
            let faults = load_sets(&["store.kind=cassandra", set]).unwrap_err();
            assert!(faults.contains(why), "{faults}");
        }
    }

    #[test]
    fn bus_and_store_are_chosen_each_for_itself() {
        assert!(load_sets(&["store.kind=cassandra"]).is_ok());
        assert!(load_sets(&["bus.kind=pubsub", "bus.pubsub.project=p"]).is_ok());
    }
}
