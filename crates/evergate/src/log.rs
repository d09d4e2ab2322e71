//! The log: lines on standard error, for people or as JSON, whose level and format are live settings.
//!
//! Lines are written by a thread of their own. Who logs never waits for a slow terminal or a full pipe: then
//! lines are dropped and counted.

mod line;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal, Write},
    panic::PanicHookInfo,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, SystemTime},
};

use evergate_contract::config::{Log, LogFormat, LogLevel};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::{Context, Layer, SubscriberExt},
    reload,
    util::{SubscriberInitExt, TryInitError},
};

use self::line::{Line, Style};

/// Lines that wait for the writer.
const WAITING_MAX: usize = 8192;
/// How long the end of the process waits for the writer.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The log of this process. Clones are the same.
#[derive(Clone)]
pub(crate) struct LogControl {
    filter: reload::Handle<Targets, Registry>,
    style: Arc<RwLock<Style>>,
    queue: Queue,
}

#[derive(Clone)]
struct Queue {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

struct Lines {
    style: Arc<RwLock<Style>>,
    queue: Queue,
}

/// Begins to log.
///
/// # Errors
/// If there is no thread for the writer, or somebody logs already.
pub(crate) fn start(settings: &Log) -> io::Result<LogControl> {
    let style = Arc::new(RwLock::new(style_of(settings.format)));
    let queue = Queue::start(io::stderr(), &style)?;
    let (filter, control) = reload::Layer::new(filter_of(settings.level));
    let lines = Lines { style: Arc::clone(&style), queue: queue.clone() };
    let begun: Result<(), TryInitError> = tracing_subscriber::registry().with(filter).with(lines).try_init();
    begun.map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(LogControl { filter: control, style, queue })
}

/// A defect of ours is one line too, so that whoever collects lines gets it whole.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let backtrace = Some(Backtrace::capture()).filter(|b| b.status() == BacktraceStatus::Captured);
    tracing::error!(
        reason = panic.payload_as_str().unwrap_or("no reason given"),
        place,
        thread = std::thread::current().name(),
        backtrace = backtrace.map(tracing::field::display),
        "panic"
    );
}

impl LogControl {
    /// Logs by these settings from now on.
    pub(crate) fn adopt(&self, settings: &Log) {
        *self.style.write().unwrap_or_else(PoisonError::into_inner) = style_of(settings.format);
        // The layer lives as long as the process.
        let _ = self.filter.reload(filter_of(settings.level));
    }

    /// Waits until what was logged is written, but not for long.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.sender.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Other crates' lines are about their insides: they show only if they are grave, or at the last level.
fn filter_of(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let others = if level == LogLevel::Trace { own } else { own.min(LevelFilter::WARN) };
    Targets::new().with_default(others).with_target("evergate", own)
}

fn style_of(format: LogFormat) -> Style {
    let terminal = io::stderr().is_terminal();
    match format {
        LogFormat::Auto if !terminal => Style::Json,
        LogFormat::Json => Style::Json,
        LogFormat::Auto | LogFormat::Human => {
            Style::Human { colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) }
        }
    }
}

fn current(style: &RwLock<Style>) -> Style {
    *style.read().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    fn start(out: impl Write + Send + 'static, style: &Arc<RwLock<Style>>) -> io::Result<Queue> {
        let (sender, messages) = sync_channel(WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let (counter, style) = (Arc::clone(&dropped), Arc::clone(style));
        let write = move || write_all(messages, out, &counter, &style);
        std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(Queue { sender, dropped })
    }

    fn put(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

fn write_all(messages: Receiver<Message>, mut out: impl Write, dropped: &AtomicU64, style: &RwLock<Style>) {
    // Nobody is left to be told that nobody can be told: faults of the output are passed over.
    for message in messages {
        match message {
            Message::Line(line) => {
                let _ = out.write_all(line.as_bytes());
            }
            Message::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
        let lost = dropped.swap(0, Relaxed);
        if lost > 0 {
            let _ = out.write_all(Line::lost(lost).print(current(style), SystemTime::now()).as_bytes());
        }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.queue.put(Line::of(event).print(current(&self.style), SystemTime::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The text of what `act` logs, with a subscriber that is switched by `act`.
    fn logged(act: impl FnOnce(&LogControl)) -> String {
        let sink = Sink::default();
        let style = Arc::new(RwLock::new(Style::Json));
        let queue = Queue::start(sink.clone(), &style).unwrap();
        let (filter, control) = reload::Layer::new(filter_of(LogLevel::Info));
        let lines = Lines { style: Arc::clone(&style), queue: queue.clone() };
        let control = LogControl { filter: control, style, queue };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(filter).with(lines), || {
            act(&control);
        });
        control.flush();
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn level_and_format_are_live() {
        let text = logged(|log| {
            tracing::info!("one");
            tracing::debug!("not one");
            log.adopt(&Log { level: LogLevel::Error, format: LogFormat::Json });
            tracing::info!("not two");
            log.adopt(&Log { level: LogLevel::Debug, format: LogFormat::Human });
            tracing::debug!("three");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with('{') && lines[0].contains("\"one\""), "{text}");
        assert!(!lines[1].starts_with('{') && lines[1].contains("DEBUG three"), "{text}");
    }

    #[test]
    fn others_speak_only_when_it_is_grave() {
        let text = logged(|log| {
            log.adopt(&Log { level: LogLevel::Debug, format: LogFormat::Json });
            tracing::info!(target: "hyper", "not this");
            tracing::warn!(target: "hyper", "grave");
            log.adopt(&Log { level: LogLevel::Error, format: LogFormat::Json });
            tracing::warn!(target: "hyper", "nor this");
            log.adopt(&Log { level: LogLevel::Trace, format: LogFormat::Json });
            tracing::trace!(target: "hyper", "all");
        });
        assert!(text.contains("grave") && text.contains("all") && !text.contains("this"), "{text}");
    }

    #[test]
    fn a_full_queue_drops_and_says_so() {
        struct Gate(Receiver<()>, Sink);
        impl Write for Gate {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                self.1.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (open, closed) = sync_channel(0);
        let sink = Sink::default();
        let queue = Queue::start(Gate(closed, sink.clone()), &Arc::new(RwLock::new(Style::Json))).unwrap();
        for _ in 0..WAITING_MAX + 10 {
            queue.put("line\n".to_owned());
        }
        drop(open);
        let (done, written) = sync_channel(1);
        queue.sender.send(Message::Flush(done)).unwrap();
        written.recv().unwrap();
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("log lines were dropped"), "{}", text.lines().count());
    }
}
