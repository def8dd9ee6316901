//! Transactions that are driven by hand.

use std::sync::Arc;

use ditto::TransactionCompletionAction;

use crate::app::awaited;
use crate::error::DittoError;
use crate::json;
use crate::result::QueryResult;

/// A running transaction: several statements that apply together or not at all.
///
/// Languages wrap it in a block. While one that writes is open, other writers of the store wait.
#[derive(uniffi::Object)]
pub struct Transaction {
    pub(crate) inner: ditto::Transaction,
}

/// Facts about a transaction.
#[derive(Clone, Debug, uniffi::Record)]
pub struct TransactionInfo {
    /// Unique id.
    pub id: String,
    /// The hint given when it was opened.
    pub hint: Option<String>,
    /// Whether it is read-only.
    pub is_read_only: bool,
}

#[uniffi::export]
impl Transaction {
    /// Runs one statement; it sees the earlier changes of this transaction. A failing statement leaves no trace, and
    /// the transaction stays usable.
    pub async fn execute(
        &self,
        query: String,
        arguments: Option<String>,
    ) -> Result<Arc<QueryResult>, DittoError> {
        awaited(async { Ok(QueryResult::new(self.inner.execute(json::query(query, arguments)?).await?)) })
            .await
    }

    /// Applies all changes. Returns the commit id if there was something to apply. Later use is an error.
    pub async fn commit(&self) -> Result<Option<u64>, DittoError> {
        awaited(async { Ok(self.inner.finish(TransactionCompletionAction::Commit).await?) }).await
    }

    /// Discards all changes. Later use is an error.
    pub async fn rollback(&self) -> Result<(), DittoError> {
        awaited(async {
            self.inner.finish(TransactionCompletionAction::Rollback).await?;
            Ok(())
        })
        .await
    }

    /// Facts about this transaction.
    pub fn info(&self) -> TransactionInfo {
        let info = self.inner.info();
        TransactionInfo { id: info.id.clone(), hint: info.hint.clone(), is_read_only: info.is_read_only }
    }
}
