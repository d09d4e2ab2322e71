//! What a change costs, as counted work: allocations here, instructions under callgrind. Nothing is timed unless asked.
//!
//! Starts from so many host routes in files and makes so many changes of one route each by the real way: load, check,
//! plan, build, record, publish. Counts allocations of the thread `change` alone, so that the numbers are steady.
//!
//! ```text
//! change_cost ROUTES CHANGES patch    one route by API, each time another
//! change_cost ROUTES CHANGES file     one route of one file of a hundred
//! change_cost ROUTES CHANGES whole    every route of one file
//! ```
//!
//! `--times` adds milliseconds of each step and resident memory, for people. Callgrind can be told to count the changes
//! alone, by `--instr-atstart=no`: `cargo xtask counts` does.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a driver that ends where it fails"
)]
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use evergate_conf::{Format, Loader, Report, schema::paths};
use evergate_contract::{Checked, check, schema};
use evergate_proxy::{Before, Plane, Prepared};
use evergate_reload::{
    Body, Build, Candidate, Draft, Handle, Intent, Live, Notice, Options, Origin, Settings, Target, Verdict,
};

/// The system's allocator, with a count of what the counted threads ask of it.
struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count(bytes: usize) {
    if COUNTED.with(Cell::get) {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "counting is asking the system's allocator and adding one")]
// SAFETY: every call is the system's allocator's, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Has callgrind begin to count, if this runs under it with `--instr-atstart=no`.
fn count_instructions() {
    tell_callgrind(4);
}

/// Has callgrind write down what it counted, if this runs under it.
fn instructions_counted() {
    tell_callgrind(0);
}

