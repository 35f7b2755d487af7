//! The handler of the notices topic, with a sender that does as a script says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ecom_bus::{Message, Publisher, Receipt, ReceivedMessage};
use ecom_clock::{Clock, Entropy};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::role::RoleName;
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::disposition::Disposition;
use ecom_pipeline::durable::Retrier;
use ecom_pipeline::handler::{Applied, Handler};
use ecom_shop_domain::notice::{Notice, NoticeOutcome, NoticeRequest};
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_notifier::confirmation::Confirmation;
use ecom_shop_notifier::notices::{Notices, NotifierDeps, backoff};
use ecom_shop_notifier::sender::{SendError, Sender};
use ecom_shop_store::memory::{CallFault, CallFaults, MemoryShop};
use ecom_telemetry::metrics::RoleMetrics;
use futures_util::future::{join, join_all};
use tokio::time::Instant;

use super::orders::{NOW, order};

/// The reaction of a sender to an attempt.
#[derive(Clone)]
enum Answer {
    Accept,
    /// Accepts it, and never answers.
    AcceptAndHang,
    Later,
    Never(&'static str),
}

/// Does as its script says, and accepts everything afterwards.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Answer>>,
    /// The order for which it is always `Later`.
    stuck: Option<OrderId>,
    takes_no_email: bool,
    /// The ids that were accepted, and when.
    accepted: Mutex<Vec<(String, Instant)>>,
    attempts: Mutex<u32>,
}

#[async_trait]
impl Sender for Scripted {
    fn needs_email(&self) -> bool {
        !self.takes_no_email
    }

    async fn send(&self, confirmation: &Confirmation<'_>) -> Result<(), SendError> {
        *self.attempts.lock().unwrap() += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = self.script.lock().unwrap().pop_front().unwrap_or(Answer::Accept);
        let answer = if self.stuck == Some(confirmation.order.order_id) { Answer::Later } else { answer };
        let accept = || self.accepted.lock().unwrap().push((confirmation.id('.'), Instant::now()));
        match answer {
            Answer::Accept => accept(),
            Answer::AcceptAndHang => {
                accept();
                std::future::pending::<()>().await;
            }
            Answer::Later => return Err(SendError::Retryable("451 4.7.1 try later".into())),
            Answer::Never(cause) => return Err(SendError::Permanent(cause.into())),
        }
        Ok(())
    }
}

impl Scripted {
    fn doing(script: impl IntoIterator<Item = Answer>) -> Self {
        Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() }
    }
}

/// A topic that keeps each message.
#[derive(Default)]
struct Topic(Mutex<Vec<Message>>);

#[async_trait]
impl Publisher for Topic {
    async fn publish(&self, message: Message) -> Receipt {
        self.0.lock().unwrap().push(message);
        Receipt::new(async { Ok("1".to_owned()) })
    }

    async fn flush(&self) {}
}

/// Never answers a write of a notice.
struct NoAnswer;

#[async_trait]
impl CallFaults for NoAnswer {
    async fn next(&self, what: &'static str) -> CallFault {
        if what == "write the notice of an order" {
            std::future::pending::<()>().await;
        }
        CallFault::None
    }
}

/// Loses the answer of every second call.
struct EverySecond(Mutex<u32>);

#[async_trait]
impl CallFaults for EverySecond {
    async fn next(&self, _: &'static str) -> CallFault {
        let mut calls = self.0.lock().unwrap();
        *calls += 1;
        if calls.is_multiple_of(2) { CallFault::AnswerLost } else { CallFault::None }
    }
}

struct World {
    shop: MemoryShop,
    sender: Arc<Scripted>,
    dead_letters: Arc<Topic>,
}

impl World {
    fn new(sender: Scripted) -> Self {
        Self { shop: MemoryShop::default(), sender: Arc::new(sender), dead_letters: Arc::default() }
    }

    fn notifier(&self) -> Notices {
        self.notifier_on(self.shop.sharing(()))
    }

