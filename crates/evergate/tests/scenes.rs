//! Every scene, by HTTP/1.1 and HTTP/2, with and without TLS, started fresh and reached by a change, quiet and
//! under constant reloads.

use std::path::Path;

#[tokio::test]
async fn scenes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenes");
    let asked = evergate_testkit::scene::run::run(env!("CARGO_BIN_EXE_evergate"), &folder).await;
    println!("{asked} questions");
}
