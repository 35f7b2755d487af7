//! Where Cassandra is and how to talk to it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where Cassandra is and how to talk to it.
#[derive(Clone, Debug)]
pub struct CassandraSettings {
    /// Nodes to ask first, as `host` or `host:port` (9042 when absent).
    pub contact_points: Vec<String>,
    /// Whose nodes are used, and whose quorum is meant.
    pub local_datacenter: String,
    /// `^[a-z][a-z0-9_]{0,47}$`.
    pub keyspace: String,
    /// How the keyspace is created; a keyspace that exists is left as it is.
    pub replication: Replication,
    /// Absent where the cluster asks for none.
    pub credentials: Option<Credentials>,
    /// Whether connections are encrypted, and who vouches for the nodes.
    pub tls: Tls,
    /// A statement's; more than the server's own write timeout of 2 s.
    pub request_timeout: Duration,
    /// Until a node answers, at the start and when reconnecting.
    pub connect_timeout: Duration,
    /// Connections to each node, at least 1; one carries 32,768 requests at once.
    pub connections_per_node: usize,
}

impl Default for CassandraSettings {
    fn default() -> Self {
        Self {
            contact_points: vec!["127.0.0.1:9042".to_owned()],
            local_datacenter: "datacenter1".to_owned(),
            keyspace: "ecom_store".to_owned(),
            replication: Replication::Everywhere(1),
            credentials: None,
            tls: Tls::Off,
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            connections_per_node: 1,
        }
    }
}

/// Copies of each row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replication {
    /// As many in every datacenter there is when the keyspace is created.
    Everywhere(u8),
    /// By datacenter.
    Datacenters(Vec<(String, u8)>),
}

impl Replication {
    /// `3`, or `dc1:3,dc2:3`.
    pub fn parse(text: &str) -> Option<Self> {
        let factor = |text: &str| text.trim().parse::<u8>().ok().filter(|factor| *factor > 0);
        if let Some(factor) = factor(text) {
            return Some(Self::Everywhere(factor));
        }
        let datacenter = |part: &str| {
            let (name, copies) = part.split_once(':')?;
            let name = name.trim();
            let sound = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
            (sound && !name.is_empty()).then_some((name.to_owned(), factor(copies)?))
        };
        text.split(',').map(datacenter).collect::<Option<Vec<_>>>().map(Self::Datacenters)
    }

    /// The map of `WITH replication =`.
    pub(super) fn cql(&self) -> String {
        let factors = match self {
            Self::Everywhere(factor) => format!("'replication_factor': {factor}"),
            Self::Datacenters(factors) => {
                let factors: Vec<String> =
                    factors.iter().map(|(name, factor)| format!("'{name}': {factor}")).collect();
                factors.join(", ")
            }
        };
        format!("{{'class': 'NetworkTopologyStrategy', {factors}}}")
    }
}

/// A login.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// A text that `Debug` does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Encryption of the connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tls {
    /// None: the password goes in clear.
    Off,
    /// Nodes must show a certificate for their IP address, vouched for by an authority this host
    /// trusts.
    System,
    /// As before, and the only authorities are those of this PEM file.
    Ca(PathBuf),
}

impl CassandraSettings {
    /// What people call the store: kind, hosts and keyspace.
    pub(super) fn name(&self) -> String {
        format!("Cassandra at {}, keyspace {}", self.hosts(), self.keyspace)
    }

    /// The contact points, each with its port.
    pub(super) fn hosts(&self) -> String {
        let with_port =
            |host: &String| if host.contains(':') { host.clone() } else { format!("{host}:9042") };
        self.contact_points.iter().map(with_port).collect::<Vec<_>>().join(", ")
    }

    /// The first setting that cannot be right.
    pub(super) fn fault(&self) -> Option<String> {
        let keyspace = self.keyspace.as_bytes();
        let sound = (1..=48).contains(&keyspace.len())
            && keyspace[0].is_ascii_lowercase()
            && keyspace.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !sound {
            return Some(format!("keyspace {:?} is not ^[a-z][a-z0-9_]{{0,47}}$", self.keyspace));
        }
        self.contact_points.is_empty().then(|| "there is no contact point".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let settings = CassandraSettings {
            credentials: Some(Credentials { user: "ingest".into(), password: Secret("hunter2".into()) }),
            ..CassandraSettings::default()
        };
        let text = format!("{settings:?}");
        assert!(text.contains("ingest") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn only_plain_keyspace_names_are_accepted() {
        let fault =
            |keyspace: &str| CassandraSettings { keyspace: keyspace.into(), ..Default::default() }.fault();
        for good in ["ecom_store", "a", "k2"] {
            assert_eq!(fault(good), None, "{good:?}");
        }
        for bad in ["", "2k", "_k", "Ks", "k s", "k;DROP", "k\"", "é", &"k".repeat(49)] {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn replication_is_a_number_or_a_number_by_datacenter() {
        let cql = |text| Replication::parse(text).map(|replication| replication.cql());
        let strategy = "{'class': 'NetworkTopologyStrategy', ";
        assert_eq!(cql("3"), Some(format!("{strategy}'replication_factor': 3}}")));
        assert_eq!(cql("dc1:3, dc2:2"), Some(format!("{strategy}'dc1': 3, 'dc2': 2}}")));
        for bad in ["", "0", "dc1", "dc1:0", "d'c:1", ":1", "dc1:3,"] {
            assert_eq!(cql(bad), None, "{bad:?}");
        }
    }
}
