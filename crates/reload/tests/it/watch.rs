//! Changes on disk, in all the ways in which they are made.

use std::{fs, os::unix::fs::symlink};

use evergate_reload::Verdict;

use crate::toy::*;

#[tokio::test]
async fn a_file_that_is_renamed_over() {
    let bench = Bench::new("limit: 0");
    let mut program = bench.start().await;
    for i in 1..20 {
        bench.write("conf/main.yaml", &format!("limit: {i}"));
        program.applied().await;
        assert_eq!(program.limit(), i);
    }
}

#[tokio::test]
async fn files_are_read_while_they_have_to_be_quiet() {
    let text = |limit: i64, name: &str| {
        format!("limit: {limit}\ncertificate: ${{{name}}}\nreload: {{ debounce: 10s }}")
    };
    let bench = Bench::new(&text(1, "ONE"));
    bench.write("conf/certificate", "good");
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut options = bench.options();
    options.loader = options.loader.with_env(move |name| {
        let _ = tell.send(name.to_owned());
        Some("certificate".to_owned())
    });
    let program = bench.try_start(options).await.unwrap();
    assert_eq!(told.recv().await.unwrap(), "ONE");
    bench.write("conf/main.yaml", &text(10, "OTHER"));
    assert_eq!(told.recv().await.unwrap(), "OTHER", "read at once");
    assert_eq!(program.limit(), 1, "and not yet applied");
    assert_eq!(program.reload().await.word(), "applied");
    assert_eq!(program.limit(), 10);
    assert!(told.try_recv().is_err(), "it was not read a second time");
}

#[tokio::test]
async fn a_file_that_is_written_in_place() {
    let bench = Bench::new("limit: 0");
    let mut program = bench.start().await;
    for i in 1..5 {
        fs::write(bench.path("conf/main.yaml"), format!("limit: {i}")).unwrap();
        program.applied().await;
        assert_eq!(program.limit(), i);
    }
}

#[tokio::test]
async fn a_file_that_is_half_written_or_empty() {
    let bench = Bench::new("limit: 0\nitems: { a: { size: 1 } }");
    let mut program = bench.start().await;
    for half in ["limit: 1\nitems: { a: {", ""] {
        fs::write(bench.path("conf/main.yaml"), half).unwrap();
        program.refused().await;
        assert_eq!((program.limit(), program.snapshot().config.items.len()), (0, 1));
    }
    fs::write(bench.path("conf/main.yaml"), "limit: 1\nitems: { a: { size: 1 } }").unwrap();
    program.applied().await;
    assert_eq!(program.limit(), 1);
    fs::write(bench.path("conf/main.yaml"), "{}").unwrap();
    assert!(program.refused().await.contains("had 2 objects and now have 0"));
    assert_eq!(program.submit(evergate_reload::Intent::Reload { insist: true }).await.word(), "applied");
}

#[tokio::test]
async fn a_file_that_says_much_less_than_before() {
    let items = |n: u32| (0..n).map(|i| format!("  i{i}: {{ size: 1 }}\n")).collect::<String>();
    let bench = Bench::new(&format!("limit: 1\nitems:\n{}", items(29)));
    let mut program = bench.start().await;
    let before = program.snapshot().id;
    bench.write("conf/main.yaml", &format!("items:\n{}", items(2)));
    let why = program.refused().await;
    assert!(why.contains("had 30 objects and now have 2") && why.contains("SIGHUP"), "{why}");
    assert_eq!(program.reload().await.word(), "refused");
    assert_eq!((program.snapshot().id, program.handle.history().await.len()), (before, 1));
    let refused = program.handle.status().last_refused.unwrap();
    assert_eq!(refused.stage, evergate_reload::Stage::Plan);
    // An edit is not held up, and does not bring in what was refused.
    program.patch("limit: 2").await;
    assert_eq!((program.limit(), program.snapshot().config.items.len()), (2, 29));
    // What else is wrong with it is said first: it would be refused in any case.
    bench.write("conf/main.yaml", "limitt: 3");
    while !program.refused().await.contains("limitt") {}
    bench.write("conf/main.yaml", &format!("items:\n{}", items(3)));
    program.applied().await;
    bench.write("conf/main.yaml", "items: { i0: { size: 1 } }");
    program.applied().await;
    assert_eq!(program.snapshot().config.items.len(), 1);
}