    fn notifier_on<F: CallFaults + 'static>(&self, shop: MemoryShop<F>) -> Notices {
        let metrics = Arc::new(RoleMetrics::new(RoleName::new("notifier")));
        let entropy = Arc::new(Entropy::seeded(1));
        let retrier = || Retrier::new(Arc::clone(&entropy), Arc::clone(&metrics));
        let clock = Clock::anchored(NOW);
        Notices::new(NotifierDeps {
            orders: Arc::new(shop),
            sender: Arc::clone(&self.sender) as _,
            timeout: Duration::from_secs(30),
            concurrency: 16,
            dead_letters: DeadLetterPublisher {
                publisher: Arc::clone(&self.dead_letters) as _,
                kind: EventKind::Order,
                subscription: "notices_data-sub".into(),
                clock,
                metrics: Arc::clone(&metrics),
            },
            retrier: Arc::new(retrier()),
            sending: retrier().with_backoff(backoff()),
            clock,
        })
    }

    fn put(&self, order: OrderRecord) -> OrderId {
        let id = order.order_id;
        self.shop.tables().orders.insert(id, order);
        id
    }

    fn notice(&self, id: OrderId) -> Option<Notice> {
        self.shop.tables().orders[&id].notice.clone()
    }

    fn accepted(&self) -> Vec<String> {
        self.sender.accepted.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }
}

async fn deliver(notifier: &Notices, body: impl Into<Vec<u8>>) -> Applied {
    let message = Message { body: body.into().into(), ..Message::default() };
    let received = ReceivedMessage { message, id: "1".into(), publish_time_us: NOW, attempt: 1 };
    let decoded = notifier.decode(&received);
    notifier.apply(&received, &decoded).await.unwrap()
}

async fn confirm(notifier: &Notices, id: OrderId) -> Applied {
    deliver(notifier, NoticeRequest::confirmed(id).encode()).await
}

fn sent(notice: Option<Notice>) -> bool {
    notice.is_some_and(|notice| notice.outcome == NoticeOutcome::Sent)
}

#[tokio::test(start_paused = true)]
async fn a_paid_order_is_confirmed_once_however_often_the_message_comes() {
    let world = World::new(Scripted::default());
    let (paid, completed) = (order(1), OrderRecord { state: OrderState::Completed, ..order(2) });
    let (paid, completed) = (world.put(paid), world.put(completed));
    let (first, second) = (world.notifier(), world.notifier());
    for id in [paid, completed] {
        let applied = confirm(&first, id).await;
        assert!(matches!(applied, Applied::Done(Disposition::Applied(_))), "{applied:?}");
        for notifier in [&first, &second] {
            let applied = confirm(notifier, id).await;
            assert!(matches!(applied, Applied::Done(Disposition::AlreadyApplied(_))), "{applied:?}");
        }
        assert!(sent(world.notice(id)));
    }
    assert_eq!(world.accepted(), [format!("{paid}.confirmed"), format!("{completed}.confirmed")]);
}

