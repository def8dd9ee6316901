//! Certificates of the web: an organisation's own authority, those that the environment names, and renewed ones.

use std::path::Path;
use std::process::{Command, Stdio};

use ditto_mesh::transport::{DialTarget, LinkId, NetEvent, Transport};
use ditto_net::{HttpConfig, Net, NetConfig, TlsFiles, parse_root_certificates};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::probe::{PATIENCE, Probe};
use crate::websocket::{http, serve, start};

/// An authority of our own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        parse_root_certificates(&self.pem()).unwrap()
    }

    /// A certificate for 127.0.0.1: the texts of certificate and key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn issue_to(&self, files: &TlsFiles) {
        let (certificate, key) = self.issue();
        replace(&files.certificate, &certificate);
        replace(&files.key, &key);
    }
}

/// As programs that renew certificates do it: the file is never there in part.
fn replace(file: &Path, text: &str) {
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, file).unwrap();
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") }
}

fn wss(net: &Net) -> DialTarget {
    DialTarget::WebSocket(format!("wss://{}/", net.http_addr().unwrap()))
}

async fn trusting(roots: Vec<Vec<u8>>) -> (Net, Probe) {
    start(NetConfig { extra_roots: roots, ..NetConfig::default() }, 64).await
}

/// What became of a dial.
async fn dialled(net: &Net, probe: &mut Probe, link: u64, target: &DialTarget) -> Result<(), String> {
    net.dial(LinkId(link), target);
    probe
        .find("an answer to the dial", |e| match e {
            NetEvent::LinkUp { link: l, .. } if *l == LinkId(link) => Some(Ok(())),
            NetEvent::DialFailed { link: l, reason } if *l == LinkId(link) => Some(Err(reason.clone())),
            _ => None,
        })
        .await
}

/// Dials until it succeeds. Returns a link number that was not used.
async fn dial_until_trusted(net: &Net, probe: &mut Probe, mut link: u64, target: &DialTarget) -> u64 {
    let deadline = std::time::Instant::now() + PATIENCE;
    while let Err(reason) = dialled(net, probe, link, target).await {
        assert!(std::time::Instant::now() < deadline, "{reason}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        link += 1;
    }
    link + 1
}

async fn condition(probe: &mut Probe) -> String {
    probe
        .find("a condition of the listener", |e| match e {
            NetEvent::Condition { source, text } if source == "Http" => Some(text.clone()),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_of_ones_own_is_trusted_beside_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let tls = files(folder.path());
    ours.issue_to(&tls);
    let (b, _b_probe) = serve(HttpConfig { tls: Some(tls), ..http() }, 64).await;
    let (a, mut probe) = trusting(others.roots()).await;
    let refused = dialled(&a, &mut probe, 1, &wss(&b)).await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    // Several may be trusted, and the next dial sees the change.
    let both = [others.roots(), ours.roots()].concat();
    a.reconfigure(NetConfig { extra_roots: both, ..NetConfig::default() }).await.unwrap();
    assert_eq!(dialled(&a, &mut probe, 2, &wss(&b)).await, Ok(()));
    a.reconfigure(NetConfig::default()).await.unwrap();
    assert!(dialled(&a, &mut probe, 3, &wss(&b)).await.is_err());
}

#[test]
fn texts_that_hold_no_certificates_are_refused() {
    let (certificate, key) = Authority::new("ours").issue();
    assert_eq!(parse_root_certificates(&format!("a comment\n{certificate}{certificate}")).unwrap().len(), 2);
    let broken = certificate.replace("MII", "AAA");
    let many = certificate.repeat(33);
    let long = " ".repeat(300_000);
    let endless = certificate.replace("-----END CERTIFICATE-----", "");
    for text in ["", "nonsense", &key, &broken, &many, &long, &endless] {
        assert!(parse_root_certificates(text).is_err(), "{}", &text[..text.len().min(60)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_follows_the_files_of_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let tls = files(folder.path());
    old.issue_to(&tls);
    let (b, mut b_probe) = serve(HttpConfig { tls: Some(tls.clone()), ..http() }, 64).await;
    let (before, mut before_probe) = trusting(old.roots()).await;
    assert_eq!(dialled(&before, &mut before_probe, 1, &wss(&b)).await, Ok(()));
    let accepted = b_probe.up().await;

    new.issue_to(&tls);
    let (after, mut after_probe) = trusting(new.roots()).await;
    let link = dial_until_trusted(&after, &mut after_probe, 1, &wss(&b)).await;
    assert!(
        dialled(&before, &mut before_probe, 2, &wss(&b)).await.is_err(),
        "the old one is not shown any more"
    );
    // The connection from before goes on.
    before.write(LinkId(1), b"still here".to_vec());
    assert_eq!(b_probe.bytes(accepted, 10).await, b"still here");

    // A certificate without its key: nothing changes, and that is told.
    let (certificate, key) = old.issue();
    replace(&tls.certificate, &certificate);
    let told = async {
        let mut link = link;
        loop {
            assert_eq!(dialled(&after, &mut after_probe, link, &wss(&b)).await, Ok(()));
            link += 1;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let text = tokio::select! {
        text = condition(&mut b_probe) => text,
        () = told => unreachable!(),
    };
    assert!(text.starts_with("the certificate is not renewed: "), "{text}");
    replace(&tls.key, &key);
    dial_until_trusted(&before, &mut before_probe, 3, &wss(&b)).await;
    assert_eq!(condition(&mut b_probe).await, "ok");
}

/// Not a test: what the process of the next one does, with its own environment. It dials and says what became of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "part of another test"]
async fn child_that_dials() {
    let Ok(url) = std::env::var("DITTO_TEST_DIAL") else { return };
    let (net, mut probe) = start(NetConfig::default(), 16).await;
    let outcome = dialled(&net, &mut probe, 1, &DialTarget::WebSocket(url)).await;
    println!("outcome: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_may_name_the_certificates_that_are_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let tls = files(folder.path());
    authority.issue_to(&tls);
    let (b, _probe) = serve(HttpConfig { tls: Some(tls), ..http() }, 64).await;
    let root = folder.path().join("root.pem");
    std::fs::write(&root, authority.pem()).unwrap();
    let url = format!("wss://{}/", b.http_addr().unwrap());
    let child = async |variables: &[(&str, &Path)]| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "certificates::child_that_dials", "--ignored", "--nocapture"])
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR")
            .env("DITTO_TEST_DIAL", &url)
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_once("outcome: ").map_or(text.clone(), |(_, outcome)| outcome.to_owned())
    };
    let authorities = folder.path().join("authorities");
    std::fs::create_dir(&authorities).unwrap();
    std::fs::copy(&root, authorities.join("root.pem")).unwrap();
    assert_eq!(child(&[("SSL_CERT_FILE", &root)]).await.lines().next(), Some("Ok(())"));
    assert_eq!(child(&[("SSL_CERT_DIR", &authorities)]).await.lines().next(), Some("Ok(())"));
    assert!(child(&[]).await.contains("UnknownIssuer"));
    // Nobody else is trusted in place of what cannot be read.
    let absent = folder.path().join("absent.pem");
    let refused = child(&[("SSL_CERT_FILE", &absent)]).await;
    assert!(refused.contains("no certificate could be read from SSL_CERT_FILE"), "{refused}");
}
