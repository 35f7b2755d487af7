//! A node's configuration as text: `cassandra.yaml`, `logback.xml` and Java's argument file.
//!
//! Small and quick rather than like production: one token, no gossip wait, 512 MB of heap, no
//! snapshots of dropped tables, off-heap caches cut down.

use crate::failure::{Failure, Outcome};
use std::path::Path;

/// When a write is on disk before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CommitlogSync {
    /// Written behind: quick, but `kill -9` may lose the last moments.
    #[default]
    Periodic,
    /// Before the acknowledgement: for crash tests.
    Batch,
}

impl CommitlogSync {
    /// Reads `periodic` or `batch`.
    pub fn parse(word: &str) -> Outcome<Self> {
        match word {
            "periodic" => Ok(Self::Periodic),
            "batch" => Ok(Self::Batch),
            other => {
                Err(Failure::usage(format!("unknown commit log mode: {other}")).hint("periodic or batch"))
            }
        }
    }
}

/// One node: where it lives, its ports, how safe its writes are.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Data, logs and configuration.
    pub home: &'a Path,
    /// The folder of the jars.
    pub jars: &'a Path,
    /// Clients' port.
    pub native: u16,
    /// The port between nodes, which must be free even for one node.
    pub storage: u16,
    /// The same, with TLS.
    pub tls_storage: u16,
    /// When a write is on disk.
    pub sync: CommitlogSync,
}

const HEAP: &str = "512M";

/// Logs to standard output, which `up` sends to the service's log file.
pub const LOGBACK: &str = "\
<configuration>
  <appender name=\"STDOUT\" class=\"ch.qos.logback.core.ConsoleAppender\">
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <logger name=\"org.apache.cassandra.config.Config\" level=\"WARN\"/>
  <root level=\"INFO\"><appender-ref ref=\"STDOUT\"/></root>
</configuration>
";

const FIXED_YAML: &str = "\
cluster_name: 'local_test'
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
num_tokens: 1
initial_token: '0'
auto_bootstrap: false
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
start_native_transport: true
commitlog_segment_size: 16MiB
commitlog_total_space: 256MiB
cdc_enabled: false
auto_snapshot: false
disk_access_mode: standard
memtable_allocation_type: heap_buffers
memtable_heap_space: 96MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
key_cache_size: 8MiB
counter_cache_size: 0MiB
row_cache_size: 0MiB
concurrent_compactors: 1
concurrent_reads: 16
concurrent_writes: 16
native_transport_max_threads: 32
disk_failure_policy: die
commit_failure_policy: die
";

/// `cassandra.yaml`. Unknown keys would stop the node, so this holds only keys of 5.0.
pub fn yaml(node: &Node<'_>) -> String {
    let sync = match node.sync {
        CommitlogSync::Periodic => "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms\n",
        CommitlogSync::Batch => "commitlog_sync: batch\n",
    };
    let Node { native, storage, tls_storage, .. } = node;
    format!(
        "{FIXED_YAML}{sync}\
         native_transport_port: {native}\n\
         storage_port: {storage}\n\
         ssl_storage_port: {tls_storage}\n\
         seed_provider:\n  \
           - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n    \
             parameters:\n      \
               - seeds: \"127.0.0.1:{storage}\"\n"
    )
}

/// Packages of the JDK that Cassandra reaches into, exported to it.
const EXPORTS: [&str; 8] = [
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.management/com.sun.jmx.remote.security",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
];

/// The same, opened to reflection.
const OPENS: [&str; 14] = [
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang.reflect",
    "java.base/java.lang",
    "java.base/java.util",
    "java.base/java.nio",
];

/// Flags that are the same for every node.
const FLAGS: [&str; 21] = [
    "-Xss256k",
    "-XX:MaxDirectMemorySize=256M",
    "-XX:+UseG1GC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:+PerfDisableSharedMem",
    "-ea",
    "-da:net.openhft...",
    "-Djava.net.preferIPv4Stack=true",
    "-Djdk.attach.allowAttachSelf=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dio.netty.allocator.useCacheForAllThreads=true",
    "-Dio.netty.allocator.maxOrder=11",
    "-Dchronicle.analytics.disable=true",
    "-Dchronicle.announcer.disable=true",
    "-Dcassandra-foreground=yes",
    "-Dcassandra.libjemalloc=-",
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.shutdown_announce_in_ms=0",
    "-Dcassandra.system_auth.default_rf=1",
];

