//! Object keys: whose they are, and their form.

use proptest::prelude::*;
use shared::domain::ids::MerchantId;
use shared::domain::key::{check_key, check_prefix, merchant_of};
use uuid::Uuid;

fn merchant() -> MerchantId {
    MerchantId(Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888))
}

#[test]
fn accepts_own_keys() {
    let m = merchant();
    for root in ["import", "stage", "uploads"] {
        assert_eq!(check_key(m, &format!("{root}/{m}/a.csv")), Ok(()));
        assert_eq!(check_key(m, &format!("{root}/{m}/batch/ä b.csv.gz")), Ok(()));
        assert_eq!(check_prefix(m, &format!("{root}/{m}/")), Ok(()));
        assert_eq!(check_prefix(m, &format!("{root}/{m}/batch/pa")), Ok(()));
    }
    assert_eq!(merchant_of(&format!("import/{m}/a.csv")), Some(m));
}

#[test]
fn refuses_foreign_and_malformed_keys() {
    let m = merchant();
    let other = MerchantId(Uuid::from_u128(7));
    for key in [
        format!("import/{other}/a.csv"),
        format!("import/{m}"),
        format!("import/{m}x/a.csv"),
        format!("reports/{m}/a.csv"),
        format!("/import/{m}/a.csv"),
        format!("import/{m}/../{other}/a.csv"),
        format!("import/{m}//a.csv"),
        format!("import/{m}/./a.csv"),
        format!("import/{m}/a\n.csv"),
        format!("import/{m}/"),
        format!("import/{m}/batch/"),
        format!("import/{m}/{}", "x".repeat(1100)),
        String::new(),
    ] {
        assert!(check_key(m, &key).is_err(), "{key}");
    }
    assert!(check_prefix(m, &format!("import/{m}")).is_err(), "the slash is part of the prefix");
    assert!(check_prefix(m, &format!("import/{m}//")).is_err());
    assert!(check_prefix(m, &format!("import/{m}/../")).is_err());
}

proptest! {
    #[test]
    fn no_accepted_key_leaves_the_merchant(key in ".{0,80}") {
        let m = merchant();
        let key = format!("stage/{m}/{key}");
        if check_key(m, &key).is_ok() {
            let prefix = format!("stage/{m}/");
            prop_assert!(key.starts_with(&prefix));
            prop_assert!(!key.split('/').any(|s| s == ".." || s.is_empty()));
            prop_assert_eq!(merchant_of(&key), Some(m));
        }
    }
}
