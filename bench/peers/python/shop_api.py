"""Orders over HTTP with FastAPI on PostgreSQL: created once by idempotency key, and read.

usage: uvicorn shop_api:app, with DATABASE_URL set
"""

import hashlib
import os
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from decimal import Decimal

import asyncpg
from fastapi import FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")
    item: str = Field(min_length=1, max_length=255)
    quantity: int = Field(ge=1, le=1_000_000)
    unit_price: Decimal = Field(ge=0, max_digits=15, decimal_places=2)


class CreateOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")
    customer_id: int = Field(ge=1)
    lines: list[Line] = Field(min_length=1, max_length=100)
    shipping_address: str = Field(min_length=1, max_length=1000)
    email: str | None = Field(default=None, max_length=255)


class Order(BaseModel):
    order_id: int
    idempotency_key: str
    status: str
    customer_id: int
    total: Decimal
    created_at: datetime
    lines: list[Line]
    shipping_address: str
    email: str | None


SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    order_id BIGINT PRIMARY KEY, idempotency_key TEXT NOT NULL, fingerprint TEXT NOT NULL, status TEXT NOT NULL,
    customer_id BIGINT NOT NULL, total NUMERIC NOT NULL, created_at TIMESTAMPTZ NOT NULL, document TEXT NOT NULL)
"""
INSERT = """
INSERT INTO orders (order_id, idempotency_key, fingerprint, status, customer_id, total, created_at, document)
VALUES ($1, $2, $3, 'Pending', $4, $5, $6, $7) ON CONFLICT (order_id) DO NOTHING RETURNING *
"""
SELECT = "SELECT * FROM orders WHERE order_id = $1"


@asynccontextmanager
async def lifespan(app):
    app.state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=16, max_size=16)
    async with app.state.pool.acquire() as connection, connection.transaction():
        # Each worker does this, one after the other.
        await connection.execute("SELECT pg_advisory_xact_lock(1)")
        await connection.execute(SCHEMA)
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan)


def answer(row):
    asked = CreateOrder.model_validate_json(row["document"])
    return Order(
        order_id=row["order_id"],
        idempotency_key=row["idempotency_key"],
        status=row["status"],
        customer_id=row["customer_id"],
        total=row["total"],
        created_at=row["created_at"],
        lines=asked.lines,
        shipping_address=asked.shipping_address,
        email=asked.email,
    )


@app.post("/api/v1/orders", status_code=201)
async def create(asked: CreateOrder, response: Response, idempotency_key: str = Header(max_length=255)) -> Order:
    digest = hashlib.sha256(idempotency_key.encode()).digest()
    order_id = 7 * 10**15 + int.from_bytes(digest[:8], "big") % 10**15
    document = asked.model_dump_json()
    fingerprint = hashlib.sha256(document.encode()).hexdigest()
    total = sum(line.unit_price * line.quantity for line in asked.lines)
    values = [order_id, idempotency_key, fingerprint, asked.customer_id, total, datetime.now(timezone.utc), document]
    row = await app.state.pool.fetchrow(INSERT, *values)
    if row is None:
        row = await app.state.pool.fetchrow(SELECT, order_id)
        if row["fingerprint"] != fingerprint:
            raise HTTPException(422, "the idempotency key was used for another request")
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/api/v1/orders/{order_id}"
    return answer(row)


@app.get("/api/v1/orders/{order_id}")
async def read(order_id: int) -> Order:
    row = await app.state.pool.fetchrow(SELECT, order_id)
    if row is None:
        raise HTTPException(404)
    return answer(row)
