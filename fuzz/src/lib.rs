//! What is thrown at every parser of outside input, and what must hold whatever is thrown.
//!
//! Each target is a function of bytes that returns, or ends the process because a promise is broken. `cargo fuzz`
//! calls it with what it finds; the test `smoke` calls it with the corpus and thousands of mutations of it, on
//! any compiler.

mod conf;
mod h2;
mod hello;
mod http3;
mod reload;
mod router;
mod site;
mod wire;

/// What takes bytes and must not break.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its binary and of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 20] = [
    ("yaml", conf::yaml),
    ("toml", conf::toml),
    ("json", conf::json),
    ("document", conf::document),
    ("merge_patch", conf::merge_patch),
    ("units", conf::units),
    ("request_head", wire::request_head),
    ("response_head", wire::response_head),
    ("chunked_body", wire::chunked_body),
    ("hello", hello::hello),
    ("proxy_header", wire::proxy_header),
    ("hpack", h2::hpack),
    ("h2_server", h2::server),
    ("h2_client", h2::client),
    ("http3", http3::http3),
    ("route", router::route),
    ("rewrite", router::rewrite),
    ("site", site::site),
    ("revision", reload::revision),
    ("history", reload::history),
];

/// Runs the target of that name; without one, nothing.
pub fn run(name: &str, data: &[u8]) {
    if let Some((_, target)) = TARGETS.iter().find(|(n, _)| *n == name) {
        target(data);
    }
}

/// The text before the first line that is `---`, and that after it.
fn halves(data: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(data).ok()?.split_once("\n---\n")
}
