//! `[store.cassandra]`: the settings of Cassandra.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ecom_config::fields::{self, MINUTE, MS, duration, host_list, none_if_empty, number, path_or_none, size};
use ecom_config::{Checks, Secret, Section};
use serde::{Deserialize, Deserializer};

const CONTACT_POINTS: &str = "store.cassandra.contact_points";
const LOCAL_DATACENTER: &str = "store.cassandra.local_datacenter";
const USER: &str = "store.cassandra.user";
const PASSWORD: &str = "store.cassandra.password";
const PASSWORD_FILE: &str = "store.cassandra.password_file";
const TLS: &str = "store.cassandra.tls";
const CA_FILE: &str = "store.cassandra.ca_file";
const CERT_FILE: &str = "store.cassandra.cert_file";
const KEY_FILE: &str = "store.cassandra.key_file";

/// The settings of Cassandra. The configuration keys are listed in `config/default.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CassandraSettings {
    /// Nodes to contact first, `host` or `host:port` (9042 if absent), at least one; `127.0.0.1:9042` by
    /// default.
    #[serde(deserialize_with = "host_list")]
    pub contact_points: Vec<String>,
    /// Datacenter whose nodes are used and whose quorum counts; `datacenter1` by default.
    #[serde(deserialize_with = "datacenter")]
    pub local_datacenter: String,
    /// Keyspace of the tables, `^[a-z][a-z0-9_]{0,47}$`; `ecom_store` by default.
    #[serde(deserialize_with = "keyspace")]
    pub keyspace: String,
    /// Copies of each row in the local datacenter, 1 to 16; 1 by default. Used to create the keyspace; a
    /// keyspace that exists is left as it is.
    #[serde(deserialize_with = "number::<_, _, 1, 16>")]
    pub replication_factor: u8,
    /// User to log in as; `None` (the default) if the cluster does not ask for one.
    #[serde(deserialize_with = "none_if_empty")]
    pub user: Option<String>,
    /// Password of the user; after loading, also if it was given in `password_file`.
    pub password: Secret,
    /// File that contains the password and nothing else; `None` by default.
    #[serde(deserialize_with = "path_or_none")]
    pub password_file: Option<PathBuf>,
    /// Encrypts the connections; false by default. Nodes must then present a certificate for their IP address
    /// that a trusted authority signed.
    pub tls: bool,
    /// PEM file of the only authorities to trust with `tls`; `None` (the default) trusts those of the system.
    #[serde(deserialize_with = "path_or_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate that this process presents to the nodes, with those of its intermediate authorities;
    /// `None` by default. Read again for each connection, like `key_file`.
    #[serde(deserialize_with = "path_or_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file of the private key of `cert_file`; `None` by default.
    #[serde(deserialize_with = "path_or_none")]
    pub key_file: Option<PathBuf>,
    /// Timeout of a request, 1 ms to 10 min, 5 s by default; should exceed the server's write timeout of 2 s.
    #[serde(deserialize_with = "duration::<_, MS, { 10 * MINUTE }>")]
    pub request_timeout: Duration,
    /// Connections to each node, 1 to 64; 1 by default. One carries 32,768 requests at once.
    #[serde(deserialize_with = "number::<_, _, 1, 64>")]
    pub connections_per_node: usize,
    /// Most partitions that a request reads or writes, 1 to 100; 10 by default, above which Cassandra logs a warning.
    /// What waits for a node when a request to it ends travels together; with 1, every statement has its own request.
    #[serde(deserialize_with = "number::<_, _, 1, 100>")]
    pub partitions_per_request: usize,
    /// Most bytes of values in a request of several statements; 4 KiB by default, because Cassandra logs a warning
    /// above 5 KiB. A larger statement is sent alone.
    #[serde(deserialize_with = "size")]
    pub bytes_per_request: usize,
    /// Writes each payment to `superseded_payments` as well, in the request that writes its row; false by default.
    /// Of two payments that two processes write at the same moment, the loser is then kept although neither
    /// process saw the other's.
    pub record_all_payments: bool,
    /// Timeout of connecting to a node; 5 s, not a configuration key.
    #[serde(skip, default = "connect_timeout")]
    pub connect_timeout: Duration,
}

