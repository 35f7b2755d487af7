//! The sender into a folder, and the mails that it writes.

use std::fs;

use ecom_shop_domain::money::Currency;
use ecom_shop_domain::order_number;
use ecom_shop_notifier::confirmation::Confirmation;
use ecom_shop_notifier::folder::FolderSender;
use ecom_shop_notifier::sender::{SendError, Sender};

use super::orders::{NOW, confirmation, order};

fn sender(folder: &std::path::Path) -> FolderSender {
    FolderSender::open(folder.join("mail"), "Shop <shop@example.com>".parse().unwrap()).unwrap()
}

/// Returns the names of the files, and the text of the only mail.
fn files(folder: &std::path::Path) -> Vec<String> {
    let files = fs::read_dir(folder.join("mail")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Returns headers and body of the mail of an order.
fn mail(folder: &std::path::Path, name: &str) -> (String, String) {
    let text = fs::read_to_string(folder.join("mail").join(name)).unwrap();
    let (headers, body) = text.split_once("\r\n\r\n").unwrap();
    (headers.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_confirmation_is_a_file_with_the_order_and_a_second_one_is_written_over_it() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, order) = (sender(dir.path()), order(1));
    for _ in 0..2 {
        sender.send(&confirmation(&order)).await.unwrap();
    }
    let name = format!("{}.confirmed.eml", order.order_id);
    assert_eq!(files(dir.path()), [name.as_str()]);
    let (headers, body) = mail(dir.path(), &name);
    let number = order_number::format(order.order_id.0);
    for header in [
        "From: Shop <shop@example.com>".to_owned(),
        "To: ada@example.com".to_owned(),
        format!("Subject: Order {number} is confirmed"),
        format!("Message-ID: <{}.confirmed@example.com>", order.order_id),
        "Auto-Submitted: auto-generated".to_owned(),
        "Date: Sun, 15 Jun 2025 15:06:40 +0000".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        "MIME-Version: 1.0".to_owned(),
    ] {
        assert!(headers.split("\r\n").any(|line| line == header), "{header} is not in\n{headers}");
    }
    assert!(headers.is_ascii() && body.is_ascii());
    // Quoted-printable, because of the multiplication sign.
    let body = body.replace("=\r\n", "").replace("=C3=97", "×");
    for line in [
        "2 × Laptop, 999.00 USD each",
        "1 × Mouse",
        "Shipping: 10.00 USD",
        "Total: 2007.99 USD",
        "1 Main St",
        "Springfield",
    ] {
        assert!(body.split("\r\n").any(|found| found == line), "{line} is not in\n{body}");
    }
    // Sent again on request, it is another one.
    let again = Confirmation { again_after: Some(NOW), ..confirmation(&order) };
    sender.send(&again).await.unwrap();
    let name = format!("{}.confirmed.{NOW}.eml", order.order_id);
    assert!(files(dir.path()).len() == 2 && files(dir.path()).contains(&name));
    let id = format!("Message-ID: <{}.confirmed.{NOW}@example.com>", order.order_id);
    assert!(mail(dir.path(), &name).0.contains(&id));
}

#[tokio::test]
async fn names_and_addresses_cannot_add_headers_or_lines_and_may_have_any_characters() {
    let dir = tempfile::tempdir().unwrap();
    let sender = sender(dir.path());
    let mut order = order(1);
    order.currency = Currency::try_new("JPY").unwrap();
    order.document.lines[0].item = "Laptop\r\nBcc: eve@example.com\r\n\r\n<b>free</b> für 🐭".into();
    order.document.shipping_address = "1 Main St\r\n.\r\nRCPT TO:<eve@example.com>\r\n東京".into();
    order.document.email = Some("Ada Löwe <ada@example.com>".into());
    sender.send(&confirmation(&order)).await.unwrap();
    let (headers, body) = mail(dir.path(), &format!("{}.confirmed.eml", order.order_id));
    let names: Vec<&str> = headers
        .split("\r\n")
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split(':').next().unwrap())
        .collect();
    let mut expected = [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "Content-Type",
        "MIME-Version",
        "Content-Transfer-Encoding",
    ];
    expected.sort_unstable();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "{headers}");
    assert!(headers.is_ascii() && body.is_ascii(), "{headers}\n\n{body}");
    assert!(headers.contains("<ada@example.com>"), "{headers}");
    assert!(!body.split("\r\n").any(|line| line.starts_with("Bcc:")), "{body}");
}

#[tokio::test]
async fn an_address_that_is_none_is_undeliverable() {
    let dir = tempfile::tempdir().unwrap();
    let sender = sender(dir.path());
    for email in
        ["nobody", "a@b\r\nBcc: eve@example.com", "ada@example.com, eve@example.com", "@example.com", ""]
    {
        let mut order = order(1);
        order.document.email = Some(email.into());
        let error = sender.send(&confirmation(&order)).await.unwrap_err();
        assert!(matches!(error, SendError::Permanent(_)), "{email:?}: {error}");
    }
    assert_eq!(files(dir.path()), [""; 0]);
}

#[tokio::test]
async fn a_folder_that_is_gone_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, order) = (sender(dir.path()), order(1));
    fs::remove_dir(dir.path().join("mail")).unwrap();
    let error = sender.send(&confirmation(&order)).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("could not write"), "{error}");
    fs::create_dir(dir.path().join("mail")).unwrap();
    sender.send(&confirmation(&order)).await.unwrap();
    assert_eq!(files(dir.path()).len(), 1);
}
