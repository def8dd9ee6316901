//! The commands as a script sees them: stdout, stderr, exit codes.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn ditto(args: &[&str]) -> Output {
    run(args, "")
}

fn run(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ditto"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

fn line(output: &Output) -> Value {
    let mut all = lines(output);
    assert_eq!(all.len(), 1, "{output:?}");
    all.remove(0)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_directory_knows_its_database() {
    let dir = tempfile::tempdir().unwrap();
    let id = "6f1d1c9e-2f4b-4c39-a9f0-8c3d7c2f5a11";
    let insert = "INSERT INTO c DOCUMENTS ({'_id': 1})";
    let out = ditto(&["exec", "--dir", text(dir.path()), "--database-id", id, insert]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let out = ditto(&["exec", "--dir", text(dir.path()), "SELECT * FROM c"]);
    assert_eq!(line(&out)["items"], json!([{"_id": 1}]), "{out:?}");
    let other = "00000000-0000-0000-0000-000000000000";
    let out = ditto(&["exec", "--dir", text(dir.path()), "--database-id", other, "SELECT * FROM c"]);
    assert_eq!(line(&out)["error"]["kind"], "validation/invalid-ditto-config");
    assert!(line(&out)["error"]["message"].as_str().unwrap().contains(id), "{out:?}");
}

#[test]
fn exec_prints_one_object() {
    let dir = tempfile::tempdir().unwrap();
    let args = r#"{"d":{"_id":1,"f":1.0,"b":{"$bytes":"AAEC"}}}"#;
    let out = ditto(&["exec", "--dir", text(dir.path()), "--args", args, "INSERT INTO c DOCUMENTS (:d)"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(line(&out), json!({"items": [], "mutatedDocumentIds": [1], "commitId": 1}));
    let out = ditto(&["exec", "--dir", text(dir.path()), "SELECT * FROM c"]);
    let want = json!({
        "items": [{"_id": 1, "f": 1.0, "b": {"$bytes": "AAEC"}}],
        "mutatedDocumentIds": [],
        "commitId": null,
    });
    assert_eq!(line(&out), want);
    assert!(String::from_utf8_lossy(&out.stdout).contains("\"f\":1.0"), "a float became an integer");
    let out = ditto(&["exec", "--dir", ":temp:", "SELECT * FROM c"]);
    assert_eq!(line(&out)["items"], json!([]));
}

#[test]
fn faults_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = text(dir.path());
    let out = ditto(&["exec", "--dir", dir, "SELECT *\nFRO c"]);
    assert_eq!(out.status.code(), Some(1));
    let error = &line(&out)["error"];
    assert_eq!((&error["kind"], &error["line"]), (&json!("query/invalid"), &json!(2)), "{error}");
    assert!(error["column"].is_u64() && error["message"].is_string());
    let out = ditto(&["exec", "--dir", dir, "SELECT * FROM c WHERE a = :x"]);
    assert_eq!(line(&out)["error"]["kind"], json!("query/arguments-invalid"));
    assert_eq!(ditto(&["exec", "--dir", dir]).status.code(), Some(2));
    assert_eq!(ditto(&["exec", "--dir", dir, "--args", "[1]", "SELECT 1"]).status.code(), Some(2));
    assert_eq!(ditto(&["exec", "--dir", dir, "--database-id", "x", "SELECT 1"]).status.code(), Some(2));
    assert_eq!(ditto(&["nonsense"]).status.code(), Some(2));
    assert_eq!(ditto(&["import", "--dir", dir, "--collection", "c", "/no/such/file"]).status.code(), Some(3));
    let out = ditto(&["peer", "--dir", dir, "--listen", "nowhere"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(out.stdout.is_empty() && !out.stderr.is_empty());
}

#[test]
fn a_directory_in_use_is_exit_code_4() {
    let dir = tempfile::tempdir().unwrap();
    let dir = text(dir.path());
    let mut holder = Command::new(env!("CARGO_BIN_EXE_ditto"))
        .args(["exec", "--dir", dir, "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = holder.stdin.take().unwrap();
    writeln!(input, r#"{{"id":1,"statement":"SELECT * FROM c"}}"#).unwrap();
    let mut answer = String::new();
    let mut output = std::io::BufReader::new(holder.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut answer).unwrap();
    assert!(answer.contains("\"id\":1"), "{answer}");
    let out = ditto(&["exec", "--dir", dir, "SELECT * FROM c"]);
    assert_eq!(out.status.code(), Some(4), "{out:?}");
    assert_eq!(line(&out)["error"]["kind"], json!("store/persistence-directory-locked"));
    drop(input);
    assert!(holder.wait().unwrap().success());
    assert_eq!(ditto(&["exec", "--dir", dir, "SELECT * FROM c"]).status.code(), Some(0));
}

#[test]
fn batches_answer_every_line() {
    let requests = [
        r#"{"id":"a","statement":"INSERT INTO c DOCUMENTS (:d)","args":{"d":{"_id":1,"n":1}}}"#,
        r#"{"id":2,"statement":"SELEC"}"#,
        r#"{"id":3,"kind":"observe","statement":"SELECT n FROM c"}"#,
        r#"{"id":4,"kind":"subscribe","statement":"SELECT * FROM c LIMIT 1"}"#,
        r#"{"id":5,"kind":"subscribe","statement":"SELECT * FROM c"}"#,
        "not json",
        "",
        r#"{"id":6,"kind":"dance"}"#,
        r#"{"id":7,"statement":"SELECT * FROM c"}"#,
    ];
    let out = run(&["exec", "--dir", ":temp:", "--batch"], &requests.join("\n"));
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let answers = lines(&out);
    let ids: Vec<_> = answers.iter().map(|a| a["id"].clone()).collect();
    assert_eq!(ids, [json!("a"), json!(2), json!(3), json!(4), json!(5), json!(null), json!(6), json!(7)]);
    assert_eq!(answers[0]["commitId"], json!(1));
    assert_eq!(answers[1]["error"]["kind"], json!("query/invalid"));
    assert_eq!(answers[2]["items"], json!([{"n": 1}]));
    assert_eq!(answers[3]["error"]["kind"], json!("query/unsupported"));
    assert!(answers[4].get("error").is_none());
    assert!(answers[5]["error"]["message"].is_string() && answers[6]["error"]["message"].is_string());
    assert_eq!(answers[7]["items"], json!([{"_id": 1, "n": 1}]));
}

#[test]
fn import_reports_bad_lines_and_export_gives_the_rest_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in.jsonl");
    let good: Vec<String> = (0..25).map(|i| format!(r#"{{"_id":{i},"n":{{"x":{i}}}}}"#)).collect();
    let mut content = good.clone();
    content.insert(3, "{broken".into());
    content.insert(10, r#"{"_id":1.5}"#.into());
    content.insert(15, String::new());
    content.insert(20, "[1]".into());
    std::fs::write(&file, content.join("\n")).unwrap();
    let (file, db) = (text(&file).to_owned(), dir.path().join("db"));
    let base = ["import", "--dir", text(&db), "--collection", "a b`c", "--batch-size", "4"];

    let out = ditto(&[&base[..], &["--on-error", "skip", "--acknowledge", &file]].concat());
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let all = lines(&out);
    let (last, batches) = all.split_last().unwrap();
    assert_eq!(*last, json!({"imported": 25, "skipped": 3}));
    let committed: u64 = batches.iter().map(|b| b["committed"].as_u64().unwrap()).sum();
    assert_eq!(committed, 25);
    let report = String::from_utf8(out.stderr).unwrap();
    for number in ["line 4 ", "line 11 ", "line 21 "] {
        assert!(report.contains(number), "{report}");
    }

    let out = ditto(&["export", "--dir", text(&db), "--collection", "a b`c"]);
    assert_eq!(String::from_utf8(out.stdout).unwrap().lines().collect::<Vec<_>>(), good);

    let out = ditto(&["import", "--dir", ":temp:", "--collection", "c", "--batch-size", "2", &file]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(line(&out), json!({"imported": 2, "skipped": 0}));
    assert!(String::from_utf8(out.stderr).unwrap().contains("line 4"));

    let out = ditto(&["check", "--dir", text(&db)]);
    assert_eq!(out.status.code(), Some(0));
    assert_eq!((&line(&out)["documents"], &line(&out)["problems"]), (&json!(25), &json!([])));
}

#[test]
fn shared_keys_are_private_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mesh.key");
    assert_eq!(ditto(&["keygen", text(&file)]).status.code(), Some(0));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let before = std::fs::read(&file).unwrap();
    assert_eq!(ditto(&["keygen", text(&file)]).status.code(), Some(3));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_ne!(ditto(&["keygen"]).stdout, ditto(&["keygen"]).stdout);
    std::fs::write(&file, "bm90IGEga2V5").unwrap();
    let out = ditto(&["mesh", "--shared-key", text(&file), "--wait", "0"]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
}

#[test]
fn doctor_connects_to_itself_and_looks_at_keys() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("shared.key");
    assert_eq!(ditto(&["keygen", text(&key)]).status.code(), Some(0));
    let find = |report: &Value, check: &str| -> Value {
        report["findings"].as_array().unwrap().iter().find(|f| f["check"] == check).cloned().unwrap()
    };
    // A database of its own, so that it meets no instance of another test or of this machine.
    let id = format!("d0c70a00-0000-4000-8000-{:012x}", std::process::id());
    let doctor = ["doctor", "--json", "--wait", "0", "--database-id", &id];
    let args = [&doctor[..], &["--listen", "127.0.0.1:0", "--shared-key", text(&key)]].concat();
    let report = line(&ditto(&args));
    // What the network of this machine is like is not for this test to say.
    assert_eq!(find(&report, "listener")["level"], "ok", "{report}");
    assert_eq!(find(&report, "keys")["level"], "ok", "{report}");
    assert!(report["findings"].as_array().unwrap().iter().all(|f| f["check"] != "admission"), "{report}");

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let out = ditto(&args);
        assert_eq!(out.status.code(), Some(1));
        let report = line(&out);
        assert_eq!(report["ok"], false);
        let finding = find(&report, "keys");
        assert_eq!(finding["level"], "fail");
        assert!(finding["advice"].as_str().unwrap().starts_with("chmod 600"), "{finding}");
    }

    // A port that somebody holds, and an address where nobody is.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().to_string();
    let out = ditto(&[&doctor[..], &["--listen", &port]].concat());
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(find(&line(&out), "listener")["level"], "fail");
}
