//! `ditto exec`: one statement, or a batch of JSON lines.

use clap::Args;
use ditto::Query;
use ditto::types::{Object, Value, json};

use crate::cli::DatabaseArgs;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output;
use crate::protocol::{self, Fault, Lines, Refusal, Request};

#[derive(Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Values of the statement's placeholders, as a JSON object. `{"$bytes":"<base64>"}` is a binary value.
    #[arg(long, value_name = "JSON", conflicts_with = "batch")]
    args: Option<String>,
    /// Read requests from stdin, one JSON object a line, and answer each with one line.
    #[arg(long)]
    batch: bool,
    /// The DQL statement.
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    statement: Option<String>,
}

pub(crate) async fn run(args: ExecArgs) -> Result<(), Failure> {
    let query = args.statement.map(|text| query(text, args.args.as_deref())).transpose()?;
    let instance = Instance::open(&args.database, None).await.map_err(Failure::answer)?;
    let outcome = match query {
        Some(query) => one(&instance, query).await,
        None => batch(&instance).await,
    };
    instance.close().await?;
    outcome
}

fn query(text: String, args: Option<&str>) -> Result<Query, Failure> {
    Ok(Query { text, args: arguments(args)? })
}

/// The object of `--args`; empty when absent.
pub(crate) fn arguments(args: Option<&str>) -> Result<Object, Failure> {
    match args.map(json::from_str).transpose() {
        Ok(None) => Ok(Object::new()),
        Ok(Some(Value::Object(args))) => Ok(args),
        Ok(Some(other)) => {
            Err(Failure::usage(format!("--args must be an object, not {}", other.type_name())))
        }
        Err(e) => Err(Failure::usage(format!("--args: {e}"))),
    }
}

async fn one(instance: &Instance, query: Query) -> Result<(), Failure> {
    let result = instance.ditto.store().execute(query).await.map_err(|e| Failure::from(e).answer())?;
    output::line(&Value::Object(protocol::result_members(&result)));
    Ok(())
}

async fn batch(instance: &Instance) -> Result<(), Failure> {
    let mut lines = Lines::stdin();
    while let Some(line) = lines.next().await.map_err(|e| Failure::environment(e.to_string()))? {
        let request = match Request::parse(&line) {
            Ok(request) => request,
            Err(answer) => {
                output::line(&answer);
                continue;
            }
        };
        let outcome = match protocol::local(&instance.ditto, &request).await {
            Some(outcome) => outcome,
            None => Err(Fault::Refused(Refusal(format!("unknown kind `{}`", request.kind)))),
        };
        output::line(&protocol::respond(request.id, outcome));
    }
    Ok(())
}