#[tokio::test]
async fn a_file_that_is_deleted_and_made_again() {
    let bench = Bench::new("limit: 0");
    let mut program = bench.start().await;
    fs::remove_file(bench.path("conf/main.yaml")).unwrap();
    assert!(program.refused().await.contains("main.yaml"));
    assert_eq!(program.limit(), 0);
    fs::write(bench.path("conf/main.yaml"), "limit: 1").unwrap();
    program.applied().await;
    assert_eq!(program.limit(), 1);
}

#[tokio::test]
async fn a_folder_that_is_replaced() {
    let bench = Bench::new("limit: 0");
    let mut program = bench.start().await;
    for i in 1..4 {
        bench.write("new/main.yaml", &format!("limit: {i}"));
        fs::rename(bench.path("conf"), bench.path(&format!("old-{i}"))).unwrap();
        fs::rename(bench.path("new"), bench.path("conf")).unwrap();
        program.applied().await;
        assert_eq!(program.limit(), i);
    }
    fs::remove_dir_all(bench.path("conf")).unwrap();
    program.refused().await;
    bench.write("conf/main.yaml", "limit: 9");
    program.applied().await;
    bench.write("conf/main.yaml", "limit: 10");
    program.applied().await;
    assert_eq!(program.limit(), 10);
}

