//! Dead letters named by the beginning of their ids.

use ecom_dlq::identify::IdentifyError;
use ecom_domain::dead_letter::{DeadLetter, DeadLetterId, DeadLetterIdPrefix};

use super::fixture::*;

fn prefix(text: &str) -> DeadLetterIdPrefix {
    DeadLetterIdPrefix::parse(text).unwrap()
}

#[tokio::test]
async fn a_unique_prefix_is_accepted_and_an_ambiguous_one_refused_with_its_candidates() {
    for store in TestStore::all("identify").await {
        let id = |hash: &str| DeadLetterId::parse(&format!("20260131-07-{hash:0<32}")).unwrap();
        let ids = ["0123a", "0123b", "4567"].map(id);
        for id in &ids {
            store.record(&DeadLetter { id: id.clone(), ..orphan(1, 2, NOW) }).await;
        }
        let queue = store.queue();
        let found = queue.identify(&[prefix("20260131-07-4567"), prefix("20260131-07-0123b")]).await.unwrap();
        assert_eq!(found, [ids[2].clone(), ids[1].clone()], "{}", store.name);
        let whole = prefix(id("ffff").as_str());
        assert_eq!(queue.identify(&[whole]).await.unwrap(), [id("ffff")], "{}", store.name);

        let ambiguous = queue.identify(&[prefix("20260131-07-0123")]).await.unwrap_err();
        let IdentifyError::Ambiguous { candidates, .. } = ambiguous else { panic!("{ambiguous}") };
        assert_eq!(candidates, ids[..2], "{}", store.name);
        let unknown = queue.identify(&[prefix("20260131-08-4567")]).await.unwrap_err();
        assert!(matches!(unknown, IdentifyError::NotFound { .. }), "{unknown}");
    }
}
