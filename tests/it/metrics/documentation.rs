//! `docs/metrics.md`, checked against the registry.

use std::collections::{BTreeMap, BTreeSet};

use super::{exported, file};

/// Returns the rows of the table with this first heading; cells are trimmed.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let head = format!("| {heading} |");
    let table = text.lines().skip_while(|line| !line.starts_with(&head));
    table.skip(2).take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// Returns the words in backticks.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_table_of_metrics_is_what_is_exported() {
    let text = file("docs/metrics.md");
    let documented: BTreeMap<String, [String; 3]> = rows(&text, "name")
        .into_iter()
        .map(|row| {
            let [name, kind, labels, meaning] = &row[..] else { panic!("{row:?}") };
            let labels: Vec<String> = quoted(labels).into_iter().collect();
            (name.replace('`', ""), [kind.clone(), labels.join(" "), meaning.clone()])
        })
        .collect();
    let found: BTreeMap<String, [String; 3]> = exported()
        .into_iter()
        .map(|(name, family)| {
            let labels: Vec<String> = family.labels.into_keys().filter(|label| label != "le").collect();
            (name, [family.kind, labels.join(" "), family.help])
        })
        .collect();
    assert_eq!(documented, found);
}

#[test]
fn the_values_of_every_label_are_documented() {
    let text = file("docs/metrics.md");
    let mut documented = BTreeMap::new();
    for row in rows(&text, "label") {
        let [label, values] = &row[..] else { panic!("{row:?}") };
        let (label, families) = label.split_once(" of ").unwrap_or((label, ""));
        for family in quoted(families).into_iter().chain(families.is_empty().then(String::new)) {
            documented.insert((label.replace('`', ""), family), quoted(values));
        }
    }
    let mut used = BTreeSet::new();
    for (name, family) in exported() {
        for (label, values) in family.labels {
            if ["le", "version", "commit"].contains(&label.as_str()) {
                continue;
            }
            let key = [(label.clone(), name.clone()), (label.clone(), String::new())]
                .into_iter()
                .find(|key| documented.contains_key(key))
                .unwrap_or_else(|| panic!("the values of {label} of {name} are not documented"));
            assert_eq!(documented[&key], values, "{label} of {name}");
            used.insert(key);
        }
    }
    assert_eq!(used, documented.into_keys().collect(), "what is documented is exported");
}

#[test]
fn the_buckets_are_as_documented() {
    let text = file("docs/metrics.md").replace('\n', " ");
    let seconds = |name: &str| -> Vec<f64> {
        let bounds = exported().remove(name).unwrap().labels.remove("le").unwrap();
        let mut bounds: Vec<f64> = bounds.iter().filter_map(|bound| bound.parse().ok()).collect();
        bounds.retain(|bound| bound.is_finite());
        bounds.sort_by(f64::total_cmp);
        bounds
    };
    let shown = |bounds: Vec<f64>| {
        let shown: Vec<String> = bounds
            .into_iter()
            .map(|bound| match bound {
                ..0.9 => format!("{} ms", bound * 1e3),
                ..60.0 => format!("{bound} s"),
                300.0 => "300 s".to_owned(),
                _ => panic!("{bound}"),
            })
            .collect();
        let (last, others) = shown.split_last().unwrap();
        format!("{} and {last}", others.join(", "))
    };
    for name in ["ecom_message_seconds", "ecom_store_seconds", "ecom_publish_seconds"] {
        let shown = shown(seconds(name));
        assert!(text.contains(&shown), "{name}: {shown}");
    }
    let day = 86_400.0;
    let ages = [1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, day / 4.0, day, 3.0 * day, 7.0 * day];
    assert_eq!(seconds("ecom_dead_letter_age_seconds"), ages);
    assert!(text.contains("1 s, 5 s, 30 s, 1 min, 5 min, 15 min, 1 h, 6 h, 1 d, 3 d and 7 d"));
}