/// A request to the tool of this number (`Vg_CallgrindClientRequest` in `valgrind/callgrind.h`).
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "valgrind is spoken to by instructions that have no effect")]
fn tell_callgrind(number: u64) {
    let request = (u64::from(b'C') << 24) + (u64::from(b'T') << 16) + number;
    let words: [u64; 6] = [request, 0, 0, 0, 0, 0];
    // SAFETY: outside of valgrind, rdi is turned round twice and rbx exchanged with itself; under it, rax is read as the
    // address of six words, and rdx is set.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") words.as_ptr(),
            inout("rdx") 0_u64 => _,
            options(nostack),
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn tell_callgrind(_number: u64) {}

/// The data plane alone, without admin API and log.
struct Gate(Plane);

impl Target for Gate {
    type Config = Checked;
    type Built = Prepared;

    fn check(
        &mut self,
        candidate: Candidate<'_>,
        live: Option<Live<'_, Checked>>,
        report: &mut Report,
    ) -> Option<Checked> {
        // Called on the thread that changes are made on.
        COUNTED.with(|counted| counted.set(true));
        match check(candidate.document, live.map(|l| (l.document, l.config.as_ref()))) {
            Ok(config) => {
                report.append(config.warnings().clone());
                Some(config)
            }
            Err(found) => {
                report.append(found);
                None
            }
        }
    }

    fn build(&mut self, build: Build<'_, Checked>) -> Result<Prepared, Report> {
        self.0.prepare(build)
    }

    fn publish(&mut self, prepared: Prepared) {
        self.0.publish(prepared);
    }

    fn settings(&self, config: &Checked) -> Settings {
        let reload = &config.reload;
        Settings {
            watch: false,
            debounce: reload.debounce.0,
            history: reload.history as usize,
            generations: reload.generations as usize,
        }
    }
}

/// The files of a document in a folder of their own.
struct Files {
    folder: PathBuf,
    routes: usize,
    parts: usize,
}

impl Files {
    fn write(folder: &Path, routes: usize, parts: usize) -> Files {
        let files = Files { folder: folder.to_owned(), routes, parts };
        let top = "workers: 1\nlisteners: { web: { address: '127.0.0.1:0' } }\n\
                   upstreams: { api: { endpoints: ['http://127.0.0.1:9'] } }\n";
        std::fs::write(folder.join("a.yaml"), top).unwrap();
        (0..parts).for_each(|part| files.part(part, |_| 0));
        files
    }

    /// Writes one of the files anew; a route's timeout is what `turn` says, if it says anything.
    fn part(&self, part: usize, turn: impl Fn(usize) -> usize) {
        let each = self.routes.div_ceil(self.parts);
        let mut text = String::from("routes:\n");
        for i in part * each..((part + 1) * each).min(self.routes) {
            let _ =
                write!(text, "  r{i:06}:\n    match: {{ hosts: [h{i}.example.com] }}\n    forward: api\n",);
            if turn(i) > 0 {
                let _ = writeln!(text, "    timeout: {}ms", turn(i));
            }
        }
        std::fs::write(self.folder.join(format!("part-{part:03}.yaml")), text).unwrap();
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Patch,
    File,
    Whole,
}

/// The route that a change is about: spread over all of them, each time another.
fn chosen(turn: usize, routes: usize) -> usize {
    (turn * 7919 + 1) % routes
}

async fn change(handle: &Handle, files: &Files, way: Way, turn: usize) {
    let route = chosen(turn, files.routes);
    let intent = match way {
        Way::Patch => {
            let text = format!("{{\"routes\":{{\"r{route:06}\":{{\"timeout\":\"{turn}ms\"}}}}}}");
            Intent::Patch(Body::Text(text.into(), Format::Json))
        }
        Way::File => {
            let part = route / files.routes.div_ceil(files.parts);
            files.part(part, |i| if i == route { turn } else { 0 });
            Intent::Reload { insist: false }
        }
        Way::Whole => {
            files.part(0, |_| turn);
            Intent::Reload { insist: false }
        }
    };
    let verdict = handle.submit(Draft::new(Origin::Api, intent)).await;
    assert!(matches!(verdict, Verdict::Applied { .. }), "{verdict:?}");
}

fn resident_mib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
    };
    format!("{:.0} MiB resident, {:.0} at most", line("VmRSS:"), line("VmHWM:"))
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let times = args.iter().position(|a| a == "--times").map(|at| args.remove(at)).is_some();
    let [routes, changes, way] = args.as_slice() else {
        panic!("change_cost ROUTES CHANGES patch|file|whole [--times]")
    };
    let (routes, changes): (usize, usize) = (routes.parse().unwrap(), changes.parse().unwrap());
    let way = match way.as_str() {
        "patch" => Way::Patch,
        "file" => Way::File,
        "whole" => Way::Whole,
        other => panic!("no way `{other}`"),
    };
    let folder = std::env::temp_dir().join(format!("evergate-change-cost-{}", std::process::id()));
    let documents = folder.join("files");
    std::fs::create_dir_all(&documents).unwrap();
    let files = Files::write(&documents, routes, if way == Way::Whole { 1 } else { 100 });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(&folder, &files, changes, way, times));
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn run(folder: &Path, files: &Files, changes: usize, way: Way, times: bool) {
    let plane = Plane::new(tokio::runtime::Handle::current(), Before::default(), Arc::new(|_| {})).unwrap();
    let gateway = plane.gateway();
    // Files that were just written would be read again, or not, by how fast the machine is.
    let loader = Loader::new(&paths(&schema())).with_clock(|| SystemTime::now() + Duration::from_secs(10));
    let options =
        Options { data_dir: Some(folder.join("data")), ..Options::new(loader, vec![files.folder.clone()]) };
    let began = Instant::now();
    let handle = evergate_reload::start(Gate(plane), options).await.expect("the first revision");
    if times {
        println!("start: {:.0} ms, {}", began.elapsed().as_secs_f64() * 1e3, resident_mib());
    }
    let mut notices = handle.subscribe();
    let mut steps: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    // The first changes fill what is kept from change to change.
    let warm = 2;
    for turn in 1..=warm {
        change(&handle, files, way, turn).await;
    }
    while notices.try_recv().is_ok() {}
    let before = (CALLS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    count_instructions();
    for turn in warm + 1..=warm + changes {
        change(&handle, files, way, turn).await;
        while let Ok(notice) = notices.try_recv() {
            match &*notice {
                Notice::Step { stage, took, .. } => {
                    steps.entry(format!("{stage:?}")).or_default().push(*took);
                }
                Notice::Ended { took, .. } => steps.entry("all".to_owned()).or_default().push(*took),
                _ => {}
            }
        }
    }
    instructions_counted();
    let each = |now: u64, before: u64| (now - before) / changes.max(1) as u64;
    println!(
        "{} routes: {} allocations, {} bytes allocated for each change",
        files.routes,
        each(CALLS.load(Ordering::Relaxed), before.0),
        each(BYTES.load(Ordering::Relaxed), before.1),
    );
    if times {
        for (step, mut took) in steps {
            took.sort();
            println!("{step}: {:.2} ms", took[took.len() / 2].as_secs_f64() * 1e3);
        }
        println!("at the end: {}", resident_mib());
    }
    handle.stop().await;
    gateway.stop();
}
