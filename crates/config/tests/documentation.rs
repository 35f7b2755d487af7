//! The table of keys in `docs/configuration.md` is that of `config/default.toml`.
//! `UPDATE_DOCS=1 cargo test -p ecom-config` writes it.

use ecom_config::DEFAULT_TOML;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
const BEGIN: &str = "<!-- keys: begin -->\n";
const END: &str = "<!-- keys: end -->\n";

#[test]
fn the_table_of_keys_is_that_of_the_defaults() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let expected = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        found, expected,
        "docs/configuration.md is out of date: UPDATE_DOCS=1 cargo test -p ecom-config"
    );
}

/// Each key with its default and its comment.
fn table() -> String {
    let mut table = "\n| key | default | meaning |\n|---|---|---|\n".to_owned();
    let (mut section, mut comment) = ("", "");
    for line in DEFAULT_TOML.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment = text;
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((name, default)) = line.split_once(" = ") {
            table += &format!("| `{section}.{name}` | `{default}` | {} |\n", comment.replace('|', "\\|"));
        }
    }
    table + "\n"
}
