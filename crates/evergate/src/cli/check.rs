//! `evergate check` and `evergate schema`: what can be said of a document without a gateway.

use std::{io::Read, path::Path};

use evergate_admin::findings;
use evergate_conf::{Format as Text, Loader, Node, Report, merge_all, strip_nulls};
use evergate_reload::Pin;
use serde_json::json;

use super::{CheckArgs, Done, Failure, Format, show};
use crate::{compose::loader, exit::Exit};

pub(super) fn schema() -> Done {
    show::json(&evergate_contract::schema());
    Ok(Exit::Ok)
}

pub(super) fn check(args: &CheckArgs) -> Done {
    let report = look(&args.files)?;
    let good = !report.has_errors();
    match args.output.format {
        Format::Json => show::json(&json!({ "ok": good, "problems": findings(&report) })),
        Format::Human => {
            show::problems(&report);
            if good {
                show::say("ok");
            }
        }
    }
    Ok(if good { Exit::Ok } else { Exit::Refused })
}

/// Everything that is found, with places.
fn look(files: &[std::path::PathBuf]) -> Result<Report, Failure> {
    let mut loader = loader();
    let mut report = match document(&mut loader, files)? {
        Ok((document, _)) => match evergate_contract::check(&document, None) {
            Ok(config) => config.warnings().clone(),
            Err(report) => report,
        },
        Err(report) => report,
    };
    report.locate(loader.files());
    Ok(report)
}

type Loaded = Result<(Node, Vec<Pin>), Report>;

/// The document that files make, and the files that it pins. `-` is standard input.
pub(super) fn document(loader: &mut Loader, files: &[impl AsRef<Path>]) -> Result<Loaded, Failure> {
    let stdin = |p: &Path| p.as_os_str() == "-";
    if !files.iter().any(|p| stdin(p.as_ref())) {
        let roots: Vec<_> = files.iter().map(|p| p.as_ref().to_owned()).collect();
        return Ok(loader.load(&roots).map(|loaded| (loaded.document.clone(), pins(loaded.inputs))));
    }
    if files.len() > 1 {
        return Err(Failure::new(Exit::Usage, "standard input stands alone"));
    }
    let text = read_stdin()?;
    let parsed = loader.parse_str("<stdin>", Path::new("."), &text, Text::of_text(&text));
    Ok(parsed.map(|node| {
        let document = merge_all(&[&strip_nulls(&node)]);
        let inputs = loader.references(&document);
        (document, pins(inputs))
    }))
}

fn pins(inputs: Vec<evergate_conf::Input>) -> Vec<Pin> {
    let referred = inputs.into_iter().filter(|i| i.kind == evergate_conf::InputKind::Reference);
    referred.map(|i| Pin::new(i.path, i.digest)).collect()
}

/// All of standard input.
pub(super) fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    match std::io::stdin().read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::new(Exit::NoInput, format!("cannot read standard input: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_all_that_is_wrong_with_places() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gate.yaml");
        std::fs::write(&file, "listeners:\n  web: { adress: ':80' }\nroutes:\n  a: { forward: nowhere }\n")
            .unwrap();
        let report = look(std::slice::from_ref(&file)).unwrap();
        let text = report.to_string();
        for part in ["gate.yaml:2:", "did you mean `address`?", "gate.yaml:4:", "no upstream `nowhere`"] {
            assert!(report.has_errors() && text.contains(part), "{part} in:\n{text}");
        }
        std::fs::write(&file, "routes: { a: { respond: { body: hello } } }\n").unwrap();
        assert!(!look(&[file]).unwrap().has_errors());
        assert!(look(&[dir.path().join("none.yaml")]).unwrap().has_errors());
    }
}
