//! Manifests as people write them: a byte order mark, another encoding, a member twice, a header twice.

use onceload_tests::{Run, State, World};
use shared::domain::step::StepErrorKind;

fn utf16(text: &str, mark: bool) -> Vec<u8> {
    let mark = mark.then_some(0xfeff);
    mark.into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_says_what_is_wrong_with_it() {
    let world = World::new().await;
    world.upload("b/a.csv", "code\nA\n");
    world.upload("b/b.csv", "code\nB\n");
    let manifest = world.key_under_stage("b/manifest.json");
    let cases: [(Vec<u8>, &str); 10] = [
        (br#"{"files":["a.csv"],"files":["b.csv"]}"#.to_vec(), "member `files` stands there twice"),
        (br#"{"mapping":{"code":"x","code":"y"}}"#.to_vec(), "member `mapping.code` stands there twice"),
        (br#"{"options":{"max_rejects":1,"max_rejects":2}}"#.to_vec(), "`options.max_rejects`"),
        (br#"{"mapping":{"code":"code","serial":"code"}}"#.to_vec(), "one column can fill one field"),
        (br#"{"mapping":{"code":"a\u0000b"}}"#.to_vec(), "U+0000"),
        (br#"{"files":["a\u0000.csv"]}"#.to_vec(), "U+0000"),
        (utf16(r#"{"files":["a.csv"]}"#, true), "UTF-16"),
        (utf16(r#"{"files":["a.csv"]}"#, false), "UTF-16"),
        (onceload_tests::files::gzip(br#"{"files":["a.csv"]}"#), "gzip"),
        (b"files: [a.csv]".to_vec(), "not JSON"),
    ];
    for (text, word) in cases {
        let shown = String::from_utf8_lossy(&text).into_owned();
        let version = world.s3.put(&manifest, text);
        let mut run = Run::of_upload(&world.app, &manifest, &version);
        let error = run.until(State::InsertCodes).await.error();
        assert_eq!(error.kind, StepErrorKind::InvalidInput, "{shown}: {error}");
        assert!(error.message.contains(word) && error.message.starts_with(&manifest), "{shown}: {error}");
        let sql = format!(
            "SELECT status || ' ' || error_message FROM onceload.codes_import_jobs WHERE execution_arn = '{}'",
            run.execution_arn
        );
        assert_eq!(world.db.value(&sql).await, format!("failed {}", error.message));
    }
    assert_eq!(world.count_codes().await, 0);

    let version = world.s3.put(&manifest, b"\xef\xbb\xbf{\"files\":[\"a.csv\"]}".to_vec());
    Run::of_upload(&world.app, &manifest, &version).finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.db.column("SELECT code FROM onceload.codes").await, ["A"]);
}
