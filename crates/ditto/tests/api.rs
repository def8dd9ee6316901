//! The rows of the interface contract, each by its number: statements, results, observers, transactions, errors.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared by several test files")]
mod fixture;

#[path = "api/errors.rs"]
mod errors;
#[path = "api/observers.rs"]
mod observers;
#[path = "api/results.rs"]
mod results;
#[path = "api/statements.rs"]
mod statements;
#[path = "api/transactions.rs"]
mod transactions;
#[path = "api/transport_config.rs"]
mod transport_config;
