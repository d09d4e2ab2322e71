//! A program that counts, and how fast is a setting: edit the file while it runs.
//!
//! `cargo run -p evergate-reload --example counter -- counter.yaml` with `step: 1` in the file.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use evergate_conf::{Loader, Path, Report, Span, decode, schema};
use evergate_reload::{Build, Candidate, Live, Options, Settings, Target, start};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    step: u64,
    #[serde(default = "second")]
    every: Span,
}

fn second() -> Span {
    Span::secs(1)
}

struct Counter(Arc<ArcSwap<Config>>);

impl Target for Counter {
    type Config = Config;
    type Built = Arc<Config>;

    fn check(
        &mut self,
        new: Candidate<'_>,
        _: Option<Live<'_, Config>>,
        report: &mut Report,
    ) -> Option<Config> {
        decode(new.document, &Path::root(), report)
    }

    fn build(&mut self, build: Build<'_, Config>) -> Result<Arc<Config>, Report> {
        Ok(Arc::clone(build.config))
    }

    fn publish(&mut self, built: Arc<Config>) {
        self.0.store(built);
    }

    fn settings(&self, _: &Config) -> Settings {
        Settings::default()
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example is seen on the terminal")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let live = Arc::new(ArcSwap::from_pointee(Config { step: 0, every: second() }));
    let loader = Loader::new(&schema::paths(&schema::schema_of::<Config>()));
    let file = std::env::args().nth(1).ok_or("say which file")?;
    let handle = start(Counter(Arc::clone(&live)), Options::new(loader, vec![file.into()])).await?;
    let mut count = 0;
    loop {
        let config = live.load_full();
        count += config.step;
        println!("{count} as revision {} wants it", handle.status().running.revision);
        if let Some(refused) = handle.status().last_refused {
            println!("{}", refused.report);
        }
        tokio::time::sleep(Duration::max(*config.every, Duration::from_millis(10))).await;
    }
}