#[tokio::test(start_paused = true)]
async fn two_deliveries_at_the_same_time_send_one() {
    let world = World::new(Scripted::doing([Answer::Later, Answer::Later]));
    let (id, notifier) = (world.put(order(1)), world.notifier());
    join_all((0..5).map(|_| confirm(&notifier, id))).await;
    assert_eq!(world.accepted().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_not_paid_is_not_confirmed() {
    let world = World::new(Scripted::default());
    let notifier = world.notifier();
    for (n, state) in (0..).zip(OrderState::ALL) {
        let id = world.put(OrderRecord { state, ..order(n) });
        let applied = confirm(&notifier, id).await;
        let is_confirmed = matches!(state, OrderState::Paid | OrderState::Completed);
        assert_eq!(sent(world.notice(id)), is_confirmed, "{state:?}: {applied:?}");
    }
    assert_eq!(world.accepted().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_sent_later_is_sent_until_it_is_accepted() {
    let world = World::new(Scripted::doing([Answer::Later, Answer::Later]));
    let (id, notifier) = (world.put(order(1)), world.notifier());
    let applied = confirm(&notifier, id).await;
    assert!(matches!(applied, Applied::Done(Disposition::Applied(_))), "{applied:?}");
    assert_eq!((world.accepted().len(), *world.sender.attempts.lock().unwrap()), (1, 3));
    assert!(sent(world.notice(id)) && world.dead_letters.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_an_answer_ends_at_its_time_limit_and_is_repeated_under_the_same_id() {
    let world = World::new(Scripted::doing([Answer::AcceptAndHang]));
    let (id, notifier) = (world.put(order(1)), world.notifier());
    confirm(&notifier, id).await;
    assert_eq!(world.accepted(), [format!("{id}.confirmed"), format!("{id}.confirmed")]);
    let accepted = world.sender.accepted.lock().unwrap();
    let between = accepted[1].1 - accepted[0].1;
    assert!((Duration::from_secs(29)..Duration::from_secs(35)).contains(&between), "{between:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_taken_holds_up_no_other_and_is_not_sent_hastily() {
    const OTHERS: i64 = 2_000;
    let stuck = order(0).order_id;
    let world = World::new(Scripted { stuck: Some(stuck), ..Scripted::default() });
    let notifier = world.notifier();
    for n in 0..=OTHERS {
        world.put(order(n));
    }
    let started = Instant::now();
    let others = join_all((1..=OTHERS).map(|n| confirm(&notifier, order(n).order_id)));
    let waiting = async {
        let mut longest = Duration::ZERO;
        while started.elapsed() < Duration::from_secs(24 * 3_600) {
            let delivered = Instant::now();
            let applied = confirm(&notifier, stuck).await;
            assert!(matches!(applied, Applied::GiveBack), "{applied:?}");
            longest = longest.max(delivered.elapsed());
        }
        longest
    };
    let all = join(waiting, async {
        others.await;
        started.elapsed()
    });
    let (longest, took) = all.await;
    assert!(longest < Duration::from_secs(3_600), "Pub/Sub keeps no delivery for longer: {longest:?}");
    // Sixteen at a time, 100 ms each.
    assert!(took < Duration::from_secs(14), "{took:?}");
    assert_eq!(world.accepted().len() as i64, OTHERS);
    assert_eq!(world.notice(stuck), None);
    let attempts = i64::from(*world.sender.attempts.lock().unwrap()) - OTHERS;
    assert!((1_440..5_000).contains(&attempts), "{attempts} in a day");
}

#[tokio::test(start_paused = true)]
async fn a_stopping_role_gives_back_what_waits_and_does_not_wait_for_it() {
    let id = order(1).order_id;
    let world = World::new(Scripted { stuck: Some(id), ..Scripted::default() });
    world.put(order(1));
    let notifier = world.notifier();
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        notifier.stopping();
    };
    let started = Instant::now();
    let (applied, ()) = join(confirm(&notifier, id), stopping).await;
    assert!(matches!(applied, Applied::GiveBack), "{applied:?}");
    assert!(started.elapsed() < Duration::from_millis(600_200), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_recorded_with_the_cause_and_without_the_address() {
    let cause = "550 5.1.1 <ada@example.com>\r\nunknown; card 4111111111111111";
    let world = World::new(Scripted::doing([Answer::Never(cause)]));
    let (id, notifier) = (world.put(order(1)), world.notifier());
    let applied = confirm(&notifier, id).await;
    assert!(matches!(applied, Applied::Done(Disposition::Applied(_))), "{applied:?}");
    let Some(Notice { outcome: NoticeOutcome::Undeliverable(cause), .. }) = world.notice(id) else {
        panic!("{:?}", world.notice(id))
    };
    assert_eq!(cause, "550 5.1.1 <<recipient>>  unknown; card ************1111");
    confirm(&notifier, id).await;
    assert_eq!(*world.sender.attempts.lock().unwrap(), 1, "it is not tried again");
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_that_is_asked_for_again_is_sent_once_more_under_another_id() {
    let world = World::new(Scripted::doing([Answer::Never("550 no such user")]));
    let (id, notifier) = (world.put(order(1)), world.notifier());
    confirm(&notifier, id).await;
    let refused = world.notice(id);
    let again = NoticeRequest::confirmed_again(id, refused.as_ref());
    for _ in 0..3 {
        deliver(&notifier, again.encode()).await;
    }
    // The first one, redelivered.
    confirm(&notifier, id).await;
    assert_eq!(world.accepted(), [format!("{id}.confirmed.{}", refused.unwrap().at)]);
    let sent_at = world.notice(id).unwrap();
    let again = NoticeRequest::confirmed_again(id, Some(&sent_at));
    deliver(&notifier, again.encode()).await;
    assert_eq!(world.accepted().len(), 2);
    assert!(world.notice(id).unwrap().at > sent_at.at);
}

#[tokio::test(start_paused = true)]
async fn an_order_without_an_address_needs_no_mail_but_a_webhook_is_told() {
    let mut order = order(1);
    order.document.email = None;
    for takes_no_email in [false, true] {
        let world = World::new(Scripted { takes_no_email, ..Scripted::default() });
        let (id, notifier) = (world.put(order.clone()), world.notifier());
        confirm(&notifier, id).await;
        let outcome = world.notice(id).unwrap().outcome;
        let expected = match takes_no_email {
            true => NoticeOutcome::Sent,
            false => NoticeOutcome::NotNeeded("the order has no e-mail address".into()),
        };
        assert_eq!((outcome, world.accepted().len()), (expected, usize::from(takes_no_email)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_notifier_that_is_killed_before_it_records_is_followed_by_one_that_sends_under_the_same_id() {
    let world = World::new(Scripted::default());
    let id = world.put(order(1));
    let killed = world.notifier_on(world.shop.sharing(NoAnswer));
    let life = tokio::time::timeout(Duration::from_secs(60), confirm(&killed, id)).await;
    assert!(life.is_err());
    assert_eq!(world.notice(id), None);
    confirm(&world.notifier(), id).await;
    assert_eq!(world.accepted(), [format!("{id}.confirmed"), format!("{id}.confirmed")]);
    assert!(sent(world.notice(id)));
}

#[tokio::test(start_paused = true)]
async fn lost_answers_of_the_store_send_nothing_twice() {
    let world = World::new(Scripted::default());
    let notifier = world.notifier_on(world.shop.sharing(EverySecond(Mutex::new(0))));
    for n in 0..20 {
        world.put(order(n));
    }
    join_all((0..20).map(|n| confirm(&notifier, order(n).order_id))).await;
    assert_eq!(world.accepted().len(), 20);
    assert!((0..20).all(|n| sent(world.notice(order(n).order_id))));
}

#[tokio::test(start_paused = true)]
async fn rubbish_and_pointers_to_nothing_become_dead_letters() {
    let world = World::new(Scripted::default());
    let notifier = world.notifier();
    let unknown = NoticeRequest::confirmed(order(9).order_id).encode();
    for (body, reason, detail) in [
        (unknown, Reason::Invalid, "there is no order with this id"),
        (b"no json".to_vec(), Reason::Invalid, "expected"),
        (
            br#"{"order_id":7,"notice":"4111111111111111"}"#.to_vec(),
            Reason::PanDetected,
            "a full card number",
        ),
    ] {
        let applied = deliver(&notifier, body.clone()).await;
        let Applied::Done(Disposition::DeadLettered(found, _)) = applied else { panic!("{applied:?}") };
        assert_eq!(found, reason);
        let dead_letter = world.dead_letters.0.lock().unwrap().pop().unwrap();
        let why = dead_letter.attributes.get("dlq_detail").unwrap();
        assert!(why.contains(detail), "{why}");
        assert!(!String::from_utf8_lossy(&dead_letter.body).contains("4111111111111111"));
    }
    assert!(world.accepted().is_empty());
}
