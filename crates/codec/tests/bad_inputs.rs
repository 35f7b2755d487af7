//! The table of bodies that must be rejected, each with its reason: `bad_inputs.tsv`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use ecom_codec::event;

/// Returns the bytes of a body: `\xNN` is a byte, `\\` a backslash, and `<text*n>` is `text` n times.
fn body(escaped: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = escaped;
    while let Some(character) = rest.chars().next() {
        if let Some(hex) = rest.strip_prefix(r"\x") {
            bytes.push(u8::from_str_radix(&hex[..2], 16).unwrap());
            rest = &hex[2..];
        } else if let Some(behind) = rest.strip_prefix(r"\\") {
            bytes.push(b'\\');
            rest = behind;
        } else if let Some((text, times, behind)) = repeated(rest) {
            bytes.extend(text.repeat(times).bytes());
            rest = behind;
        } else {
            bytes.extend(character.to_string().bytes());
            rest = &rest[character.len_utf8()..];
        }
    }
    bytes
}

fn repeated(text: &str) -> Option<(&str, usize, &str)> {
    let (inner, behind) = text.strip_prefix('<')?.split_once('>')?;
    let (text, times) = inner.rsplit_once('*')?;
    Some((text, times.parse().ok()?, behind))
}

#[test]
fn every_bad_input_is_rejected_for_its_reason() {
    let table = include_str!("bad_inputs.tsv");
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| !line.starts_with("# ")).map(|line| line.split('\t').collect()).collect();
    let mut wrong = Vec::new();
    for row in &rows {
        let [kind, reason, detail, escaped] = row[..] else { panic!("{row:?}") };
        let body = Bytes::from(body(escaped));
        let rejection = match kind {
            "order" => event::order(&body).err().map(|rejected| rejected.rejection),
            "payment" => event::payment(&body).err().map(|rejected| rejected.rejection),
            kind => panic!("{kind}: not a kind of event"),
        };
        let is_right = rejection.as_ref().is_some_and(|rejection| {
            rejection.reason.as_str() == reason
                && rejection.detail.starts_with(detail)
                && !rejection.detail.is_empty()
                && rejection.detail.len() <= 1_024
        });
        if !is_right {
            let shown: String = escaped.chars().take(200).collect();
            wrong.push(format!("{kind} {reason} {detail:?}: {rejection:?} for {shown}"));
        }
    }
    assert!(rows.len() >= 600, "{}", rows.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
