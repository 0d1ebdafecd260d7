//! Hosts that are proved by records of DNS, which a program sets.

use std::fs;

use cutover_core::tls::Challenge;

use crate::bench::Bench;

/// Keeps records in a file, and a diary beside it.
const PROGRAM: &str = r#"
cd "$(dirname "$0")" || exit 1
echo "$1 $2 $(env | cut -d= -f1 | sort | tr '\n' ' ')" >> diary
case $1 in
    set) echo "$2 $3" >> records ;;
    remove) grep -vxF "$2 $3" records > records.new; mv records.new records ;;
esac
"#;

impl Bench {
    fn program(&self, text: &str) -> Vec<String> {
        let path = self.directory.path().join("dns.sh");
        fs::write(&path, text).unwrap();
        vec!["/bin/sh".to_owned(), path.display().to_string()]
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// What the program was called for, without its environment.
    fn calls(&self) -> Vec<String> {
        let diary = self.file("diary");
        diary.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }
}

#[tokio::test]
async fn a_host_and_all_its_sub_domains_are_proved_at_once_and_nothing_is_left_behind() {
    let bench = Bench::new().await;
    let mut order = bench.order(&["shop.test", "*.shop.test", "blog.test"], Challenge::Dns01);
    order.acme.dns_command = Some(bench.program(PROGRAM));
    bench.succeeds(&order).await;
    assert_eq!(bench.file("records"), "");
    let mut calls = bench.calls();
    calls[..3].sort();
    calls[3..].sort();
    let (shop, blog) = ("_acme-challenge.shop.test", "_acme-challenge.blog.test");
    let expected = |verb: &str| [blog, shop, shop].map(|name| format!("{verb} {name}"));
    assert_eq!(calls, [expected("set"), expected("remove")].concat());
    // `PWD` and its like are the shell's own.
    let diary = bench.file("diary");
    let foreign = |name: &&str| !["PATH", "HOME", "LANG", "PWD", "OLDPWD", "SHLVL", "_"].contains(name);
    let foreign: Vec<_> = diary.lines().flat_map(|line| line.split(' ').skip(2)).filter(foreign).collect();
    assert!(foreign.iter().all(|name| name.is_empty()), "{foreign:?}");
}

#[tokio::test]
async fn a_program_that_fails_is_told_with_its_last_words_and_has_to_clear_up() {
    let bench = Bench::new().await;
    let mut order = bench.order(&["shop.test"], Challenge::Dns01);
    let failing =
        "echo one; echo the zone is locked >&2; [ $1 = remove ] && echo $1 $2 >> $(dirname $0)/diary; exit 3";
    order.acme.dns_command = Some(bench.program(failing));
    let error = bench.fails(&order).await.reason;
    let expected =
        "/bin/sh set _acme-challenge.shop.test` ended with exit status: 3: one; the zone is locked";
    assert!(error.ends_with(expected), "{error}");
    assert_eq!(bench.calls(), ["remove _acme-challenge.shop.test"]);

    order.acme.dns_command = Some(vec!["/nowhere/dns".to_owned()]);
    let error = bench.fails(&order).await.reason;
    assert!(error.starts_with("`/nowhere/dns` cannot be started: "), "{error}");
    order.acme.dns_command = None;
    let error = bench.fails(&order).await.reason;
    assert_eq!(error, "`dns-01` needs `dns_command`, which sets records of DNS");
}

#[tokio::test]
async fn a_record_that_is_not_there_is_told_in_the_authoritys_words() {
    let bench = Bench::new().await;
    let mut order = bench.order(&["*.shop.test"], Challenge::Dns01);
    order.acme.dns_command = Some(bench.program("exit 0"));
    let error = bench.fails(&order).await.reason;
    assert!(error.starts_with("`*.shop.test` is refused: ") && error.contains("TXT"), "{error}");
}

#[tokio::test]
async fn what_a_program_leaves_running_holds_up_nobody() {
    let bench = Bench::new().await;
    let mut order = bench.order(&["shop.test"], Challenge::Dns01);
    let text = format!("sleep 300 &\necho $! >> $(dirname $0)/left\n{PROGRAM}");
    order.acme.dns_command = Some(bench.program(&text));
    bench.succeeds(&order).await;
    for id in bench.file("left").lines() {
        let _ = std::process::Command::new("kill").arg(id).status();
    }
}
