use tempfile::TempDir;

use super::*;
use crate::{
    format::to_json,
    schema::{Step, schema_of},
    units::{FilePath, Location},
};

/// A folder with those files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn loader() -> Loader {
    Loader::new(&[]).with_env(|name| (name == "PORT").then(|| "8080".to_owned()))
}

fn load(dir: &TempDir, roots: &[&str]) -> Result<Loaded, Report> {
    let roots: Vec<PathBuf> = roots.iter().map(|r| dir.path().join(r)).collect();
    loader().load(&roots)
}

fn document(files: &[(&str, &str)], roots: &[&str]) -> String {
    let dir = folder(files);
    to_json(&load(&dir, roots).unwrap_or_else(|r| panic!("{r}")).document)
}

#[test]
fn files_are_merged_in_their_order() {
    let files = [
        ("a.yaml", "x: 1\ny: { a: 1, b: 1 }"),
        ("b.toml", "x = 2\ny.b = 2"),
        ("c.json", r#"{"y":{"a":null}}"#),
    ];
    assert_eq!(document(&files, &["a.yaml", "b.toml", "c.json"]), r#"{"x":2,"y":{"b":2}}"#);
    assert_eq!(document(&files, &["b.toml", "a.yaml"]), r#"{"x":1,"y":{"a":1,"b":1}}"#);
    let more = [
        ("d/.hidden.yaml", "x: 9"),
        ("d/readme.txt", "x: 9"),
        ("d/2.yml", "x: 2"),
        ("d/1.yaml", "x: 1"),
        ("d/sub/3.yaml", "x: 3"),
    ];
    assert_eq!(document(&more, &["d"]), r#"{"x":2}"#);
}

#[test]
fn what_is_read_ahead_is_read_once() {
    let dir = folder(&[("a.yaml", "include: b.yaml\nx: 1"), ("b.yaml", "y: ${N}")]);
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let asks = Arc::clone(&asked);
    let count = move |_: &str| Some(asks.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
    let mut loader = Loader::new(&[]).with_env(count);
    let roots = [dir.path().join("a.yaml")];
    let load = |loader: &mut Loader| loader.load(&roots).map(|loaded| to_json(&loaded.document));
    assert_eq!(load(&mut loader).unwrap(), r#"{"x":1,"y":"0"}"#);
    std::fs::write(dir.path().join("b.yaml"), "y: ${N}\nz: 1").unwrap();
    loader.read_ahead(&roots);
    loader.read_ahead(&roots);
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2, "read as soon as it may be");
    assert_eq!(load(&mut loader).unwrap(), r#"{"x":1,"y":"1","z":1}"#);
    // Half of it, nothing of it, and then all.
    std::fs::write(dir.path().join("b.yaml"), "y: ${N}\nz: {").unwrap();
    loader.read_ahead(&roots);
    std::fs::remove_file(dir.path().join("b.yaml")).unwrap();
    loader.read_ahead(&roots);
    std::fs::write(dir.path().join("b.yaml"), "y: ${N}\nz: 1").unwrap();
    assert_eq!(load(&mut loader).unwrap(), r#"{"x":1,"y":"1","z":1}"#, "as it was known");
    std::fs::write(dir.path().join("b.yaml"), "z: {").unwrap();
    loader.read_ahead(&roots);
    assert!(load(&mut loader).is_err());
}

#[test]
fn the_includer_has_the_last_word() {
    let files = [
        ("main.yaml", "include: [base.yaml, 'conf.d/*.yaml', more]\nx: main"),
        ("base.yaml", "include: deep/er.toml\nx: base\ny: base\nz: base"),
        ("deep/er.toml", "include = '../other'\nw = 'deep'\nz = 'deep'"),
        ("other", "{\"v\": \"sniffed\"}"),
        ("conf.d/b.yaml", "y: b"),
        ("conf.d/a.yaml", "y: a"),
        ("conf.d/c.txt", "y: c"),
        ("more/m.yaml", "m: 1"),
    ];
    assert_eq!(
        document(&files, &["main.yaml"]),
        r#"{"m":1,"v":"sniffed","w":"deep","x":"main","y":"b","z":"base"}"#
    );
    // A pattern that finds its own file, a pattern that finds nothing, a file that is named twice.
    assert_eq!(
        document(
            &[("a.yaml", "include: ['*.yaml', 'none*']\nx: 1"), ("b.yaml", "x: 2\ny: 2")],
            &["a.yaml", "b.yaml"]
        ),
        r#"{"x":1,"y":2}"#
    );
}

/// Each row: files, and a part of each problem as people read it.
#[test]
fn what_cannot_be_read_is_refused() {
    let chain: Vec<(String, String)> =
        (0..40).map(|i| (format!("{i}.yaml"), format!("include: {}.yaml", i + 1))).collect();
    let chain: Vec<(&str, &str)> = chain.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        (&[("a.yaml", "include: a.yaml\nx: 1")], "a.yaml", &["includes itself", "a.yaml:1:10"]),
        (
            &[("a.yaml", "include: b.yaml"), ("b.yaml", "x: 1\ninclude: [a.yaml]")],
            "a.yaml",
            &["includes itself", "b.yaml:2:11"],
        ),
        (&[("a.yaml", "include: none.yaml")], "a.yaml", &["cannot read", "none.yaml", "a.yaml:1:10"]),
        (&[("a.yaml", "include: none/*.yaml")], "a.yaml", &["cannot read"]),
        (&[("a.yaml", "include: '*/x.yaml'")], "a.yaml", &["last part of a path"]),
        (&[("a.yaml", "include: { x: 1 }")], "a.yaml", &["expected a path or a list"]),
        (&[("a.yaml", "include: ''")], "a.yaml", &["expected a path or a list"]),
        (&chain, "0.yaml", &["deeper than 32 files"]),
        (&[], "none.yaml", &["cannot read", "none.yaml"]),
        (&[("d/x.txt", "")], "d", &["no *.yaml"]),
        (&[("a.yaml", "")], "a.yaml", &["half-written", "a.yaml:1:1"]),
        (&[("a.yaml", "# nothing\n")], "a.yaml", &["half-written"]),
        (&[("a.yaml", "- x")], "a.yaml", &["expected keys and values", "a.yaml:1:1"]),
        (
            &[("a.yaml", "x:\n  y: ${NONE}")],
            "a.yaml",
            &["`NONE` is not set", "a.yaml:2:6", "${NONE:-default}", "in: x.y"],
        ),
        (&[("a.yaml", "include: ${NONE}/x.yaml")], "a.yaml", &["`NONE` is not set"]),
        // All problems of all files at once.
        (
            &[
                ("a.yaml", "include: [b.yaml, c.json, d.yaml]\nx: ${NONE}"),
                ("b.yaml", "x: 1\nx: 2"),
                ("c.json", "{"),
                ("d.yaml", "y: ${GONE}\nz: ${LOST}"),
            ],
            "a.yaml",
            &["b.yaml:2:1", "c.json:1:2", "d.yaml:1:4", "d.yaml:2:4", "a.yaml:2:4"],
        ),
    ];
    for (files, root, parts) in rows {
        let dir = folder(files);
        let report = load(&dir, &[root]).expect_err(&format!("{files:?}"));
        let text = report.to_string();
        for part in *parts {
            assert!(text.contains(part), "{files:?}: no {part:?} in\n{text}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), b"x: 1\ny: \xff").unwrap();
    assert!(load(&dir, &["a.yaml"]).unwrap_err().to_string().contains("line 2 is not UTF-8"));
    assert_eq!(load(&dir, &["a.yaml", "none"]).unwrap_err().len(), 2);
}

#[test]
fn variables_stand_in_texts_only() {
    let text = "a: ':${PORT}'\nb: ${NONE:-7}\n${PORT}: $$x\nc: [\"${PORT}\"]";
    assert_eq!(
        document(&[("a.yaml", text)], &["a.yaml"]),
        r#"{"${PORT}":"$x","a":":8080","b":"7","c":["8080"]}"#
    );
    // A dollar that is written otherwise is one all the same.
    for (name, text) in [
        ("a.yaml", r#"a: "\x24{PORT}""#),
        ("a.json", r#"{"a":"\u0024{PORT}"}"#),
        ("a.toml", r#"a = "\u0024{PORT}""#),
    ] {
        assert_eq!(document(&[(name, text)], &[name]), r#"{"a":"8080"}"#, "{name}");
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[expect(dead_code, reason = "only its schema is read")]
struct Paths {
    certificates: std::collections::BTreeMap<String, Certificate>,
    sites: Vec<Site>,
    again: Option<Box<Paths>>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[expect(dead_code, reason = "only its schema is read")]
struct Certificate {
    cert: FilePath,
    key: crate::Secret,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is read")]
enum Site {
    Short(Location),
    Long { root: Location },
}

#[test]
fn patterns_come_from_the_schema() {
    let key = |k: &str| Step::Key(k.to_owned());
    let pattern = |segments: Vec<Step>, pinned| PathPattern { segments, pinned };
    let found = crate::schema::paths(&schema_of::<Paths>());
    for expected in [
        pattern(vec![key("certificates"), Step::Any, key("cert")], true),
        pattern(vec![key("certificates"), Step::Any, key("key"), key("file")], true),
        pattern(vec![key("sites"), Step::Any], false),
        pattern(vec![key("sites"), Step::Any, key("root")], false),
        pattern(vec![key("again"), key("sites"), Step::Any], false),
    ] {
        assert!(found.contains(&expected), "{expected:?} in {found:?}");
    }
}

#[test]
fn paths_start_from_the_file_that_names_them() {
    let dir = folder(&[
        ("main.yaml", "include: sub/tls.yaml\nsites: [www, { root: ./a/../b }, /abs]\nother: www"),
        (
            "sub/tls.yaml",
            "certificates:\n  a: { cert: a.pem, key: { file: ../a.key } }\n  b: { cert: none.pem, key: { env: x } }",
        ),
        ("sub/a.pem", "PEM"),
        ("a.key", "KEY"),
    ]);
    let mut loader = Loader::new(&crate::schema::paths(&schema_of::<Paths>()));
    let main = dir.path().join("main.yaml");
    let loaded = loader.load(std::slice::from_ref(&main)).unwrap();
    let at = |path: &str| {
        let path: Path = path.parse().unwrap();
        loaded.document.at(path.keys()).unwrap().as_str().unwrap().to_owned()
    };
    let inside = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(at("sites.0"), inside("www"));
    assert_eq!(at("sites.1.root"), inside("a/../b"));
    assert_eq!(at("sites.2"), "/abs");
    assert_eq!(at("other"), "www");
    assert_eq!(at("certificates.a.cert"), inside("sub/a.pem"));
    assert_eq!(at("certificates.a.key.file"), inside("sub/../a.key"));
    assert_eq!(at("certificates.b.key.env"), "x");

    let digest = |text: &str| Some(Digest::of(text.as_bytes()));
    let inputs: Vec<_> =
        loaded.inputs.iter().map(|i| (i.path.to_str().unwrap().to_owned(), i.kind, i.digest)).collect();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    for expected in [
        (inside("main.yaml"), InputKind::Document, digest(&read("main.yaml"))),
        (inside("sub/tls.yaml"), InputKind::Document, digest(&read("sub/tls.yaml"))),
        (inside("sub/a.pem"), InputKind::Reference, digest("PEM")),
        (inside("sub/../a.key"), InputKind::Reference, digest("KEY")),
        (inside("sub/none.pem"), InputKind::Reference, None),
    ] {
        assert!(inputs.contains(&expected), "{expected:?} in {inputs:#?}");
    }
    assert_eq!(inputs.len(), 5);
    assert_eq!(loader.inputs(), loaded.inputs);
}

#[test]
fn a_refused_load_still_says_what_to_watch() {
    let dir = folder(&[("a.yaml", "include: ['c/*.yaml', b.yaml]"), ("b.yaml", "{"), ("c/d.yaml", "x: 1")]);
    let mut loader = loader();
    loader.load(&[dir.path().join("a.yaml")]).unwrap_err();
    let names: Vec<_> = loader
        .inputs()
        .iter()
        .map(|i| (i.path.strip_prefix(dir.path()).unwrap().to_str().unwrap(), i.kind))
        .collect();
    assert_eq!(
        names,
        [
            ("a.yaml", InputKind::Document),
            ("b.yaml", InputKind::Document),
            ("c", InputKind::Folder),
            ("c/d.yaml", InputKind::Document)
        ]
    );
    std::fs::remove_file(dir.path().join("b.yaml")).unwrap();
    loader.load(&[dir.path().join("a.yaml")]).unwrap_err();
    assert!(loader.inputs().iter().any(|i| i.path.ends_with("b.yaml") && i.digest.is_none()));
}

#[test]
fn files_that_did_not_change_are_not_parsed_again() {
    let dir = folder(&[("a.yaml", "a: { x: 1 }"), ("b.yaml", "b: { x: 1 }")]);
    let mut loader = loader();
    let roots = [dir.path().to_owned()];
    let first = loader.load(&roots).unwrap();
    std::fs::write(dir.path().join("b.yaml"), "b: { x: 2 }").unwrap();
    let second = loader.load(&roots).unwrap();
    assert!(first.document.get("a").unwrap().same(second.document.get("a").unwrap()));
    assert_eq!(to_json(&second.document), r#"{"a":{"x":1},"b":{"x":2}}"#);
    assert_ne!(first.inputs, second.inputs);
    assert_eq!(loader.cache.len(), 2);
    std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
    assert_eq!(to_json(&loader.load(&roots).unwrap().document), r#"{"b":{"x":2}}"#);
    assert_eq!(loader.cache.len(), 1);
    // The texts are those of the last load, also of files that were not parsed again.
    let place = loader.load(&roots).unwrap().document.get("b").unwrap().place;
    assert_eq!(loader.files().text(place.file).unwrap().as_ref(), "b: { x: 2 }");
}

#[test]
fn files_that_look_as_they_did_are_not_read_again() {
    let dir = folder(&[("a.yaml", "a: { x: 1 }"), ("b.yaml", "b: { x: 1 }")]);
    let told = stamp::is_local(std::fs::File::open(dir.path().join("a.yaml")).unwrap());
    let mut loader = loader();
    let roots = [dir.path().to_owned()];
    let load = |loader: &mut Loader| {
        let document = loader.load(&roots).unwrap().document;
        let read = ["a", "b"].map(|key| loader.files().is_held(document.get(key).unwrap().place.file));
        (to_json(&document), read)
    };
    let one = r#"{"a":{"x":1},"b":{"x":1}}"#.to_owned();
    assert_eq!(load(&mut loader), (one.clone(), [true, true]));
    assert_eq!(load(&mut loader), (one.clone(), [true, true]), "nobody said what time it is");
    loader.now = SystemTime::now;
    assert_eq!(load(&mut loader), (one.clone(), [true, true]));
    assert_eq!(
        load(&mut loader),
        (one.clone(), [true, true]),
        "written in the same moment, for all that is known"
    );
    loader.now = || SystemTime::now() + std::time::Duration::from_secs(10);
    assert_eq!(load(&mut loader), (one.clone(), [true, true]));
    let before = loader.inputs().to_vec();
    assert_eq!(load(&mut loader), (one.clone(), [!told, !told]));
    assert_eq!(loader.inputs(), before);
    loader.distrust();
    assert_eq!(load(&mut loader), (one, [true, true]));
    // As long, in place, and over it by a rename.
    let two = r#"{"a":{"x":1},"b":{"x":2}}"#.to_owned();
    std::fs::write(dir.path().join("b.yaml"), "b: { x: 2 }").unwrap();
    assert_eq!(load(&mut loader), (two, [!told, true]));
    std::fs::write(dir.path().join(".new"), "a: { x: 3 }").unwrap();
    std::fs::rename(dir.path().join(".new"), dir.path().join("a.yaml")).unwrap();
    let three = r#"{"a":{"x":3},"b":{"x":2}}"#.to_owned();
    assert_eq!(load(&mut loader), (three.clone(), [true, !told]));
    // A text that was not read is read when somebody asks what stands in a line.
    assert_eq!(load(&mut loader), (three, [!told, !told]));
    let place = loader.last.as_ref().unwrap().1.get("b").unwrap().place;
    assert_eq!(loader.files().text(place.file).unwrap().as_ref(), "b: { x: 2 }");
}

/// A link to a file tells by the file that it leads to.
#[test]
fn a_link_that_leads_elsewhere_is_a_change() {
    let dir = folder(&[("1/a", "a: 1"), ("2/a", "a: 2"), ("b.yaml", "b: 1")]);
    let link = |to: &str, name: &str| {
        let new = dir.path().join(".new");
        std::os::unix::fs::symlink(to, &new).unwrap();
        std::fs::rename(new, dir.path().join(name)).unwrap();
    };
    link("1", "now");
    link("now/a", "a.yaml");
    let mut loader = loader();
    loader.now = || SystemTime::now() + std::time::Duration::from_secs(10);
    let roots = [dir.path().to_owned()];
    for (to, expected) in [("1", 1), ("1", 1), ("2", 2), ("2", 2), ("1", 1)] {
        link(to, "now");
        let expected = format!("{{\"a\":{expected},\"b\":1}}");
        assert_eq!(to_json(&loader.load(&roots).unwrap().document), expected);
    }
}

#[test]
fn a_body_is_read_like_a_file() {
    let mut loader = Loader::new(&crate::schema::paths(&schema_of::<Paths>())).with_env(|_| None);
    let folder = FsPath::new("/data");
    let node = loader
        .parse_str("overlay", folder, r#"{"sites":["a"],"x":null,"y":"${N:-1}"}"#, Format::Json)
        .unwrap();
    assert_eq!(to_json(&node), r#"{"sites":["/data/a"],"x":null,"y":"1"}"#);
    for (text, part) in [
        ("{\"x\": ${N}}", "overlay:1:7"),
        ("{\"x\":\n \"${N}\"}", "overlay:2:2"),
        ("", "half-written"),
        ("[]", "expected keys"),
    ] {
        let report = loader.parse_str("overlay", folder, text, Format::Json).unwrap_err().to_string();
        assert!(report.contains(part), "{report}");
    }
}

#[test]
fn a_long_file_is_refused_before_it_is_read_whole() {
    let dir = folder(&[("a.yaml", &format!("x: {}", "y".repeat(1000)))]);
    let limits = Limits { bytes: 100, ..Limits::default() };
    let report = loader().with_limits(limits).load(&[dir.path().join("a.yaml")]).unwrap_err();
    assert!(report.to_string().contains("more than the 100"), "{report}");
}
