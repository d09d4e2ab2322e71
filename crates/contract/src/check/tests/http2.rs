//! Rows of what is found in `http2` of a listener.

use super::*;

#[test]
fn http2_of_a_listener() {
    listener(
        "{ address: ':1', http2: { stream_window: 1023, connection_window: 1GiB, frame_size: 1KB, header_table: 1MB,
            ping: { interval: 0s, timeout: 25h } } }",
        &[
            &["out_of_range listeners.web.http2.stream_window", "expected 1KiB to 16MiB, found 1023B"],
            &["out_of_range listeners.web.http2.connection_window"],
            &["out_of_range listeners.web.http2.frame_size", "expected 16KiB to 1MiB"],
            &["out_of_range listeners.web.http2.header_table", "expected 0B to 64KiB"],
            &["out_of_range listeners.web.http2.ping.interval"],
            &["out_of_range listeners.web.http2.ping.timeout"],
        ],
    );
    listener("{ address: ':1', http2: { header_table: 0, frame_size: 1MiB, ping: {} } }", &[]);
    listener(
        "{ address: ':1', protocols: [http/1.1], http2: {} }",
        &[&["no_effect listeners.web.http2", "`h2` is not among the `protocols`"]],
    );
}
