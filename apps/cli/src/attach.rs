//! `ditto attach`: attachments made, fetched and looked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use ditto::{AttachmentFetchEvent, AttachmentFetchOptions, DittoAttachmentToken};
use serde_json::json;
use tokio::sync::mpsc;

use crate::bus::join::{JoinArgs, Joined};
use crate::cli::DatabaseArgs;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output;

#[derive(Subcommand)]
pub(crate) enum AttachCommand {
    /// Keep a copy of a file as an attachment and print its token.
    Put(PutArgs),
    /// Fetch an attachment from whoever has it, and write it to a file. What has arrived when it is interrupted is not
    /// fetched again, with the same --dir.
    Get(GetArgs),
    /// Show who in the mesh has an attachment.
    Who(WhoArgs),
}

#[derive(Args)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Text that travels with the token. Repeatable.
    #[arg(long, value_name = "NAME=TEXT", value_parser = pair)]
    meta: Vec<(String, String)>,
    /// Put the token into a field of a document too: `COLLECTION/ID/FIELD`. Without a document that refers to it the
    /// attachment is deleted after 10 to 20 minutes in which the database is open.
    #[arg(long, value_name = "COLLECTION/ID/FIELD", value_parser = place)]
    into: Option<Place>,
    /// The file.
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    join: JoinArgs,
    /// Give up after this time, in seconds.
    #[arg(long, value_name = "S")]
    timeout: Option<u64>,
    /// Give up when peers are there and none has had it for this time, in seconds.
    #[arg(long, value_name = "S")]
    unavailable: Option<u64>,
    /// The token, in JSON.
    token: String,
    /// Where to write it. An existing file is replaced.
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct WhoArgs {
    #[command(flatten)]
    join: JoinArgs,
    /// How long answers are waited for, in seconds.
    #[arg(long, value_name = "S", default_value_t = 3)]
    patience: u64,
    /// The token, in JSON.
    token: String,
}

/// A field of a document.
#[derive(Clone)]
struct Place {
    collection: String,
    id: String,
    field: String,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=TEXT is needed")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn place(text: &str) -> Result<Place, String> {
    match text.split('/').collect::<Vec<_>>()[..] {
        [collection, id, field] if [collection, id, field].iter().all(|s| !s.is_empty()) => {
            Ok(Place { collection: collection.into(), id: id.into(), field: field.into() })
        }
        _ => Err("COLLECTION/ID/FIELD is needed".into()),
    }
}

pub(crate) async fn run(command: AttachCommand) -> Result<(), Failure> {
    match command {
        AttachCommand::Put(args) => put(args).await,
        AttachCommand::Get(args) => get(args).await,
        AttachCommand::Who(args) => who(args).await,
    }
}

async fn put(args: PutArgs) -> Result<(), Failure> {
    let instance = Instance::open(&args.database, None).await?;
    let store = instance.ditto.store();
    let attachment = store.new_attachment(args.file, args.meta.into_iter().collect()).await?;
    let token = attachment.token();
    if let Some(Place { collection, id, field }) = args.into {
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let statement = format!(
            "INSERT INTO COLLECTION {} ({} ATTACHMENT) DOCUMENTS (:document) ON ID CONFLICT DO UPDATE",
            quoted(&collection),
            quoted(&field)
        );
        let document = BTreeMap::from([("_id", json!(id)), (field.as_str(), json!(token))]);
        store.execute((statement, json!({ "document": document }))).await?;
    }
    output::text(&token.to_string());
    instance.close().await
}

fn token(text: &str) -> Result<DittoAttachmentToken, Failure> {
    text.parse().map_err(|e: ditto::DittoError| Failure::usage(e.reason()))
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let (token, json) = (token(&args.token)?, args.join.json);
    let options = AttachmentFetchOptions {
        timeout: args.timeout.map(Duration::from_secs),
        unavailable_after: args.unavailable.map(Duration::from_secs),
    };
    let joined = Joined::start(args.join, "ditto attach get").await?;
    let (events, mut told) = mpsc::unbounded_channel();
    let handler = move |event| {
        // The command may be over.
        let _ = events.send(event);
    };
    joined.ditto().store().fetch_attachment_with_options(&token, options, handler)?;
    let outcome = loop {
        match told.recv().await {
            Some(AttachmentFetchEvent::Progress { downloaded_bytes, total_bytes }) => {
                if json {
                    output::text(&json!({"bytes": downloaded_bytes, "total": total_bytes}).to_string());
                }
            }
            Some(AttachmentFetchEvent::Completed { attachment }) => break Ok(attachment),
            Some(AttachmentFetchEvent::Failed { error }) => break Err(Failure::from(error)),
            Some(AttachmentFetchEvent::Deleted) => {
                break Err(Failure::environment("nobody who can be reached has it"));
            }
            Some(AttachmentFetchEvent::Cancelled) | None => break Err(Failure::environment("interrupted")),
        }
    };
    let outcome = match outcome {
        Ok(attachment) => attachment.copy_to(&args.file).await.map_err(Failure::from),
        Err(e) => Err(e),
    };
    joined.close().await?;
    outcome?;
    if json {
        output::text(&json!({"completed": true, "bytes": token.len()}).to_string());
    } else {
        output::text(&format!("{} bytes to {}", token.len(), args.file.display()));
    }
    Ok(())
}

async fn who(args: WhoArgs) -> Result<(), Failure> {
    let (token, json) = (token(&args.token)?, args.join.json);
    let joined = Joined::start(args.join, "ditto attach who").await?;
    joined.wait_for_a_peer().await?;
    let holders = joined.ditto().store().attachment_holders(&token, Duration::from_secs(args.patience)).await;
    joined.close().await?;
    for holder in holders? {
        let key = holder.peer.to_string();
        if json {
            output::text(
                &json!({"peerKey": key, "complete": holder.is_complete, "hops": holder.hops}).to_string(),
            );
        } else {
            let what = if holder.is_complete { "all" } else { "some" };
            output::text(&format!("{key} has {what} of it, {} hops away", holder.hops));
        }
    }
    Ok(())
}
