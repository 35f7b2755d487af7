//! Conditional writes, of records and of others, and reads of single rows.

use scylla::serialize::batch::BatchValues;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::Batch;
use scylla::statement::prepared::PreparedStatement;

use super::cells::Cells;
use super::statements::RecordStatements;
use super::store::CassandraShop;
use ecom_shop_store::{Created, ReadGuarantee};
use ecom_store_cassandra::StatementError;

/// Decodes the record of a row.
pub(super) type Decode<R> = fn(Cells) -> Result<R, StatementError>;

impl CassandraShop {
    /// Creates a record, unless one with its id exists; that one is in the answer.
    pub(super) async fn create<R: Clone>(
        &self,
        statements: &RecordStatements,
        values: impl SerializeRow,
        record: &R,
        decode: Decode<R>,
    ) -> Result<Created<R>, StatementError> {
        let (is_new, found) = self.conditionally(&statements.create, values).await?;
        Ok(Created { record: if is_new { record.clone() } else { decode(found)? }, is_new })
    }

    /// Moves a record, if its revision is the one before; else reads what stands, which the answer does not have.
    pub(super) async fn move_to<R: Clone>(
        &self,
        statements: &RecordStatements,
        values: impl SerializeRow,
        (id, next): (i64, &R),
        decode: Decode<R>,
    ) -> Result<Option<R>, StatementError> {
        let (is_applied, _) = self.conditionally(&statements.r#move, values).await?;
        if is_applied {
            return Ok(Some(next.clone()));
        }
        self.record(statements, id, ReadGuarantee::Linearizable, decode).await
    }

    /// Reads a record.
    pub(super) async fn record<R>(
        &self,
        statements: &RecordStatements,
        id: i64,
        guarantee: ReadGuarantee,
        decode: Decode<R>,
    ) -> Result<Option<R>, StatementError> {
        self.first_row(statements.one.with(guarantee), (id,)).await?.map(decode).transpose()
    }

    /// Executes a conditional statement; returns whether it was applied, and its answer.
    pub(super) async fn conditionally(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(bool, Cells), StatementError> {
        let mut answer = self.first_row(statement, values).await?.unwrap_or_default();
        Ok((answer.is_applied()?, answer))
    }

    /// Executes a conditional batch; returns whether it was applied.
    pub(super) async fn conditionally_together(
        &self,
        batch: &Batch,
        values: impl BatchValues,
    ) -> Result<bool, StatementError> {
        let response = self.store.session().batch(batch, values).await?;
        let answer = response.into_rows_result()?.maybe_first_row::<Cells>()?;
        answer.unwrap_or_default().is_applied()
    }

    /// Executes a statement; returns the first row of its answer.
    pub(super) async fn first_row(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Option<Cells>, StatementError> {
        let response = self.store.session().execute_unpaged(statement, values).await?;
        Ok(response.into_rows_result()?.maybe_first_row::<Cells>()?)
    }
}
