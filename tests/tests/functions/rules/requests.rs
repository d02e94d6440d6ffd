//! Start requests: what each part must be.

use shared::domain::field::Mapping;
use shared::domain::ids::MerchantId;
use shared::domain::source::{SourceError, StartRequest};
use uuid::Uuid;

const M: &str = "11112222-3333-4444-5555-666677778888";

#[test]
fn checks_requests() {
    let merchant = MerchantId(Uuid::parse_str(M).expect("uuid"));
    let request = |files: Option<Vec<String>>, prefix: Option<String>| StartRequest {
        merchant_id: merchant,
        files,
        prefix,
        mapping: None,
        options: None,
    };
    let own = format!("stage/{M}/b/1.csv");
    assert!(request(Some(vec![own.clone()]), None).check().is_ok());
    assert_eq!(request(None, None).check(), Err(SourceError::Selection("neither")));
    assert_eq!(
        request(Some(vec![own.clone()]), Some(own.clone())).check(),
        Err(SourceError::Selection("both"))
    );
    assert_eq!(
        request(Some(vec![own.clone(), own.clone()]), None).check(),
        Err(SourceError::RepeatedFile(own.clone()))
    );
    assert_eq!(request(Some(vec![own.clone(); 2001]), None).check(), Err(SourceError::TooManyFiles(2001)));
    assert_eq!(request(Some(vec![]), None).check(), Err(SourceError::NoFiles));
    let mut mapped = request(Some(vec![own]), None);
    mapped.mapping = Some(Mapping::from([("colour".into(), "Colour".into())]));
    assert!(matches!(mapped.check(), Err(SourceError::UnknownField(_))));
}
