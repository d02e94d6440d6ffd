//! Adopting an application's own table of codes: what is found, what is refused, and that it can be repeated.

use migrate::{Answer, Reason, Request, adopt};
use onceload_tests::application::{self, TABLES};
use onceload_tests::{Maintenance, State, TestDb, World};
use serde_json::json;
use shared::db::adoption::ddl::COLUMNS;
use shared::db::{Database, Usage};
use shared::domain::task::ClaimedCodes;
use shared::lambda::Budget;
use std::time::Duration;

pub(super) const KEEP: Maintenance = Maintenance::Rollback(ClaimedCodes::Keep);

pub(super) async fn adopt_on(db: &TestDb, request: &Request) -> Answer {
    let direct = Database::new(&db.direct_url(), Usage::step(2), None).unwrap();
    adopt(&direct, request, Budget::of(Duration::from_secs(60))).await.unwrap()
}

/// A request for `public.codes` with these names.
pub(super) fn request(columns: &[(&str, &str)], apply: bool) -> Request {
    let columns = columns.iter().map(|(ours, theirs)| ((*ours).to_owned(), (*theirs).to_owned())).collect();
    Request { table: "public.codes".into(), columns, history: None, apply }
}

pub(super) fn reasons(findings: &[migrate::Finding]) -> Vec<Reason> {
    findings.iter().map(|finding| finding.reason).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_columns_are_those_of_the_baseline() {
    let db = TestDb::with_baseline().await;
    let columns = "SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
                    WHERE a.attrelid = 'onceload.codes'::regclass AND a.attnum > 0 ORDER BY a.attnum";
    let before = db.column(columns).await;
    let ours: Vec<String> = COLUMNS
        .iter()
        .map(|(name, kind)| {
            format!(
                "{name} {}",
                kind.replace("timestamptz", "timestamp with time zone").replace("12, 2", "12,2")
            )
        })
        .collect();
    assert_eq!(before, ours);
    db.exec(TABLES).await;
    assert!(adopt_on(&db, &application::request(true)).await.applied);
    let names = |columns: Vec<String>| -> Vec<String> {
        columns.iter().map(|it| it.split(' ').next().unwrap().to_owned()).collect()
    };
    let mut after = names(db.column(columns).await);
    assert_eq!(after.remove(0), "ctid", "a part of the heap is deleted by it");
    assert_eq!(after, names(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_changes_nothing_and_an_adoption_can_be_repeated() {
    let db = TestDb::with_baseline().await;
    db.exec(TABLES).await;
    let shape = "SELECT count(*) FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'onceload'::regnamespace)";
    let before = db.int(shape).await;
    let looked = adopt_on(&db, &application::request(false)).await;
    assert!(looked.problems.is_empty() && !looked.applied, "{looked:?}");
    assert_eq!(looked.sql.len(), 4, "{:#?}", looked.sql);
    for (sql, part) in looked.sql.iter().zip([
        "ALTER TABLE public.promo_codes ADD COLUMN import_job_id uuid;",
        "CREATE UNIQUE INDEX CONCURRENTLY",
        "CREATE INDEX CONCURRENTLY",
        "BEGIN; ",
    ]) {
        assert!(sql.starts_with(part), "{sql}");
    }
    assert_eq!(db.int(shape).await, before);

    let applied = adopt_on(&db, &application::request(true)).await;
    assert!(applied.applied && applied.sql == looked.sql, "{applied:?}");
    let again = adopt_on(&db, &application::request(true)).await;
    assert!(again.applied && again.sql.is_empty() && again.problems.is_empty(), "{again:?}");
    // Another name for a column: only the view is made anew.
    let mut other = application::request(true);
    other.columns.insert("claimed".into(), "customer IS NOT NULL".into());
    let changed = adopt_on(&db, &other).await;
    assert!(changed.applied && changed.sql.len() == 1, "{changed:?}");
    assert!(changed.sql[0].contains("DROP VIEW"), "{changed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_can_run_the_printed_sql() {
    let db = TestDb::with_baseline().await;
    db.exec(TABLES).await;
    let looked = adopt_on(&db, &application::request(false)).await;
    for sql in &looked.sql {
        db.exec(sql).await;
    }
    let again = adopt_on(&db, &application::request(false)).await;
    assert!(again.applied && again.sql.is_empty(), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_table_is_adopted_and_what_it_lacks_is_said() {
    let db = TestDb::with_baseline().await;
    db.exec(
        "CREATE TABLE public.codes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, merchant_id uuid, code text NOT NULL,
             sku varchar(20), points integer NOT NULL DEFAULT 5, redeemed_at timestamptz, status text NOT NULL DEFAULT 'new')",
    )
    .await;
    let answer =
        adopt_on(&db, &request(&[("claimed", "redeemed_at IS NOT NULL OR status = 'used'")], true)).await;
    assert!(answer.applied, "{answer:?}");
    assert!(answer.warnings.iter().all(|it| it.reason == Reason::MissingColumn), "{answer:?}");
    let missing: Vec<&str> = answer.warnings.iter().map(|it| it.object.as_str()).collect();
    let expected = ["window_start", "window_end", "serial", "sku", "sku_name", "batch_code", "price"]
        .map(|name| format!("public.codes.{name}"));
    assert_eq!(missing, expected);

    let world = World::with_database(db).await;
    world.add_codes(&["B"]).await;
    // Neither letter is white space.
    world.add_codes(&["vtnfr", "rfntv"]).await;
    let again =
        adopt_on(&world.db, &request(&[("claimed", "redeemed_at IS NOT NULL OR status = 'used'")], true))
            .await;
    assert!(again.applied && again.problems.is_empty(), "{again:?}");
    world.db.exec("DELETE FROM public.codes WHERE code <> 'B'").await;
    let csv = "code,sku,points,price\nA,s1,7,1.50\nB,s2,,\nC,s3,,\n";
    let run = world.import_to_end("a.csv", csv).await;
    let warnings = world.show(run.job).await["warnings"].clone();
    let unstored = warnings.as_array().unwrap().iter().find(|it| it["reason"] == "unstored_columns").unwrap();
    assert_eq!((&unstored["count"], &unstored["first"]["sample"]), (&json!(2), &json!("sku, price")));
    let rows = "SELECT code || ' ' || points || ' ' || coalesce(sku, '-') FROM public.codes ORDER BY code";
    assert_eq!(world.db.column(rows).await, ["A 7 -", "B 5 -", "C 5 -"]);
    world.db.exec("UPDATE public.codes SET redeemed_at = now() WHERE code = 'C'").await;
    world.start_task(run.job, KEEP).await.run().await.unwrap();
    assert_eq!(world.db.column("SELECT code FROM public.codes ORDER BY code").await, ["B", "C"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_work_is_refused_and_nothing_is_applied() {
    const KEY: &str = "merchant_id uuid NOT NULL, claimed boolean NOT NULL DEFAULT false";
    let duplicates = "INSERT INTO public.codes (merchant_id, code) SELECT '00000000-0000-0000-0000-000000000001', 'SAME' FROM generate_series(1, 3)";
    let cases: Vec<(String, Reason, &str)> = vec![
        ("SELECT 1".into(), Reason::NotFound, "no table"),
        (format!("CREATE TABLE public.codes ({KEY})"), Reason::NotFound, "no column code"),
        ("CREATE TABLE public.codes (merchant_id uuid, code text)".into(), Reason::NotFound, "no column claimed"),
        ("CREATE VIEW public.codes AS SELECT 1 AS code".into(), Reason::NotUpdatable, "a view"),
        (format!("CREATE UNLOGGED TABLE public.codes (code text, {KEY})"), Reason::NotUpdatable, "unlogged"),
        (format!("CREATE TABLE public.codes (code text, {KEY}) PARTITION BY HASH (merchant_id)"), Reason::Partitioned, "partitioned"),
        (format!("CREATE TABLE public.codes (code char(8), {KEY})"), Reason::CodeType, "character(8)"),
        (format!("CREATE TABLE public.codes (code varchar(64), {KEY})"), Reason::CodeType, "character varying(64)"),
        (format!("CREATE TABLE public.codes (code bigint, {KEY})"), Reason::CodeType, "bigint"),
        (
            format!("CREATE COLLATION public.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
                     CREATE TABLE public.codes (code text COLLATE public.blind, {KEY})"),
            Reason::CodeType,
            "not deterministic",
        ),
        ("CREATE TABLE public.codes (code text, claimed boolean)".into(), Reason::MerchantType, "merchant_id"),
        ("CREATE TABLE public.codes (code text, claimed boolean, merchant_id bigint)".into(), Reason::MerchantType, "bigint"),
        (format!("CREATE TABLE public.codes (code text, {KEY}, shop text NOT NULL)"), Reason::NotNullColumn, "no default"),
        (format!("CREATE TABLE public.codes (code text, {KEY}, points integer NOT NULL)"), Reason::NotNullColumn, "leave it empty"),
        (format!("CREATE TABLE public.codes (code text UNIQUE, {KEY})"), Reason::OtherUnique, "unique over code"),
        (format!("CREATE TABLE public.codes (code text, {KEY}, serial text UNIQUE)"), Reason::OtherUnique, "unique over serial"),
        (format!("CREATE TABLE public.codes (code text, {KEY}); CREATE UNIQUE INDEX ON public.codes (merchant_id, lower(code))"), Reason::OtherUnique, "an expression"),
        (format!("CREATE TABLE public.codes (code text, {KEY}); {duplicates}"), Reason::Duplicates, "SAME (3 times)"),
        (
            format!("CREATE TABLE public.codes (code text, {KEY});
                     INSERT INTO public.codes (merchant_id, code) VALUES ('00000000-0000-0000-0000-000000000001', ' PADDED')"),
            Reason::CodeType,
            "PADDED",
        ),
        (format!("CREATE TABLE public.codes (code text, {KEY}, import_job_id bigint)"), Reason::NotUpdatable, "bigint"),
        (
            format!("CREATE TABLE public.codes (code text, {KEY});
                     INSERT INTO onceload.codes (merchant_id, code) VALUES ('00000000-0000-0000-0000-000000000001', 'OURS')"),
            Reason::CodesNotEmpty,
            "codes of its own",
        ),
    ];
    let db = TestDb::with_baseline().await;
    let reset = "DO $$ BEGIN DROP VIEW public.codes; EXCEPTION WHEN OTHERS THEN DROP TABLE IF EXISTS public.codes; END $$;
                 DROP COLLATION IF EXISTS public.blind; DELETE FROM onceload.codes";
    for (tables, reason, words) in cases {
        db.exec(&tables).await;
        let answer = adopt_on(&db, &request(&[], true)).await;
        assert_eq!(reasons(&answer.problems), [reason], "{tables}: {answer:?}");
        assert!(answer.problems[0].detail.contains(words), "{tables}: {answer:?}");
        assert!(!answer.applied && !answer.problems[0].advice.is_empty());
        assert_eq!(db.value("SELECT onceload.codes_table()::text").await, "onceload.codes");
        db.exec(reset).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_not_there_are_named() {
    let db = TestDb::with_baseline().await;
    db.exec("CREATE TABLE public.codes (merchant_id uuid, code text, claimed boolean)").await;
    for (ours, theirs, words) in [
        ("sku", "nothing", "nothing"),
        ("claimed", "redeemed IS NOT NULL", "redeemed"),
        ("claimed", "1; DROP TABLE public.codes", "neither a column nor an expression"),
        ("colour", "code", "`colour`, which onceload.codes does not have"),
        ("code", "upper(code)", "can't be inserted"),
    ] {
        let answer = adopt_on(&db, &request(&[(ours, theirs)], true)).await;
        assert!(answer.problems.iter().any(|it| it.detail.contains(words)), "{theirs}: {answer:?}");
        assert!(!answer.applied);
    }
    let mut named = request(&[], false);
    for name in ["public.", "codes", "a b.c", "public.codes; DROP TABLE x", "1.2.3.4"] {
        named.table = name.into();
        let answer = adopt_on(&db, &named).await;
        assert_eq!(reasons(&answer.problems), [Reason::NotFound], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_part_in_every_insert_is_a_warning() {
    let db = TestDb::with_baseline().await;
    db.exec(
        "CREATE TABLE public.codes (merchant_id uuid, code text PRIMARY KEY, claimed boolean, points integer CHECK (points > 0));
         ALTER TABLE public.codes DROP CONSTRAINT codes_pkey; ALTER TABLE public.codes ADD COLUMN id bigserial PRIMARY KEY;
         CREATE TABLE public.claims (code_id bigint REFERENCES public.codes ON DELETE CASCADE);
         CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER looks BEFORE INSERT ON public.codes FOR EACH ROW EXECUTE FUNCTION public.look()",
    )
    .await;
    let answer = adopt_on(&db, &request(&[], true)).await;
    assert!(answer.applied, "{answer:?}");
    let found: Vec<(Reason, &str)> = answer
        .warnings
        .iter()
        .filter(|it| it.reason != Reason::MissingColumn)
        .map(|it| (it.reason, it.object.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (Reason::Trigger, "codes_points_check"),
            (Reason::ForeignKey, "claims_code_id_fkey"),
            (Reason::Trigger, "looks")
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_the_table_runs_what_only_they_may() {
    let db = TestDb::with_baseline().await;
    let admin = db.connect_as_admin().await;
    admin.batch_execute(&format!("{TABLES} CREATE INDEX half ON public.promo_codes (serial)")).await.unwrap();
    admin
        .batch_execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.half'::regclass")
        .await
        .unwrap();
    let answer = adopt_on(&db, &application::request(true)).await;
    // Its own rights, and those on the table that references it.
    assert_eq!(
        reasons(&answer.problems),
        [Reason::IndexInvalid, Reason::NotOwner, Reason::NotOwner],
        "{answer:?}"
    );
    assert!(answer.problems[0].advice.contains("DROP INDEX CONCURRENTLY public.half"));
    admin.batch_execute("DROP INDEX public.half").await.unwrap();

    let answer = adopt_on(&db, &application::request(true)).await;
    assert_eq!(reasons(&answer.problems), [Reason::NotOwner, Reason::NotOwner], "{answer:?}");
    assert!(answer.sql.iter().any(|sql| sql == "GRANT SELECT (promo_code_id) ON public.claims TO onceload;"));
    assert!(answer.sql.iter().any(|sql| {
        sql.starts_with("GRANT SELECT, INSERT, UPDATE, DELETE ON public.promo_codes TO onceload")
    }));
    for sql in answer.sql.iter().take_while(|sql| !sql.starts_with("BEGIN")) {
        admin.batch_execute(sql).await.unwrap();
    }
    let answer = adopt_on(&db, &application::request(true)).await;
    assert!(answer.applied && answer.sql.len() == 1, "{answer:?}");
    assert_eq!(reasons(&answer.warnings), [Reason::ForeignKey, Reason::Vacuum]);
    let world = World::with_database(db).await;
    let run = world.import_to_end("a.csv", "code\nA\nB\n").await;
    assert_eq!(world.count_codes_of(run.job).await, 2);
    world.start_task(run.job, KEEP).await.run().await.unwrap();
    assert_eq!(world.count_codes().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_checked_before_is_checked_again_after() {
    let db = TestDb::with_baseline().await;
    db.exec(TABLES).await;
    let world = World::with_database(db).await;
    let mut run = world.import_until_approval("a.csv", "code\nA\nB\n").await;
    world
        .db
        .exec(&format!(
            "INSERT INTO public.promo_codes (owner_id, promo_code) VALUES ('{}', 'B')",
            world.merchant
        ))
        .await;
    assert!(adopt_on(&world.db, &application::request(true)).await.applied);
    run.finish(&world.actor).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    assert_eq!(job["status"], json!("completed"));
    assert_eq!((&job["codes_inserted"], &job["database_duplicates"]), (&json!(1), &json!(1)), "{job}");
}
