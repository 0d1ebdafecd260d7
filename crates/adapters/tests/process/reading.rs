//! Readers of logs who take nothing of what they have asked for.

use std::sync::Arc;
use std::time::Duration;

use cutover_controller::ports::{DeploymentExecutor, InstanceLogs, LogQuery};

use crate::host::{Host, until};

#[test]
fn readers_who_take_nothing_leave_the_threads_to_others() {
    let threads = 2;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(threads)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let host = Host::with_script("seq 3000\nexec sleep 1000");
        host.provision(&["a"]).await.unwrap();
        until("it has written", || async { host.lines("a").await.last().is_some_and(|it| it == "3000") })
            .await;
        let query = LogQuery {
            service: "shop".parse().unwrap(),
            wanted: Arc::new(|_| true),
            lines: None,
            since: None,
            follow: true,
        };
        let mut readers = Vec::new();
        for _ in 0..=threads {
            let mut reader = host.executor.read(query.clone()).await.unwrap();
            assert_eq!(reader.recv().await.unwrap().text, "1");
            readers.push(reader);
        }
        let looked = tokio::time::timeout(Duration::from_secs(10), host.executor.observe()).await;
        assert_eq!(looked.expect("nobody has to wait for them").unwrap().len(), 1);
        // What they have not taken yet waits for them, in order.
        for number in 2..=3000 {
            assert_eq!(readers[0].recv().await.unwrap().text, number.to_string());
        }
        host.stop(&["a"]).await;
    });
}
