//! An embedded file that this user cannot write.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::program::TestDir;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_file_or_folder_that_cannot_be_written_is_refused_at_once_with_a_hint() {
    let dir = TestDir::new();
    dir.run("ecom_setup", &[]).await.with(0);
    let (folder, file) = (dir.path("data"), dir.path("data/ecom_store.db"));
    // The file, the folder, which needs room for the write-ahead log, both, and a folder without a file.
    for (file_mode, folder_mode, data_dir) in [
        (0o444, 0o777, "data"),
        (0o666, 0o555, "data"),
        (0o444, 0o555, "data"),
        (0o666, 0o700, "data"),
        (0o444, 0o555, "empty"),
    ] {
        std::fs::create_dir_all(dir.path("empty")).unwrap();
        set_mode(&dir.path("empty"), folder_mode);
        set_mode(&file, file_mode);
        set_mode(&folder, folder_mode);
        for (name, args) in
            [("order_consumer", &[][..]), ("orders_producer", &[]), ("dlq_handler", &["list"])]
        {
            // Whoever only reads has to get at the file, and no more.
            if name == "dlq_handler" && folder_mode != 0o700 {
                continue;
            }
            let common = ["--data-dir", data_dir, "--connect-timeout", "1h"];
            let ended = dir.program(name, &[&common[..], args].concat()).unprivileged().run().await.with(1);
            let says = |what: &str| ended.stderr.contains(what);
            let case = format!("{name} in {data_dir}, {file_mode:o} in {folder_mode:o}: {}", ended.stderr);
            assert!(says("/ecom_store.db") && says("not writable"), "{case}");
            assert!(says("\nhint: ") && says("--data-dir"), "{case}");
        }
        set_mode(&folder, 0o755);
    }
}
