// The same work in Go: Google's client and gocql, an ack after each definite write.
//
// usage: go-peer order|payment PROJECT TOPIC KEYSPACE STREAMS
// with PUBSUB_EMULATOR_HOST and CASSANDRA_CONTACT_POINTS set; prints `done TOTAL` as it goes.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"cloud.google.com/go/pubsub"
	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

const writtenAt = int64(1700000000000001)

type order struct {
	OrderID    int64   `json:"order_id"`
	CustomerID int64   `json:"customer_id"`
	Item       string  `json:"item"`
	Quantity   int64   `json:"quantity"`
	Price      float64 `json:"price"`
	Address    string  `json:"shipping_address"`
	Status     string  `json:"order_status"`
	Created    string  `json:"creation_date"`
}

type payment struct {
	PaymentID int64  `json:"payment_id"`
	OrderID   int64  `json:"order_id"`
	Method    string `json:"payment_method"`
	Last4     string `json:"card_last_four"`
	Status    string `json:"payment_status"`
	At        string `json:"payment_datetime"`
}

func main() {
	if len(os.Args) != 6 {
		fail(fmt.Errorf("usage: go-peer order|payment PROJECT TOPIC KEYSPACE STREAMS"))
	}
	kind, project, topic, keyspace := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	streams, err := strconv.Atoi(os.Args[5])
	check(err)

	cluster := gocql.NewCluster(strings.Split(os.Getenv("CASSANDRA_CONTACT_POINTS"), ",")...)
	cluster.Keyspace = keyspace
	cluster.NumConns = 2
	cluster.Consistency = gocql.LocalQuorum
	session, err := cluster.CreateSession()
	check(err)

	client, err := pubsub.NewClient(context.Background(), project)
	check(err)
	subscription := client.Subscription(topic + "-sub")
	subscription.ReceiveSettings.NumGoroutines = streams
	subscription.ReceiveSettings.MaxOutstandingMessages = 1000

	var done atomic.Int64
	err = subscription.Receive(context.Background(), func(_ context.Context, message *pubsub.Message) {
		if err := handle(session, kind, message.Data); err != nil {
			fmt.Fprintln(os.Stderr, "not written:", err)
			message.Nack()
			return
		}
		message.Ack()
		if total := done.Add(1); total == 1 || total%200 == 0 {
			fmt.Println("done", total)
		}
	})
	check(err)
}

func handle(session *gocql.Session, kind string, body []byte) error {
	if kind == "order" {
		var o order
		if err := json.Unmarshal(body, &o); err != nil {
			return err
		}
		return session.Query(
			"INSERT INTO orders_payments_facts (order_id, customer_id, item, quantity, price, shipping_address, "+
				"order_status, creation_date) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
			o.OrderID, o.CustomerID, o.Item, o.Quantity, o.Price, o.Address, o.Status, o.Created, writtenAt,
		).Idempotent(true).Exec()
	}
	var p payment
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	var customer int64
	found := session.Query("SELECT customer_id FROM orders_payments_facts WHERE order_id = ?", p.OrderID)
	if err := found.Scan(&customer); err != nil {
		return err
	}
	return session.Query(
		"UPDATE orders_payments_facts USING TIMESTAMP ? SET payment_id = ?, payment_method = ?, card_last_four = ?, "+
			"payment_status = ?, payment_datetime = ? WHERE order_id = ?",
		writtenAt, p.PaymentID, p.Method, p.Last4, p.Status, p.At, p.OrderID,
	).Idempotent(true).Exec()
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "go-peer:", err)
	os.Exit(1)
}
