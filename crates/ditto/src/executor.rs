//! What the store and a transaction have in common.

use std::future::Future;

use crate::query::IntoQuery;
use crate::{DittoError, QueryResult, Store, Transaction};

/// Runs statements: implemented by [`Store`] and [`Transaction`], so that helper code can take either (API-050).
///
/// It is sealed: other types cannot implement it. A mutating statement in a read-only transaction is
/// [`ErrorKind::TransactionReadOnly`](crate::ErrorKind::TransactionReadOnly).
///
/// ```
/// use ditto::{DittoError, QueryExecutor};
///
/// async fn total(executor: &impl QueryExecutor) -> Result<Option<i64>, DittoError> {
///     let result = executor.execute("SELECT SUM(price) AS total FROM orders").await?;
///     Ok(result.get_item(0).and_then(|row| row.value().get("total")?.as_i64()))
/// }
/// ```
pub trait QueryExecutor: sealed::Sealed + Sync {
    /// Runs one statement.
    fn execute(
        &self,
        query: impl IntoQuery + Send,
    ) -> impl Future<Output = Result<QueryResult, DittoError>> + Send;
}

impl QueryExecutor for Store {
    fn execute(
        &self,
        query: impl IntoQuery + Send,
    ) -> impl Future<Output = Result<QueryResult, DittoError>> + Send {
        Store::execute(self, query)
    }
}

impl QueryExecutor for Transaction {
    fn execute(
        &self,
        query: impl IntoQuery + Send,
    ) -> impl Future<Output = Result<QueryResult, DittoError>> + Send {
        Transaction::execute(self, query)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Store {}
    impl Sealed for crate::Transaction {}
}
