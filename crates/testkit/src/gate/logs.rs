//! What a child says, line by line as it comes.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::ChildStderr,
    sync::watch,
};

use crate::process::PATIENCE;

/// Lines of a child as they come.
pub(super) struct Logs {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl Logs {
    pub(super) fn read(pipe: ChildStderr) -> Logs {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (send, count) = watch::channel(0);
        let writer = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = pipe.next_line().await {
                writer.lock().expect("no panic").push(line);
                send.send_modify(|n| *n += 1);
            }
        });
        Logs { lines, count }
    }

    pub(super) fn now(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// Everything, once the child has ended.
    pub(super) async fn all(&self) -> Vec<String> {
        let mut count = self.count.clone();
        while count.changed().await.is_ok() {}
        self.now()
    }

    pub(super) async fn wait(&self, fits: impl Fn(&str) -> bool) -> String {
        let mut count = self.count.clone();
        let mut from = 0;
        let search = async {
            loop {
                count.borrow_and_update();
                let lines = self.now();
                if let Some(line) = lines.iter().skip(from).find(|l| fits(l)) {
                    return line.clone();
                }
                from = lines.len();
                count.changed().await.expect("the gateway still runs");
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(line) => line,
            Err(_) => panic!("no such line:\n{}", self.now().join("\n")),
        }
    }
}
