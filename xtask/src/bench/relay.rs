//! Cassandra made slow: a relay before it, which the program that is measured is given in its place.

use super::launch::Place;
use crate::failure::{Attempt, Failure, Outcome};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How much later each byte arrives, in each direction: a request takes twice that at least.
pub const DELAY: Duration = Duration::from_millis(50);

/// A relay, until it is dropped.
pub struct Relay {
    child: Child,
    address: String,
}

impl Relay {
    /// Starts one. It stands where Cassandra says it can be reached, on a port of its own: there, and on
    /// the port of the contact point, is where the driver connects to a node it has found.
    pub fn start(place: &Place) -> Outcome<Self> {
        let printed = place.limits(&["announced"])?;
        let announced: IpAddr = printed
            .trim()
            .strip_prefix("announced ")
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| Failure::new(format!("no address of Cassandra in {printed:?}")))?;
        let to = contact_point(&place.cassandra);
        let mut child = Command::new(place.binaries.join("limits"))
            .args(["slow", "--listen", &SocketAddr::new(announced, 0).to_string(), "--to", &to])
            .args(["--delay", &format!("{}ms", DELAY.as_millis())])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .attempt("start the relay")?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).attempt("read from the relay")?;
        }
        let relay = Self { child, address: line.trim().trim_start_matches("listening ").to_owned() };
        if relay.address.is_empty() {
            let what = format!("no relay can stand at {announced}, where Cassandra says it can be reached");
            return Err(Failure::new(what));
        }
        Ok(relay)
    }

    /// The same place, with Cassandra behind the relay.
    pub fn before(&self, place: &Place) -> Place {
        Place { cassandra: self.address.clone(), ..place.clone() }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first of Cassandra's contact points, with its port.
fn contact_point(nodes: &str) -> String {
    let first = nodes.split(',').next().unwrap_or_default().trim();
    match first.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => first.to_owned(),
        _ => format!("{first}:9042"),
    }
}

/// Whether every write took the way through the relay, as the metrics of what was measured tell: the mean
/// could not be shorter than the delay of both directions.
pub fn check(metrics: &str) -> Outcome<()> {
    let total = |family: &str| -> f64 {
        let ours = |line: &&str| line.starts_with(family) && line.contains("operation=\"record_order\"");
        metrics.lines().filter(ours).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let (seconds, count) = (total("ecom_store_seconds_sum"), total("ecom_store_seconds_count"));
    let least = 2.0 * DELAY.as_secs_f64();
    if count > 0.0 && seconds / count >= least {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{count} writes took {seconds} s, less than {least} s each: they went around the relay"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_point_has_a_port() {
        assert_eq!(contact_point("127.0.0.1:9043,b:1"), "127.0.0.1:9043");
        assert_eq!(contact_point("db"), "db:9042");
    }

    #[test]
    fn writes_that_went_around_the_relay_are_noticed() {
        let metrics = |seconds: f64| {
            format!(
                "ecom_store_seconds_sum{{role=\"order_consumer\",operation=\"record_order\",outcome=\"ok\"}} {seconds}\n\
                 ecom_store_seconds_count{{role=\"order_consumer\",operation=\"record_order\",outcome=\"ok\"}} 100\n\
                 ecom_store_seconds_sum{{role=\"order_consumer\",operation=\"fact\",outcome=\"ok\"}} 100\n"
            )
        };
        assert!(check(&metrics(10.1)).is_ok());
        assert!(check(&metrics(9.9)).is_err());
        assert!(check("").is_err());
    }
}
