-- The tables of the shop in the embedded store. Comments inside a statement are kept in the file: `.schema` in
-- sqlite3 shows them. All times are microseconds since the epoch, all amounts minor units of their currency, such
-- as cents.

CREATE TABLE shop_orders (
    -- The orders that were accepted over HTTP. A row is created once and changes only from one revision to the next,
    -- with its state. order_id follows from account and idempotency_key; fingerprint is the SHA-256 of what was asked
    -- for under that key, in hex. document is what was ordered, as JSON, with the prices of that moment. state_at
    -- rises with every revision and is the event time T of the event that reports the state. attempt counts the
    -- payments begun. due_at is when somebody must look at the order again; null in a final state: completed, refused
    -- or cancelled. detail is why it was refused or cancelled. notice is what stands about its confirmation: sent,
    -- undeliverable or not_needed, with the time and the cause; it changes apart from the revisions.
    order_id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    customer_id INTEGER NOT NULL,
    currency TEXT NOT NULL,
    total_minor INTEGER NOT NULL,
    document TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    state_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    due_at INTEGER,
    detail TEXT,
    notice TEXT
);
CREATE INDEX shop_orders_by_customer ON shop_orders (customer_id, created_at);
CREATE INDEX shop_orders_by_due_time ON shop_orders (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE shop_payments (
    -- The payments of orders, and the transactions that pay no order. A row is created once and changes only from one
    -- revision to the next, with its state. payment_id follows from order_id and attempt, which of the order's
    -- payments it is, from 1; without an order both are null, and it follows from account and idempotency_key.
    -- state_at rises with every revision and is the event time T of the event that reports the state. processing_at is
    -- that of the state Processing, null before. due_at is when somebody must look at the payment again; null once it
    -- is completed or failed, and while it is processed for an order, which has such a time itself.
    payment_id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    order_id INTEGER,
    attempt INTEGER,
    sender TEXT NOT NULL,
    receiver TEXT NOT NULL,
    payment_method TEXT,
    card_last_four TEXT,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    state_at INTEGER NOT NULL,
    processing_at INTEGER,
    revision INTEGER NOT NULL,
    due_at INTEGER,
    error_message TEXT
);
CREATE INDEX shop_payments_by_time ON shop_payments (created_at);
CREATE INDEX shop_payments_by_state ON shop_payments (state, created_at);
CREATE INDEX shop_payments_by_due_time ON shop_payments (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE shop_products (
    -- The products, and the units of each. reserved are those units on hand that orders have reserved, stocked those
    -- that were ever put in: on hand and sold. The row changes only from one version to the next, together with the
    -- reservations of that change. Whoever changes it by hand raises version by one, or what is being decided on the
    -- version before overwrites the change; and raises stocked by as much as on_hand.
    sku TEXT PRIMARY KEY CHECK (sku <> ''),
    name TEXT NOT NULL,
    price_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    on_hand INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    stocked INTEGER NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    CHECK (0 <= reserved AND reserved <= on_hand AND on_hand <= stocked)
) WITHOUT ROWID;
CREATE TABLE shop_reservations (
    -- The units of a product that an order has reserved, has bought (state sold) or does not need any more (state
    -- released). A reservation that is sold or released stays so. Released with a quantity of 0 is a mark: the order
    -- ended, and a process that was stopped since before then reserves nothing for it.
    sku TEXT NOT NULL,
    order_id INTEGER NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity >= 0),
    state TEXT NOT NULL,
    PRIMARY KEY (sku, order_id)
) WITHOUT ROWID;

CREATE TABLE shop_carts (
    -- The lines of carts. Of two writes of a line the one with the larger written_at stands, in whatever order they
    -- arrive. A line that was removed keeps its row, with a null quantity and the time of its removal, so that a
    -- write that is older and arrives late does not bring it back.
    customer_id INTEGER NOT NULL,
    sku TEXT NOT NULL,
    quantity INTEGER CHECK (quantity > 0),
    written_at INTEGER NOT NULL,
    PRIMARY KEY (customer_id, sku)
) WITHOUT ROWID;

CREATE VIEW shop_orders_readable AS SELECT
    -- Times have the form of those in orders_payments_facts. Amounts are minor units of the currency: 1250 USD is
    -- 12.50, 1250 JPY is 1250.
    order_id, state,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch')
        || printf('.%06dZ', created_at % 1000000) AS created,
    strftime('%Y-%m-%dT%H:%M:%S', state_at / 1000000, 'unixepoch')
        || printf('.%06dZ', state_at % 1000000) AS state_since,
    strftime('%Y-%m-%dT%H:%M:%S', due_at / 1000000, 'unixepoch')
        || printf('.%06dZ', due_at % 1000000) AS due,
    customer_id, currency, total_minor,
    json_extract(document, '$.merchandise_minor') AS merchandise_minor,
    coalesce(json_extract(document, '$.shipping_minor'), 0) AS shipping_minor,
    (SELECT group_concat(json_extract(value, '$.quantity') || ' × ' || json_extract(value, '$.item'), ', ')
        FROM json_each(document, '$.lines')) AS items,
    json_extract(document, '$.shipping_address') AS shipping_address,
    json_extract(document, '$.payment_method') AS payment_method,
    attempt AS payments_begun, detail, notice, account, idempotency_key
FROM shop_orders;
CREATE VIEW shop_payments_readable AS SELECT
    -- Times have the form of those in orders_payments_facts. Amounts are minor units of the currency: 1250 USD is
    -- 12.50, 1250 JPY is 1250.
    payment_id, state,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch')
        || printf('.%06dZ', created_at % 1000000) AS created,
    strftime('%Y-%m-%dT%H:%M:%S', state_at / 1000000, 'unixepoch')
        || printf('.%06dZ', state_at % 1000000) AS state_since,
    strftime('%Y-%m-%dT%H:%M:%S', due_at / 1000000, 'unixepoch')
        || printf('.%06dZ', due_at % 1000000) AS due,
    order_id, attempt, sender, receiver, payment_method, card_last_four, currency, amount_minor, error_message,
    account, idempotency_key
FROM shop_payments;
CREATE VIEW shop_stock AS SELECT
    -- The units of each product. available are those that can still be reserved; sold is the sum of the reservations
    -- that are sold. stocked = on_hand + sold, unless somebody changed a table by hand.
    sku, name, on_hand, reserved, on_hand - reserved AS available,
    (SELECT coalesce(sum(quantity), 0) FROM shop_reservations
        WHERE shop_reservations.sku = shop_products.sku AND state = 'sold') AS sold,
    stocked
FROM shop_products;