/// A volume as the kubelet makes it: files are links through `..data`, which is swapped.
fn mount(bench: &Bench, version: u32, limit: i64) {
    let folder = bench.path("mount");
    fs::create_dir_all(folder.join(format!("..v{version}"))).unwrap();
    fs::write(folder.join(format!("..v{version}/main.yaml")), format!("limit: {limit}\ncertificate: a.pem"))
        .unwrap();
    fs::write(folder.join(format!("..v{version}/a.pem")), format!("certificate {limit}")).unwrap();
    symlink(format!("..v{version}"), folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    for name in ["main.yaml", "a.pem"] {
        if !folder.join(name).is_symlink() {
            symlink(format!("..data/{name}"), folder.join(name)).unwrap();
        }
    }
    if version > 0 {
        fs::remove_dir_all(folder.join(format!("..v{}", version - 1))).unwrap();
    }
}

#[tokio::test]
async fn a_kubernetes_volume_that_is_swapped() {
    for root in ["mount/main.yaml", "mount"] {
        let bench = Bench::new("");
        mount(&bench, 0, 0);
        let mut options = bench.options();
        options.roots = vec![bench.path(root)];
        let mut program = bench.try_start(options).await.unwrap();
        for i in 1..10 {
            mount(&bench, i, i64::from(i));
            program.applied().await;
            assert_eq!(program.limit(), i64::from(i));
            assert_eq!(program.snapshot().certificate, Some(format!("certificate {i}")));
        }
    }
}

#[tokio::test]
async fn links_anywhere_on_the_way() {
    let bench = Bench::new("");
    bench.write("releases/1/conf/main.yaml", "limit: 1");
    bench.write("releases/2/conf/main.yaml", "limit: 2");
    bench.write("shared/real.yaml", "limit: 3");
    symlink("releases/1", bench.path("current")).unwrap();
    let mut options = bench.options();
    options.roots = vec![bench.path("current/conf/main.yaml")];
    let mut program = bench.try_start(options).await.unwrap();
    let swap = |to: &str, link: &str| {
        symlink(to, bench.path("tmp-link")).unwrap();
        fs::rename(bench.path("tmp-link"), bench.path(link)).unwrap();
    };
    swap("releases/2", "current");
    program.applied().await;
    assert_eq!(program.limit(), 2);
    swap("../../../shared/real.yaml", "releases/2/conf/main.yaml");
    program.applied().await;
    assert_eq!(program.limit(), 3);
    bench.write("shared/real.yaml", "limit: 4");
    program.applied().await;
    assert_eq!(program.limit(), 4);
}

#[tokio::test]
async fn included_files_and_those_that_are_added() {
    let bench = Bench::new("include: [\"more/*.yaml\", one.yaml]\nlimit: 1");
    bench.write("conf/more/a.yaml", "items: { a: { size: 1 } }");
    bench.write("conf/one.yaml", "items: { one: { size: 1 } }");
    let mut program = bench.start().await;
    bench.write("conf/more/b.yaml", "items: { b: { size: 1 } }");
    program.applied().await;
    assert_eq!(program.snapshot().config.items.len(), 3);
    bench.write("conf/more/a.yaml", "items: { a: { size: 7 } }");
    program.applied().await;
    assert_eq!(program.snapshot().config.items["a"].size, 7);
    fs::remove_file(bench.path("conf/more/b.yaml")).unwrap();
    program.applied().await;
    assert_eq!(program.snapshot().config.items.len(), 2);

    // A missing include is refused, and used as soon as it is there.
    bench.write("conf/main.yaml", "include: [sub/new.yaml]\nlimit: 2");
    assert!(program.refused().await.contains("new.yaml"));
    bench.write("conf/sub/new.yaml", "items: { new: { size: 1 } }");
    program.applied().await;
    assert_eq!((program.limit(), program.snapshot().config.items.len()), (2, 1));
}

#[tokio::test]
async fn a_folder_of_files() {
    let bench = Bench::new("limit: 1");
    let mut options = bench.options();
    options.roots = vec![bench.path("conf")];
    let mut program = bench.try_start(options).await.unwrap();
    bench.write("conf/other.toml", "[items.a]\nsize = 4");
    program.applied().await;
    assert_eq!((program.limit(), program.snapshot().config.items["a"].size), (1, 4));
}

#[tokio::test]
async fn a_file_that_is_referred_to() {
    let bench = Bench::new("certificate: certs/a.pem");
    bench.write("conf/certs/a.pem", "one");
    let mut program = bench.start().await;
    bench.write("conf/certs/a.pem", "two");
    let Verdict::Applied { plan, .. } = program.verdict().await else { panic!("not applied") };
    assert_eq!(plan.summary(9), "certificate has another content");
    assert_eq!(program.snapshot().certificate.as_deref(), Some("two"));
    bench.write("conf/certs/a.pem", "broken");
    assert!(program.refused().await.contains("is no certificate"));
    fs::remove_file(bench.path("conf/certs/a.pem")).unwrap();
    assert!(program.refused().await.contains("cannot be read"));
    assert_eq!(program.snapshot().certificate.as_deref(), Some("two"));
    bench.write("conf/certs/a.pem", "three");
    program.applied().await;
    assert_eq!(program.snapshot().certificate.as_deref(), Some("three"));
}

#[tokio::test]
async fn a_file_that_only_an_edit_refers_to() {
    let bench = Bench::new("limit: 1");
    bench.write("conf/a.pem", "one");
    let mut program = bench.start().await;
    assert_eq!(program.patch("certificate: a.pem").await.word(), "applied");
    bench.write("conf/a.pem", "two");
    program.applied().await;
    assert_eq!(program.snapshot().certificate.as_deref(), Some("two"));
}

#[tokio::test]
async fn watching_is_a_setting_like_any_other() {
    let bench = Bench::new("{ limit: 1, reload: { watch: false } }");
    let mut program = bench.start().await;
    let watching =
        |program: &Program| (program.handle.status().watching, program.handle.counters().watcher_running());
    assert_eq!(watching(&program), (evergate_reload::status::Watching::Off, false));
    bench.write("conf/main.yaml", "{ limit: 2, reload: { watch: true } }");
    assert_eq!(program.patch("items: { a: { size: 1 } }").await.word(), "applied");
    assert_eq!(program.limit(), 1, "nobody looked");
    program.reload().await;
    assert_eq!(watching(&program), (evergate_reload::status::Watching::Events, true));
    bench.write("conf/main.yaml", "{ limit: 3, reload: { watch: true } }");
    program.applied().await;
    assert_eq!(program.limit(), 3);
    // Switched on by an edit, what changed before is seen at once.
    bench.write("conf/main.yaml", "{ limit: 4, reload: { watch: false } }");
    program.applied().await;
    assert_eq!(program.limit(), 4);
    bench.write("conf/main.yaml", "{ limit: 5, reload: { watch: false } }");
    program.patch("reload: { watch: true }").await;
    program.applied().await;
    assert_eq!(program.limit(), 5);
}
