//! `ditto check`: verifies a database.

use clap::Args;
use ditto::types::{Object, Value};

use crate::cli::DatabaseArgs;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output;

#[derive(Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) async fn run(args: CheckArgs) -> Result<(), Failure> {
    let instance = Instance::open(&args.database, None).await?;
    let report = instance.ditto.store().check().await?;
    instance.close().await?;
    let problems: Vec<Value> = report.problems.iter().map(|p| Value::from(p.to_string())).collect();
    let count = problems.len();
    output::line(&Value::Object(Object::from([
        ("documents".into(), Value::from(report.documents as u64)),
        ("tombstones".into(), Value::from(report.tombstones as u64)),
        ("commitId".into(), Value::from(report.head)),
        ("problems".into(), Value::Array(problems)),
    ])));
    if count == 0 { Ok(()) } else { Err(Failure::environment(format!("{count} problems found"))) }
}
