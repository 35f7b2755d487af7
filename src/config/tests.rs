//! The files of `config/`, with the settings of every adapter.

use std::path::PathBuf;

use ecom_config::{BusKind, Faults, Set, Sources, StoreKind, load};

use super::*;

fn load_files(files: &[PathBuf]) -> Result<Config, Faults> {
    load(&Sources { files: files.to_vec(), ..Sources::default() }).map(|loaded| loaded.config)
}

#[test]
fn every_key_of_the_defaults_has_its_field_and_every_field_its_key() {
    load_files(&[]).unwrap();
}

#[test]
fn local_toml_is_the_emulator_and_cassandra_on_this_host() {
    let config = load_files(&["config/local.toml".into()]).unwrap();
    assert_eq!((config.bus.kind, config.store.kind), (BusKind::Pubsub, StoreKind::Cassandra));
    assert_eq!(config.bus.pubsub.project, "ecom-local");
    assert_eq!(config.bus.pubsub.emulator_host.as_deref(), Some("127.0.0.1:8085"));
    assert_eq!(config.bus.pubsub.stream_idle_rotation, None, "never on the emulator");
    assert_eq!(config.store.cassandra.contact_points, ["127.0.0.1:9042"]);
    assert_eq!(config.consumer.streams, None);
}

#[test]
fn gcp_toml_alone_says_what_is_missing_and_how_to_add_it() {
    let gcp = PathBuf::from("config/gcp.toml");
    let faults = load_files(std::slice::from_ref(&gcp)).unwrap_err();
    let missing: Vec<&str> = faults.0.iter().filter_map(|fault| fault.message.split(' ').next()).collect();
    assert_eq!(
        missing,
        ["bus.pubsub.project", "store.cassandra.contact_points", "store.cassandra.local_datacenter"]
    );
    assert!(faults.to_string().contains("bus.pubsub.project is required because bus.kind is \"pubsub\""));
    let [hint] = faults.hints()[..] else { panic!("one hint, not {:?}", faults.hints()) };
    assert!(hint.ends_with("-c config/gcp.toml -c my.toml"), "{hint}");

    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("my.toml");
    std::fs::write(
        &own,
        "[bus.pubsub]\nproject = \"my-project\"\n[store.cassandra]\n\
         contact_points = [\"10.0.0.11:9042\"]\nlocal_datacenter = \"europe-west1\"",
    )
    .unwrap();
    let config = load_files(&[gcp.clone(), own]).unwrap();
    assert_eq!(config.store.cassandra.replication_factor, 3);
    assert_eq!(config.bus.pubsub.emulator_host, None);

    let meant = Sources { files: vec![gcp], sets: Set::embedded().to_vec(), ..Sources::default() };
    assert_eq!(load::<Config>(&meant).unwrap().config.bus.kind, BusKind::Embedded);
}

#[test]
fn bus_and_store_are_chosen_separately() {
    let with = |sets: &[&str]| {
        let sets = sets.iter().map(|set| set.parse().unwrap()).collect();
        load::<Config>(&Sources { sets, ..Sources::default() })
    };
    assert!(with(&["store.kind=cassandra"]).is_ok());
    assert!(with(&["bus.kind=pubsub", "bus.pubsub.project=p"]).is_ok());
}
