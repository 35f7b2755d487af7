//! What `ecom_demo --shop` prints.

use std::path::Path;

use super::mails::FOLDER;
use super::{Created, KILLS, Story, USERS};
use crate::cli::{Demo, Format};
use crate::exit::CliError;
use crate::output;

/// Prints what the story ended with.
pub(super) fn report(cli: &Demo, story: &Story, folder: &Path, base: &str) -> Result<(), CliError> {
    if cli.format() == Format::Json {
        return output::data(&format!("{}\n", serde_json::to_string_pretty(story)?));
    }
    let count = output::count;
    let created = |created: &Created| {
        let lost = created.asked.saturating_sub(created.recorded);
        let doubled = created.recorded.saturating_sub(created.asked);
        format!("{} recorded, {} lost, {} doubled", count(created.recorded), count(lost), count(doubled))
    };
    let Story { race, orders, transactions, mails, verification, seed, .. } = story;
    let shown = output::quoted(folder);
    let mut text = format!(
        "race          {} buyers, {} headphones: {} sold, {} refused, {} oversold\n\
         orders        {} by {USERS} users, each request sent twice: {}\n\
         transactions  {} without an order, each request sent twice: {}\n\
         payments      {}: {} completed, {} failed{} (2 processors, one of them killed {KILLS} times)\n\
         mails         {} for {} paid orders, in {shown}/{FOLDER}\n\
         answers       p50 {:.0} ms, p99 {:.0} ms\n\n",
        race.buyers,
        race.units,
        race.sold,
        race.refused,
        race.sold.saturating_sub(race.units).max(0),
        count(orders.asked),
        created(orders),
        count(transactions.asked),
        created(transactions),
        count(story.payments_completed + story.payments_failed),
        count(story.payments_completed),
        count(story.payments_failed),
        match story.payments_unexpected {
            0 => format!(", each as seed {seed} says"),
            n => format!(", {} of them not as seed {seed} says", count(n)),
        },
        count(mails.mails),
        count(mails.paid_orders),
        orders.p50_seconds * 1e3,
        orders.p99_seconds * 1e3,
    );
    let faults =
        race.faults.iter().chain(&orders.faults).chain(&transactions.faults).chain(&story.record_differences);
    for fault in faults.take(20) {
        text.push_str(&format!("{fault}\n"));
    }
    for difference in verification.differences.iter().take(20) {
        text.push_str(&format!("{difference}\n"));
    }
    if story.clean {
        text.push_str(&format!(
            "✓ every order is its row, every row an order, and every unit accounted for: {} rows, 0 lost, 0 mixed\n",
            count(verification.rows)
        ));
    } else {
        text.push_str(&format!("✗ something differs; the store is kept in {shown}\n"));
    }
    text.push_str(&format!(
        "\nopen {base}/docs      no key needed on this host\n\nnext:\n  \
         curl -s {base}/api/v1/orders/order-0-0\n  \
         sqlite3 {shown}/ecom_store.db 'SELECT * FROM shop_orders_readable LIMIT 5'\n"
    ));
    output::data(&text)
}
