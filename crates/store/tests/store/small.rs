//! Settings and the reconcilers' last runs.

use ryokan_store::StoreError;
use ryokan_store::test_util::for_each_engine;

#[tokio::test]
async fn of_several_first_values_one_stays() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        for (value, kept) in [("a", "a"), ("b", "a")] {
            assert_eq!(store.write(move |tx| tx.setting_or("server_id", value, 1)).await.unwrap(), kept);
        }
        store.write(|tx| tx.put_setting("server_id", "c", 2)).await.unwrap();
        assert_eq!(store.read(|tx| tx.setting("server_id")).await.unwrap().as_deref(), Some("c"));
        assert_eq!(store.read(|tx| tx.setting("nothing")).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_reconcilers_last_run_is_kept() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        store
            .write(|tx| {
                tx.start_reconciler("routes", 10)?;
                tx.finish_reconciler("routes", Ok(3), 11)?;
                tx.start_reconciler("routes", 20)?;
                tx.finish_reconciler("routes", Err("no engine"), 21)?;
                tx.start_reconciler("backups", 30)?;
                tx.finish_reconciler("usage", Ok(0), 40)
            })
            .await
            .unwrap();
        let runs = store.read(|tx| tx.list_reconcilers()).await.unwrap();
        assert_eq!(
            runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(),
            ["backups", "routes", "usage"]
        );
        assert_eq!((runs[0].started_at, runs[0].finished_at, runs[0].succeeded), (30, None, None));
        let routes = &runs[1];
        assert_eq!((routes.started_at, routes.finished_at, routes.succeeded), (20, Some(21), Some(false)));
        assert_eq!((routes.backlog, routes.runs, routes.failures), (3, 2, 1));
        assert_eq!(routes.error.as_deref(), Some("no engine"));
        store
            .write(|tx| {
                tx.start_reconciler("routes", 50)?;
                tx.finish_reconciler("routes", Ok(0), 51)
            })
            .await
            .unwrap();
        let runs = store.read(|tx| tx.list_reconcilers()).await.unwrap();
        assert_eq!((runs[1].succeeded, runs[1].backlog, runs[1].error.as_deref()), (Some(true), 0, None));
        assert_eq!((runs[1].runs, runs[1].failures), (3, 1));
        let other = store.read(|tx| tx.start_reconciler("x", 1)).await;
        assert_eq!(other, Err(StoreError::ReadOnly));
    })
    .await;
}
