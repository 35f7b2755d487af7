//! The OpenAPI description and its page.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::world::{Call, ORDERS, World};

fn operations(description: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = description["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect()
}

/// Calls `visit` with every value of a document.
fn walk(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::Object(members) => members.values().for_each(|member| walk(member, visit)),
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

#[tokio::test]
async fn every_reference_and_link_leads_somewhere() {
    let world = World::with_keys().await;
    let description = &*world.description;
    let operations = operations(description);
    let ids: BTreeSet<_> =
        operations.iter().map(|(.., operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len(), "operation ids are unique");
    let (mut references, mut links) = (0, 0);
    walk(description, &mut |value| {
        if let Some(target) = value["$ref"].as_str() {
            references += 1;
            assert!(description.pointer(&target[1..]).is_some(), "{target}");
        }
        for link in value["links"].as_object().into_iter().flat_map(|links| links.values()) {
            links += 1;
            let target = link["operationId"].as_str().unwrap();
            let (.., operation) =
                operations.iter().find(|(.., operation)| operation["operationId"] == target).unwrap();
            for name in link["parameters"].as_object().unwrap().keys() {
                assert!(
                    operation["parameters"].as_array().unwrap().iter().any(|known| known["name"] == *name),
                    "{target} {name}"
                );
            }
        }
    });
    assert!(references > 20 && links >= 8, "{references} references, {links} links");
}

#[tokio::test]
async fn every_operation_has_a_summary_a_tag_and_a_problem_for_each_fault_that_it_can_meet() {
    for (world, is_key_required) in [(World::open().await, false), (World::with_keys().await, true)] {
        for (path, method, operation) in operations(&world.description) {
            let what = format!("{method} {path}");
            assert!(!operation["summary"].as_str().unwrap().ends_with('.'), "{what}");
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{what}");
            let statuses: BTreeSet<&str> =
                operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
            for (status, is_expected) in [
                ("400", true),
                ("401", is_key_required),
                ("403", is_key_required || method != "get"),
                ("429", is_key_required),
                ("404", path.contains('{')),
                ("408", operation["requestBody"].is_object()),
                ("413", operation["requestBody"].is_object()),
                ("415", operation["requestBody"].is_object()),
                ("500", true),
                ("503", true),
                ("default", false),
            ] {
                assert_eq!(statuses.contains(status), is_expected, "{what}: {status}");
            }
        }
        let (security, schemes) =
            (&world.description["security"], &world.description["components"]["securitySchemes"]);
        if is_key_required {
            assert_eq!(*security, json!([{"api_key": []}, {"basic": []}]), "either is enough");
            let kinds = ["api_key", "basic"].map(|name| (&schemes[name]["type"], &schemes[name]["scheme"]));
            assert_eq!(kinds, [(&json!("http"), &json!("bearer")), (&json!("http"), &json!("basic"))]);
        } else {
            assert!(security.is_null() && schemes.is_null());
        }
    }
}

#[tokio::test]
async fn the_example_of_an_order_is_accepted_where_there_are_no_products() {
    let world = World::open().await;
    let example = &world.description["components"]["schemas"]["CreateOrder"]["example"];
    let created = world.send(Call::post(ORDERS).json(example)).await;
    assert_eq!(created.status, 201, "{example}: {}", created.text);
}

#[tokio::test]
async fn the_page_works_without_any_other_host() {
    let world = World::open().await;
    let page = world.send(Call::get("/docs/")).await;
    assert_eq!(page.status, 200);
    for asset in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        assert!(page.text.contains(asset), "{asset}");
        let asset = world.send(Call::get(format!("/docs/{asset}"))).await;
        assert!(asset.status == 200 && !asset.text.is_empty());
    }
    assert!(!page.text.contains("https://"), "{}", page.text);
    let initializer = world.send(Call::get("/docs/swagger-initializer.js")).await;
    assert!(initializer.text.contains("\"/openapi.json\""), "{}", initializer.text);
}
