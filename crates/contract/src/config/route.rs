//! Routes: which request is answered how.

use evergate_conf::{Report, units::ByteSize};
use http::uri::{Authority, PathAndQuery};

use super::*;
use crate::{
    at::{At, Rules},
    pattern,
};

/// Which request, and what becomes of it. Exactly one of `forward`, `respond`, `redirect`, `files`.
// There may be 100,000 of them: what most do not have is elsewhere.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Names from `listeners` that it serves on. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Vec<Name>>,
    /// Overrides the order of the most specific: higher is asked first. -1000000 to 1000000.
    #[serde(default, deserialize_with = "short::within::<-1000000, 1000000, _, _>")]
    #[schemars(range(min = -1000000, max = 1000000))]
    pub priority: i32,
    /// What must hold. Absent: every request.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Changes to the headers of requests and responses.
    #[serde(default)]
    pub headers: RareEdits,
    /// Changes to the request's path and host before it is forwarded. Only with `forward`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Box<Rewrite>>,
    /// From the end of the request's headers to those of the response, retries and all; later answers 504.
    /// 1ms to 24h; absent: only the upstream's timeouts. Only with `forward`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Limits of this route in place of the listener's.
    #[serde(default)]
    pub limits: RouteLimits,
    /// Send it to an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// Answer with a fixed response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Box<Respond>>,
    /// Send the client elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Box<Redirect>>,
    /// Serve files from a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Box<Files>>,
}

/// Changes to the request's target before it is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rewrite {
    /// The new path. For a prefix match it takes the place of the prefix; for a regex, `$1` and `$name` are
    /// its groups and it takes the place of the whole path; otherwise of the whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The new `Host`. Absent: the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Limits of a route in place of the listener's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteLimits {
    /// Request body; more answers 413.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<ByteSize>,
}

impl Route {
    /// Its actions by their keys.
    fn actions(&self) -> Vec<&'static str> {
        let all = [
            ("forward", self.forward.is_some()),
            ("respond", self.respond.is_some()),
            ("redirect", self.redirect.is_some()),
            ("files", self.files.is_some()),
        ];
        all.into_iter().filter(|(_, there)| *there).map(|(key, _)| key).collect()
    }

    fn one_action(&self, at: At<'_>, report: &mut Report) {
        match self.actions().as_slice() {
            [_] => {}
            [] => {
                at.key_problem("no_action", "the route does not say what becomes of the request", report)
                    .help("add one of `forward`, `respond`, `redirect`, `files`");
            }
            [first, rest @ ..] => {
                for key in rest {
                    let message = format!("a route has one action, this one has `{first}` already");
                    at.key(key).key_problem("two_actions", message, report);
                }
            }
        }
    }

    /// What changes the request on its way is only for those that travel on.
    fn forward_only(&self, at: At<'_>, report: &mut Report) {
        if self.forward.is_some() {
            return;
        }
        let mut say = |at: At<'_>, what: &str| {
            at.key_problem("no_effect", format!("{what} has an effect only with `forward`"), report);
        };
        if self.rewrite.is_some() {
            say(at.key("rewrite"), "`rewrite`");
        }
        if self.timeout.is_some() {
            say(at.key("timeout"), "`timeout`");
        }
        if self.headers.request != HeaderEdit::default() {
            say(at.key("headers").key("request"), "a change of request headers");
        }
    }
}

impl Rules for Route {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        self.one_action(at, report);
        self.forward_only(at, report);
        if let Some(listeners) = &self.listeners {
            let names = at.key("listeners");
            names.not_empty(
                listeners,
                "the route serves on no listener; leave `listeners` out for all",
                report,
            );
            names.once(listeners, |a, b| a == b, report);
        }
        if let Some(timeout) = self.timeout {
            at.key("timeout").timeout(timeout, report);
        }
        self.matches.rules(at.key("match"), report);
        self.headers.rules(at.key("headers"), report);
        if let Some(rewrite) = &self.rewrite {
            rewrite.rules(&self.matches, at.key("rewrite"), report);
        }
        if let Some(forward) = &self.forward {
            forward.rules(at.key("forward"), report);
        }
        if let Some(respond) = &self.respond {
            respond.rules(at.key("respond"), report);
        }
        if let Some(redirect) = &self.redirect {
            redirect.rules(&self.matches, at.key("redirect"), report);
        }
        if let Some(files) = &self.files {
            files.rules(at.key("files"), report);
        }
    }
}

impl Rewrite {
    fn rules(&self, matches: &Match, at: At<'_>, report: &mut Report) {
        if let Some(path) = &self.path {
            let at = at.key("path");
            if let Err(why) = path_only(path) {
                at.problem("bad_path", format!("`{path}` is no path to ask for: {why}"), report);
            }
            known_groups(path, matches, at, report);
        }
        if let Some(host) = &self.host {
            let valid = host.parse::<Authority>().is_ok_and(|a| a.as_str() == host && !host.contains('@'));
            if !valid {
                let message =
                    format!("`{host}` is no host; expected a name or address, with or without port");
                at.key("host").problem("bad_host", message, report);
            }
        }
    }
}

/// A path as it stands in a request line, without query.
pub(super) fn path_only(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("it does not start with `/`");
    }
    if path.contains('?') || path.contains('#') {
        return Err("it has a query or fragment");
    }
    if !path.is_ascii() || path.parse::<PathAndQuery>().is_err() {
        return Err("some characters must be percent-encoded");
    }
    Ok(())
}

/// `$1` and `$name` in what replaces a regex's match must be groups of it: others would be empty.
pub(super) fn known_groups(replacement: &str, matches: &Match, at: At<'_>, report: &mut Report) {
    let Some(PathMatch::Regex(regex)) = &matches.path else { return };
    let Ok(regex) = pattern::compile(regex) else { return };
    for name in pattern::groups(replacement).filter(|name| !pattern::has_group(&regex, name)) {
        let message = format!("the path's regex has no group `{name}`");
        at.problem("unknown_group", message, report)
            .help("`$1x` is the group `1x`; where a letter follows, name the group");
    }
}