const fn connect_timeout() -> Duration {
    Duration::from_secs(5)
}

fn datacenter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    fields::checked(deserializer, |text| {
        // The name ends up in CQL, in single quotes.
        if text.chars().all(|c| !c.is_control() && c != '\'') {
            return Ok(text);
        }
        Err(format!("must not contain quotes or control characters, is {text:?}"))
    })
}

fn keyspace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    fields::checked(deserializer, |text| is_keyspace(&text).map(|()| text))
}

fn is_keyspace(text: &str) -> Result<(), String> {
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    let allowed = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if starts && allowed && text.len() <= 48 {
        return Ok(());
    }
    Err(format!("must be a-z, then a-z, 0-9 and _, at most 48 characters, is \"{text}\""))
}

impl Default for CassandraSettings {
    /// Returns the defaults of the configuration: a node on this host.
    fn default() -> Self {
        ecom_config::defaults("store.cassandra")
    }
}

impl Section for CassandraSettings {
    /// Also reads the password file, if Cassandra is the store.
    fn check(&mut self, checks: &mut Checks<'_>) {
        let is_chosen = checks.is("store.kind", "cassandra");
        if is_chosen && self.contact_points.is_empty() {
            checks.missing(CONTACT_POINTS, "store.kind");
        }
        if is_chosen && self.local_datacenter.is_empty() {
            checks.missing(LOCAL_DATACENTER, "store.kind");
        }
        let login = [USER, PASSWORD, PASSWORD_FILE];
        match (&self.user, !self.password.is_empty(), &self.password_file) {
            (_, true, Some(_)) => {
                checks.fault(&[PASSWORD_FILE, PASSWORD], &format!("and {PASSWORD} are both set, keep one"));
            }
            (None, true, None) | (None, false, Some(_)) if is_chosen => {
                checks.fault(&login, "is required because a password is set");
            }
            (Some(_), false, None) if is_chosen => {
                checks.fault(&login, &format!("needs {PASSWORD_FILE} or {PASSWORD}"));
            }
            (Some(_), false, Some(file)) if is_chosen => match read_password(file) {
                Ok(password) => self.password = password,
                Err(why) => checks.fault(&[PASSWORD_FILE], &why),
            },
            _ => {}
        }
        let files = [(CA_FILE, &self.ca_file), (CERT_FILE, &self.cert_file), (KEY_FILE, &self.key_file)];
        for (key, _) in files.iter().filter(|(_, file)| file.is_some() && !self.tls) {
            checks.fault(&[key, TLS], &format!("is set, but {TLS} is false"));
        }
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => checks.missing(KEY_FILE, CERT_FILE),
            (None, Some(_)) => checks.missing(CERT_FILE, KEY_FILE),
            _ => {}
        }
    }
}

/// Reads the file without its trailing newline.
pub(super) fn read_password(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{shown} could not be read: {error}"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("{shown} is empty")),
        password => Ok(Secret::new(password)),
    }
}

impl CassandraSettings {
    /// Returns the store as people name it: kind, hosts and keyspace.
    pub(super) fn name(&self) -> String {
        format!("Cassandra at {}, keyspace {}", self.hosts(), self.keyspace)
    }

    /// Returns the contact points, each with its port.
    pub(super) fn hosts(&self) -> String {
        let with_port =
            |host: &String| if host.contains(':') { host.clone() } else { format!("{host}:9042") };
        self.contact_points.iter().map(with_port).collect::<Vec<_>>().join(", ")
    }

