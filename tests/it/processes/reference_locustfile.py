"""The load test of the reference order API: users who order, and look twice as often at the ids of all orders."""

from locust import HttpUser, between, task


class OrderUser(HttpUser):
    wait_time = between(1, 3)

    @task
    def place_order(self):
        self.client.post("/orders/", json={"product_name": "Phone", "quantity": 2})

    @task(2)
    def get_order_ids(self):
        self.client.get("/orders/ids/")
