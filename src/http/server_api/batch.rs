//! `batch`: several calls in one request.

use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::Answer;
use super::fields::{Fields, must_be};
use super::{Method, ServerApi};
use crate::wire::{ErrorCode, Failure};

/// The most calls in one batch.
const BATCH_MAX: usize = 1_000;

/// Calls of one batch that run at one time, if it asks for that.
const CONCURRENCY_MAX: usize = 16;

/// The answer to a batch. Unlike others it has no `result` around it.
#[derive(Debug, Serialize)]
pub(super) struct Replies {
    replies: Vec<Reply>,
}

/// The answer to one call, under the name of its method.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Reply(std::collections::BTreeMap<&'static str, Told>);

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    Result(Box<RawValue>),
    Error(Failure),
}

impl Reply {
    fn new(method: Option<Method>, answer: Answer) -> Reply {
        let told = match (method, answer) {
            (Some(method), Ok(result)) => (method.name(), Told::Result(result)),
            (None, Ok(result)) => ("result", Told::Result(result)),
            (_, Err(failure)) => ("error", Told::Error(failure)),
        };
        Reply([told].into())
    }
}

impl ServerApi {
    pub(super) async fn batch(&self, fields: &Fields<'_>) -> Result<Replies, Failure> {
        let commands = fields.list("commands")?;
        if commands.len() > BATCH_MAX {
            let kind = format_args!("a list of {BATCH_MAX} calls at most");
            return Err(must_be("commands", kind));
        }
        let at_once = match fields.is("parallel")? {
            true => CONCURRENCY_MAX,
            false => 1,
        };
        let mut replying = Vec::with_capacity(commands.len());
        for command in commands {
            replying.push(self.reply(command.get()));
        }
        let replies = stream::iter(replying).buffered(at_once).collect().await;
        Ok(Replies { replies })
    }

    async fn reply(&self, command: &str) -> Reply {
        let read = Fields::parse("a command", command);
        let named = read.as_ref().ok().and_then(Fields::only);
        let (method, answer) = match (read.as_ref(), named) {
            (Err(failure), _) => (None, Err(failure.clone())),
            (Ok(_), None) => (None, Err(must_be("a command", "an object with one method"))),
            (Ok(_), Some((name, body))) => match Method::parse(name) {
                None | Some(Method::Batch) => (None, Err(ErrorCode::MethodNotFound.into())),
                Some(method) => (Some(method), self.call(method, body).await),
            },
        };
        Reply::new(method, answer)
    }
}
