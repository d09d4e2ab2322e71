//! The command that has the running program replaced.

use http::Method;
use serde_json::Value;

use super::{
    Done, Failure, Format, UpgradeArgs,
    client::{Call, quoted},
    show::{self, Paint},
};
use crate::exit::Exit;

pub(super) fn upgrade(args: &UpgradeArgs) -> Done {
    let path = match &args.binary {
        // The gateway may have another working directory.
        Some(file) => {
            let file = std::fs::canonicalize(file).map_err(|error| {
                Failure::new(Exit::NoInput, format!("there is no program {}: {error}", file.display()))
            })?;
            format!("/upgrade?binary={}", quoted(&file.to_string_lossy()))
        }
        None => "/upgrade".to_owned(),
    };
    let call = Call { method: Method::POST, path: &path, ..Call::default() };
    let body = args.look.at.gateway()?.call(call)?.good()?;
    match args.look.output.format {
        Format::Json => show::json(&body),
        Format::Human => {
            let version = body.get("version").and_then(Value::as_str).unwrap_or_default();
            show::say(&format!("{} version {version} serves\n", Paint::of_stdout().good("upgraded:")));
        }
    }
    Ok(Exit::Ok)
}
