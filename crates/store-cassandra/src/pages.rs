//! Scans, a page at a time: memory holds one page and what the reader has taken of it.

use std::ops::ControlFlow;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use scylla::deserialize::row::DeserializeRow;
use scylla::response::PagingState;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::errors::Cause;
use super::session::CassandraStore;
use ecom_store::StoreError;

/// Rows, and where to go on.
pub(super) type Page<R> = (Vec<R>, Option<PagingState>);

impl CassandraStore {
    /// One page of a statement's rows.
    pub(super) async fn page<R, V>(
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
            let (answer, state) = self.session.execute_single_page(statement, values, from).await?;
            let rows = answer.into_rows_result()?;
            let rows = rows.rows::<R>()?.collect::<Result<Vec<R>, _>>()?;
            let next = match state.into_paging_control_flow() {
                ControlFlow::Continue(next) => Some(next),
                ControlFlow::Break(()) => None,
            };
            Ok::<_, Cause>((rows, next))
        };
        read.await.map_err(|cause| cause.at(what, &self.name))
    }

    /// All rows of a statement.
    pub(super) fn rows<'a, R, V>(
        &'a self,
        what: &'static str,
        statement: &'a PreparedStatement,
        values: V,
    ) -> impl Stream<Item = Result<R, StoreError>> + Send + 'a
    where
        R: for<'f> DeserializeRow<'f, 'f> + Send + 'a,
        V: SerializeRow + Copy + Send + Sync + 'a,
    {
        self.rows_after(what, statement, values, (Vec::new(), Some(PagingState::start())))
    }

    /// The rows of a page, then those of the pages after it.
    pub(super) fn rows_after<'a, R, V>(
        &'a self,
        what: &'static str,
        statement: &'a PreparedStatement,
        values: V,
        first: Page<R>,
    ) -> impl Stream<Item = Result<R, StoreError>> + Send + 'a
    where
        R: for<'f> DeserializeRow<'f, 'f> + Send + 'a,
        V: SerializeRow + Copy + Send + Sync + 'a,
    {
        let (rows, next) = first;
        let later = stream::try_unfold(next, move |from| async move {
            match from {
                Some(from) => self.page::<R, V>(what, statement, values, from).await.map(Some),
                None => Ok(None),
            }
        });
        stream::once(async { Ok(rows) })
            .chain(later)
            .map_ok(|rows| stream::iter(rows.into_iter().map(Ok)))
            .try_flatten()
    }
}
