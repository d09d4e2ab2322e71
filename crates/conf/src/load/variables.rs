//! `${NAME}`, `${NAME:-default}` and `$$` in texts.

use crate::{
    node::{Node, Value},
    node::{rewrite_entries, rewrite_items},
    path::Path,
    report::Report,
};

type Lookup<'a> = &'a (dyn Fn(&str) -> Option<String> + Send + Sync);

/// Replaces variables in a tree; what goes wrong is in the report.
pub(super) struct Expand<'a> {
    env: Lookup<'a>,
    report: &'a mut Report,
    path: Path,
}

/// Why a text cannot be expanded, and how to mend it.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    message: String,
    help: String,
}

impl<'a> Expand<'a> {
    pub(super) fn new(env: Lookup<'a>, report: &'a mut Report) -> Expand<'a> {
        Expand { env, report, path: Path::root() }
    }

    /// The new node; `None` if there is nothing to replace.
    pub(super) fn node(&mut self, node: &Node) -> Option<Node> {
        let value = match &node.value {
            Value::Str(text) => match expand(text, self.env) {
                Ok(new) => Value::Str(new?.into()),
                Err(problem) => {
                    self.report
                        .problem("variable", &self.path, node.place, problem.message)
                        .help(problem.help);
                    return None;
                }
            },
            Value::List(items) => {
                let mut index = 0;
                Value::List(rewrite_items(items, |item| {
                    self.path.push(index.to_string());
                    index += 1;
                    let new = self.node(item);
                    self.path.pop();
                    new
                })?)
            }
            Value::Map(map) => Value::Map(rewrite_entries(map, |entry| {
                self.path.push(entry.key.clone());
                let new = self.node(&entry.node);
                self.path.pop();
                new
            })?),
            _ => return None,
        };
        Some(Node { value, place: node.place })
    }
}

/// The text with its variables replaced; `None` if it has none. A dollar before anything but `{` and `$`
/// is a dollar, as in regular expressions.
pub(super) fn expand(text: &str, env: Lookup<'_>) -> Result<Option<String>, Problem> {
    if memchr::memchr(b'$', text.as_bytes()).is_none() {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (inside, after) = after.split_once('}').ok_or_else(|| Problem {
                message: "`${` is not closed".to_owned(),
                help: "write `$${` for the text `${`".to_owned(),
            })?;
            out.push_str(&value(inside, env)?);
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok((out != text).then_some(out))
}

/// The value of `NAME` or `NAME:-default`; as in a shell the default also stands for an empty value.
fn value(inside: &str, env: Lookup<'_>) -> Result<String, Problem> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name || default.is_some_and(|d| d.contains("${")) {
        return Err(Problem {
            message: format!("`${{{inside}}}` is no variable"),
            help: "write `${NAME}` or `${NAME:-default}`, and `$${` for the text `${`".to_owned(),
        });
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Problem {
            message: format!("environment variable `{name}` is not set"),
            help: format!("set it, or give a default: `${{{name}:-default}}`"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced() {
        let env = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "_B2" => Some("${A}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("plain", None),
            ("${A}", Some("1")),
            ("x${A}y${A}z", Some("x1y1z")),
            ("${_B2}", Some("${A}")),
            ("${NONE:-d}", Some("d")),
            ("${NONE:-}", Some("")),
            ("${NONE:-a:-b}", Some("a:-b")),
            ("${EMPTY}", Some("")),
            ("${EMPTY:-d}", Some("d")),
            ("$$", Some("$")),
            ("$${A}", Some("${A}")),
            ("$$$${A}", Some("$${A}")),
            ("^/x$", None),
            ("$A", None),
            ("a$b$$c", Some("a$b$c")),
        ] {
            assert_eq!(expand(text, &env).unwrap().as_deref(), expected, "{text}");
        }
        for (text, part) in [
            ("${NONE}", "`NONE` is not set"),
            ("${A", "not closed"),
            ("${}", "no variable"),
            ("${1}", "no variable"),
            ("${A-b}", "no variable"),
            ("${A:-${B}}", "no variable"),
        ] {
            let problem = expand(text, &env).unwrap_err();
            assert!(problem.message.contains(part), "{text}: {problem:?}");
        }
    }
}
