//! Where a service can be reached, and who says so.

use super::Service;
use super::state::{Record, Runner};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A service that can be used.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Which.
    pub service: Service,
    /// `host:port`, or a list of them for Cassandra.
    pub address: String,
    /// By whom it runs, in words.
    pub how: String,
}

impl Endpoint {
    /// One that a record describes; `verb` says since when it runs.
    pub fn recorded(service: Service, record: &Record, verb: &str) -> Self {
        let how = match &record.runner {
            Runner::Native { pid, .. } => format!("{verb} (pid {pid})"),
            Runner::Docker { project } => format!("{verb} in Docker (project {project})"),
        };
        Self { service, address: record.address.clone(), how }
    }

    /// The line that tells a shell.
    pub fn export(&self) -> String {
        format!("export {}={}", self.service.variable(), shell_word(&self.address))
    }
}

/// The address the environment gives, unless it is the very one that was started here: a shell
/// that evaluated `up --env` still owns its services.
pub fn given(service: Service, record: Option<&Record>) -> Option<String> {
    let address = std::env::var(service.variable()).ok().filter(|value| !value.trim().is_empty())?;
    (record.map(|record| record.address.as_str()) != Some(address.as_str())).then_some(address)
}

/// Whether something listens at one contact point, `host` or `host:port`.
pub fn accepts(point: &str) -> bool {
    let with_port = if point.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        point.to_owned()
    } else {
        format!("{point}:{}", Service::Cassandra.usual_port())
    };
    with_port.to_socket_addrs().is_ok_and(|mut found| {
        found.any(|target| TcpStream::connect_timeout(&target, Duration::from_secs(2)).is_ok())
    })
}

/// A value as one word of a shell.
pub fn shell_word(value: &str) -> String {
    if value.chars().all(|c| c.is_ascii_alphanumeric() || "/.:,_-[]".contains(c)) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_line_is_safe_to_evaluate() {
        let endpoint = |address: &str| Endpoint {
            service: Service::Cassandra,
            address: address.into(),
            how: String::new(),
        };
        assert_eq!(endpoint("127.0.0.1:9042").export(), "export CASSANDRA_CONTACT_POINTS=127.0.0.1:9042");
        assert_eq!(endpoint("a; rm -r b").export(), "export CASSANDRA_CONTACT_POINTS='a; rm -r b'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
    }

    #[test]
    fn a_contact_point_is_reached_when_something_listens() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(Service::Cassandra.answers(&format!("127.0.0.1:1, {address}")));
        assert!(!Service::Emulator.answers("127.0.0.1:1"));
        assert!(!accepts(""));
    }
}
