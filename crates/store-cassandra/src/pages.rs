//! Scans page by page: a stream keeps one page in memory.

use std::ops::ControlFlow;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use scylla::deserialize::row::DeserializeRow;
use scylla::response::PagingState;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::errors::StatementError;
use super::store::CassandraStore;
use ecom_store::StoreError;

/// The rows of a page, and the paging state of the next one.
pub type Page<R> = (Vec<R>, Option<PagingState>);

impl CassandraStore {
    /// Reads one page of a statement's rows. `what` is the operation, as a verb phrase, for errors.
    pub async fn page<R, V>(
        &self,
        what: &'static str,
        statement: &PreparedStatement,
        values: V,
        from: PagingState,
    ) -> Result<Page<R>, StoreError>
    where
        R: for<'f> DeserializeRow<'f, 'f>,
        V: SerializeRow + Send + Sync,
    {
        let read = async {
            let (response, state) = self.session.execute_single_page(statement, values, from).await?;
            let rows = response.into_rows_result()?;
            let rows = rows.rows::<R>()?.collect::<Result<Vec<R>, _>>()?;
            let next = match state.into_paging_control_flow() {
                ControlFlow::Continue(next) => Some(next),
                ControlFlow::Break(()) => None,
            };
            Ok::<_, StatementError>((rows, next))
        };
        read.await.map_err(|error| error.at(what, &self.name))
    }

    /// Streams all rows of a statement, page by page.
    pub fn rows<'a, R, V>(
        &'a self,
        what: &'static str,
        statement: &'a PreparedStatement,
        values: V,
    ) -> impl Stream<Item = Result<R, StoreError>> + Send + 'a
    where
        R: for<'f> DeserializeRow<'f, 'f> + Send + 'a,
        V: SerializeRow + Clone + Send + Sync + 'a,
    {
        self.rows_after(what, statement, values, (Vec::new(), Some(PagingState::start())))
    }

    /// Streams the rows of a page, then those of the pages after it.
    pub fn rows_after<'a, R, V>(
        &'a self,
        what: &'static str,
        statement: &'a PreparedStatement,
        values: V,
        first: Page<R>,
    ) -> impl Stream<Item = Result<R, StoreError>> + Send + 'a
    where
        R: for<'f> DeserializeRow<'f, 'f> + Send + 'a,
        V: SerializeRow + Clone + Send + Sync + 'a,
    {
        let (rows, next) = first;
        let later = stream::try_unfold(next, move |from| {
            let values = values.clone();
            async move {
                match from {
                    Some(from) => self.page::<R, V>(what, statement, values, from).await.map(Some),
                    None => Ok(None),
                }
            }
        });
        stream::once(async { Ok(rows) })
            .chain(later)
            .map_ok(|rows| stream::iter(rows.into_iter().map(Ok)))
            .try_flatten()
    }
}
