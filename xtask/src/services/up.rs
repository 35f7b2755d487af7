//! `services up`: uses what is given, keeps what runs, starts the rest.

use super::endpoint::{Endpoint, given};
use super::state::{self, Record, Runner};
use super::{Options, Service, cassandra, docker, down, emulator, is_running, lock, spelled};
use crate::failure::{Failure, Outcome, print, say};
use crate::process;
use std::path::Path;
use std::time::Instant;

/// Runs `services up` and prints the variables.
pub fn command(root: &Path, options: &Options) -> Outcome<u8> {
    let mut code = 0;
    for result in up(root, options)? {
        match result {
            Ok(endpoint) => {
                say(&format!("{} at {}: {}", endpoint.service.name(), endpoint.address, endpoint.how));
                print(&endpoint.export());
            }
            Err(failure) => {
                say(&failure.to_string());
                code = failure.code();
            }
        }
    }
    if code == 0 && !options.env {
        let up = spelled(root, &options.dir, "up --env");
        say(&format!("give that to your shell with: eval \"$({up})\""));
        say(&format!("end it with: {}", spelled(root, &options.dir, "down")));
    }
    Ok(code)
}

/// Brings the services up, both at once; one result per service asked for. What runs already is
/// left as it is.
pub fn up(root: &Path, options: &Options) -> Outcome<Vec<Outcome<Endpoint>>> {
    let _lock = lock(&options.dir)?;
    Ok(std::thread::scope(|scope| {
        let wanted =
            Service::ALL.into_iter().filter(|service| options.only.is_none_or(|only| only == *service));
        let threads: Vec<_> =
            wanted.map(|service| scope.spawn(move || bring_up(root, options, service))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Failure::new("a starting thread panicked"))))
            .collect()
    }))
}

fn bring_up(root: &Path, options: &Options, service: Service) -> Outcome<Endpoint> {
    let dir = &options.dir;
    let record = state::read(dir, service)?;
    if let Some(address) = given(service, record.as_ref()) {
        if service.answers(&address) {
            return Ok(Endpoint { service, address, how: format!("given by {}", service.variable()) });
        }
        return Err(Failure::new(format!("nothing answers at {} = {address}", service.variable()))
            .hint(format!("start it, or have one started: unset {}", service.variable())));
    }
    if let Some(record) = &record
        && is_running(root, service, record)
    {
        await_ready(service, dir, record)?;
        return Ok(Endpoint::recorded(service, record, "running already"));
    }
    // A service that died comes back where its clients look for it.
    let before = record.as_ref().and_then(Record::port);
    let usual = (!options.free_ports).then_some(service.usual_port());
    let preferred: Vec<u16> = before.into_iter().chain(usual).collect();
    let record = start(root, options, service, &preferred)?;
    Ok(Endpoint::recorded(service, &record, "started now"))
}

fn start(root: &Path, options: &Options, service: Service, preferred: &[u16]) -> Outcome<Record> {
    let native = match service {
        Service::Emulator => emulator::find().map(|tools| {
            start_native(&options.dir, service, preferred, |dir, ports| emulator::start(&tools, dir, ports))
        }),
        Service::Cassandra => cassandra::find().map(|tools| {
            start_native(&options.dir, service, preferred, |dir, ports| {
                cassandra::start(&tools, dir, ports, options.sync)
            })
        }),
    };
    native.unwrap_or_else(|native| match docker::find() {
        Ok(()) => docker::start(root, &options.dir, service, preferred),
        Err(docker) => Err(neither(service, &native, &docker)),
    })
}

fn neither(service: Service, native: &Failure, docker: &Failure) -> Failure {
    let failure =
        Failure::new(format!("cannot start {}: {}; {}", service.name(), native.what(), docker.what()));
    let other = format!("set {} to one that runs", service.variable());
    match native.way_out() {
        Some(way) => failure.hint(format!("{way}; or {other}")),
        None => failure.hint(other),
    }
}

/// Starts a process, again on other ports when somebody else was quicker to take them. A process
/// that dies while starting shows the end of its log.
fn start_native(
    dir: &Path,
    service: Service,
    preferred: &[u16],
    start: impl Fn(&Path, &[u16]) -> Outcome<Record>,
) -> Outcome<Record> {
    say(&format!("starting {}", service.name()));
    let log = service.log(dir);
    let mut ports = preferred;
    for more in [true, true, false] {
        let failure = match start(dir, ports) {
            Ok(record) => return Ok(record),
            Err(failure) => failure,
        };
        let mut died = false;
        if let Ok(Some(record)) = state::read(dir, service) {
            died = !is_native_alive(&record);
            down::stop(dir, service, &record);
        }
        if more && died && process::tail(&log, 200).to_lowercase().contains("in use") {
            say(&format!("{} lost its port to another process, trying other ports", service.name()));
            ports = &[];
            continue;
        }
        say(&format!("the last lines of {}:\n{}", log.display(), process::tail(&log, 40)));
        return Err(failure);
    }
    Err(Failure::new(format!("{} found no ports it could keep", service.name())))
}

fn is_native_alive(record: &Record) -> bool {
    match &record.runner {
        Runner::Native { pid, marker } => process::is_ours(*pid, marker),
        Runner::Docker { .. } => false,
    }
}

/// Waits until a started service can be used; fails when it dies or takes too long.
pub fn await_ready(service: Service, dir: &Path, record: &Record) -> Outcome<()> {
    let Runner::Native { pid, marker } = &record.runner else {
        return Ok(());
    };
    let log = service.log(dir);
    let start = Instant::now();
    loop {
        if !process::is_ours(*pid, marker) {
            let afresh = match service {
                Service::Emulator => "",
                Service::Cassandra => "; to start without the old data: services down --wipe",
            };
            return Err(Failure::new(format!("{} died while starting", service.name()))
                .hint(format!("its log is {}{afresh}", log.display())));
        }
        if service.log_says_ready(&log) && service.answers(&record.address) {
            return Ok(());
        }
        if start.elapsed() > service.patience() {
            let waited = service.patience().as_secs();
            return Err(Failure::new(format!("{} was not ready after {waited} s", service.name()))
                .hint(format!("its log is {}", log.display())));
        }
        std::thread::sleep(process::GLANCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_names_both_reasons_and_the_way_out() {
        let failure = neither(
            Service::Cassandra,
            &Failure::new("found no Java 17").hint("install it"),
            &Failure::new("no Docker engine answers `docker info`"),
        );
        assert_eq!(
            failure.to_string(),
            "error: cannot start cassandra: found no Java 17; no Docker engine answers `docker info`\n\
             hint: install it; or set CASSANDRA_CONTACT_POINTS to one that runs"
        );
    }
}