/// Java's argument file, main class included, one quoted argument per line.
pub fn java_arguments(node: &Node<'_>, agent: &Path) -> String {
    let home = node.home.display();
    let conf = node.home.join("conf");
    let mut arguments =
        vec![format!("-javaagent:{}", agent.display()), format!("-Xms{HEAP}"), format!("-Xmx{HEAP}")];
    arguments.extend(FLAGS.map(String::from));
    arguments.extend(EXPORTS.map(|name| format!("--add-exports={name}=ALL-UNNAMED")));
    arguments.extend(OPENS.map(|name| format!("--add-opens={name}=ALL-UNNAMED")));
    arguments.extend([
        format!("-Djava.io.tmpdir={home}/tmp"),
        format!("-Djna.tmpdir={home}/tmp"),
        format!("-Dcassandra.config={}", file_url(&conf.join("cassandra.yaml"))),
        format!("-Dlogback.configurationFile={}", file_url(&conf.join("logback.xml"))),
        format!("-Dcassandra.storagedir={home}"),
        format!("-Dcassandra.logdir={home}"),
        format!("-Dcassandra.triggers_dir={home}/triggers"),
        "-cp".into(),
        format!("{}:{}/*", conf.display(), node.jars.display()),
        "org.apache.cassandra.service.CassandraDaemon".into(),
    ]);
    arguments.iter().map(|argument| format!("{}\n", quoted(argument))).collect()
}

/// An argument as Java's argument files want it: in quotes, `\` and `"` escaped.
fn quoted(argument: &str) -> String {
    format!("\"{}\"", argument.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A `file://` URL; bytes that a URL cannot hold are percent-encoded.
fn file_url(file: &Path) -> String {
    let mut url = String::from("file://");
    for byte in file.display().to_string().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(byte))
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(sync: CommitlogSync) -> Node<'static> {
        Node {
            home: Path::new("/t/a b"),
            jars: Path::new("/c/lib"),
            native: 9142,
            storage: 7100,
            tls_storage: 7101,
            sync,
        }
    }

    #[test]
    fn the_yaml_names_the_chosen_ports_and_itself_as_seed() {
        let yaml = yaml(&node(CommitlogSync::Periodic));
        for line in [
            "native_transport_port: 9142",
            "storage_port: 7100",
            "ssl_storage_port: 7101",
            "      - seeds: \"127.0.0.1:7100\"",
            "auto_snapshot: false",
            "commitlog_sync: periodic",
            "commitlog_sync_period: 10000ms",
        ] {
            assert!(yaml.lines().any(|found| found == line), "no line {line:?} in\n{yaml}");
        }
    }

    #[test]
    fn every_key_of_the_yaml_appears_once() {
        for sync in [CommitlogSync::Periodic, CommitlogSync::Batch] {
            let yaml = yaml(&node(sync));
            let mut keys: Vec<&str> = yaml
                .lines()
                .filter(|line| !line.starts_with(' '))
                .filter_map(|line| line.split(':').next())
                .collect();
            let all = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), all);
        }
    }

    #[test]
    fn batch_sync_has_no_period() {
        let yaml = yaml(&node(CommitlogSync::Batch));
        assert!(yaml.contains("commitlog_sync: batch\n"));
        assert!(!yaml.contains("commitlog_sync_period"));
        assert_eq!(CommitlogSync::parse("batch"), Ok(CommitlogSync::Batch));
        assert_eq!(CommitlogSync::parse("sometimes").unwrap_err().code(), 2);
    }

    #[test]
    fn the_arguments_survive_a_blank_in_the_path() {
        let text = java_arguments(&node(CommitlogSync::Periodic), Path::new("/c/lib/jamm-0.4.0.jar"));
        assert!(text.starts_with("\"-javaagent:/c/lib/jamm-0.4.0.jar\"\n"), "{text}");
        assert!(text.contains("\"-Dcassandra.config=file:///t/a%20b/conf/cassandra.yaml\"\n"), "{text}");
        assert!(text.contains("\"-cp\"\n\"/t/a b/conf:/c/lib/*\"\n"), "{text}");
        assert!(text.ends_with("\"org.apache.cassandra.service.CassandraDaemon\"\n"), "{text}");
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
    }
}
