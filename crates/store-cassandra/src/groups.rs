//! Requests that carry several statements: unlogged batches and `IN`, each for partitions of one owner. Every statement
//! keeps its own write timestamp.

use futures_util::future::join_all;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::errors::StatementError;
use super::facts::{SlotRow, slot};
use super::owners::Owner;
use super::store::CassandraStore;
use super::values;
use ecom_domain::fact::PaymentSlot;
use ecom_domain::order::OrderId;

/// The largest size of a request of several statements.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLimit {
    /// Partitions that it reads or writes.
    pub partitions: usize,
    /// Bytes of its values.
    pub bytes: usize,
}

/// Values of a statement of any table.
pub(super) type BoxedValues<'s> = Box<dyn SerializeRow + Send + Sync + 's>;

/// A write of one partition.
pub(super) struct Write<'s, V> {
    statement: (&'s PreparedStatement, V),
    /// Further statements on the same partition.
    others: Vec<(&'s PreparedStatement, V)>,
    /// About as many bytes as its values have.
    bytes: usize,
}

impl<'s, V> Write<'s, V> {
    pub(super) fn new(statement: &'s PreparedStatement, values: V, bytes: usize) -> Self {
        Self { statement: (statement, values), others: Vec::new(), bytes }
    }

    /// Adds a statement on the same partition.
    pub(super) fn with(mut self, statement: &'s PreparedStatement, values: V) -> Self {
        self.others.push((statement, values));
        self
    }

    /// Boxes the values, so that a statement with values of another type can be added.
    pub(super) fn boxed(self) -> Write<'s, BoxedValues<'s>>
    where
        V: SerializeRow + Send + Sync + 's,
    {
        let boxed = |(statement, values)| (statement, Box::new(values) as BoxedValues<'s>);
        let others = self.others.into_iter().map(boxed).collect();
        Write { statement: boxed(self.statement), others, bytes: self.bytes }
    }

    fn statements(&self) -> impl Iterator<Item = &(&'s PreparedStatement, V)> {
        std::iter::once(&self.statement).chain(&self.others)
    }
}

/// A request: its owner, and the indices of what it carries.
type Request = (Owner, Vec<usize>);

/// Shares out what is to be sent, given by owner and size in bytes, among requests within the limit.
fn requests(members: impl Iterator<Item = (Owner, usize)>, limit: RequestLimit) -> Vec<Request> {
    let mut requests: Vec<(Request, usize)> = Vec::new();
    for (index, (owner, bytes)) in members.enumerate() {
        // Only the last request of an owner may have room.
        match requests.iter_mut().rfind(|((of, _), _)| *of == owner) {
            Some(((_, members), total))
                if members.len() < limit.partitions && *total + bytes <= limit.bytes =>
            {
                members.push(index);
                *total += bytes;
            }
            _ => requests.push(((owner, vec![index]), bytes)),
        }
    }
    requests.into_iter().map(|(request, _)| request).collect()
}

impl CassandraStore {
    /// Executes writes, in as few requests as the limits of a request allow. After an error each of them may or may not
    /// have been executed.
    pub(super) async fn write_all<V: SerializeRow>(
        &self,
        writes: &[Write<'_, V>],
    ) -> Result<(), StatementError> {
        let owner =
            |write: &Write<'_, V>| self.owners.of(&self.session, write.statement.0, &write.statement.1);
        let requests = requests(writes.iter().map(|write| (owner(write), write.bytes)), self.request_limit);
        let send = |(owner, members): &Request| {
            let statements: Vec<_> = members.iter().flat_map(|member| writes[*member].statements()).collect();
            self.execute_together(*owner, statements)
        };
        join_all(requests.iter().map(send)).await.into_iter().collect()
    }

    async fn execute_together<V: SerializeRow>(
        &self,
        owner: Owner,
        statements: Vec<&(&PreparedStatement, V)>,
    ) -> Result<(), StatementError> {
        if let [(statement, values)] = statements[..] {
            self.session.execute_unpaged(statement, values).await?;
            return Ok(());
        }
        let (statements, values): (Vec<_>, Vec<_>) =
            statements.into_iter().map(|(statement, values)| ((*statement).clone().into(), values)).unzip();
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        batch.set_load_balancing_policy(self.owners.policy(owner));
        self.session.batch(&batch, values).await?;
        Ok(())
    }

    /// Reads the payment slots of orders, in as few requests as the limit allows.
    pub(super) async fn slots(&self, order_ids: &[OrderId]) -> Result<Vec<PaymentSlot>, StatementError> {
        let statement = &self.statements.payment_slot;
        let owner = |order_id: &OrderId| self.owners.of(&self.session, statement, &values::key(*order_id));
        let members = order_ids.iter().map(|order_id| (owner(order_id), size_of::<OrderId>()));
        let requests = requests(members, self.request_limit);
        let read = |(owner, members): &Request| {
            let ids = members.iter().map(|member| order_ids[*member]).collect();
            self.slots_together(*owner, ids)
        };
        let mut slots = vec![PaymentSlot::NoOrder; order_ids.len()];
        let found = join_all(requests.iter().map(read)).await;
        for ((_, members), found) in requests.iter().zip(found) {
            for (member, slot) in members.iter().zip(found?) {
                slots[*member] = slot;
            }
        }
        Ok(slots)
    }

    async fn slots_together(
        &self,
        owner: Owner,
        order_ids: Vec<OrderId>,
    ) -> Result<Vec<PaymentSlot>, StatementError> {
        let response = if let [order_id] = order_ids[..] {
            self.session.execute_unpaged(&self.statements.payment_slot, values::key(order_id)).await?
        } else {
            let ids: Vec<i64> = order_ids.iter().map(|order_id| order_id.0).collect();
            let mut statement = self.statements.payment_slots.clone();
            statement.set_load_balancing_policy(self.owners.policy(owner));
            self.session.execute_unpaged(&statement, (ids,)).await?
        };
        let rows = response.into_rows_result()?;
        let mut slots = vec![slot(None); order_ids.len()];
        for row in rows.rows::<SlotRow<'_>>()? {
            let row = row?;
            for (_, found) in order_ids.iter().zip(&mut slots).filter(|(id, _)| id.0 == row.0) {
                *found = slot(Some(row));
            }
        }
        Ok(slots)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LIMIT: RequestLimit = RequestLimit { partitions: 3, bytes: 100 };

    fn shared(members: impl IntoIterator<Item = (u128, usize)>) -> Vec<(u128, Vec<usize>)> {
        let owned = members.into_iter().map(|(owner, bytes)| (Some(Uuid::from_u128(owner)), bytes));
        let all = requests(owned, LIMIT).into_iter();
        all.map(|(owner, members)| (owner.map_or(0, |owner| owner.as_u128()), members)).collect()
    }

    #[test]
    fn a_request_carries_as_many_partitions_as_it_may() {
        assert_eq!(shared([(1, 1); 7]), [(1, vec![0, 1, 2]), (1, vec![3, 4, 5]), (1, vec![6])]);
        assert_eq!(shared([]), []);
    }

    #[test]
    fn a_request_carries_as_many_bytes_as_it_may_and_a_larger_write_travels_alone() {
        assert_eq!(shared([(1, 60), (1, 40), (1, 1)]), [(1, vec![0, 1]), (1, vec![2])]);
        assert_eq!(shared([(1, 60), (1, 500), (1, 60)]), [(1, vec![0]), (1, vec![1]), (1, vec![2])]);
    }

    #[test]
    fn partitions_of_different_owners_do_not_meet() {
        let alternating = shared((0..8).map(|index| (1 + index % 2, 1)));
        assert_eq!(alternating, [(1, vec![0, 2, 4]), (2, vec![1, 3, 5]), (1, vec![6]), (2, vec![7])]);
    }
}
