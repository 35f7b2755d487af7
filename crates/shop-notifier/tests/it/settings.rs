//! Settings, and the faults that are found at the start.

use std::path::Path;

use ecom_shop_notifier::settings::NotifierSettings;

/// Returns settings that differ from the defaults in these JSON values.
fn settings(changes: &[(&str, serde_json::Value)]) -> NotifierSettings {
    let mut all = serde_json::json!({
        "channel": "folder", "from": "", "folder": "", "timeout": "30s", "concurrency": 4,
        "smtp": {"host": "", "port": 0, "tls": "starttls", "ca_file": "", "credentials_file": ""},
        "webhook": {"url": "", "secret_file": ""},
    });
    for (key, value) in changes {
        let mut place = &mut all;
        for part in key.split('.') {
            place = place.get_mut(part).unwrap();
        }
        *place = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

fn fault(changes: &[(&str, serde_json::Value)]) -> String {
    match settings(changes).sender(None) {
        Ok(_) => panic!("no fault: {changes:?}"),
        Err(fault) => {
            assert_eq!(settings(changes).check(None), Err(fault.clone()));
            fault.to_string()
        }
    }
}

#[test]
fn what_a_channel_needs_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        serde_json::json!(dir.path().join(name))
    };
    let (smtp, webhook) = (("channel", "smtp".into()), ("channel", "webhook".into()));
    let from = ("from", "Shop <shop@example.com>".into());
    let host = ("smtp.host", "mail.example.com".into());
    let url = ("webhook.url", "https://example.com/orders".into());
    let required = |key: &str, channel: &str| {
        format!("shop.notifier.{key} is required because shop.notifier.channel is {channel}")
    };
    let elsewhere = "\"folder\" and bus and store are not the embedded ones";
    assert_eq!(fault(&[]), required("folder", elsewhere));
    assert_eq!(fault(std::slice::from_ref(&smtp)), required("from", "\"smtp\""));
    assert_eq!(fault(&[smtp.clone(), from.clone()]), required("smtp.host", "\"smtp\""));
    assert_eq!(fault(std::slice::from_ref(&webhook)), required("webhook.url", "\"webhook\""));
    assert_eq!(fault(&[webhook.clone(), url.clone()]), required("webhook.secret_file", "\"webhook\""));

    let login = ("smtp.credentials_file", file("login", "ada:pass:word\n"));
    let clear = [smtp.clone(), from.clone(), host.clone(), login.clone(), ("smtp.tls", "none".into())];
    assert!(fault(&clear).contains("the login could be sent in clear"), "{}", fault(&clear));
    let no_login = ("smtp.credentials_file", file("no-login", "ada"));
    assert!(fault(&[smtp.clone(), from.clone(), host.clone(), no_login]).ends_with("USER:PASSWORD"));
    let missing = ("smtp.credentials_file", "/no/such/file".into());
    assert!(fault(&[smtp.clone(), from.clone(), host.clone(), missing]).contains("/no/such/file"));
    let ca = ("smtp.ca_file", file("ca", "no certificate"));
    assert!(fault(&[smtp.clone(), from.clone(), host.clone(), ca]).contains("certificates of"));
    let encrypted = [smtp.clone(), from.clone(), host, login.clone()];
    assert!(settings(&encrypted).sender(None).is_ok());
    let local = [smtp, from, ("smtp.host", "127.0.0.1".into()), login, ("smtp.tls", "none".into())];
    assert!(settings(&local).sender(None).is_ok());

    for bad in ["ftp://example.com", "example.com", "https://"] {
        let url = ("webhook.url", bad.into());
        assert!(
            fault(&[webhook.clone(), url]).starts_with("shop.notifier.webhook.url must be a URL"),
            "{bad}"
        );
    }
    for (name, text) in [("empty", ""), ("odd", "whsec_no base64!")] {
        let secret = ("webhook.secret_file", file(name, text));
        assert!(fault(&[webhook.clone(), url.clone(), secret]).contains("must contain the secret"), "{text}");
    }
    let secret = ("webhook.secret_file", file("secret", "whsec_c2VjcmV0\n"));
    assert!(settings(&[webhook, url, secret]).sender(None).is_ok());
}

#[test]
fn mails_go_to_the_folder_beside_the_data_unless_another_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (beside, named) = (dir.path().join("data/mail"), dir.path().join("named"));
    assert!(settings(&[]).check(Some(&beside)).is_ok() && !beside.exists());
    assert!(settings(&[]).sender(Some(&beside)).is_ok());
    assert!(beside.is_dir() && !named.exists());
    assert!(settings(&[("folder", serde_json::json!(named))]).sender(Some(&beside)).is_ok());
    assert!(named.is_dir());
    std::fs::write(dir.path().join("file"), "").unwrap();
    let fault = settings(&[]).sender(Some(Path::new(&dir.path().join("file/mail")))).err().unwrap();
    assert!(fault.to_string().starts_with("could not create the folder of confirmations"), "{fault}");
}

#[test]
fn values_of_another_form_are_refused() {
    for (key, value, fault) in [
        ("from", "nobody", "must be an e-mail address"),
        ("channel", "pigeon", "unknown variant"),
        ("timeout", "0s", "must be 1s to 5m"),
    ] {
        let all = serde_json::json!({
            "channel": "folder", "from": "", "folder": "", "timeout": "30s", "concurrency": 4,
            "smtp": {"host": "", "port": 0, "tls": "starttls", "ca_file": "", "credentials_file": ""},
            "webhook": {"url": "", "secret_file": ""},
        });
        let mut all = all;
        all[key] = value.into();
        let error = serde_json::from_value::<NotifierSettings>(all).unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
    }
}
