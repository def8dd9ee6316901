//! The surface of the Ditto SDK for Swift, Kotlin and Python: a thin layer over the Rust SDK without logic of its own.
//!
//! What cannot cross as it is gets another shape here: closures are interfaces that the app implements, documents are
//! JSON text (one text for all rows of a result, bytes as `{"$bytes":"<base64>"}`), and errors are one enum with a stable code.
//! The doc comments of exported items are what users of the other languages read.
//!
//! | module | owns |
//! |---|---|
//! | [`error`] | the error enum and the one conversion into it |
//! | [`config`], [`transport_config`] | settings |
//! | [`instance`] | [`instance::Ditto`], the entry object |
//! | [`store`], [`transaction`], [`observer`], [`result`], [`differ`] | local data |
//! | [`attachment`] | binary objects beside documents |
//! | [`sync_status`] | how far sync is |
//! | [`sync`], [`presence`], [`connection`], [`bus`] | the mesh |
//! | [`radio`] | drivers of the platform for Bluetooth and the like |
//! | [`tools`] | keys, checks, and what helps to find faults |
//! | `app` | calls into the app end before its process does |
//! | `json` | documents and arguments as text |
//! | `once` | work that begins when it is asked for |

mod app;
pub mod attachment;
pub mod bus;
pub mod config;
pub mod connection;
pub mod differ;
pub mod error;
pub mod instance;
mod json;
pub mod observer;
mod once;
pub mod presence;
pub mod radio;
pub mod result;
pub mod store;
pub mod sync;
pub mod sync_status;
pub mod tools;
pub mod transaction;
pub mod transport_config;

uniffi::setup_scaffolding!("ditto");
