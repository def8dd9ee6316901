//! The HTTP listener against clients of others and against hostile ones.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ditto_net::{HttpConfig, Net};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::probe::PATIENCE;
use crate::websocket::{certificate, http, serve};

/// What the other side sends until it closes.
async fn all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is an end as well.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("an end in time");
    String::from_utf8_lossy(&text).into_owned()
}

async fn connect(net: &Net) -> TcpStream {
    TcpStream::connect(net.http_addr().unwrap()).await.unwrap()
}

/// Runs somebody else's program; `None`, with a message, where it is missing.
async fn program(name: &str, args: Vec<String>) -> Option<(bool, String)> {
    let (program, named) = (name.to_owned(), name.to_owned());
    let output =
        tokio::task::spawn_blocking(move || Command::new(program).args(args).output()).await.unwrap();
    match output {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(e) => {
            println!("skipped: {named}: {e}");
            None
        }
    }
}

fn website(folder: &Path) -> HttpConfig {
    let web = folder.join("web");
    std::fs::create_dir(&web).unwrap();
    std::fs::write(web.join("index.html"), "<h1>hello</h1>").unwrap();
    std::fs::write(folder.join("secret"), "secret").unwrap();
    HttpConfig { static_content: Some(web), ..http() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_silent_clients_are_closed_and_others_served_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (net, _probe) = serve(website(folder.path()), 64).await;
    let mut silent = connect(&net).await;
    let mut half = connect(&net).await;
    half.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let mut kept = connect(&net).await;
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let began = Instant::now();
    // A header in small pieces does not buy time.
    let drip = async {
        let mut drip = connect(&net).await;
        drip.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        let (mut reader, mut writer) = drip.split();
        let mut answer = Vec::new();
        let writing = async {
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                if writer.write_all(b"a").await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        tokio::select! {
            _ = reader.read_to_end(&mut answer) => {}
            () = writing => {}
        }
    };
    let polite = async {
        let mut stream = connect(&net).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let answer = all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello</h1>"), "{answer}");
    };
    let ended = async { tokio::join!(drip, polite, all(&mut silent), all(&mut half), all(&mut kept)) };
    let (.., kept) = tokio::time::timeout(PATIENCE, ended).await.expect("all are closed");
    assert!(kept.starts_with("HTTP/1.1 200"), "{kept}");
    assert!(began.elapsed() >= Duration::from_secs(5), "a client has some time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_heads_that_are_too_long_are_refused() {
    let (net, _probe) = serve(http(), 64).await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(40_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200));
    for head in ["\u{16}\u{3}\u{1}\0\0\r\n\r\n", "hello\r\n\r\n", &long, &many] {
        let mut stream = connect(&net).await;
        // The other side may close before it has read all of it.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = all(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    for (headers, status) in [
        ("Upgrade: websocket\r\n", "400"),
        (
            "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 8\r\n",
            "426",
        ),
        ("Upgrade: h2c\r\nConnection: upgrade\r\n", "404"),
    ] {
        let mut stream = connect(&net).await;
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = all(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{headers:?}: {answer}");
    }
    assert_eq!(net.stats().links, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_files_and_nothing_above_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = website(folder.path());
    let (files, _) = certificate(folder.path());
    let authority = files.certificate.to_string_lossy().into_owned();
    config.tls = Some(files);
    let (net, _probe) = serve(config, 64).await;
    let url = format!("https://127.0.0.1:{}", net.http_addr().unwrap().port());
    let curl = |path: &str| {
        let args = ["-sS", "-i", "--path-as-is", "--cacert", &authority, &format!("{url}{path}")];
        program("curl", args.map(str::to_owned).to_vec())
    };
    let Some((ok, answer)) = curl("/").await else { return };
    assert!(ok && answer.contains("200 OK") && answer.ends_with("<h1>hello</h1>"), "{answer}");
    assert!(answer.contains("content-type: text/html"), "{answer}");
    for path in ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/x/../../secret"] {
        let Some((_, answer)) = curl(path).await else { return };
        assert!(answer.contains("404 Not Found") && !answer.ends_with("secret"), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_websocket_client_of_python_reaches_us_and_is_refused_by_code() {
    const SCRIPT: &str = r"
import asyncio, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1]) as socket:
        await socket.ping()
        await socket.send('hello')
        try:
            await socket.recv()
        except websockets.exceptions.ConnectionClosed as e:
            print('closed', e.rcvd.code)
asyncio.run(main())
";
    let (net, mut probe) = serve(http(), 64).await;
    let url = format!("ws://{}/", net.http_addr().unwrap());
    let python = std::env::var("DITTO_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = program(&python, vec!["-c".to_owned(), "import websockets".to_owned()]).await;
    if !has.is_some_and(|(ok, _)| ok) {
        return println!("skipped: {python} has no module websockets");
    }
    let (ok, answer) = program(&python, vec!["-c".to_owned(), SCRIPT.to_owned(), url]).await.unwrap();
    assert!(ok && answer.contains("closed 1003"), "{answer}");
    let link = probe.up().await;
    probe.down(link).await;
}
