//! What the execution of the statement tells about itself.

use std::borrow::Cow;

use ditto_types::Value;

use crate::error::DqlError;
use crate::eval::{Cx, Datum};
use crate::scalar::{At, Scalar};

/// `request_info()`: the object of [`Env::request`](crate::Env::request).
pub(super) fn request_info<'a>(_: &'a [Scalar], _: At, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    Ok(Some(Cow::Owned(Value::Object(cx.env().request.clone()))))
}
