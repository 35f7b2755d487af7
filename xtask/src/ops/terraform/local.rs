//! A copy of the module that Terraform plans without the provider: `terraform_data`, which is built in, takes the place
//! of each type of resource, and keeps the arguments as its input.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The arguments of a resource that Terraform itself reads.
const META: [&str; 5] = ["for_each", "count", "depends_on", "lifecycle", "provider"];

/// Writes the copy. The files are formatted as `terraform fmt` does.
pub(super) fn copy(module: &Path, to: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(module).with_context(|| format!("could not read {}", module.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_owned();
        // versions.tf asks for the provider.
        if path.extension().is_some_and(|it| it == "tf") && name != "versions.tf" {
            files.push((name, fs::read_to_string(&path)?));
        }
    }
    let types: Vec<[String; 2]> = files.iter().flat_map(|(_, text)| text.lines().filter_map(head)).collect();
    ensure!(!types.is_empty(), "{} has no resources", module.display());
    for (name, text) in files {
        let mut text = without_types(&text)?;
        for [kind, name] in &types {
            text = with_references(&text, kind, name)?;
        }
        fs::write(to.join(name), text)?;
    }
    Ok(())
}

/// Returns the planned resources: each as its type and the arguments that are set.
pub(super) fn resources(plan: &Value) -> Result<std::collections::BTreeSet<String>> {
    let planned = plan["planned_values"]["root_module"]["resources"].as_array();
    let planned = planned.context("the plan has no resources")?;
    let resources: Result<_> = planned
        .iter()
        .map(|it| {
            let kind = it["name"]
                .as_str()
                .and_then(|name| name.split_once("__"))
                .context("a resource of its own")?
                .0;
            let mut input = it["values"]["input"].clone();
            let arguments =
                input.as_object_mut().with_context(|| format!("{} is not known", it["address"]))?;
            arguments.retain(|name, value| !value.is_null() && !name.starts_with(COMPUTED));
            arguments.insert("type".to_owned(), json!(kind));
            Ok(input.to_string())
        })
        .collect();
    let resources: std::collections::BTreeSet<String> = resources?;
    ensure!(resources.len() == planned.len(), "the module has a resource twice");
    Ok(resources)
}

/// The prefix, in the copy, of an attribute that the provider computes.
const COMPUTED: &str = "computed_";

/// Returns type and name if a resource begins in this line.
fn head(line: &str) -> Option<[String; 2]> {
    let rest = line.strip_prefix("resource \"")?.strip_suffix("\" {")?;
    rest.split_once("\" \"").map(|(kind, name)| [kind, name].map(str::to_owned))
}

/// Replaces the type of each resource.
fn without_types(text: &str) -> Result<String> {
    let (mut out, mut lines) = (String::new(), text.lines());
    while let Some(line) = lines.next() {
        let Some([kind, name]) = head(line) else {
            out += &format!("{line}\n");
            continue;
        };
        // Statements begin at two spaces and end before the next one.
        let mut statements: Vec<Vec<&str>> = Vec::new();
        for line in lines.by_ref().take_while(|line| *line != "}") {
            let begins = line.starts_with("  ") && !line[2..].starts_with([' ', ')', ']', '}']);
            match statements.last_mut() {
                Some(last) if !begins => last.push(line),
                _ => statements.push(vec![line]),
            }
        }
        let word = |statement: &[&str]| statement[0].split_whitespace().next().unwrap_or_default().to_owned();
        let value = |name: &str| {
            let of = statements.iter().find(|it| word(it) == name).and_then(|it| it[0].split_once("= "));
            of.map(|it| it.1).with_context(|| format!("{kind}.{name} is not in one line"))
        };
        let mut input = String::new();
        if kind == "google_service_account" {
            let (id, project) = (value("account_id")?, value("project")?);
            let email = format!("format(\"%s@%s.iam.gserviceaccount.com\", {id}, {project})");
            input += &format!("  {COMPUTED}email = {email}\n");
            input += &format!("  {COMPUTED}member = format(\"serviceAccount:%s\", {email})\n");
            input += &format!(
                "  {COMPUTED}name = format(\"projects/%s/serviceAccounts/%s\", {project}, {email})\n"
            );
        }
        let mut meta = String::new();
        for statement in &statements {
            let text = statement.join("\n") + "\n";
            if META.contains(&word(statement).as_str()) {
                meta += &text;
            } else if statement[0].ends_with(" {") && !statement[0].contains('=') {
                input += &text.replacen(" {", " = {", 1);
            } else {
                input += &text;
            }
        }
        out += &format!(
            "resource \"terraform_data\" \"{kind}__{name}\" {{\n{meta}  input = {{\n{input}  }}\n}}\n"
        );
    }
    Ok(out)
}

/// Replaces the references to a resource.
fn with_references(text: &str, kind: &str, name: &str) -> Result<String> {
    let reference = format!("{kind}.{name}");
    let mut parts = text.split(&reference);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let key = part.starts_with('[').then(|| part.split_once("].")).flatten();
        let (key, rest) =
            key.with_context(|| format!("{reference} is not followed by a key and an attribute"))?;
        let attribute =
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        let is_computed =
            kind == "google_service_account" && ["email", "member", "name"].contains(&attribute);
        let prefix = if is_computed { COMPUTED } else { "" };
        out += &format!("terraform_data.{kind}__{name}{key}].input.{prefix}{rest}");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_keeps_arguments_blocks_and_references() {
        let text = "resource \"a_b\" \"this\" {\n  for_each = local.x\n\n  name = f(\n    1,\n  )\n  policy {\n    ttl = \"\"\n  }\n}\n";
        let expected = "resource \"terraform_data\" \"a_b__this\" {\n  for_each = local.x\n\n  input = {\n  name = f(\n    1,\n  )\n  policy = {\n    ttl = \"\"\n  }\n  }\n}\n";
        assert_eq!(without_types(text).unwrap(), expected);
        let reference = |text| with_references(text, "a_b", "this");
        assert_eq!(
            reference("x = a_b.this[each.key].id").unwrap(),
            "x = terraform_data.a_b__this[each.key].input.id"
        );
        assert!(reference("x = a_b.this.id").is_err());
        let account =
            with_references("m = google_service_account.this[k].member", "google_service_account", "this");
        assert_eq!(
            account.unwrap(),
            "m = terraform_data.google_service_account__this[k].input.computed_member"
        );
    }
}