    /// Returns the map of `WITH replication =`.
    pub(super) fn replication(&self) -> String {
        let Self { local_datacenter, replication_factor, .. } = self;
        format!("{{'class': 'NetworkTopologyStrategy', '{local_datacenter}': {replication_factor}}}")
    }

    /// Returns the first fault of settings that were built by hand.
    pub(super) fn fault(&self) -> Option<String> {
        if let Err(why) = is_keyspace(&self.keyspace) {
            return Some(format!("keyspace {why}"));
        }
        self.contact_points.is_empty().then(|| "contact_points must not be empty".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use ecom_config::{Config, Loaded, Sources, load};
    use serde::de::IgnoredAny;

    use super::*;

    type WithCassandra = Config<IgnoredAny, CassandraSettings, IgnoredAny, IgnoredAny>;

    const CHOSEN: (&str, &str) = ("ECOM__STORE__KIND", "cassandra");
    const AS_ECOM: (&str, &str) = ("ECOM__STORE__CASSANDRA__USER", "ecom");

    fn load_from(sources: &Sources) -> Result<Loaded<WithCassandra>, String> {
        load(sources).map_err(|faults| faults.to_string())
    }

    fn load_env(env: &[(&str, &str)]) -> Result<Loaded<WithCassandra>, String> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        load_from(&Sources { env, ..Sources::default() })
    }

    fn load_sets(sets: &[&str]) -> Result<Loaded<WithCassandra>, String> {
        let sets = sets.iter().map(|set| set.parse().expect("section.key=value")).collect();
        load_from(&Sources { sets, ..Sources::default() })
    }

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    fn load_text(text: &str) -> Result<Loaded<WithCassandra>, String> {
        let file = written(text);
        load_from(&Sources { files: vec![file.path().to_owned()], ..Sources::default() })
    }

    #[test]
    fn a_password_is_never_printed() {
        let settings = CassandraSettings {
            user: Some("ingest".into()),
            password: Secret::new("hunter2"),
            ..CassandraSettings::default()
        };
        let text = format!("{settings:?}");
        assert!(text.contains("ingest") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn by_default_nobody_logs_in_and_nothing_is_encrypted() {
        let settings = load_sets(&[]).unwrap().config.store.cassandra;
        assert_eq!(settings, CassandraSettings::default());
        assert_eq!((settings.user, settings.tls), (None, false));
        assert!(settings.password.is_empty());
    }

    #[test]
    fn secrets_are_masked_everywhere() {
        let file = written(
            "[store]\nkind = \"cassandra\"\ncassandra.user = \"ecom\"\ncassandra.password = \"hunter2\"",
        );
        let loaded =
            load_from(&Sources { files: vec![file.path().to_owned()], ..Sources::default() }).unwrap();
        assert_eq!(loaded.config.store.cassandra.password.expose(), "hunter2");
        let text = loaded.print();
        assert!(text.contains("\n# password = \"***\"  # from "), "{text}");
        assert!(!text.contains("hunter2") && !format!("{loaded:?}").contains("hunter2"));
        assert!(load_text(&text).unwrap_err().contains("user needs"), "the mask is not a password");
    }

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
        let file = written("[store.cassandra]\npassword = \"hunter2\"");
        let other = written("[store.cassandra]\npassword = 5");
        let files = vec![file.path().to_owned(), other.path().to_owned()];
        let faults = load_from(&Sources { files, ..Sources::default() }).unwrap_err();
        assert!(!faults.contains("hunter2"));
    }

    #[test]
    fn a_password_file_is_read_without_its_last_newline() {
        let file = written("hunter2 \n");
        let path = file.path().display().to_string();
        let loaded = load_env(&[CHOSEN, AS_ECOM, ("ECOM__STORE__CASSANDRA__PASSWORD_FILE", &path)]).unwrap();
        let cassandra = &loaded.config.store.cassandra;
        assert_eq!(cassandra.user.as_deref(), Some("ecom"));
        assert_eq!(cassandra.password, Secret::new("hunter2 "));
        assert!(!loaded.print().contains("hunter2"));
        let faults =
            load_env(&[CHOSEN, AS_ECOM, ("ECOM__STORE__CASSANDRA__PASSWORD_FILE", "no/such")]).unwrap_err();
        assert!(faults.contains("store.cassandra.password_file no/such could not be read"), "{faults}");
        let elsewhere = load_env(&[AS_ECOM, ("ECOM__STORE__CASSANDRA__PASSWORD_FILE", "no/such")]);
        assert!(elsewhere.is_ok(), "the file is read only if Cassandra is the store");
    }

    #[test]
    fn lists_and_truths_come_from_the_environment_too() {
        let loaded = load_env(&[
            ("ECOM__STORE__CASSANDRA__CONTACT_POINTS", "10.0.0.1:9042, 10.0.0.2"),
            ("ECOM__STORE__CASSANDRA__TLS", "true"),
            ("ECOM__STORE__CASSANDRA__CA_FILE", "ca.pem"),
        ])
        .unwrap();
        let cassandra = &loaded.config.store.cassandra;
        assert_eq!(cassandra.contact_points, ["10.0.0.1:9042", "10.0.0.2"]);
        assert!(cassandra.tls);
        assert_eq!(cassandra.ca_file.as_deref(), Some(Path::new("ca.pem")));
    }

    #[test]
    fn contradictions_are_faults() {
        for (set, why) in [
            ("store.cassandra.user=ecom", "user needs store.cassandra.password_file or"),
            ("store.cassandra.password_file=x", "user is required because a password is set"),
            ("store.cassandra.ca_file=ca.pem", "ca_file is set, but store.cassandra.tls is false"),
            ("store.cassandra.cert_file=c.pem", "cert_file is set, but store.cassandra.tls is false"),
            ("store.cassandra.cert_file=c.pem", "key_file is required because store.cassandra.cert_file is"),
            ("store.cassandra.key_file=k.pem", "cert_file is required because store.cassandra.key_file is"),
            ("store.cassandra.contact_points=", "contact_points is required because store.kind is"),
            ("store.cassandra.contact_points=http://x:1", "contact_points must be host:port without"),
            ("store.cassandra.keyspace=Ecom", "keyspace must be a-z"),
            ("store.cassandra.local_datacenter=d'c", "local_datacenter must not contain quotes"),
        ] {
            let faults = load_sets(&["store.kind=cassandra", set]).unwrap_err();
            assert!(faults.contains(why), "{faults}");
        }
    }

    #[test]
    fn every_contact_point_that_is_wrong_is_named() {
        let faults = load_sets(&["store.cassandra.contact_points=a b,h:1,c:d"]).unwrap_err();
        let why = "must be host:port, is \"a b\", and must be host:port, is \"c:d\"";
        assert_eq!(faults, format!("--set: store.cassandra.contact_points {why}"));
    }

    #[test]
    fn the_store_is_chosen_without_the_bus() {
        assert!(load_sets(&["store.kind=cassandra"]).is_ok());
    }

    #[test]
    fn only_plain_keyspace_names_are_accepted() {
        let fault =
            |keyspace: &str| CassandraSettings { keyspace: keyspace.into(), ..Default::default() }.fault();
        for good in ["ecom_store", "a", "k2"] {
            assert_eq!(fault(good), None, "{good:?}");
        }
        for bad in [
            "",
            "2k",
            "_k",
            "Ks",
            "k s",
            "k;DROP",
            "k\"",
            "é",
            "Ecom",
            "1x",
            "a-b",
            "a;drop",
            &"k".repeat(49),
        ] {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn replication_is_that_of_the_local_datacenter() {
        let settings = CassandraSettings { replication_factor: 3, ..CassandraSettings::default() };
        assert_eq!(settings.replication(), "{'class': 'NetworkTopologyStrategy', 'datacenter1': 3}");
    }
}
